//! Listens, and stops without losing a request.

use std::sync::Arc;
use std::time::Duration;

use gateway::{Gateway, callback_addresses};
use http_server::{ConnectionLimits, HttpServer, ListenerLimits};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{Api, ApiContext, all_routes, webhook_routes};

/// How long a scaled-out API still takes requests after it was told to stop: a load balancer needs a moment to notice
/// that `/readyz` is red, and must not get refused until then.
const RED_BEFORE_CLOSING: Duration = Duration::from_secs(2);

/// A process with a worker closes at the latest this fraction of its grace (1/5) before the end, so that requests can
/// finish.
const SHARE_FOR_REQUESTS: u32 = 5;

/// The listeners of the HTTP side.
#[derive(Debug)]
pub struct Listeners {
    /// For all routes.
    pub all: TcpListener,
    /// For callbacks and health only, with connections that nothing else can use up.
    pub webhook: Option<TcpListener>,
}

/// Serves until `stop`, then lets running requests finish.
///
/// On `stop`, `/readyz` becomes red and event streams end at once. The role `api` takes requests for two more seconds.
/// A process whose worker ends with `work_ended` takes requests until then: while jobs finish the webhook must go on,
/// because there may be no other process to answer it. Requests that still run `grace` after `stop` are cut off.
pub async fn serve(
    context: ApiContext,
    listeners: Listeners,
    stop: CancellationToken,
    work_ended: Option<CancellationToken>,
    grace: Duration,
) {
    let goes_on_for = match work_ended {
        Some(_) => grace - grace / SHARE_FOR_REQUESTS,
        None => RED_BEFORE_CLOSING.min(grace / 4),
    };
    let limits = ConnectionLimits::of_this_process();
    info!(connections = limits.api, "up to {} connections are served at once", limits.api);
    let api = Arc::new(Api::new(context, stop.clone()));
    let grace = grace - goes_on_for;
    let close = CancellationToken::new();
    let closing = async {
        stop.cancelled().await;
        match work_ended {
            Some(work_ended) => drop(tokio::time::timeout(goes_on_for, work_ended.cancelled()).await),
            None => tokio::time::sleep(goes_on_for).await,
        }
        close.cancel();
    };
    let all = server("api", &api, listeners.all, limits.api).run(all_routes(&api), close.cancelled(), grace);
    let webhook = async {
        if let Some(listener) = listeners.webhook {
            let server = server("webhook", &api, listener, limits.webhook);
            server.run(webhook_routes(&api), close.cancelled(), grace).await;
        }
    };
    tokio::join!(all, webhook, closing);
}

/// The gateways and our own proxies keep their connections when strangers have too many.
fn server(name: &'static str, api: &Api, listener: TcpListener, connections: usize) -> HttpServer {
    let (addresses, gateways) = (api.context.callback_addresses.clone(), api.context.gateways.clone());
    let is_gateway = move |peer| {
        let payme = gateways.iter().filter_map(Gateway::as_payme).map(|account| &account.settings().addresses);
        let click = gateways.iter().filter_map(Gateway::as_click).map(|account| &account.settings().callback_addresses);
        payme.chain(click).any(|listed| callback_addresses::holds(listed, peer))
    };
    HttpServer::new(name, listener, ListenerLimits::of(connections))
        .favoring(move |peer| addresses.trusts(peer) || addresses.lists(Some(peer)) || is_gateway(peer))
}
