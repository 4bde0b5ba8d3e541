//! Rows that a statement is given: one parameter and one text, however many they are.

use std::collections::HashMap;

use serde::Serialize;

use super::{Database, StoreError};

/// A column of given rows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// A whole number, or null.
    Number(&'static str),
    /// A text, or null.
    Text(&'static str),
}

/// What stands in a statement's `from`: the rows of parameter `$number`, as a table named `given`.
///
/// A JSON array of objects: both databases read one, and prepare the statement once for any number of rows. The names of
/// columns should be no table's, for neither database takes `given.id` everywhere.
pub(super) fn given(database: Database, number: usize, columns: &[Column]) -> String {
    let of = |column: &Column| match (database, *column) {
        (Database::Sqlite, Column::Number(name) | Column::Text(name)) => format!("value ->> '{name}' as {name}"),
        (Database::Postgres, Column::Number(name)) => format!("{name} bigint"),
        (Database::Postgres, Column::Text(name)) => format!("{name} text"),
    };
    let columns = columns.iter().map(of).collect::<Vec<_>>().join(", ");
    match database {
        Database::Sqlite => format!("(select {columns} from json_each(${number})) as given"),
        Database::Postgres => format!("json_to_recordset(cast(${number} as json)) as given({columns})"),
    }
}

/// The parameter that [`given`] reads.
pub(super) fn rows<T: Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|error| sqlx::Error::Encode(Box::new(error)).into())
}

/// The parameter for rows of one number each.
pub(super) fn numbers<T: Serialize>(name: &'static str, numbers: &[T]) -> Result<String, StoreError> {
    rows(&numbers.iter().map(|number| HashMap::from([(name, number)])).collect::<Vec<_>>())
}
