//! Listening, and stopping without losing a request.

use std::io;
use std::time::Duration;

use poem::Server;
use poem::listener::TcpAcceptor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::connections::Connections;
use crate::{ApiContext, endpoint};

/// At most so many requests run on one connection of HTTP/2 at a time.
const STREAMS_PER_CONNECTION: u32 = 100;

/// How long a scaled-out API still takes requests after it was told to stop: a load balancer needs a moment to see
/// that `/readyz` is red, and what it sends until then must not be refused.
const RED_BEFORE_CLOSING: Duration = Duration::from_secs(2);

/// A process that also works closes this part of its grace before the end at the latest, so that requests can finish.
const SHARE_FOR_REQUESTS: u32 = 5;

/// Serves until `stop`, then lets running requests finish.
///
/// On `stop`, `/readyz` is red and event streams end at once; the role `api` goes on taking requests for two more
/// seconds. A process whose worker ends with `work_ended` goes on until then: the webhook must not be the first to go
/// while jobs finish, for no other process may be there to answer it. What still runs `grace` after `stop` is cut off.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(
    context: ApiContext,
    listener: TcpListener,
    stop: CancellationToken,
    work_ended: Option<CancellationToken>,
    grace: Duration,
) -> io::Result<()> {
    let goes_on_for = match work_ended {
        Some(_) => grace - grace / SHARE_FOR_REQUESTS,
        None => RED_BEFORE_CLOSING.min(grace / 4),
    };
    let connections = Connections::new(TcpAcceptor::from_tokio(listener)?);
    let stopping = stop.clone();
    let closing = async move {
        stop.cancelled().await;
        match work_ended {
            Some(work_ended) => drop(tokio::time::timeout(goes_on_for, work_ended.cancelled()).await),
            None => tokio::time::sleep(goes_on_for).await,
        }
    };
    Server::new_with_acceptor(connections)
        .name("api")
        .http2_max_concurrent_streams(STREAMS_PER_CONNECTION)
        .run_with_graceful_shutdown(endpoint(context, stopping), closing, Some(grace - goes_on_for))
        .await
}
