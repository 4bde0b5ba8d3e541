//! Why the database did not do it, sorted by what the caller does about it.

use sqlx::migrate::MigrateError;

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be asked now: away, restarting, out of connections, too slow. Nothing was decided by us; ask again.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Another transaction was in the way and won. Beginning anew is safe.
    #[error("another transaction was in the way")]
    Conflict(#[source] sqlx::Error),
    /// The job's lease belongs to somebody else now; nothing was written.
    #[error("the lease of the job is lost")]
    LeaseLost,
    /// `tasdiq migrate` has not run, or not in this release.
    #[error("the database lacks the tables of this release; run `tasdiq migrate`")]
    NotMigrated,
    /// A newer release has changed the tables.
    #[error("the database belongs to a newer release (it has migration {version}); start that release instead")]
    NewerDatabase {
        /// The first migration we do not know.
        version: i64,
    },
    /// A migration failed.
    #[error("a migration failed")]
    Migration(#[source] MigrateError),
    /// A statement or its result was not as we wrote it: a defect.
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
    /// A row holds a value that no release of ours writes.
    #[error("column {column} holds a value that is not known: {value}")]
    UnknownValue {
        /// The column.
        column: &'static str,
        /// What it holds.
        value: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Conflict(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error::{Database, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
        match &error {
            Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed => StoreError::Unavailable(error),
            Database(database) => match database.code().as_deref().unwrap_or_default() {
                // PostgreSQL: serialization failure, deadlock, lock timeout. SQLite: busy, locked.
                "40001" | "40P01" | "55P03" | "5" | "6" | "517" => StoreError::Conflict(error),
                // Statement canceled for its timeout; full disk; SQLite: I/O error, disk full, cannot open.
                "57014" | "10" | "13" | "14" => StoreError::Unavailable(error),
                // Connection lost, out of resources (memory, disk, connections), shutting down, not yet accepting.
                code if ["08", "53", "57P", "58"].iter().any(|class| code.starts_with(class)) => {
                    StoreError::Unavailable(error)
                }
                _ => StoreError::Statement(error),
            },
            _ => StoreError::Statement(error),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => error.into(),
            MigrateError::VersionMissing(version) => StoreError::NewerDatabase { version },
            other => StoreError::Migration(other),
        }
    }
}
