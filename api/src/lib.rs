//! The HTTP side: the order API, the gateway's webhook, the payer's pages, health and metrics.
//!
//! A request is parsed at the door (`orders`, `webhook`), answered from our own rows, and leaves every call to the
//! gateway to a job. Whatever goes wrong becomes one of the problems in `problem.rs`; no other module knows an HTTP
//! error code.

use std::sync::Arc;

use gateway::Gateway;
use poem::endpoint::BoxEndpoint;
use poem::{EndpointExt, IntoEndpoint, Response, Route};
use process::consumption_check::ConsumptionCheck;
use process::notice::Notice;
use process::public_address::PublicUrl;
use queue::Queue;
use store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

mod access_log;
mod api_keys;
mod asker;
mod auth;
mod callback_addresses;
mod callers;
mod cross_origin;
mod description;
mod digest;
mod fair_share;
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
mod served;
mod server;
mod settings;
mod static_page;
#[cfg(test)]
mod tests;
mod webhook;

pub use api_keys::{ApiKey, KeyStrength};
pub use callback_addresses::{AddressCheck, CallbackAddresses};
pub use server::{Listeners, serve};
pub use settings::ApiSettings;

use callers::{Callers, PerCaller};
use fair_share::FairShares;
use minute_budget::MinuteBudget;
use served::{Addresses, Audience, Served};
use static_page::StaticPage;

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
    pub consumption_check: Option<ConsumptionCheck>,
    /// How the HTTP side is set. Without keys the order API is open.
    pub settings: ApiSettings,
    /// The addresses callbacks may come from.
    pub callback_addresses: CallbackAddresses,
    /// What customers' browsers reach.
    pub public_url: PublicUrl,
    /// What this process is, `up` or `api`.
    pub role: &'static str,
}

/// What all requests of one process share.
struct Api {
    context: ApiContext,
    stopping: CancellationToken,
    waiting: Semaphore,
    streams: Arc<orders::EventStreams>,
    callers: Arc<Callers>,
    health: health::HealthAnswers,
    unproven: MinuteBudget,
    signed_lines: webhook::SignedLines,
    links: FairShares,
}

impl Api {
    /// Once `stopping` is cancelled, readiness is red and event streams end.
    fn new(context: ApiContext, stopping: CancellationToken) -> Self {
        metrics::register();
        Api {
            context,
            stopping,
            waiting: Semaphore::new(WAITING_REQUESTS),
            streams: Arc::default(),
            callers: Arc::default(),
            health: health::HealthAnswers::default(),
            unproven: MinuteBudget::new(webhook::UNPROVEN_PER_MINUTE),
            signed_lines: webhook::SignedLines::default(),
            links: FairShares::new(),
        }
    }
}

/// What all requests share, as a handler receives it.
type SharedApi<'a> = poem::web::Data<&'a Arc<Api>>;

/// The whole HTTP side as one endpoint, without a port.
pub fn routes(context: ApiContext) -> BoxEndpoint<'static, Response> {
    endpoint(context, CancellationToken::new())
}

/// As [`routes`]; once `stopping` is cancelled, readiness is red and event streams end.
fn endpoint(context: ApiContext, stopping: CancellationToken) -> BoxEndpoint<'static, Response> {
    all_routes(&Arc::new(Api::new(context, stopping)))
}

fn all_routes(api: &Arc<Api>) -> BoxEndpoint<'static, Response> {
    let Served { routes, addresses } = everything(api);
    watched(routes, addresses, api)
}

/// Everything that is served.
fn everything(api: &Arc<Api>) -> Served {
    let (described, shown) = (Arc::clone(api), Arc::clone(api));
    let openapi = StaticPage::new("application/json", move || description::document(&described));
    let docs = StaticPage::new("text/html; charset=utf-8", move || description::page(&shown));
    health_and_webhook()
        .get("/openapi.json", Audience::Docs, openapi)
        .get("/docs", Audience::Docs, docs.clone())
        .get("/docs/", Audience::Docs, docs)
        .api("/api", orders::service(api))
        .get("/pay/:token", Audience::PayPage, pay_page::get_pay_page)
        .get("/pay/:token/return", Audience::PayPage, pay_page::get_return_page)
}

/// What the webhook's own listener serves.
fn webhook_routes(api: &Arc<Api>) -> BoxEndpoint<'static, Response> {
    // Whatever else is asked there is counted under its own name.
    watched(health_and_webhook().routes, everything(api).addresses, api)
}

fn health_and_webhook() -> Served {
    Served::default()
        .post("/atmos/webhook", Audience::Program, webhook::post_callback)
        .get("/livez", Audience::Health, health::get_livez)
        .get("/readyz", Audience::Health, health::get_readyz)
        .get("/metrics", Audience::Health, health::get_metrics)
}

fn watched(routes: Route, addresses: Addresses, api: &Arc<Api>) -> BoxEndpoint<'static, Response> {
    routes
        .data(Arc::clone(api))
        .with(PerCaller(Arc::clone(api)))
        .with(requests::Requests {
            link_wait: api.context.settings.link_wait,
            senders: api.context.callback_addresses.clone(),
            served: Arc::new(addresses),
        })
        .into_endpoint()
        .boxed()
}
