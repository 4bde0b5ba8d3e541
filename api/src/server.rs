//! Listening, and stopping without losing a request.

use std::sync::Arc;
use std::time::Duration;

use http_server::{ConnectionLimits, HttpServer, ListenerLimits};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{Api, ApiContext, all_routes, webhook_routes};

/// How long a scaled-out API still takes requests after it was told to stop: a load balancer needs a moment to see
/// that `/readyz` is red, and what it sends until then must not be refused.
const RED_BEFORE_CLOSING: Duration = Duration::from_secs(2);

/// A process that also works closes this part of its grace before the end at the latest, so that requests can finish.
const SHARE_FOR_REQUESTS: u32 = 5;

/// Where requests come in.
#[derive(Debug)]
pub struct Listeners {
    /// For everything.
    pub all: TcpListener,
    /// For callbacks and health alone, with places for connections that nothing else can take.
    pub webhook: Option<TcpListener>,
}

/// Serves until `stop`, then lets running requests finish.
///
/// On `stop`, `/readyz` is red and event streams end at once; the role `api` goes on taking requests for two more
/// seconds. A process whose worker ends with `work_ended` goes on until then: the webhook must not be the first to go
/// while jobs finish, for no other process may be there to answer it. What still runs `grace` after `stop` is cut off.
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

/// The gateway and our own proxies keep their connections when strangers have too many.
fn server(name: &'static str, api: &Api, listener: TcpListener, connections: usize) -> HttpServer {
    let addresses = api.context.callback_addresses.clone();
    HttpServer::new(name, listener, ListenerLimits::of(connections))
        .favoring(move |peer| addresses.trusts(peer) || addresses.lists(Some(peer)))
}
