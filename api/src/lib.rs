//! The HTTP side: the order API, the gateway's webhook, the customer's pages, health and metrics.
//!
//! A request is parsed once (`orders`, `webhook`) and answered from our own database rows; every call to the gateway is
//! left to a job. Every failure becomes one of the problems in `problem.rs`; no other module knows HTTP error codes.

use std::sync::Arc;
use std::time::Duration;

use domain::shops::Shops;
use gateway::Gateways;
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
mod auth;
mod callback_addresses;
mod concurrency_limit;
mod credential;
mod cross_origin;
mod description;
mod digest;
mod entity_tag;
mod fair_share;
mod front_page;
mod health;
mod idempotency;
mod metrics;
mod minute_limit;
mod or_null;
mod orders;
mod pay_page;
mod problem;
mod request_body;
mod requests;
mod route_table;
mod schema;
mod sender;
mod server;
mod settings;
mod shop_settings;
mod static_page;
#[cfg(test)]
mod tests;
mod webhook;

pub use api_keys::{ApiKey, KeyStrength, MAX_API_KEYS};
pub use callback_addresses::CallbackAddresses;
pub use gateway::callback_addresses::AddressCheck;
pub use server::{Listeners, serve};
pub use settings::{API_KEYS, ApiSettings};
pub use shop_settings::ShopSettings;

use concurrency_limit::{RequestLimit, RequestsInProgress};
use fair_share::FairShares;
use route_table::{Audience, RouteEntries, RouteTable};
use static_page::StaticPage;
use webhook::{PerAccount, PerGateway};

/// The most requests that wait for their payment link at the same time; others get our own page at once.
const WAITING_REQUESTS: usize = 1_000;

/// Everything the HTTP side works with; cheap to clone.
#[derive(Clone, Debug)]
pub struct ApiContext {
    /// The database.
    pub store: Store,
    /// The shops, whose accounts new orders are paid through.
    pub shops: Shops,
    /// Read callbacks. Never called over the network from here.
    pub gateways: Gateways,
    /// Tells waiting requests and open pages that an order has changed.
    pub notice: Notice,
    /// Only its length is read, for health and metrics.
    pub queue: Queue,
    /// The consumption check of the worker in this process, if there is one.
    pub consumption_check: Option<ConsumptionCheck>,
    /// The settings of the HTTP side. Without keys the order API is open.
    pub settings: ApiSettings,
    /// The addresses from which callbacks may come.
    pub callback_addresses: CallbackAddresses,
    /// The address that customers' browsers use.
    pub public_url: PublicUrl,
    /// How long an order can be paid whose link is made here.
    pub payment_ttl: Duration,
    /// How long a customer may take to choose how to pay.
    pub link_ttl: Duration,
    /// The role of this process, `up` or `api`.
    pub role: &'static str,
}

/// Shared by all requests of one process.
struct Api {
    context: ApiContext,
    stopping: CancellationToken,
    waiting: Semaphore,
    streams: Arc<orders::EventStreams>,
    requests_in_progress: Arc<RequestsInProgress>,
    health: health::HealthResponses,
    unproven: PerGateway<webhook::UnprovenLimit>,
    signed_log: PerGateway<webhook::SignedCallbackLog>,
    links: FairShares,
    availability: pay_page::Availability,
    payme: webhook::payme::PaymePlaces,
    click: PerAccount<webhook::click::ClickPlaces>,
}

impl Api {
    /// Once `stopping` is cancelled, `/readyz` is red and event streams end.
    fn new(context: ApiContext, stopping: CancellationToken) -> Self {
        metrics::register(&context.gateways);
        Api {
            context,
            stopping,
            waiting: Semaphore::new(WAITING_REQUESTS),
            streams: Arc::default(),
            requests_in_progress: Arc::default(),
            health: health::HealthResponses::default(),
            unproven: PerGateway::new(webhook::UnprovenLimit::default),
            signed_log: PerGateway::new(webhook::SignedCallbackLog::default),
            links: FairShares::new(),
            availability: pay_page::Availability::default(),
            payme: webhook::payme::PaymePlaces::default(),
            click: PerAccount::default(),
        }
    }
}

/// The shared state as a handler receives it.
type SharedApi<'a> = poem::web::Data<&'a Arc<Api>>;

/// The whole HTTP side as one endpoint, without a port.
pub fn routes(context: ApiContext) -> BoxEndpoint<'static, Response> {
    endpoint(context, CancellationToken::new())
}

/// Like [`routes`]; once `stopping` is cancelled, `/readyz` is red and event streams end.
fn endpoint(context: ApiContext, stopping: CancellationToken) -> BoxEndpoint<'static, Response> {
    all_routes(&Arc::new(Api::new(context, stopping)))
}

fn all_routes(api: &Arc<Api>) -> BoxEndpoint<'static, Response> {
    let RouteTable { routes, entries } = everything(api);
    watched(routes, entries, api)
}

/// All routes.
fn everything(api: &Arc<Api>) -> RouteTable {
    let (described, shown) = (Arc::clone(api), Arc::clone(api));
    let openapi = StaticPage::new("application/json", move || description::document(&described));
    let docs = StaticPage::new("text/html; charset=utf-8", move || description::page(&shown));
    health_and_webhook()
        .get("/", Audience::Docs, front_page::get_front_page)
        .get("/openapi.json", Audience::Docs, openapi)
        .get("/docs", Audience::Docs, docs.clone())
        .get("/docs/", Audience::Docs, docs)
        .api("/api", orders::service(api))
        .page_with_form("/pay/:token", Audience::PayPage, pay_page::get_pay_page, pay_page::post_choice)
        .get("/pay/:token/return", Audience::PayPage, pay_page::get_return_page)
}

/// The routes of the webhook's own listener.
fn webhook_routes(api: &Arc<Api>) -> BoxEndpoint<'static, Response> {
    // Other requests to this listener are counted under their own route names.
    watched(health_and_webhook().routes, everything(api).entries, api)
}

fn health_and_webhook() -> RouteTable {
    RouteTable::default()
        .post("/atmos/webhook", Audience::Program, webhook::atmos::post_callback)
        .post("/atmos/webhook/:shop", Audience::Program, webhook::atmos::post_callback)
        .any("/payme/webhook", Audience::Payme, webhook::payme::answer_call)
        .any("/payme/webhook/:shop", Audience::Payme, webhook::payme::answer_call)
        .post("/click/webhook", Audience::Program, webhook::click::answer_call)
        .post("/click/webhook/:shop", Audience::Program, webhook::click::answer_call)
        .post("/click/prepare", Audience::Program, webhook::click::answer_call)
        .post("/click/prepare/:shop", Audience::Program, webhook::click::answer_call)
        .post("/click/complete", Audience::Program, webhook::click::answer_call)
        .post("/click/complete/:shop", Audience::Program, webhook::click::answer_call)
        .get("/livez", Audience::Health, health::get_livez)
        .get("/readyz", Audience::Health, health::get_readyz)
        .get("/metrics", Audience::Health, health::get_metrics)
}

fn watched(routes: Route, entries: RouteEntries, api: &Arc<Api>) -> BoxEndpoint<'static, Response> {
    routes
        .data(Arc::clone(api))
        .with(RequestLimit(Arc::clone(api)))
        .with(requests::RequestMiddleware {
            link_wait: api.context.settings.link_wait,
            senders: api.context.callback_addresses.clone(),
            routes: Arc::new(entries),
        })
        .into_endpoint()
        .boxed()
}
