//! The database: one file per noun, the only SQL. SQLite and PostgreSQL are served by the same text.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::Row;
use sqlx::any::AnyConnectOptions;
use tokio::sync::broadcast;

use crate::clock::{Clock, host_ms};
use crate::id::OrderId;
use crate::job::QueueName;
use crate::order::{Order, OrderStatus};
use crate::refund::RefundState;

pub mod auditing;
pub mod callbacks;
pub mod clock_steps;
mod connecting;
mod error;
pub mod findings;
mod fresh;
mod given;
pub mod idempotency;
mod ids;
pub mod jobs;
pub mod kinds;
pub(crate) mod metrics;
mod migrating;
pub mod orders;
mod pool;
pub mod processes;
mod reading;
pub mod refunds;
pub mod reviewing;
pub mod settlement;
pub mod sole;
mod statement;
pub mod sweeping;
mod together;
pub mod transactions;
mod url;
pub mod weather;

use connecting::{STATEMENT_TIMEOUT, examine, pool_of_file, pool_of_server, postgres_options, sqlite_options};
pub use error::{StoreError, Unreadable, Unsuitable};
pub use fresh::Fresh;
use fresh::Tray;
use ids::IdBlocks;
pub use ids::Numbers;
use pool::{OpenTransaction, Pool, Server};
use reading::Finding;
use together::Group;
use transactions::StoredTransaction;
pub use url::DatabaseUrl;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// Connections per process that do its work. Small, so that tens of processes fit a server of 100 to 400 connections.
const POSTGRES_CONNECTIONS: u32 = 13;
/// A worker has one more than there are processors here, but no fewer than these and no more than every other process.
///
/// Its jobs can wait for a connection, and the gateway cannot wait for the webhook, which shares database and processors
/// with them: what many jobs do at once in the database is taken from it (BENCHMARKS.md).
const LEAST_POSTGRES_CONNECTIONS: u32 = 3;
/// From here on it is the line that makes jobs slow, and not database and processors: a worker has as many connections as
/// every other process.
const SLOW_LINE: Duration = Duration::from_millis(10);
/// Connections besides, which work never takes: for renewals of leases, ends of runs, the relay and heartbeats. Without them
/// a slow line to the database lets leases run out while jobs wait for each other's connections.
const UPKEEP_CONNECTIONS: u32 = 3;
const SQLITE_READERS: u32 = 4;

/// A measurement of the clock that took longer is not believed.
const TRUSTED_ROUND_TRIP: Duration = Duration::from_secs(1);

/// A heartbeat is a write, every 3 s; one that hangs fails within this.
const PROVEN_FOR: Duration = Duration::from_secs(15);

/// So many round trips a renewal may take, with those that it waits behind.
const ROUND_TRIPS_OF_A_RENEWAL: u32 = 10;

/// No line is so slow that a lease lasts longer than this besides.
const MOST_LEASE_FOR_THE_LINE_MS: i64 = 12_000;

/// Which of the two databases this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// One file, one process, one writer.
    Sqlite,
    /// A server for many processes.
    Postgres,
}

/// The database of one installation; cheap to clone. The functions of its modules read and write it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    writer: Pool,
    readers: Pool,
    /// What keeps this process's jobs and heartbeat alive, and is never held up by work.
    upkeep: Pool,
    /// How a connection of one's own is made; nothing for a file of ours.
    options: Option<AnyConnectOptions>,
    clock: Clock,
    /// How long the last question for the time took, microseconds.
    round_trip_us: AtomicI64,
    last_proof: Mutex<Option<Proof>>,
    ids: IdBlocks,
    fresh: Tray,
    untaken: jobs::Untaken,
    order_changes: broadcast::Sender<OrderId>,
    groups: Groups,
}

/// How the last write of this process's own row went, and when.
#[derive(Clone, Copy, Debug)]
struct Proof {
    at: Instant,
    is_good: bool,
}

