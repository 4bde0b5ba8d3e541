//! Where the database is.

use std::path::PathBuf;

use domain::secret::Secret;

/// Which database, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file of ours.
    Sqlite(PathBuf),
    /// A PostgreSQL server; the URL may hold a password, hence a secret.
    Postgres(Secret),
}
