//! Opens the database, and brings its tables to this release.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::Row;
use tokio::sync::broadcast;

use super::connecting::{examine, pool_of_file, pool_of_server, postgres_options, sqlite_options};
use super::ids::IdBlocks;
use super::pool::{Pool, Server};
use super::relay_inbox::RelayInbox;
use super::{BatchQueues, Database, DatabaseUrl, Inner, Store, StoreError, findings, migrating};
use crate::clock::Clock;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations");

/// Connections of one process for its work. Few, so that tens of processes fit a server of 100 to 400 connections.
const POSTGRES_CONNECTIONS: u32 = 13;
/// The fewest connections of a worker. It has one more than this host has processors, and never more than other
/// processes.
///
/// A worker's jobs can wait for a connection; the gateway does not wait for the webhook. Database and processors that
/// many jobs use at once are missing there (`docs/benchmarks/raw.md`).
const LEAST_POSTGRES_CONNECTIONS: u32 = 3;
/// From this round trip on the network makes jobs slow, not database and processors. A worker then has as many
/// connections as every other process.
const SLOW_LINE: Duration = Duration::from_millis(10);
/// Further connections that running jobs never take: for renewals of leases, ends of runs, the relay and heartbeats.
/// Without them, leases on a slow network would run out while jobs wait for each other's connections.
const UPKEEP_CONNECTIONS: u32 = 3;
const SQLITE_READERS: u32 = 4;

impl Store {
    /// Opens the database and measures its time. [`Store::check_migrated`] checks the tables, [`Store::migrate`] makes
    /// them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be reached within 5 s, [`StoreError::Refused`] and
    /// [`StoreError::Unsuitable`].
    pub async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        Self::open_with(url, POSTGRES_CONNECTIONS).await
    }

    /// As [`Store::open`], with this many connections to PostgreSQL in all.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with_connections(url: &DatabaseUrl, connections: u32) -> Result<Self, StoreError> {
        Self::open_with(url, connections.saturating_sub(UPKEEP_CONNECTIONS).max(1)).await
    }

    /// As [`Store::open`], with fewer connections to PostgreSQL: for a process that serves no requests and only runs
    /// jobs.
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

    /// Opens it. `connections` chooses the number of connections for work from the round trip.
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
            relay_inbox: RelayInbox::default(),
            order_changes: broadcast::Sender::new(4_096),
            batch_queues: BatchQueues::default(),
        }));
        store.measure_clock().await?;
        Ok(store)
    }

    /// Brings the tables to this release. It may be repeated, and may run beside another process that does the same.
    ///
    /// It waits for a lock only briefly, because all requests for the table queue up behind it. Migrations that were
    /// done by then stay done.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another session holds a lock: repeat it. [`StoreError::Unavailable`], or
    /// [`StoreError::Migration`] when a migration fails or the database belongs to a newer release.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut connection = self.0.writer.acquire().await?;
        let migrated = migrating::run(&mut connection, self.0.database, &MIGRATIONS).await;
        // Closed, because its timeouts were changed for the migration.
        let _ = connection.close().await;
        migrated?;
        findings::adopt(self).await?;
        Ok(())
    }

    /// The session that most likely blocks [`Store::migrate`], in words; `None` if it cannot be told.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn migration_blocked_by(&self) -> Result<Option<String>, StoreError> {
        match self.0.database {
            Database::Sqlite => Ok(None),
            Database::Postgres => migrating::blocked_by(&self.0.upkeep).await,
        }
    }

    /// Checks that the tables are those of this release.
    ///
    /// # Errors
    /// [`StoreError::NotMigrated`] while a migration is missing, [`StoreError::Migration`] when the database
    /// belongs to a newer release.
    pub async fn check_migrated(&self) -> Result<(), StoreError> {
        // A database without any migration has no such table.
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
}

/// Whether a statement failed for want of its table. PostgreSQL has a code for that; SQLite uses code 1 for most faults
/// of a statement.
fn lacks_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|code| code == "42P01" || code == "1"))
}
