//! Connections to the database, and how they are lent.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Describe, Either, Error, Execute, Executor, SqlSafeStr, SqlStr};
use sqlx_core::any::AnyTransactionManager;
use sqlx_core::transaction::TransactionManager as _;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use door::Door;
pub(super) use transaction::OpenTransaction;

mod door;
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
/// statement ended well a moment ago is lent again without that, which saves a busy process two round trips of three.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    connections: AnyPool,
    door: Option<Arc<Door>>,
    lending: Arc<Lending>,
}

/// What is lent past sqlx's own pool.
#[derive(Debug)]
struct Lending {
    /// One for each connection there may be, so that whoever has one never waits for a connection that is kept.
    turns: Arc<Semaphore>,
    /// The one that was given back last at the end; nothing once the pool is closed.
    kept: Mutex<Option<Vec<Kept>>>,
    /// Whether a server is behind them, which may hang.
    has_server: bool,
}

/// A connection that was given back in good order.
#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Any>,
    tested: Instant,
    given_back: Instant,
}

/// A connection that has lain idle for longer is tested before it is lent: its server may have been started anew.
const FRESH_FOR: Duration = Duration::from_millis(250);

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
    fn new(connections: &AnyPool, has_server: bool) -> Arc<Self> {
        let most = connections.options().get_max_connections();
        let turns = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS)));
        Arc::new(Lending { turns, kept: Mutex::new(Some(Vec::new())), has_server })
    }

    fn kept(&self) -> MutexGuard<'_, Option<Vec<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last, unless that is long ago; then sqlx gets all of them back, and tests each.
    fn take_fresh(&self) -> Option<Kept> {
        let mut kept = self.kept();
        let kept = kept.as_mut()?;
        match kept.pop() {
            Some(last) if last.given_back.elapsed() < FRESH_FOR => Some(last),
            Some(last) => {
                hand_over(last.connection, self.has_server);
                kept.drain(..).for_each(|kept| hand_over(kept.connection, self.has_server));
                None
            }
            None => None,
        }
    }

    fn keep(&self, connection: PoolConnection<Any>, tested: Instant) {
        match self.kept().as_mut().filter(|_| tested.elapsed() < TESTED_EVERY) {
            Some(kept) => kept.push(Kept { connection, tested, given_back: Instant::now() }),
            None => hand_over(connection, self.has_server),
        }
    }

    /// Whether a statement has ended well. Where the connection or its server may be to blame that it has not, sqlx gets all
    /// that are kept back, and tests each.
    fn learn<T>(&self, ended: Result<T, Error>) -> Result<T, Error> {
        if ended.as_ref().is_err_and(shakes_trust)
            && let Some(kept) = self.kept().as_mut()
        {
            kept.drain(..).for_each(|kept| hand_over(kept.connection, self.has_server));
        }
        ended
    }

    /// What the server answers, unless it hangs. A file is slow at most, and locked for as long as SQLite is told to wait.
    async fn in_time<T>(&self, limit: Duration, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match self.has_server {
            true => self.learn(timeout(limit, answer).await.unwrap_or(Err(Error::PoolTimedOut))),
            false => answer.await,
        }
    }
}

/// A connection of one's own for a while. One that is dropped and not given back is tested, and what is left of a statement
/// or of a transaction is undone.
#[derive(Debug)]
pub(super) struct Lent {
    /// Gone once it is given back.
    connection: Option<PoolConnection<Any>>,
    tested: Instant,
    lending: Arc<Lending>,
    /// Whether a transaction may be open of which sqlx does not know.
    is_beginning: bool,
    /// Given to the next one when the connection is there for it.
    _turn: OwnedSemaphorePermit,
}

impl Pool {
    /// These connections, to a file of ours.
    pub(super) fn of_file(connections: AnyPool) -> Self {
        Pool { lending: Lending::new(&connections, false), connections, door: None }
    }

