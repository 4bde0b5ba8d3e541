//! Rows that a statement is given: one parameter and one text, however many they are.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::{Database, StoreError, one_of};

/// A column of given rows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// A whole number, or null.
    Number(&'static str),
    /// A text, or null.
    Text(&'static str),
}

/// The rows of parameter `$number`; printed, what stands in a statement's `from`, as a table named `given`.
///
/// A JSON array of objects: both databases read one, and prepare the statement once for any number of rows. The names of
/// columns should be no table's, for neither database takes `given.id` everywhere.
pub(super) fn given(database: Database, number: usize, columns: &[Column]) -> Given {
    let of = |column: &Column| match (database, *column) {
        (Database::Sqlite, Column::Number(name) | Column::Text(name)) => format!("value ->> '{name}' as {name}"),
        (Database::Postgres, Column::Number(name)) => format!("{name} bigint"),
        (Database::Postgres, Column::Text(name)) => format!("{name} text"),
    };
    let columns = columns.iter().map(of).collect::<Vec<_>>().join(", ");
    let table = match database {
        Database::Sqlite => format!("(select {columns} from json_each(${number})) as given"),
        Database::Postgres => format!("json_to_recordset(cast(${number} as json)) as given({columns})"),
    };
    Given { database, table }
}

/// Rows that a statement is given.
#[derive(Clone, Debug)]
pub(super) struct Given {
    database: Database,
    table: String,
}

impl Given {
    /// A condition on a key, beside that of the join: it is one of those in `column`. By it PostgreSQL finds the rows of
    /// the key's index; of a join it would believe that a hundred rows are given, and rather read all there are.
    pub(super) fn any(&self, column: &str) -> String {
        one_of(self.database, &format!("select {column} from {}", self.table))
    }

    /// The rows of a table whose unique key a `lookup` compares with columns of these, at most one for each. Where all but
    /// one column of that key is fixed, [`Given::any`] leaves PostgreSQL the choice of reading all rows that have the fixed
    /// ones; here it looks up one after the other.
    pub(super) fn look_up(&self, columns: &str, lookup: &str) -> String {
        match self.database {
            // Only in a cross join SQLite keeps to the order of tables.
            Database::Sqlite => format!("select {columns} from {} cross join {lookup}", self.table),
            Database::Postgres => {
                format!(
                    "select found.* from {} cross join lateral (select {columns} from {lookup} limit 1) found",
                    self.table
                )
            }
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.table)
    }
}

/// The parameter that [`given`] reads.
pub(super) fn rows<T: Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(Box::new(error)).into())
}

/// The column as no index has it, for a condition on rows that are found by their key. The planner cannot know how many
/// rows it is given, and would rather read all that an index on the state of things has.
pub(super) fn unindexed(column: &str) -> String {
    format!("coalesce({column}, '')")
}

/// The parameter for rows of one number each.
pub(super) fn numbers<T: Serialize>(name: &'static str, numbers: &[T]) -> Result<String, StoreError> {
    rows(&numbers.iter().map(|number| HashMap::from([(name, number)])).collect::<Vec<_>>())
}
