//! Listening, and stopping without losing a request.

use std::io;
use std::time::Duration;

use poem::Server;
use poem::http::uri::Scheme;
use poem::listener::{Acceptor, TcpAcceptor};
use poem::web::{LocalAddr, RemoteAddr};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::{ApiContext, endpoint};

/// A connection without a byte in either direction for this long is closed. Event streams send one every 15 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a scaled-out API still takes requests after it was told to stop: a load balancer needs a moment to see
/// that `/readyz` is red, and what it sends until then must not be refused.
const RED_BEFORE_CLOSING: Duration = Duration::from_secs(2);

/// Serves until `stop`, then lets running requests finish.
///
/// On `stop`, `/readyz` is red and event streams end at once; the role `api` goes on taking requests for two more
/// seconds (`up` has no load balancer in front, and ends at once). What still runs `grace` after `stop` is cut off.
///
/// # Errors
/// The listener cannot be used.
pub async fn serve(
    context: ApiContext,
    listener: TcpListener,
    stop: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let red_before_closing = if context.role == "api" { RED_BEFORE_CLOSING.min(grace / 4) } else { Duration::ZERO };
    let acceptor = Prompt(TcpAcceptor::from_tokio(listener)?);
    let stopping = stop.clone();
    let closing = async move {
        stop.cancelled().await;
        tokio::time::sleep(red_before_closing).await;
    };
    Server::new_with_acceptor(acceptor)
        .name("api")
        .idle_timeout(IDLE_TIMEOUT)
        .run_with_graceful_shutdown(endpoint(context, stopping), closing, Some(grace - red_before_closing))
        .await
}

/// Takes connections that send each write at once. The system would otherwise hold back an event while the one before
/// it is unconfirmed, which clients do after 40 ms: all that time, a paid order's page would show a pending one.
struct Prompt(TcpAcceptor);

impl Acceptor for Prompt {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        self.0.local_addr()
    }

    async fn accept(&mut self) -> io::Result<(Self::Io, LocalAddr, RemoteAddr, Scheme)> {
        let accepted = self.0.accept().await?;
        // A connection that is gone already is noticed by whoever reads from it.
        let _ = accepted.0.set_nodelay(true);
        Ok(accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_does_not_wait_for_the_one_before_it_to_be_confirmed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut acceptor = Prompt(TcpAcceptor::from_tokio(listener).unwrap());
        let _client = TcpStream::connect(address).await.unwrap();

        let (connection, ..) = acceptor.accept().await.unwrap();

        assert!(connection.nodelay().unwrap());
    }
}
