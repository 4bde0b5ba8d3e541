//! The HTTP server of every role. It serves HTTP/1.1 only, and it is bounded so that one caller cannot use up what
//! others need.
//!
//! - HTTP/2 is refused. Neither a frontend nor a gateway needs several streams on one connection, and each stream
//!   would be one more thing to bound.
//! - A listener has a fixed number of connection slots. When all are in use, idle connections are closed so that a new
//!   one gets in: first the oldest of the address that has the most ([`ListenerLimits`]).
//! - Each part of a request has a time limit, and receiving single bytes does not extend it ([`Timings`]).
//! - A request's head has at most 16 KiB. The bytes that wait for slow readers are limited for all connections
//!   together.

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
mod progress;
mod single_flight;
mod slots;

pub use connection::SharedBody;
pub use descriptors::{ConnectionLimits, raise_limit};
pub use limits::ListenerLimits;
pub use progress::Timings;
pub use single_flight::SingleFlight;
pub use slots::network_of;

use slots::{ConnectionSlot, ConnectionSlots};

/// Pause after the process ran out of descriptors: connections that end give theirs back.
const AFTER_A_FAILURE: Duration = Duration::from_millis(20);

/// A listener and its open connections.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    slots: Arc<ConnectionSlots>,
}

impl HttpServer {
    /// Serves connections of this listener. Metrics and log lines show `name`.
    pub fn new(name: &'static str, listener: TcpListener, limits: ListenerLimits) -> Self {
        HttpServer { listener, slots: Arc::new(ConnectionSlots::new(name, limits)) }
    }

    /// Marks addresses whose connections are closed last and are not limited in number: our own proxies, which carry
    /// the requests of many callers, and the gateway, because a payment waits for its callback.
    #[must_use]
    pub fn favoring(mut self, is_favored: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        if let Some(slots) = Arc::get_mut(&mut self.slots) {
            slots.favor(is_favored);
        }
        self
    }

    /// Serves until `closing`. Then running requests have `grace` to finish; the rest are cut off.
    pub async fn run<E: Endpoint + 'static>(self, endpoint: E, closing: impl Future<Output = ()>, grace: Duration) {
        let endpoint = Arc::new(endpoint);
        let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        tokio::pin!(closing);
        loop {
            let (stream, peer, slot) = tokio::select! {
                biased;
                () = &mut closing => break,
                taken = self.take() => taken,
            };
            let (endpoint, stopping, cut) = (Arc::clone(&endpoint), stopping.clone(), cut.clone());
            tasks.spawn(async move {
                let serving = connection::serve(stream, peer, slot, endpoint, stopping);
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

    /// Accepts the next connection for which there is a slot.
    async fn take(&self) -> (TcpStream, SocketAddr, ConnectionSlot) {
        let mut has_failed = false;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let Some(slot) = self.slots.admit(peer.ip()).await else { continue };
                    // Without `nodelay` the system holds back an event until the previous one is acknowledged, which
                    // clients do after up to 40 ms: the page of a paid order would show it as pending for that long. An
                    // error is ignored: a connection that is already gone shows itself at the first read.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer, slot);
                }
                // This caller hung up. The next one can still be accepted.
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::Interrupted
                    ) =>
                {
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    // The process has no descriptor left. A new connection has more use for one than an idle
                    // connection.
                    self.slots.make_room(std::mem::replace(&mut has_failed, true));
                    if self.slots.warnings.take() {
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
