//! SQLite's plan of each text that the product sent to it, and the time of each step.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, Row, SqliteConnection};
use store::DatabaseUrl;
use store::Store;
use tracing::field::{Field, Visit};

use super::{GROWING, NAMES, name, sources, walk};
use crate::support::filling::{self, FillSize};
use crate::support::listening::{TraceListener, listen};
use crate::support::wait::PATIENCE;

/// How much longer a step may take with a hundred times as many rows: a deeper index, a page that is not in memory.
/// Reading a whole table takes a hundred times as long.
const SLACK: Duration = Duration::from_millis(10);

/// Indexes of open work and of orders before a person: they stay small.
const MAY_BE_READ_WHOLE: [&str; 6] =
    ["jobs_enqueued_due", "jobs_running", "jobs_dead", "orders_open", "orders_needing_review", "refunds_open"];

/// Shows: PROMISE-8
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_uses_its_index_on_sqlite_at_ten_thousand_and_at_a_million_jobs() {
    let texts = Texts::default();
    listen(Arc::new(texts.clone()));

    let (mut faults, mut small) = (BTreeSet::new(), walk::Times::default());
    for extent in [FillSize::SMALL, FillSize::LARGE] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasdiq.db");
        let store = Store::open(&DatabaseUrl::Sqlite(path.clone())).await.unwrap();
        store.migrate().await.unwrap();
        let mut beside = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        for statement in ["pragma synchronous = off", "pragma cache_size = -200000", "begin"] {
            beside.execute(statement).await.unwrap();
        }
        let called = filling::called_orders(extent, store.now_ms());
        for statement in filling::statements(extent, store.now_ms()).into_iter().chain(called) {
            beside.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        beside.execute("commit").await.unwrap();
        texts.forget();

        let mut times = walk::walk(&store, extent).await;
        times.0.extend(walk::start_embedded(&store).await.0);

        let ran = texts.all();
        let names: BTreeSet<&str> = ran.iter().filter_map(|text| name(text)).collect();
        faults.extend(NAMES.iter().filter(|name| !names.contains(**name)).map(|name| format!("{name} was never run")));
        for text in &ran {
            faults.extend(scans(&mut beside, text).await);
        }
        faults.extend(sources::sqlite_faults(&mut beside).await);
        for (step, took) in &times.0 {
            let before = small.0.get(step).copied().unwrap_or(PATIENCE);
            println!("{step}: {took:?} with {} jobs", extent.jobs);
            if *took > 3 * before + SLACK {
                faults.insert(format!("{step} takes {took:?} instead of {before:?}"));
            }
        }
        small = times;
    }
    assert!(faults.is_empty(), "{}", Vec::from_iter(faults).join("\n"));
}

/// The faults of a statement's plan.
pub(super) async fn scans(connection: &mut SqliteConnection, text: &str) -> Vec<String> {
    let explain = format!("explain query plan {text}");
    let steps = sqlx::query(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
    let name = name(text).unwrap_or(text);
    let mut faults = Vec::new();
    for step in steps {
        let step: String = step.get("detail");
        let words: Vec<&str> = step.split_whitespace().collect();
        let ["SCAN", table, how @ ..] = words.as_slice() else { continue };
        let is_small = how.iter().any(|word| MAY_BE_READ_WHOLE.contains(word));
        // With a limit it reads only part of the index. A write, or a search for missing rows, may skip many rows.
        let passes_over = ["delete from", "update ", "not exists"].iter().any(|words| text.contains(words));
        let is_list = how.contains(&"INDEX") && text.contains("limit $") && !passes_over;
        if is_growing(table, text) && !is_small && !is_list {
            faults.push(format!("{name}: {step}"));
        }
    }
    faults
}

/// Whether the statement's name for a table means one that grows.
fn is_growing(table: &str, text: &str) -> bool {
    let words: Vec<&str> = text.split(|end: char| end.is_whitespace() || end == ',' || end == ')').collect();
    let is_alias = |growing: &str| words.windows(2).any(|pair| pair == [growing, table]);
    GROWING.contains(&table) || GROWING.iter().any(|growing| is_alias(growing))
}

/// The texts that sqlx reports as sent.
#[derive(Clone, Default)]
struct Texts(Arc<Mutex<BTreeSet<String>>>);

impl Texts {
    fn forget(&self) {
        self.0.lock().unwrap().clear();
    }

    fn all(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().iter().filter(|text| name(text).is_some()).cloned().collect()
    }
}

impl TraceListener for Texts {
    fn wants(&self, what: &tracing::Metadata<'_>) -> bool {
        what.target() == "sqlx::query"
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let text = if text.whole.trim().is_empty() { text.summary } else { text.whole };
        self.0.lock().unwrap().insert(text.trim().to_owned());
    }
}

/// sqlx reports a short text as `summary`, and a longer one also as `db.statement`.
#[derive(Default)]
struct Text {
    summary: String,
    whole: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.whole),
            _ => (),
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