    /// These connections, to the server of that URL.
    pub(super) fn of_server(connections: AnyPool, url: &str) -> Self {
        Pool { lending: Lending::new(&connections, true), connections, door: Door::of(url).map(Arc::new) }
    }

    /// A connection of one's own for a while.
    ///
    /// # Errors
    /// There is none in time, or the server refuses.
    pub(super) async fn acquire(&self) -> Result<Lent, Error> {
        let lent = async {
            let within = self.connections.options().get_acquire_timeout();
            timeout(within, self.lend()).await.unwrap_or(Err(Error::PoolTimedOut))
        };
        let Some(door) = &self.door else { return lent.await };
        tokio::select! {
            lent = lent => lent,
            refusal = door.refusal() => Err(refusal),
        }
    }

    async fn lend(&self) -> Result<Lent, Error> {
        let turn = Arc::clone(&self.lending.turns).acquire_owned().await.map_err(|_| Error::PoolClosed)?;
        let (connection, tested) = match self.lending.take_fresh() {
            Some(kept) => (kept.connection, kept.tested),
            None => (self.connections.acquire().await?, Instant::now()),
        };
        let lending = Arc::clone(&self.lending);
        Ok(Lent { connection: Some(connection), tested, lending, is_beginning: false, _turn: turn })
    }

    /// Begins a transaction, with another statement than `begin` where one is given.
    pub(super) async fn begin(&self, statement: Option<&'static str>) -> Result<OpenTransaction, Error> {
        let mut lent = self.acquire().await?;
        // Nothing is quicker to answer, so the connection is as good as tested.
        let within = self.connections.options().get_acquire_timeout();
        // sqlx counts a transaction as open when it hears so. If this ends before, the server may begin it later.
        // (SQLite's waits for its caller.)
        lent.is_beginning = self.lending.has_server;
        let beginning = AnyTransactionManager::begin(&mut lent, statement.map(SqlSafeStr::into_sql_str));
        self.lending.in_time(within, beginning).await?;
        lent.is_beginning = false;
        Ok(OpenTransaction::on(lent))
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

/// Whether an error may be the connection's, or all connections'.
fn shakes_trust(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::PoolTimedOut => true,
        // Connection lost; shutting down, or ended by an operator.
        Error::Database(error) => error.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P")),
        _ => false,
    }
}

impl Lent {
    /// All rows of a statement, after which the connection is given back.
    ///
    /// # Errors
    /// There was none, or not in time.
    pub(super) async fn fetch_all<'q>(mut self, query: impl Execute<'q, Any> + 'q) -> Result<Vec<AnyRow>, Error> {
        let all = self.fetch_in_time(query).await?;
        self.give_back();
        Ok(all.into_iter().filter_map(Either::right).collect())
    }

    /// All that a statement leads to, unless the server hangs.
    async fn fetch_in_time<'q>(&mut self, query: impl Execute<'q, Any> + 'q) -> Result<Vec<Outcome>, Error> {
        let lending = Arc::clone(&self.lending);
        lending.in_time(ANSWERED_WITHIN, self.fetch_many(query).try_collect()).await
    }

    /// To be called when the last statement has ended well, and with no transaction open.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.lending.keep(connection, self.tested);
        }
    }

    /// Ends it for good, with whatever was set for it.
    pub(super) async fn close(mut self) -> Result<(), Error> {
        match self.connection.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }
}

impl Deref for Lent {
    type Target = AnyConnection;

    #[expect(clippy::expect_used, reason = "only what consumes it takes the connection out")]
    fn deref(&self) -> &AnyConnection {
        self.connection.as_ref().expect("it is not given back yet")
    }
}

impl DerefMut for Lent {
    #[expect(clippy::expect_used, reason = "only what consumes it takes the connection out")]
    fn deref_mut(&mut self) -> &mut AnyConnection {
        self.connection.as_mut().expect("it is not given back yet")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        match self.connection.take() {
            Some(mut connection) if self.is_beginning => connection.close_on_drop(),
            Some(connection) => hand_over(connection, self.lending.has_server),
            None => (),
        }
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
