//! Connections to the database, and how they are borrowed.

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

pub(super) use borrowed::BorrowedConnection;
pub(super) use server::Server;
pub(super) use transaction::OpenTransaction;

mod borrowed;
mod connect_probe;
mod server;
mod transaction;

/// What a statement leads to: a row, or how many it has changed.
type StatementOutcome = Either<AnyQueryResult, AnyRow>;

/// The connections of one process; cheap to clone.
///
/// sqlx takes a refused connection for a server that is just starting, and tries again until its time limit is over. A
/// caller of ours should hear within a second that there is no server, and may ask again then; while with a server that
/// is merely busy waiting its permit is right.
///
/// sqlx also has the server answer once before it lends a connection and once more when it is given back. One whose last
/// statement ended well a moment ago is borrowed again without that, which saves a busy process two round trips of three. A
/// connection to a server is tested by a question of ours, which also tells whether that server takes writes.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    connections: AnyPool,
    state: Arc<PoolState>,
}

/// What is borrowed past sqlx's own pool.
#[derive(Debug)]
struct PoolState {
    /// One for each connection there may be, so that whoever has one never waits for a connection that is idle.
    permits: Arc<Semaphore>,
    /// The one that was given back last at the end; nothing once the pool is closed.
    idle: Mutex<Option<Vec<IdleConnection>>>,
    /// The server behind them, which may hang and may change its role; nothing for a file of ours.
    server: Option<Arc<Server>>,
}

/// A connection that was given back in good order.
#[derive(Debug)]
struct IdleConnection {
    connection: PoolConnection<Any>,
    era: u64,
    tested: Instant,
    given_back: Instant,
}

/// A connection that has lain idle for longer is tested before it is borrowed: its server may have been started anew.
const TRUSTED_FOR: Duration = Duration::from_millis(250);

/// A server that has not answered a statement, or a commit, in this time hangs: it is longer than any of ours should take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// However busy a connection is, sqlx sees it so often: it ends those that have lived for long.
const TESTED_EVERY: Duration = Duration::from_secs(60);

impl Drop for PoolState {
    fn drop(&mut self) {
        // There may be no runtime any more in which sqlx could test them.
        for idle in self.idle().take().into_iter().flatten() {
            drop(idle.connection.leak());
        }
    }
}

impl PoolState {
    fn new(connections: &AnyPool, server: Option<Arc<Server>>) -> Arc<Self> {
        let most = connections.options().get_max_connections();
        let permits = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS)));
        Arc::new(PoolState { permits, idle: Mutex::new(Some(Vec::new())), server })
    }

    fn idle(&self) -> MutexGuard<'_, Option<Vec<IdleConnection>>> {
        self.idle.lock()
    }

    fn has_server(&self) -> bool {
        self.server.is_some()
    }

    /// The server's era in which a connection is made now; see [`Server`].
    fn era(&self) -> u64 {
        self.server.as_ref().map_or(0, |server| server.era())
    }

    /// The one that was used last, unless that is long ago; then sqlx gets all of them back, and tests each.
    fn take_recently_used(&self) -> Option<IdleConnection> {
        let mut idle = self.idle();
        let idle = idle.as_mut()?;
        match idle.pop() {
            Some(last) if last.given_back.elapsed() < TRUSTED_FOR && last.era == self.era() => Some(last),
            Some(last) => {
                self.return_to_sqlx(last.connection, last.era);
                idle.drain(..).for_each(|idle| self.return_to_sqlx(idle.connection, idle.era));
                None
            }
            None => None,
        }
    }

    fn keep_idle(&self, connection: PoolConnection<Any>, era: u64, tested: Instant) {
        match self.idle().as_mut().filter(|_| tested.elapsed() < TESTED_EVERY && era == self.era()) {
            Some(idle) => idle.push(IdleConnection { connection, era, tested, given_back: Instant::now() }),
            None => self.return_to_sqlx(connection, era),
        }
    }

    /// Whether a statement has ended well. Where the connection or its server may be to blame that it has not, sqlx gets all
    /// that are idle back, and tests each. A server that takes no writes any more is left, with all connections to it.
    fn note_outcome<T>(&self, era: u64, ended: Result<T, Error>) -> Result<T, Error> {
        let Err(error) = &ended else { return ended };
        let has_changed_its_role = changes_role(error);
        if let Some(server) = self.server.as_ref().filter(|_| has_changed_its_role) {
            server.leave(era);
        }
        if (has_changed_its_role || may_be_the_connections_fault(error))
            && let Some(idle) = self.idle().as_mut()
        {
            idle.drain(..).for_each(|idle| self.return_to_sqlx(idle.connection, idle.era));
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
            true => self.note_outcome(era, timeout(limit, answer).await.unwrap_or(Err(Error::PoolTimedOut))),
            false => answer.await,
        }
    }

    /// Has sqlx take a connection back, rolling back what is open; one to a server that was left meanwhile is closed.
    fn return_to_sqlx(&self, connection: PoolConnection<Any>, era: u64) {
        match era == self.era() {
            true => return_to_sqlx(connection, self.has_server()),
            false => close_now(connection),
        }
    }
}

