//! Connections to the database, and how they are lent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use parking_lot::{Mutex, MutexGuard};
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, Describe, Either, Error, Execute, Executor, SqlStr};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub(super) use lent::Lent;
pub(super) use server::Server;
pub(super) use transaction::OpenTransaction;

mod door;
mod lent;
mod server;
mod transaction;

/// What a statement leads to: a row, or how many it has changed.
type Outcome = Either<AnyQueryResult, AnyRow>;

/// The connections of one process; cheap to clone.
///
/// sqlx takes a refused connection for a server that is just starting, and tries again until its time limit is over. A
/// caller of ours should hear within a second that there is no server, and may ask again then; while with a server that
/// is merely busy waiting its turn is right.
///
/// sqlx also has the server answer once before it lends a connection and once more when it is given back. One whose last
/// statement ended well a moment ago is lent again without that, which saves a busy process two round trips of three. A
/// connection to a server is tested by a question of ours, which also tells whether that server takes writes.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    connections: AnyPool,
    lending: Arc<Lending>,
}

/// What is lent past sqlx's own pool.
#[derive(Debug)]
struct Lending {
    /// One for each connection there may be, so that whoever has one never waits for a connection that is kept.
    turns: Arc<Semaphore>,
    /// The one that was given back last at the end; nothing once the pool is closed.
    kept: Mutex<Option<Vec<Kept>>>,
    /// The server behind them, which may hang and may change its role; nothing for a file of ours.
    server: Option<Arc<Server>>,
}

/// A connection that was given back in good order.
#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Any>,
    era: u64,
    tested: Instant,
    given_back: Instant,
}

/// A connection that has lain idle for longer is tested before it is lent: its server may have been started anew.
const TRUSTED_FOR: Duration = Duration::from_millis(250);

/// A server that has not answered a statement, or a commit, in this time hangs: it is longer than any of ours should take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// However busy a connection is, sqlx sees it so often: it ends those that have lived for long.
const TESTED_EVERY: Duration = Duration::from_secs(60);

impl Drop for Lending {
    fn drop(&mut self) {
        // There may be no runtime any more in which sqlx could test them.
        for kept in self.kept().take().into_iter().flatten() {
            drop(kept.connection.leak());
        }
    }
}

impl Lending {
    fn new(connections: &AnyPool, server: Option<Arc<Server>>) -> Arc<Self> {
        let most = connections.options().get_max_connections();
        let turns = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS)));
        Arc::new(Lending { turns, kept: Mutex::new(Some(Vec::new())), server })
    }

    fn kept(&self) -> MutexGuard<'_, Option<Vec<Kept>>> {
        self.kept.lock()
    }

    fn has_server(&self) -> bool {
        self.server.is_some()
    }

    /// The server's era in which a connection is made now; see [`Server`].
    fn era(&self) -> u64 {
        self.server.as_ref().map_or(0, |server| server.era())
    }

    /// The one that was used last, unless that is long ago; then sqlx gets all of them back, and tests each.
    fn take_trusted(&self) -> Option<Kept> {
        let mut kept = self.kept();
        let kept = kept.as_mut()?;
        match kept.pop() {
            Some(last) if last.given_back.elapsed() < TRUSTED_FOR && last.era == self.era() => Some(last),
            Some(last) => {
                self.hand_over(last.connection, last.era);
                kept.drain(..).for_each(|kept| self.hand_over(kept.connection, kept.era));
                None
            }
            None => None,
        }
    }

    fn keep(&self, connection: PoolConnection<Any>, era: u64, tested: Instant) {
        match self.kept().as_mut().filter(|_| tested.elapsed() < TESTED_EVERY && era == self.era()) {
            Some(kept) => kept.push(Kept { connection, era, tested, given_back: Instant::now() }),
            None => self.hand_over(connection, era),
        }
    }

    /// Whether a statement has ended well. Where the connection or its server may be to blame that it has not, sqlx gets all
    /// that are kept back, and tests each. A server that takes no writes any more is left, with all connections to it.
    fn learn<T>(&self, era: u64, ended: Result<T, Error>) -> Result<T, Error> {
        let Err(error) = &ended else { return ended };
        let has_changed_its_role = changes_role(error);
        if let Some(server) = self.server.as_ref().filter(|_| has_changed_its_role) {
            server.leave(era);
        }
        if (has_changed_its_role || shakes_trust(error))
            && let Some(kept) = self.kept().as_mut()
        {
            kept.drain(..).for_each(|kept| self.hand_over(kept.connection, kept.era));
        }
        ended
    }

    /// What the server answers, unless it hangs. A file is slow at most, and locked for as long as SQLite is told to wait.
    async fn in_time<T>(
        &self,
        era: u64,
        limit: Duration,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match self.has_server() {
            true => self.learn(era, timeout(limit, answer).await.unwrap_or(Err(Error::PoolTimedOut))),
            false => answer.await,
        }
    }

    /// Has sqlx take a connection back, rolling back what is open; one to a server that was left meanwhile is closed.
    fn hand_over(&self, connection: PoolConnection<Any>, era: u64) {
        match era == self.era() {
            true => hand_over(connection, self.has_server()),
            false => give_up(connection),
        }
    }
}

