//! The address of the database.

use std::path::PathBuf;

use domain::secret::Secret;

/// Which database to use, and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL server. The URL may hold a password, so it is a secret.
    Postgres(Secret),
}
