//! Statements: whole texts, as they can be pasted into `psql` or `sqlite3`.
//!
//! A text that both databases read stands in the call itself. Where they differ there are two. Many rows go in as one
//! parameter, a JSON array whose objects name the columns of the table: `json_each` reads it on SQLite,
//! `json_populate_recordset` on PostgreSQL, and a statement is prepared once for any number of rows. Where PostgreSQL is to
//! find rows by a list of keys, the list is an array: a join or `in (select …)` it may turn around, and read the whole table.

use serde::Serialize;

use super::group_commit::LockedRows;
use super::{Database, StoreError};

/// A statement that differs between the databases.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    /// As SQLite reads it.
    pub(super) sqlite: &'static str,
    /// As PostgreSQL reads it.
    pub(super) postgres: &'static str,
}

impl Statement {
    /// The text for this database.
    pub(super) fn on(&self, database: Database) -> &'static str {
        match database {
            Database::Sqlite => self.sqlite,
            Database::Postgres => self.postgres,
        }
    }
}

/// A statement that locks the rows it reads. SQLite has one writer, and no such locks.
#[derive(Clone, Copy, Debug)]
pub(super) struct LockingStatement {
    /// As SQLite reads it.
    pub(super) sqlite: &'static str,
    /// As PostgreSQL reads it, waiting for rows that another transaction has locked.
    pub(super) postgres: &'static str,
    /// As PostgreSQL reads it, passing over those rows.
    pub(super) postgres_skipping: &'static str,
}

impl LockingStatement {
    /// The text for this database.
    pub(super) fn on(&self, database: Database, locked: LockedRows) -> &'static str {
        match (database, locked) {
            (Database::Sqlite, LockedRows::Wait | LockedRows::Skip) => self.sqlite,
            (Database::Postgres, LockedRows::Wait) => self.postgres,
            (Database::Postgres, LockedRows::Skip) => self.postgres_skipping,
        }
    }
}

/// Rows, or a list of values, as one parameter.
pub(super) fn json<T: Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(Box::new(error)).into())
}
