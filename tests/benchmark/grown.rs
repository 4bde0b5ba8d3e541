//! A short day of a shop, with few orders in the tables and with very many.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use domain::time::millis;
use sqlx::{AssertSqlSafe, Connection, Executor, SqliteConnection};

use super::Extent;
use super::report::Section;
use super::setup::{Setup, safe_servers};
use super::shop::{self, CLIENTS, progress};
use crate::support::filling;

/// Removes the open orders and jobs of [`filling`]. They serve the tests of query plans, and would only be work here.
const NO_WORK: [&str; 2] = [
    "delete from jobs where state in ('enqueued', 'running') or (state = 'available' and kind = 'process_callback')",
    "update orders set status = 'expired', final_at_ms = created_at_ms where status = 'pending'",
];

/// Orders and callbacks by 64 clients for each number of orders.
pub(super) async fn measure(extent: Extent) -> Vec<Section> {
    let mut sections = Vec::new();
    for is_embedded in [true, false] {
        let (mut rows, mut title) = (Vec::new(), "");
        for orders in extent.grown {
            let setup = Arc::new(if is_embedded { embedded(*orders).await } else { servers(*orders).await });
            title = setup.name();
            for row in shop::short_day(&setup, CLIENTS[1], extent.load / 2).await {
                rows.push(row.with_load(format!("{} clients, {orders} orders in the tables", CLIENTS[1])));
            }
        }
        sections.push(Section::of_rows(format!("{title}: when it has grown"), rows));
    }
    sections
}

fn statements(orders: i64) -> Vec<String> {
    let extent = filling::FillSize { jobs: 2 * orders, orders };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut statements = filling::statements(extent, millis(now));
    statements.extend(NO_WORK.map(str::to_owned));
    statements
}

async fn embedded(orders: i64) -> Setup {
    let setup = Setup::embedded().await;
    progress(setup.name(), &format!("{orders} orders are written"));
    setup
        .filled(async |file: &Path| {
            let mut filling = SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
            for statement in ["pragma synchronous = off", "pragma cache_size = -200000", "begin", "delete from jobs"] {
                filling.execute(statement).await.unwrap();
            }
            for statement in statements(orders) {
                filling.execute(AssertSqlSafe(statement)).await.unwrap();
            }
            filling.execute("commit").await.unwrap();
            filling.close().await.unwrap();
        })
        .await
}

async fn servers(orders: i64) -> Setup {
    let (postgres, installation) = safe_servers().await;
    progress("PostgreSQL", &format!("{orders} orders are written"));
    for statement in statements(orders) {
        installation.execute(&statement).await;
    }
    for statement in ["vacuum analyze", "checkpoint"] {
        installation.execute(statement).await;
    }
    Setup::on_servers(postgres, installation, 2).await
}
