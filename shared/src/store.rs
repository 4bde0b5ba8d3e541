//! The database: one file per noun, the only SQL. SQLite and PostgreSQL are served by the same text.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::any::AnyConnectOptions;
use sqlx::{Executor, Row};
use tokio::sync::broadcast;

use crate::clock::{Clock, host_ms};
use crate::config::DatabaseUrl;
use crate::id::OrderId;
use crate::job::QueueName;
use crate::metrics;
use crate::order::OrderStatus;
use crate::refund::RefundState;

pub mod auditing;
pub mod callbacks;
mod connecting;
mod error;
mod fresh;
mod given;
pub mod idempotency;
mod ids;
pub mod jobs;
pub mod orders;
mod pool;
pub mod processes;
pub mod refunds;
pub mod reviewing;
pub mod settlement;
pub mod sweeping;
mod together;
pub mod transactions;
pub mod weather;

pub use connecting::probe;
use connecting::{STATEMENT_TIMEOUT, pool_of, sqlite_options};
pub use error::StoreError;
pub use fresh::Fresh;
use fresh::Tray;
use ids::IdBlocks;
use pool::{OpenTransaction, Pool};
use together::Group;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// Connections per process. Small, so that tens of processes fit a server of 100 to 400 connections.
const POSTGRES_CONNECTIONS: u32 = 16;
/// A worker has one more than there are processors here, but no fewer than these and no more than every other process.
///
/// Its jobs can wait for a connection, and the gateway cannot wait for the webhook, which shares database and processors
/// with them: what many jobs do at once in the database is taken from it (BENCHMARKS.md).
const LEAST_POSTGRES_CONNECTIONS: u32 = 3;
const SQLITE_READERS: u32 = 4;

/// A measurement of the clock that took longer is not believed.
const TRUSTED_ROUND_TRIP: Duration = Duration::from_secs(1);

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
    clock: Clock,
    ids: IdBlocks,
    fresh: Tray,
    order_changes: broadcast::Sender<OrderId>,
    groups: Groups,
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
    findings: Group<orders::Finding>,
    transactions: Group<transactions::Finding>,
    callbacks: Group<callbacks::Finding>,
}

impl Store {
    /// Opens the database and measures its time. Tables are looked at by [`Store::check_migrated`], made by
    /// [`Store::migrate`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached within 5 s.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        Self::open_with(url, POSTGRES_CONNECTIONS).await
    }

    /// As [`Store::open`], for a process that answers nobody and only runs jobs: with fewer connections to PostgreSQL.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_for_worker(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let processors =
            std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
        let connections = processors.saturating_add(1).clamp(LEAST_POSTGRES_CONNECTIONS, POSTGRES_CONNECTIONS);
        Self::open_with(url, connections).await
    }

    async fn open_with(url: &DatabaseUrl, postgres_connections: u32) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let (database, writer, readers) = match url {
            DatabaseUrl::Sqlite(path) => {
                let options = sqlite_options(path)?;
                let writer = pool_of(1, Database::Sqlite).connect_with(options.clone()).await?;
                let readers = pool_of(SQLITE_READERS, Database::Sqlite).connect_with(options).await?;
                (Database::Sqlite, Pool::of_file(writer), Pool::of_file(readers))
            }
            DatabaseUrl::Postgres(url) => {
                let options: AnyConnectOptions = url.expose().parse()?;
                let connections = pool_of(postgres_connections, Database::Postgres).connect_with(options).await?;
                let writer = Pool::of_server(connections, url.expose());
                (Database::Postgres, writer.clone(), writer)
            }
        };
        let store = Store(Arc::new(Inner {
            database,
            writer,
            readers,
            clock: Clock::host(),
            ids: IdBlocks::default(),
            fresh: Tray::default(),
            order_changes: broadcast::Sender::new(4_096),
            groups: Groups::default(),
        }));
        store.measure_clock().await?;
        Ok(store)
    }

    /// Brings the tables to this release. Harmless to repeat, and safe beside another process doing the same.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], or [`StoreError::Migration`] when a migration fails or the database
    /// belongs to a newer release.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.0.writer.acquire().await?;
        if self.0.database == Database::Postgres {
            // An index on a large table takes its time, and so does another process that is at it already.
            connection.execute("set statement_timeout = 0").await?;
            connection.execute("set lock_timeout = 0").await?;
        }
        let migrated = MIGRATIONS.run(&mut *connection).await;
        // The connection goes, and with it its patience.
        let _ = connection.close().await;
        migrated?;
        if self.0.database == Database::Postgres {
            // Rows pass through the jobs quickly; the default of a fifth would leave the index full of dead entries. An
            // order's row is written again soon after it was made, and where its page has room no index is.
            for tuned in [
                "alter table jobs set (autovacuum_vacuum_scale_factor = 0.01)",
                "alter table orders set (fillfactor = 70)",
            ] {
                self.0.writer.acquire().await?.execute(tuned).await?;
            }
        }
        Ok(())
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
                .map_err(|error| match StoreError::from(error) {
                    unavailable @ StoreError::Unavailable(_) => unavailable,
                    _ => StoreError::NotMigrated,
                })?;
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

    /// Asks the database for its time and sets the clock by it. To be repeated every 30 s.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn measure_clock(&self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let database_ms = match self.0.database {
            // The file's database has no clock but the host's.
            Database::Sqlite => host_ms(),
            Database::Postgres => {
                let connection = self.0.readers.acquire().await?;
                let asked = Instant::now();
                let query = sqlx::query(
                    "-- measure_clock\nselect cast(extract(epoch from clock_timestamp()) * 1000 as bigint) as now_ms",
                );
                let rows = connection.fetch_all(query).await?;
                let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
                let round_trip = asked.elapsed();
                // A slow answer may be wrong by half its way; the next beat asks again.
                if round_trip <= TRUSTED_ROUND_TRIP || self.0.clock.measured_ago().is_none() {
                    self.0.clock.set(row.try_get("now_ms")?, round_trip);
                }
                return Ok(());
            }
        };
        self.0.clock.set(database_ms, asked.elapsed());
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
    }

    fn readers(&self) -> &Pool {
        &self.0.readers
    }

    fn writer(&self) -> &Pool {
        &self.0.writer
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
        let job_ids = self.0.ids.take(self, "jobs", jobs).await?;
        let transaction = match self.0.database {
            // A deferred transaction that reads before it writes fails under load whatever the busy timeout.
            Database::Sqlite => self.0.writer.begin(Some("BEGIN IMMEDIATE")).await?,
            Database::Postgres => self.0.writer.begin(None).await?,
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
