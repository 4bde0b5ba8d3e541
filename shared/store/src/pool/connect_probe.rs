//! Tells a slow server from one that refuses connections.

use std::time::{Duration, Instant};

use sqlx::Error;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use url::Url;

/// Connects to the server's port, and remembers the last result.
#[derive(Debug)]
pub(super) struct ConnectProbe {
    host: String,
    port: u16,
    last: Mutex<Option<ProbeResult>>,
}

#[derive(Clone, Copy, Debug)]
struct ProbeResult {
    probed: Instant,
    refused_since: Option<Instant>,
}

/// A caller that has waited this long for a connection starts a probe.
const PROBE_AFTER: Duration = Duration::from_millis(200);

/// How long a successful probe counts: each probe costs the server a process, and most often the server is only busy.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How long the port must refuse before it counts as a refusal; a quick restart is waited out.
const REFUSED_FOR: Duration = Duration::from_millis(500);

impl ConnectProbe {
    /// The probe for a server with a host and port. A Unix socket cannot be probed.
    pub(super) fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let is_elsewhere = url.query_pairs().any(|(name, _)| matches!(name.as_ref(), "host" | "hostaddr" | "port"));
        let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('%') && !is_elsewhere)?;
        let host = host.trim_matches(['[', ']']).to_owned();
        Some(ConnectProbe { host, port: url.port().unwrap_or(5432), last: Mutex::default() })
    }

    /// Returns once the port has refused connections for [`REFUSED_FOR`].
    pub(super) async fn refusal(&self) -> Error {
        loop {
            tokio::time::sleep(PROBE_AFTER).await;
            if self.is_refused_for_long().await {
                return Error::Io(std::io::ErrorKind::ConnectionRefused.into());
            }
        }
    }

    /// Probes the port, unless the last result still counts.
    async fn is_refused_for_long(&self) -> bool {
        let mut last = self.last.lock().await;
        let now = Instant::now();
        let good_for = |last: &ProbeResult| if last.refused_since.is_some() { PROBE_AFTER } else { GOOD_FOR };
        let is_news = last.as_ref().is_none_or(|last| now.duration_since(last.probed) >= good_for(last));
        if is_news {
            let connected = timeout(PROBE_AFTER, TcpStream::connect((self.host.as_str(), self.port))).await;
            let is_refused =
                matches!(&connected, Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused);
            // An old refusal says nothing about the time since.
            let before = last.as_ref().filter(|last| now.duration_since(last.probed) < GOOD_FOR * 2);
            let since = before.and_then(|last| last.refused_since).unwrap_or(now);
            *last = Some(ProbeResult { probed: now, refused_since: is_refused.then_some(since) });
        }
        let since = last.as_ref().and_then(|last| last.refused_since);
        since.is_some_and(|since| now.duration_since(since) >= REFUSED_FOR)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn the_probe_connects_where_the_url_says_and_nowhere_if_that_is_a_socket() {
        let probe = |url| ConnectProbe::of(url).map(|probe| (probe.host, probe.port));

        assert_eq!(probe("postgres://u:p@db.test/x"), Some(("db.test".to_owned(), 5432)));
        assert_eq!(probe("postgres://u:p@[::1]:6000/x"), Some(("::1".to_owned(), 6000)));
        for socket in ["postgres://%2Fvar%2Frun/x", "postgres:///x?host=/var/run", "postgres://u@a/x?port=7"] {
            assert_eq!(probe(socket), None, "{socket}");
        }
    }

    #[tokio::test]
    async fn a_port_is_refused_when_it_does_not_listen_for_a_moment() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("postgres://{}/x", listener.local_addr().unwrap());
        let probe = ConnectProbe::of(&url).unwrap();
        assert!(timeout(Duration::from_millis(1_500), probe.refusal()).await.is_err(), "the port listens");

        drop(listener);
        let began = Instant::now();
        timeout(Duration::from_secs(5), probe.refusal()).await.expect("the port refuses");

        assert!(began.elapsed() >= REFUSED_FOR, "{:?}: a quick restart is waited out", began.elapsed());
    }
}