impl Pool {
    /// These connections, to a file of ours.
    pub(super) fn of_file(connections: AnyPool) -> Self {
        Pool { lending: Lending::new(&connections, None), connections }
    }

    /// These connections, to that server.
    pub(super) fn of_server(connections: AnyPool, server: Arc<Server>) -> Self {
        Pool { lending: Lending::new(&connections, Some(server)), connections }
    }

    /// A connection of one's own for a while.
    ///
    /// # Errors
    /// There is none in time, or the server refuses, or takes no writes.
    pub(super) async fn acquire(&self) -> Result<Lent, Error> {
        let lent = async {
            let within = self.connections.options().get_acquire_timeout();
            timeout(within, self.lend()).await.unwrap_or(Err(Error::PoolTimedOut))
        };
        let Some(server) = &self.lending.server else { return lent.await };
        tokio::select! {
            lent = lent => lent,
            refusal = server.refusal() => Err(refusal),
        }
    }

    async fn lend(&self) -> Result<Lent, Error> {
        let turn = Arc::clone(&self.lending.turns).acquire_owned().await.map_err(|_| Error::PoolClosed)?;
        let turn = Arc::new(turn);
        let lending = &self.lending;
        let lent = |connection, era, tested| Lent {
            connection: Some(connection),
            era,
            tested,
            lending: Arc::clone(lending),
            is_in_doubt: false,
            _turn: Arc::clone(&turn),
        };
        if let Some(kept) = lending.take_trusted() {
            return Ok(lent(kept.connection, kept.era, kept.tested));
        }
        let mut left_servers = 0;
        for _ in 0..=self.connections.options().get_max_connections() {
            let era = lending.era();
            let mut lent = lent(self.connections.acquire().await?, era, Instant::now());
            match lent.test().await {
                Ok(()) => return Ok(lent),
                // The first may have been made before the server changed its role; the name may lead to another by now.
                Err(error) if server::is_standby(&error) => {
                    left_servers += 1;
                    if left_servers > 1 {
                        return Err(error);
                    }
                }
                // It was closed while it lay idle. sqlx makes another one when there is none left.
                Err(_) => (),
            }
        }
        Err(Error::PoolTimedOut)
    }

    pub(super) async fn close(&self) {
        self.lending.kept().take();
        self.connections.close().await;
    }
}

/// Has sqlx test a connection and take it back, rolling back what is open. It waits for the answer for as long as TCP does;
/// a server that hangs, or whose host has vanished, would have all connections so in the end.
fn hand_over(mut connection: PoolConnection<Any>, has_server: bool) {
    let Ok(runtime) = Handle::try_current() else {
        // There is nobody left to test it.
        drop(connection.leak());
        return;
    };
    let returning = connection.return_to_pool();
    runtime.spawn(async move {
        match has_server {
            // Without an answer it is closed by being dropped.
            true => drop(timeout(ANSWERED_WITHIN, returning).await),
            false => returning.await,
        }
    });
}

/// Closes a connection. What is open on it is rolled back by that.
fn give_up(mut connection: PoolConnection<Any>) {
    match Handle::try_current() {
        Ok(_) => connection.close_on_drop(),
        // There is nobody left to close it in good order.
        Err(_) => drop(connection.leak()),
    }
}

/// Whether the server says that it takes no writes: it was demoted, or is a standby. Sessions of ours are never read-only
/// by a setting, for each sets its own.
fn changes_role(error: &Error) -> bool {
    matches!(error, Error::Database(error) if error.code().is_some_and(|code| code == "25006"))
}

/// Whether an error may be the connection's, or all connections'.
fn shakes_trust(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::PoolTimedOut => true,
        // Connection lost; shutting down, or ended by an operator.
        Error::Database(error) => error.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P")),
        _ => false,
    }
}

/// What a statement leads to, once it has ended.
fn all_at_once<'e>(
    statement: impl Future<Output = Result<Vec<Outcome>, Error>> + Send + 'e,
) -> BoxStream<'e, Result<Outcome, Error>> {
    stream::once(statement).map_ok(|all| stream::iter(all).map(Ok)).try_flatten().boxed()
}

/// As sqlx's own pool: every statement takes a connection, and gives it back.
impl<'p> Executor<'p> for &'p Pool {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        all_at_once(async move {
            let mut connection = self.acquire().await?;
            let all = connection.fetch_in_time(query).await?;
            connection.give_back();
            Ok(all)
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        // sqlx would return at the first row, with the end of the statement still to be read.
        async move { Ok(self.acquire().await?.fetch_all(query).await?.into_iter().next()) }.boxed()
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
