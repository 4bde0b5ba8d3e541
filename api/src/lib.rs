//! The HTTP side: the order API, the gateway's webhook, the payer's pages, health and metrics.
//!
//! A request is parsed at the door (`orders`, `webhook`), answered from our own rows, and leaves every call to the
//! gateway to a job. Whatever goes wrong becomes one of the problems in `problem.rs`; no other module knows an HTTP
//! error code.

use std::sync::Arc;
use std::time::Duration;

use poem::endpoint::{BoxEndpoint, make_sync};
use poem::web::Html;
use poem::{EndpointExt, IntoEndpoint, IntoResponse, Response, Route, get, post};
use shared::config::{ApiKey, CallbackAddresses};
use shared::gateway::Gateway;
use shared::notice::Notice;
use shared::pulse::Pulse;
use shared::queue::Queue;
use shared::store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;

mod access_log;
mod asker;
mod auth;
mod connections;
mod cross_origin;
mod description;
mod digest;
mod health;
mod idempotency;
mod metrics;
mod minute_budget;
mod or_null;
mod orders;
mod pay_page;
mod problem;
mod request_body;
mod requests;
mod schema;
mod sender;
mod server;
#[cfg(test)]
mod tests;
mod webhook;

pub use server::serve;

use minute_budget::MinuteBudget;

/// At most so many requests wait for their payment link; the rest get our own page at once.
const WAITING_REQUESTS: usize = 1_000;

/// What the HTTP side works with; cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiContext {
    /// The database.
    pub store: Store,
    /// Reads callbacks, and names whom new orders will ask for money. Never called over the network from here.
    pub gateway: Gateway,
    /// Tells waiting requests and open pages that an order changed.
    pub notice: Notice,
    /// Only asked how long it is, for health and metrics.
    pub queue: Queue,
    /// The worker of this process, where it has one.
    pub pulse: Option<Pulse>,
    /// Who may use the order API; empty means open.
    pub api_keys: Vec<ApiKey>,
    /// The addresses callbacks may come from.
    pub callback_addresses: CallbackAddresses,
    /// What customers' browsers reach; a last slash does not matter.
    pub public_url: Url,
    /// How long `create` waits for the payment link; zero means not at all.
    pub link_wait: Duration,
    /// What this process is, `up` or `api`.
    pub role: &'static str,
}

/// What all requests of one process share.
struct Api {
    context: ApiContext,
    public_url: String,
    stopping: CancellationToken,
    waiting: Semaphore,
    streams: Arc<orders::EventStreams>,
    unproven: MinuteBudget,
}

/// What all requests share, as a handler receives it.
type SharedApi<'a> = poem::web::Data<&'a Arc<Api>>;

/// The whole HTTP side as one endpoint, without a port.
pub fn routes(context: ApiContext) -> BoxEndpoint<'static, Response> {
    endpoint(context, CancellationToken::new())
}

/// As [`routes`]; once `stopping` is cancelled, readiness is red and event streams end.
fn endpoint(context: ApiContext, stopping: CancellationToken) -> BoxEndpoint<'static, Response> {
    let requests = requests::Requests { link_wait: context.link_wait, addresses: context.callback_addresses.clone() };
    let public_url = context.public_url.as_str().trim_end_matches('/').to_owned();
    let api = Arc::new(Api {
        context,
        public_url,
        stopping,
        waiting: Semaphore::new(WAITING_REQUESTS),
        streams: Arc::default(),
        unproven: MinuteBudget::new(webhook::UNPROVEN_PER_MINUTE),
    });
    metrics::register();
    let order_api = orders::service(&api);
    let document = description::document(&api);
    let openapi = make_sync(move |_| document.clone().with_content_type("application/json"));
    let page = description::page(&api);
    let docs = make_sync(move |_| Html(page.clone()));
    Route::new()
        .at("/openapi.json", get(openapi))
        .nest("/docs", get(docs))
        .nest("/api", order_api)
        .at("/atmos/webhook", post(webhook::post_callback))
        .at("/atmos/webhook/", post(webhook::post_callback))
        .at("/pay/:token", get(pay_page::get_pay_page))
        .at("/pay/:token/return", get(pay_page::get_return_page))
        .at("/livez", get(health::get_livez))
        .at("/readyz", get(health::get_readyz))
        .at("/metrics", get(health::get_metrics))
        .data(api)
        .with(requests)
        .into_endpoint()
        .boxed()
}