/// What waits to be written with others of its kind.
#[derive(Debug, Default)]
struct Groups {
    questions: Group<callbacks::Question>,
    wakings: Group<callbacks::Waking>,
    endings: Group<jobs::Ending>,
    links: Group<orders::Linking>,
    new_orders: Group<orders::Creating>,
    settlings: Group<settlement::Settling>,
    orders: Group<Finding<Option<Order>>>,
    transactions: Group<Finding<Vec<StoredTransaction>>>,
    callbacks: Group<callbacks::Finding>,
}

impl Store {
    /// Opens the database and measures its time. Tables are looked at by [`Store::check_migrated`], made by
    /// [`Store::migrate`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached within 5 s, [`StoreError::Refused`] and
    /// [`StoreError::Unsuitable`].
    pub async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        Self::open_with(url, POSTGRES_CONNECTIONS).await
    }

    /// As [`Store::open`], with so many connections to PostgreSQL in all.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with_connections(url: &DatabaseUrl, connections: u32) -> Result<Self, StoreError> {
        Self::open_with(url, connections.saturating_sub(UPKEEP_CONNECTIONS).max(1)).await
    }

    /// As [`Store::open`], for a process that answers nobody and only runs jobs: with fewer connections to PostgreSQL.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_for_worker(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let processors =
            std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
        let connections = processors.saturating_add(1).clamp(LEAST_POSTGRES_CONNECTIONS, POSTGRES_CONNECTIONS);
        Self::open_sized(url, |round_trip| if round_trip < SLOW_LINE { connections } else { POSTGRES_CONNECTIONS })
            .await
    }

    async fn open_with(url: &DatabaseUrl, postgres_connections: u32) -> Result<Self, StoreError> {
        Self::open_sized(url, |_| postgres_connections).await
    }

    /// Opens it with as many connections for work as suit the time of a round trip.
    async fn open_sized(url: &DatabaseUrl, connections: impl FnOnce(Duration) -> u32) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (database, writer, readers, upkeep, options) = match url {
            DatabaseUrl::Sqlite(path) => {
                let options = sqlite_options(path)?;
                let writer = Pool::of_file(pool_of_file(1).connect_with(options.clone()).await?);
                let readers = Pool::of_file(pool_of_file(SQLITE_READERS).connect_with(options).await?);
                (Database::Sqlite, writer.clone(), readers, writer, None)
            }
            DatabaseUrl::Postgres(url) => {
                let options = postgres_options(url)?;
                let round_trip = examine(&options).await?;
                let server = Arc::new(Server::of(url.expose()));
                let pool = |connections| {
                    let pool = pool_of_server(connections, &server).connect_lazy_with(options.clone());
                    Pool::of_server(pool, Arc::clone(&server))
                };
                let work = pool(connections(round_trip));
                (Database::Postgres, work.clone(), work, pool(UPKEEP_CONNECTIONS), Some(options))
            }
        };
        let store = Store(Arc::new(Inner {
            database,
            writer,
            readers,
            upkeep,
            options,
            clock: Clock::host(),
            round_trip_us: AtomicI64::new(0),
            last_proof: Mutex::default(),
            ids: IdBlocks::default(),
            fresh: Tray::default(),
            untaken: jobs::Untaken::default(),
            order_changes: broadcast::Sender::new(4_096),
            groups: Groups::default(),
        }));
        store.measure_clock().await?;
        Ok(store)
    }

    /// Brings the tables to this release. Harmless to repeat, and safe beside another process doing the same.
    ///
    /// It waits for a lock so briefly that requests which queue up behind it do not fail; what is done by then is kept.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when somebody holds a lock, so that it must be repeated; [`StoreError::Unavailable`], or
    /// [`StoreError::Migration`] when a migration fails or the database belongs to a newer release.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.0.writer.acquire().await?;
        let migrated = migrating::run(&mut connection, self.0.database, &MIGRATIONS).await;
        // The connection goes, and with it its patience.
        let _ = connection.close().await;
        migrated?;
        findings::adopt(self).await?;
        Ok(())
    }

    /// Who most likely keeps [`Store::migrate`] from going on, in words; nothing if that does not show.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn migration_blocked_by(&self) -> Result<Option<String>, StoreError> {
        match self.0.database {
            Database::Sqlite => Ok(None),
            Database::Postgres => migrating::blocked_by(&self.0.upkeep).await,
        }
    }

    /// Whether the tables are those of this release.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`] while a migration is missing, [`StoreError::Migration`] when the database
    /// belongs to a newer release.
    pub async fn check_migrated(&self) -> Result<(), StoreError> {
        // A database nobody has migrated has no such table.
        let rows =
            sqlx::query("-- check_migrated\nselect version from _sqlx_migrations where success order by version")
                .fetch_all(&self.0.readers)
                .await
                .map_err(|error| if lacks_table(&error) { StoreError::NotMigrated } else { error.into() })?;
        let applied = rows.iter().map(|row| row.try_get("version")).collect::<Result<BTreeSet<i64>, _>>()?;
        let known: BTreeSet<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        match applied.difference(&known).next() {
            Some(version) => Err(StoreError::NewerDatabase { version: *version }),
            None if applied != known => Err(StoreError::NotMigrated),
            None => Ok(()),
        }
    }

    /// The random name of this installation, made by whoever asks first.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn database_id(&self) -> Result<String, StoreError> {
        let fresh = format!("{:016x}", rand::random::<u64>());
        sqlx::query("-- name_installation\ninsert into installation (name, value) values ('database_id', $1) on conflict (name) do nothing")
            .bind(fresh)
            .execute(&self.0.writer)
            .await?;
        let row = sqlx::query("-- installation_name\nselect value from installation where name = 'database_id'")
            .fetch_one(&self.0.writer)
            .await?;
        Ok(row.try_get("value")?)
    }

    /// Asks the database for its time and sets the clock by it. To be repeated every [`crate::clock::MEASURED_EVERY`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn measure_clock(&self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let database_ms = match self.0.database {
            // The file's database has no clock but the host's.
            Database::Sqlite => host_ms(),
            Database::Postgres => {
                let mut connection = self.0.upkeep.acquire().await?;
                let asked = Instant::now();
                // In the simple protocol, which takes one round trip.
                let row = connection.ask(
                    "-- measure_clock\nselect cast(extract(epoch from clock_timestamp()) * 1000 as bigint) as now_ms",
                );
                let row = row.await?;
                let round_trip = asked.elapsed();
                connection.give_back();
                let round_trip_us = i64::try_from(round_trip.as_micros()).unwrap_or(i64::MAX);
                self.0.round_trip_us.store(round_trip_us, Ordering::Relaxed);
                // A slow answer may be wrong by half its way; the next beat asks again.
                if round_trip <= TRUSTED_ROUND_TRIP || self.0.clock.measured_ago().is_none() {
                    clock_steps::take_over(self, row.try_get("now_ms")?, round_trip).await;
                }
                return Ok(());
            }
        };
        clock_steps::take_over(self, database_ms, asked.elapsed()).await;
        Ok(())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("-- ping\nselect 1").fetch_one(&self.0.readers).await?;
        Ok(())
    }

    /// The settings of the server, switched off there, without which a commit that was answered may be lost with its power.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn unsafe_settings(&self) -> Result<Vec<String>, StoreError> {
        match self.0.database {
            Database::Sqlite => Ok(Vec::new()),
            Database::Postgres => {
                let rows = sqlx::query(
                    "-- unsafe_settings
                    select name from pg_settings where name in ('fsync', 'full_page_writes') and setting = 'off' order by name",
                );
                let rows = rows.fetch_all(&self.0.readers).await?;
                Ok(rows.iter().map(|row| row.try_get("name")).collect::<Result<_, _>>()?)
            }
        }
    }

    /// How long the database took when it was last asked for its time; nothing for a file of ours.
    pub fn round_trip(&self) -> Duration {
        Duration::from_micros(self.0.round_trip_us.load(Ordering::Relaxed).unsigned_abs())
    }

    /// How long a lease lasts here, milliseconds: [`jobs::LEASE_MS`], and what the line to the database takes besides.
    pub fn lease_ms(&self) -> i64 {
        lease_ms(self.round_trip())
    }

    /// Remembers how the last write of this process's own row went.
    fn note_proof(&self, is_good: bool) {
        let proof = Proof { at: Instant::now(), is_good };
        *self.0.last_proof.lock() = Some(proof);
    }

    /// Why nothing can be written, as the last heartbeat has shown; `None` before the first one. Reads may go on meanwhile: a
    /// disk may be full, a lock held, a right taken away.
    pub fn write_fault(&self) -> Option<&'static str> {
        let proof = (*self.0.last_proof.lock())?;
        match proof {
            Proof { is_good: false, .. } => Some("takes no writes"),
            Proof { at, .. } if at.elapsed() > PROVEN_FOR => Some("has taken no write for 15 s"),
            Proof { .. } => None,
        }
    }

    /// The installation's time.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Now, in epoch milliseconds of the database.
    pub fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    /// Which database this is.
    pub fn database(&self) -> Database {
        self.0.database
    }

    /// Waits until this process has committed a job; a commit since the last call counts. For its one relay.
    pub async fn job_staged(&self) {
        self.0.fresh.filled().await;
    }

    /// What this process has committed since the last call. For its one relay.
    pub fn take_fresh(&self) -> Fresh {
        self.0.fresh.take()
    }

    /// From now on rows that are due at once on these queues, and on no others, are marked as offered where they are
    /// staged: the caller pushes what [`Store::take_fresh`] gives.
    pub fn offer_when_staged(&self, queues: Vec<QueueName>) {
        self.0.fresh.open_only(queues);
    }

    /// The orders that this process changes from now on, as each commit is made.
    pub fn order_changes(&self) -> broadcast::Receiver<OrderId> {
        self.0.order_changes.subscribe()
    }

    /// Lets running statements end and closes the connections.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
        self.0.upkeep.close().await;
    }

    fn readers(&self) -> &Pool {
        &self.0.readers
    }

    fn writer(&self) -> &Pool {
        &self.0.writer
    }

    /// For what keeps jobs and this process alive: renewals, ends of runs, the relay, heartbeats.
    fn upkeep(&self) -> &Pool {
        &self.0.upkeep
    }

    /// As [`Store::upkeep`], for what only reads.
    fn upkeep_readers(&self) -> &Pool {
        match self.0.database {
            Database::Sqlite => &self.0.readers,
            Database::Postgres => &self.0.upkeep,
        }
    }

    /// `for update skip locked` where several writers exist; SQLite has one.
    fn skip_locked(&self) -> &'static str {
        match self.0.database {
            Database::Sqlite => "",
            Database::Postgres => "for update skip locked",
        }
    }

    /// A condition that always holds, and by which the commit of its statement does not wait for PostgreSQL's disk. For what
    /// may be lost with the server: the rows are then as they were before, and that is found by whoever comes back to them.
    fn may_be_lost(&self) -> &'static str {
        match self.0.database {
            Database::Sqlite => "",
            Database::Postgres => "and (select set_config('synchronous_commit', 'off', true)) = 'off'",
        }
    }

    /// See [`one_of`].
    fn one_of(&self, select: &str) -> String {
        one_of(self.0.database, select)
    }

    /// Where a row lies: what finds the rows of one statement again, whatever their key.
    fn row_place(&self) -> &'static str {
        match self.0.database {
            Database::Sqlite => "rowid",
            Database::Postgres => "ctid",
        }
    }

    /// Begins a transaction that may stage up to `jobs` jobs.
    async fn begin(&self, jobs: usize) -> Result<Write, StoreError> {
        self.begin_on(&self.0.writer, jobs).await
    }

    /// As [`Store::begin`], without waiting for those who work.
    async fn begin_upkeep(&self) -> Result<Write, StoreError> {
        self.begin_on(&self.0.upkeep, 0).await
    }

    async fn begin_on(&self, pool: &Pool, jobs: usize) -> Result<Write, StoreError> {
        let job_ids = self.0.ids.take(self, "jobs", jobs).await?;
        let transaction = match self.0.database {
            // A deferred transaction that reads before it writes fails under load whatever the busy timeout.
            Database::Sqlite => pool.begin(Some("BEGIN IMMEDIATE")).await?,
            Database::Postgres => pool.begin(None).await?,
        };
        Ok(Write {
            transaction,
            store: self.clone(),
            job_ids,
            fresh: Fresh::default(),
            transitions: Vec::new(),
            refunds: Vec::new(),
            changed: Vec::new(),
        })
    }
}

