//! Why the database did not do it, sorted by what the caller should do next.

use std::sync::Arc;

use sqlx::migrate::MigrateError;

use domain::id::OrderId;

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be asked now: away, restarting, out of connections, too slow. Nothing was decided; ask again.
    #[error("the database is not available")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// It answers, and does not let us in: password, TLS, name of the database. A start or a command fails with it. A
    /// running process was let in before, so it asks again: an operator is changing something.
    #[error("the database refuses the connection")]
    Refused(#[source] Arc<sqlx::Error>),
    /// The database or its server is not suitable, and waiting does not help.
    #[error(transparent)]
    Unsuitable(Unsuitable),
    /// Another transaction was in the way and won. Running this one again is safe.
    #[error("another transaction was in the way")]
    Conflict(#[source] sqlx::Error),
    /// The job's lease belongs to another worker by now; nothing was written.
    #[error("the lease of the job is lost")]
    LeaseLost,
    /// `tasdiq migrate` has not run, or not with this release.
    #[error("the database lacks the tables of this release; run `tasdiq migrate`")]
    NotMigrated,
    /// A newer release has changed the tables.
    #[error("the database belongs to a newer release (it has migration {version}); start that release instead")]
    NewerDatabase {
        /// The first migration that this release does not know.
        version: i64,
    },
    /// A migration failed.
    #[error("a migration failed")]
    Migration(#[source] MigrateError),
    /// A statement or its result was not as this release expects: a defect.
    #[error("a statement failed")]
    Statement(#[source] sqlx::Error),
    /// A row holds a value that no release of ours writes.
    #[error("column {column} holds a value that is not known: {value}")]
    UnknownValue {
        /// The column.
        column: &'static str,
        /// Its value.
        value: String,
    },
}

/// An order that this release cannot read: one of its rows holds a value of another release, or a value written by
/// hand. A list of orders names it and continues with the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The order.
    pub order_id: OrderId,
    /// The part that cannot be read, in words.
    pub what: String,
}

impl Unreadable {
    /// Returns what was read about this order. If a value is not known, it adds the order to `unreadable` and returns
    /// `None`.
    pub(super) fn sort<T>(
        read: Result<T, StoreError>,
        order_id: OrderId,
        unreadable: &mut Vec<Unreadable>,
    ) -> Result<Option<T>, StoreError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error @ StoreError::UnknownValue { .. }) => {
                let told = Unreadable { order_id, what: error.to_string() };
                if !unreadable.contains(&told) {
                    unreadable.push(told);
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// A database or server that can never serve us, however long we wait.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unsuitable {
    /// A pooler runs the statements of one connection in several sessions. Settings of a session then apply to others,
    /// and a prepared statement may belong to another process.
    #[error(
        "DATABASE_URL leads to a connection pooler that shares its sessions between connections (such as pgbouncer with \
         pool_mode = transaction): statements and settings of one process would reach another's; let DATABASE_URL lead to \
         PostgreSQL itself, or set pool_mode = session there"
    )]
    Pooler,
    /// It cannot store every customer's or product's name.
    #[error(
        "the database has the encoding {encoding}, in which not every name can be stored; make one with `create database \
         … encoding 'UTF8' template template0` and let DATABASE_URL lead there"
    )]
    Encoding {
        /// As the server calls it.
        encoding: String,
    },
    /// It lacks features that our statements need.
    #[error("PostgreSQL is version {version}; Tasdiq needs 14 or newer")]
    TooOld {
        /// As the server tells it.
        version: String,
    },
    /// The URL names a file for TLS that cannot be read.
    #[error(
        "{parameter} of DATABASE_URL names {file}, which cannot be read ({error}); mend the path or the file's rights"
    )]
    File {
        /// Which of the URL's parameters.
        parameter: String,
        /// The path in the URL.
        file: String,
        /// Why it cannot be read.
        error: Arc<std::io::Error>,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without any change by a person.
    pub fn is_passing(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Refused(_) | StoreError::Conflict(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error::{Configuration, Database, Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
        match &error {
            // A TLS handshake that failed for what the other side showed, such as its certificate.
            Io(cause) if cause.kind() == std::io::ErrorKind::InvalidData => StoreError::Refused(Arc::new(error)),
            Tls(_) | Configuration(_) => StoreError::Refused(Arc::new(error)),
            Io(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed => StoreError::Unavailable(Arc::new(error)),
            Database(database) => {
                let code = database.code().unwrap_or_default();
                match (sqlite_code(&code), code.as_ref()) {
                    // The low byte is the primary code, the rest is detail: busy, locked.
                    (Some(5 | 6), _) => StoreError::Conflict(error),
                    // Out of memory, I/O error, disk full, cannot open, locking protocol.
                    (Some(7 | 10 | 13 | 14 | 15), _) => StoreError::Unavailable(Arc::new(error)),
                    (Some(_), _) => StoreError::Statement(error),
                    // Serialization failure, deadlock, lock timeout.
                    (None, "40001" | "40P01" | "55P03") => StoreError::Conflict(error),
                    // Password, role, pg_hba.conf; no such database; start-up parameters that the server does not
                    // understand (a pooler may refuse ours).
                    (None, "3D000" | "08P01") => StoreError::Refused(Arc::new(error)),
                    (None, code) if code.starts_with("28") => StoreError::Refused(Arc::new(error)),
                    // Statement canceled by its timeout; read-only after a failover; connection lost, out of resources,
                    // shutting down or still starting; an I/O error of the server.
                    (None, "57014" | "25006") => StoreError::Unavailable(Arc::new(error)),
                    (None, code) if ["08", "53", "57P", "58"].iter().any(|class| code.starts_with(class)) => {
                        StoreError::Unavailable(Arc::new(error))
                    }
                    (None, _) => StoreError::Statement(error),
                }
            }
            _ => StoreError::Statement(error),
        }
    }
}

/// SQLite's primary result code, or `None` for a code of PostgreSQL: those have five characters, SQLite's extended ones
/// at most four digits.
fn sqlite_code(code: &str) -> Option<u32> {
    (code.len() <= 4).then(|| code.parse::<u32>().ok().map(|extended| extended & 0xff)).flatten()
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) => error.into(),
            // A lock or the server may have stopped it. Any other error means that the migration itself is wrong.
            MigrateError::ExecuteMigration(error, version) => match StoreError::from(error) {
                StoreError::Statement(error) => StoreError::Migration(MigrateError::ExecuteMigration(error, version)),
                other => other,
            },
            MigrateError::VersionMissing(version) => StoreError::NewerDatabase { version },
            other => StoreError::Migration(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extended_codes_of_sqlite_are_read_by_their_primary_code() {
        // busy, busy snapshot, I/O error while writing, full, cannot open a directory
        for (code, primary) in [("5", 5), ("517", 5), ("778", 10), ("13", 13), ("526", 14)] {
            assert_eq!(sqlite_code(code), Some(primary), "{code}");
        }
        for code in ["40P01", "57P01", "23505"] {
            assert_eq!(sqlite_code(code), None, "{code} is PostgreSQL's");
        }
    }
    #[test]
    fn what_no_waiting_mends_is_told_from_an_outage() {
        let refused = [
            sqlx::Error::Tls("the server does not support TLS".into()),
            sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, "invalid peer certificate")),
        ];
        for error in refused {
            let error = StoreError::from(error);
            assert!(matches!(error, StoreError::Refused(_)) && error.is_passing(), "{error:?}");
        }
        let away = StoreError::from(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()));
        assert!(matches!(away, StoreError::Unavailable(_)), "{away:?}");
    }
}