impl Pool {
    /// These connections, to a file of ours.
    pub(super) fn of_file(connections: AnyPool) -> Self {
        Pool { state: PoolState::new(&connections, None), connections }
    }

    /// These connections, to that server.
    pub(super) fn of_server(connections: AnyPool, server: Arc<Server>) -> Self {
        Pool { state: PoolState::new(&connections, Some(server)), connections }
    }

    /// A connection of one's own for a while.
    ///
    /// # Errors
    /// There is none in time, or the server refuses, or takes no writes.
    pub(super) async fn acquire(&self) -> Result<BorrowedConnection, Error> {
        let borrowed = async {
            let within = self.connections.options().get_acquire_timeout();
            timeout(within, self.borrow_connection()).await.unwrap_or(Err(Error::PoolTimedOut))
        };
        let Some(server) = &self.state.server else { return borrowed.await };
        tokio::select! {
            borrowed = borrowed => borrowed,
            refusal = server.refusal() => Err(refusal),
        }
    }

    async fn borrow_connection(&self) -> Result<BorrowedConnection, Error> {
        let permit = Arc::clone(&self.state.permits).acquire_owned().await.map_err(|_| Error::PoolClosed)?;
        let permit = Arc::new(permit);
        let state = &self.state;
        let borrowed = |connection, era, tested| BorrowedConnection {
            connection: Some(connection),
            era,
            tested,
            state: Arc::clone(state),
            is_in_doubt: false,
            _permit: Arc::clone(&permit),
        };
        if let Some(idle) = state.take_recently_used() {
            return Ok(borrowed(idle.connection, idle.era, idle.tested));
        }
        let mut left_servers = 0;
        for _ in 0..=self.connections.options().get_max_connections() {
            let era = state.era();
            let mut borrowed = borrowed(self.connections.acquire().await?, era, Instant::now());
            match borrowed.test().await {
                Ok(()) => return Ok(borrowed),
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
        self.state.idle().take();
        self.connections.close().await;
    }
}

/// Has sqlx test a connection and take it back, rolling back what is open. It waits for the answer for as long as TCP does;
/// a server that hangs, or whose host has vanished, would have all connections so in the end.
fn return_to_sqlx(mut connection: PoolConnection<Any>, has_server: bool) {
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
fn close_now(mut connection: PoolConnection<Any>) {
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
fn may_be_the_connections_fault(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::PoolTimedOut => true,
        // Connection lost; shutting down, or ended by an operator.
        Error::Database(error) => error.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P")),
        _ => false,
    }
}

/// What a statement leads to, once it has ended.
fn all_at_once<'e>(
    statement: impl Future<Output = Result<Vec<StatementOutcome>, Error>> + Send + 'e,
) -> BoxStream<'e, Result<StatementOutcome, Error>> {
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