/// How long a lease lasts where the database answers after so long.
fn lease_ms(round_trip: Duration) -> i64 {
    let for_the_line = i64::try_from((round_trip * ROUND_TRIPS_OF_A_RENEWAL).as_millis()).unwrap_or(i64::MAX);
    jobs::LEASE_MS + for_the_line.min(MOST_LEASE_FOR_THE_LINE_MS)
}

/// Whether a statement failed because there is no such table: PostgreSQL's code for it, or SQLite's for most of what is wrong
/// with a statement.
fn lacks_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|code| code == "42P01" || code == "1"))
}

/// One transaction that writes, and what the rest of the process must be told once it is committed.
struct Write {
    transaction: OpenTransaction,
    store: Store,
    job_ids: Vec<i64>,
    fresh: Fresh,
    transitions: Vec<OrderStatus>,
    refunds: Vec<RefundState>,
    changed: Vec<OrderId>,
}

impl Write {
    fn transaction(&mut self) -> &mut OpenTransaction {
        &mut self.transaction
    }

    fn now_ms(&self) -> i64 {
        self.store.now_ms()
    }

    /// Locks the row that a `select` reads, where several writers exist.
    fn for_update(&self, table: &str) -> String {
        match self.store.database() {
            Database::Sqlite => String::new(),
            Database::Postgres => format!("for update of {table}"),
        }
    }

