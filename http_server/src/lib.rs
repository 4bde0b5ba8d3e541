//! The HTTP server of every role: it speaks HTTP/1.1 and nothing else, and one caller cannot take what others need.
//!
//! - HTTP/2 is refused. A frontend or a gateway needs no streams within a connection, and each of them would be one more
//!   thing to bound.
//! - A process has so many places for connections. When they are taken, idle connections are closed, the oldest of the
//!   address that has the most first, so that a new connection always gets in ([`Limits`]).
//! - A connection lives by its requests: each part of one has its time, and bytes that drip gain none ([`Timings`]).
//! - A head has at most 16 KiB, and answers that wait for slow readers have so many bytes together.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use poem::Endpoint;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

mod connection;
mod descriptors;
mod limits;
mod metrics;
mod places;
mod progress;
mod shared_answer;

pub use connection::SharedBody;
pub use descriptors::{PlaceCounts, raise_limit};
pub use limits::Limits;
pub use places::network_of;
pub use progress::Timings;
pub use shared_answer::SharedAnswer;

use places::{Place, Places};

/// After a connection could not be taken for want of descriptors, the next attempt waits for those that end.
const AFTER_A_FAILURE: Duration = Duration::from_millis(20);

/// A listener and the connections that came to it.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    places: Arc<Places>,
}

impl HttpServer {
    /// Serves what comes to this listener; `name` stands in metrics and log lines.
    pub fn new(name: &'static str, listener: TcpListener, limits: Limits) -> Self {
        HttpServer { listener, places: Arc::new(Places::new(name, limits)) }
    }

    /// Addresses that are closed last and may have any number of connections: proxies of ours, which bring the requests
    /// of many, and a gateway, whose question a payment waits for.
    #[must_use]
    pub fn favoring(mut self, is_favored: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        if let Some(places) = Arc::get_mut(&mut self.places) {
            places.favor(is_favored);
        }
        self
    }

    /// Serves until `closing`; then requests under way have `grace` to end, and the rest is cut off.
    pub async fn run<E: Endpoint + 'static>(self, endpoint: E, closing: impl Future<Output = ()>, grace: Duration) {
        let endpoint = Arc::new(endpoint);
        let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        tokio::pin!(closing);
        loop {
            let (stream, peer, place) = tokio::select! {
                biased;
                () = &mut closing => break,
                taken = self.take() => taken,
            };
            let (endpoint, stopping, cut) = (Arc::clone(&endpoint), stopping.clone(), cut.clone());
            tasks.spawn(async move {
                let serving = connection::serve(stream, peer, place, endpoint, stopping);
                cut.run_until_cancelled(serving).await;
            });
        }
        drop(self.listener);
        stopping.cancel();
        tasks.close();
        if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
            cut.cancel();
            tasks.wait().await;
        }
    }

    /// The next connection that there is a place for.
    async fn take(&self) -> (TcpStream, SocketAddr, Place) {
        let mut has_failed = false;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let Some(place) = self.places.admit(peer.ip()).await else { continue };
                    // At once: the system would otherwise hold back an event while the one before it is unconfirmed,
                    // which clients do after 40 ms, and a paid order's page would show a pending one all that time.
                    // A connection that is gone already is noticed when it is read from.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer, place);
                }
                // The caller has hung up; that says nothing about the next one.
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::Interrupted
                    ) =>
                {
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    // There are no more descriptors: those of idle connections are of more use to a new one.
                    self.places.make_room(std::mem::replace(&mut has_failed, true));
                    if self.places.warnings.take() {
                        warn!(error = %error, "a connection could not be taken: {error}");
                    }
                    tokio::time::sleep(AFTER_A_FAILURE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
