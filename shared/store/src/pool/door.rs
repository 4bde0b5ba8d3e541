//! The difference between a server that is slow and one that refuses.

use std::time::{Duration, Instant};

use sqlx::Error;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use url::Url;

/// Where the server listens, and what the last knock there showed.
#[derive(Debug)]
pub(super) struct Door {
    host: String,
    port: u16,
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    knocked: Instant,
    refused_since: Option<Instant>,
}

/// Who waits for longer than this for a connection has the door looked at.
const LOOKED_AT_AFTER: Duration = Duration::from_millis(200);

/// A door that was open is not looked at again for so long: each knock costs the server a process, and most often it is
/// only busy.
const OPEN_FOR: Duration = Duration::from_secs(1);

/// So long nobody may listen before it counts as a refusal; a quick restart is waited out.
const REFUSED_FOR: Duration = Duration::from_millis(500);

impl Door {
    /// The door of a server that listens at a host and port; of a socket's there is nothing to be learnt.
    pub(super) fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let is_elsewhere = url.query_pairs().any(|(name, _)| matches!(name.as_ref(), "host" | "hostaddr" | "port"));
        let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('%') && !is_elsewhere)?;
        let host = host.trim_matches(['[', ']']).to_owned();
        Some(Door { host, port: url.port().unwrap_or(5432), seen: Mutex::default() })
    }

    /// Ends when nobody listens there, and has not for a moment.
    pub(super) async fn refusal(&self) -> Error {
        loop {
            tokio::time::sleep(LOOKED_AT_AFTER).await;
            if self.is_shut().await {
                return Error::Io(std::io::ErrorKind::ConnectionRefused.into());
            }
        }
    }

    /// Knocks, unless somebody else has just done so.
    async fn is_shut(&self) -> bool {
        let mut seen = self.seen.lock().await;
        let now = Instant::now();
        let good_for = |seen: &Seen| if seen.refused_since.is_some() { LOOKED_AT_AFTER } else { OPEN_FOR };
        let is_news = seen.as_ref().is_none_or(|seen| now.duration_since(seen.knocked) >= good_for(seen));
        if is_news {
            let knock = timeout(LOOKED_AT_AFTER, TcpStream::connect((self.host.as_str(), self.port))).await;
            let is_refused = matches!(&knock, Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused);
            // One long past says nothing of the time between.
            let before = seen.as_ref().filter(|seen| now.duration_since(seen.knocked) < OPEN_FOR * 2);
            let since = before.and_then(|seen| seen.refused_since).unwrap_or(now);
            *seen = Some(Seen { knocked: now, refused_since: is_refused.then_some(since) });
        }
        let since = seen.as_ref().and_then(|seen| seen.refused_since);
        since.is_some_and(|since| now.duration_since(since) >= REFUSED_FOR)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn the_door_is_where_the_url_says_and_nowhere_if_that_is_a_socket() {
        let door = |url| Door::of(url).map(|door| (door.host, door.port));

        assert_eq!(door("postgres://u:p@db.test/x"), Some(("db.test".to_owned(), 5432)));
        assert_eq!(door("postgres://u:p@[::1]:6000/x"), Some(("::1".to_owned(), 6000)));
        for socket in ["postgres://%2Fvar%2Frun/x", "postgres:///x?host=/var/run", "postgres://u@a/x?port=7"] {
            assert_eq!(door(socket), None, "{socket}");
        }
    }

    #[tokio::test]
    async fn a_door_is_shut_when_nobody_listens_for_a_moment_and_not_while_somebody_does() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("postgres://{}/x", listener.local_addr().unwrap());
        let door = Door::of(&url).unwrap();
        assert!(timeout(Duration::from_millis(1_500), door.refusal()).await.is_err(), "somebody listens");

        drop(listener);
        let began = Instant::now();
        timeout(Duration::from_secs(5), door.refusal()).await.expect("nobody listens");

        assert!(began.elapsed() >= REFUSED_FOR, "{:?}: a quick restart is waited out", began.elapsed());
    }
}