    async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await?;
        let inner = &self.store.0;
        inner.ids.give_back("jobs", self.job_ids);
        for status in self.transitions {
            metrics::order_transitions().with_label_values(&[status.as_str()]).inc();
        }
        for state in self.refunds {
            metrics::refunds().with_label_values(&[state.as_str()]).inc();
        }
        inner.fresh.put(self.fresh);
        for order_id in self.changed {
            // Nobody listening is no failure.
            let _ = inner.order_changes.send(order_id);
        }
        Ok(())
    }
}

/// `in (select …)` for a select that is limited or locks. PostgreSQL may take such a select for a join, choose to read the
/// whole table for it, or run it more than once; an array is made once, and its rows are found by the index.
fn one_of(database: Database, select: &str) -> String {
    match database {
        Database::Sqlite => format!("in ({select})"),
        Database::Postgres => format!("= any(array({select}))"),
    }
}

/// `$first, $first+1, …` for so many values.
fn placeholders(first: usize, count: usize) -> String {
    (first..first + count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// The list, lengthened to a power of two by its last value: seven prepared statements instead of a hundred.
fn padded<T: Copy>(values: &[T]) -> Vec<T> {
    let mut padded = values.to_vec();
    if let Some(last) = values.last() {
        padded.resize(values.len().next_power_of_two(), *last);
    }
    padded
}

/// Somebody waits for this transaction, so it is begun anew at once where another one was in its way; at most twice.
async fn anew_after_conflict<T, F>(run: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 0..2 {
        match run().await {
            Err(StoreError::Conflict(_)) => (),
            ended => return ended,
        }
    }
    run().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts_longer_where_the_line_is_slow() {
        for (round_trip_ms, lease) in [(0, 8_000), (1, 8_010), (200, 10_000), (400, 12_000), (60_000, 20_000)] {
            assert_eq!(lease_ms(Duration::from_millis(round_trip_ms)), lease, "{round_trip_ms} ms");
        }
    }
}
