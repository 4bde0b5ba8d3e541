//! What a storm with a fault leaves to read: all rows, the gateways' books, and what the processes said.

use std::path::Path;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::house::House;

const TABLES: [&str; 6] = ["orders", "order_history", "transactions", "callbacks", "refunds", "job_log"];

const BOOKS: [(&str, &str); 3] =
    [("/_sim/ledger", "transactions"), ("/payme/_sim/ledger", "receipts"), ("/click/_sim/ledger", "transactions")];

/// Writes everything to `target/tmp/storm/`.
pub(crate) async fn keep(house: &House, connection: &mut PgConnection) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("storm");
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    let keep = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    for table in TABLES {
        let query = AssertSqlSafe(format!("select row_to_json(line)::text from {table} line"));
        let rows: Vec<String> = sqlx::query_scalar(query).fetch_all(&mut *connection).await.unwrap();
        keep(&format!("{table}.jsonl"), rows.join("\n"));
    }
    for (number, (path, lines)) in BOOKS.into_iter().enumerate() {
        let book = house.patient().book(path, lines).await.unwrap_or_default();
        let lines: Vec<String> = book.iter().map(Value::to_string).collect();
        keep(&format!("book-{number}.jsonl"), lines.join("\n"));
    }
    for (number, output) in house.outputs().enumerate() {
        keep(&format!("process-{number}.log"), output);
    }
}
