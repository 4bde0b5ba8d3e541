//! Statements: whole texts that can be pasted into `psql` or `sqlite3`.
//!
//! A text that both databases understand stands in the call itself; where they differ there are two texts. Many rows
//! are passed as one row parameter: a JSON array whose objects name the table's columns. SQLite reads it with
//! `json_each`, PostgreSQL with `json_populate_recordset`, and the statement is prepared once for any number of rows.
//! If PostgreSQL must find rows by a list of keys, the list is an array: PostgreSQL may reverse a join or
//! `in (select …)` and read the whole table.

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

/// A statement that locks the rows it reads. SQLite has one writer and no row locks.
#[derive(Clone, Copy, Debug)]
pub(super) struct LockingStatement {
    /// As SQLite reads it.
    pub(super) sqlite: &'static str,
    /// As PostgreSQL reads it; waits for rows that another transaction has locked.
    pub(super) postgres: &'static str,
    /// As PostgreSQL reads it; skips those rows.
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

/// A row parameter, or a list of values, as JSON.
pub(super) fn json<T: Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(Box::new(error)).into())
}
