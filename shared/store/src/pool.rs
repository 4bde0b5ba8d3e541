//! A pool of connections to the database.

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

/// A result of a statement: a row, or how many rows it has changed.
type StatementOutcome = Either<AnyQueryResult, AnyRow>;

/// The connections of one process; cheap to clone.
///
/// sqlx treats a refused connection as a server that is starting, and tries again until its time limit. Our callers
/// should learn within a second that there is no server; they may ask again. For a server that is only busy, waiting is
/// right.
///
/// sqlx also tests a connection before each use and after it. This pool uses a connection again without a test if its
/// last statement ended well a moment ago, which saves a busy process two of three round trips. It tests a connection
/// to a server with its own statement, which also shows whether that server accepts writes.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    connections: AnyPool,
    state: Arc<PoolState>,
}

/// The part of the pool that all clones share.
#[derive(Debug)]
struct PoolState {
    /// One permit for each possible connection. A caller with a permit never waits for a connection that lies idle.
    permits: Arc<Semaphore>,
    /// Idle connections, the last used one at the end; `None` once the pool is closed.
    idle: Mutex<Option<Vec<IdleConnection>>>,
    /// The server behind the connections, which may hang and may change its role; `None` for SQLite.
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

/// How long an idle connection is used again without a test. After that its server may have been restarted.
const TRUSTED_FOR: Duration = Duration::from_millis(250);

/// A server that has not answered a statement or a commit in this time hangs: none of ours should take that long.
const ANSWERED_WITHIN: Duration = Duration::from_secs(8);

/// After this time even a busy connection goes back to sqlx, which closes old connections.
const TESTED_EVERY: Duration = Duration::from_secs(60);

impl Drop for PoolState {
    fn drop(&mut self) {
        // There may be no runtime left in which sqlx could test them.
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

    /// The server's present era; see [`Server`].
    fn era(&self) -> u64 {
        self.server.as_ref().map_or(0, |server| server.era())
    }

    /// Takes the last used connection. If that was too long ago, sqlx gets all idle ones back and tests each.
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

    /// Passes on how a statement ended. If the connection or its server may have caused an error, sqlx gets all idle
    /// connections back and tests each. If the server no longer accepts writes, all connections to it are closed.
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

    /// Limits the time for a server's answer. A SQLite file is at most slow, and its busy timeout limits that.
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

    /// Gives a connection back to sqlx, which rolls back what is open. A connection of an earlier era is closed.
    fn return_to_sqlx(&self, connection: PoolConnection<Any>, era: u64) {
        match era == self.era() {
            true => return_to_sqlx(connection, self.has_server()),
            false => close_now(connection),
        }
    }
}

impl Pool {
    /// A pool of connections to a SQLite file.
    pub(super) fn of_file(connections: AnyPool) -> Self {
        Pool { state: PoolState::new(&connections, None), connections }
    }

    /// A pool of connections to a server.
    pub(super) fn of_server(connections: AnyPool, server: Arc<Server>) -> Self {
        Pool { state: PoolState::new(&connections, Some(server)), connections }
    }

    /// Borrows a connection.
    ///
    /// # Errors
    /// No connection is free in time, the server refuses connections, or it accepts no writes.
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
                // The connection may be older than the server's change of role; a new one may lead to another server.
                Err(error) if server::is_standby(&error) => {
                    left_servers += 1;
                    if left_servers > 1 {
                        return Err(error);
                    }
                }
                // The server closed it while it lay idle. sqlx makes a new one when none is left.
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

/// Gives a connection back to sqlx, which tests it and rolls back what is open. sqlx waits as long as TCP does; a
/// server that hangs, or whose host has vanished, would hold all connections in the end.
fn return_to_sqlx(mut connection: PoolConnection<Any>, has_server: bool) {
    let Ok(runtime) = Handle::try_current() else {
        // There is no runtime left to test it.
        drop(connection.leak());
        return;
    };
    let returning = connection.return_to_pool();
    runtime.spawn(async move {
        match has_server {
            // Without an answer it is dropped, which closes it.
            true => drop(timeout(ANSWERED_WITHIN, returning).await),
            false => returning.await,
        }
    });
}

/// Closes a connection, which rolls back what is open on it.
fn close_now(mut connection: PoolConnection<Any>) {
    match Handle::try_current() {
        Ok(_) => connection.close_on_drop(),
        // There is no runtime left to close it in good order.
        Err(_) => drop(connection.leak()),
    }
}

/// Whether the server says that it accepts no writes: it was demoted, or is a standby. No setting makes our sessions
/// read-only, because each sets its own.
fn changes_role(error: &Error) -> bool {
    matches!(error, Error::Database(error) if error.code().is_some_and(|code| code == "25006"))
}

/// Whether the error may come from this connection, or from the server and so from all connections.
fn may_be_the_connections_fault(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::PoolTimedOut => true,
        // Connection lost; server shutting down; session ended by an operator.
        Error::Database(error) => error.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P")),
        _ => false,
    }
}

/// Returns all results of a statement once it has ended.
fn all_at_once<'e>(
    statement: impl Future<Output = Result<Vec<StatementOutcome>, Error>> + Send + 'e,
) -> BoxStream<'e, Result<StatementOutcome, Error>> {
    stream::once(statement).map_ok(|all| stream::iter(all).map(Ok)).try_flatten().boxed()
}

/// As in sqlx's own pool, every statement borrows a connection and gives it back.
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
        // sqlx would return at the first row, before the end of the statement is read.
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
