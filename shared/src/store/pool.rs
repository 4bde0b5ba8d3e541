//! Connections to the database, and the difference between a server that is slow and one that refuses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, Describe, Either, Error, Execute, Executor, SqlStr, Transaction};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use url::Url;

/// The connections of one process; cheap to clone.
///
/// sqlx takes a refused connection for a server that is just starting, and tries again until its time limit is over. A
/// caller of ours should hear within a second that there is no server, and may ask again then; while with a server that
/// is merely busy waiting its turn is right.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    connections: AnyPool,
    door: Option<Arc<Door>>,
}

/// Where the server listens, and what the last knock there showed.
#[derive(Debug)]
struct Door {
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

impl Pool {
    /// These connections, to a file of ours.
    pub(super) fn of_file(connections: AnyPool) -> Self {
        Pool { connections, door: None }
    }

    /// These connections, to the server of that URL.
    pub(super) fn of_server(connections: AnyPool, url: &str) -> Self {
        Pool { connections, door: Door::of(url).map(Arc::new) }
    }

    /// A connection of one's own for a while.
    ///
    /// # Errors
    /// There is none in time, or the server refuses.
    pub(super) async fn acquire(&self) -> Result<PoolConnection<Any>, Error> {
        let Some(door) = &self.door else { return self.connections.acquire().await };
        tokio::select! {
            acquired = self.connections.acquire() => acquired,
            refusal = door.refusal() => Err(refusal),
        }
    }

    /// Begins a transaction, with another statement than `begin` where one is given.
    pub(super) async fn begin(&self, statement: Option<&'static str>) -> Result<Transaction<'static, Any>, Error> {
        use sqlx::SqlSafeStr;
        Transaction::begin(self.acquire().await?, statement.map(SqlSafeStr::into_sql_str)).await
    }

    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
}

impl Door {
    /// The door of a server that listens at a host and port; of a socket's there is nothing to be learnt.
    fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        let is_elsewhere = url.query_pairs().any(|(name, _)| matches!(name.as_ref(), "host" | "hostaddr" | "port"));
        let host = url.host_str().filter(|host| !host.is_empty() && !host.contains('%') && !is_elsewhere)?;
        let host = host.trim_matches(['[', ']']).to_owned();
        Some(Door { host, port: url.port().unwrap_or(5432), seen: Mutex::default() })
    }

    /// Ends when nobody listens there, and has not for a moment.
    async fn refusal(&self) -> Error {
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

/// As sqlx's own pool: every statement takes a connection, and gives it back.
impl<'p> Executor<'p> for &'p Pool {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let all = async move {
            match self.acquire().await {
                Ok(mut connection) => connection.fetch_many(query).collect::<Vec<_>>().await,
                Err(error) => vec![Err(error)],
            }
        };
        stream::once(all).flat_map(stream::iter).boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        async move { self.acquire().await?.fetch_optional(query).await }.boxed()
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [AnyTypeInfo]) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'p: 'e,
    {
        async move { self.acquire().await?.prepare_with(sql, parameters).await }.boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, Error>>
    where
        'p: 'e,
    {
        async move { self.acquire().await?.describe(sql).await }.boxed()
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
