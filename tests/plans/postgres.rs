//! PostgreSQL's plan of each statement, from its log.

use std::collections::BTreeMap;

use domain::secret::Secret;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use store::DatabaseUrl;
use store::Store;

use super::{GROWING, NAMES, name, sources, walk};
use crate::support::filling::{self, FillSize};
use crate::support::servers::PrivatePostgres;

/// The number of further pages that does not matter: a deeper index, a row in another place.
const SLACK: u64 = 60;

/// The plans of one statement.
#[derive(Debug, Default)]
struct Seen {
    /// Pages read, per execution.
    pages: Vec<u64>,
    scans: Vec<String>,
}

/// Shows: PROMISE-8
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_statement_uses_its_index_on_postgres_at_ten_thousand_and_at_a_million_jobs() {
    let mut faults = Vec::new();
    let small = seen_at(FillSize::SMALL, &mut faults).await;
    let large = seen_at(FillSize::LARGE, &mut faults).await;

    for name in NAMES {
        if !small.contains_key(name) || !large.contains_key(name) {
            faults.push(format!("{name} was never run"));
        }
    }
    for (name, seen) in &large {
        let at_small = small.get(name).map_or(0, |seen| most(&seen.pages));
        let at_large = most(&seen.pages);
        println!("{name}: {at_small} pages, {at_large} of a hundred times as much");
        if at_large > 3 * at_small + SLACK {
            faults.push(format!("{name} reads {at_large} pages instead of {at_small}"));
        }
        for scan in seen.scans.iter().take(1) {
            faults.push(format!("{name} scans: {scan}"));
        }
    }
    for (name, seen) in &small {
        faults.extend(seen.scans.iter().take(1).map(|scan| format!("{name} scans a small table: {scan}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn most(pages: &[u64]) -> u64 {
    pages.iter().copied().max().unwrap_or_default()
}

/// Fills a separate server, runs the walk, and reads the server's log about it. The statements of the sources are planned
/// before there are statistics and with them.
async fn seen_at(extent: FillSize, faults: &mut Vec<String>) -> BTreeMap<String, Seen> {
    let server = PrivatePostgres::start_with(&[
        "shared_preload_libraries=auto_explain",
        "auto_explain.log_min_duration=0",
        "auto_explain.log_format=json",
        "auto_explain.log_analyze=on",
        "auto_explain.log_buffers=on",
        "auto_explain.log_timing=off",
        "log_line_prefix=",
        "shared_buffers=256MB",
        "autovacuum=off", // its own statements are not ours
        "jit=off",
    ])
    .await;
    let store = Store::open(&DatabaseUrl::Postgres(Secret::new(server.url()))).await.unwrap();
    store.migrate().await.unwrap();
    let mut filling = PgConnection::connect(&server.url()).await.unwrap();
    filling.execute("set auto_explain.log_min_duration = -1").await.unwrap();
    let called = filling::called_orders(extent, store.now_ms());
    for statement in filling::statements(extent, store.now_ms()).into_iter().chain(called) {
        filling.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    let mut plan = async |filling: &mut PgConnection, when: &str| {
        let found = sources::postgres_faults(filling).await;
        faults.extend(found.iter().map(|fault| format!("{} jobs, {when} statistics: {fault}", extent.jobs)));
    };
    plan(&mut filling, "without").await;
    filling.execute("vacuum analyze").await.unwrap();
    plan(&mut filling, "with").await;

    walk::walk(&store, extent).await;
    walk::start_embedded(&store).await;

    store.close().await;
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    for (statement, plan) in plans(&server.log()) {
        let Some(name) = name(&statement) else { continue };
        let seen = seen.entry(name.to_owned()).or_default();
        let pages = |kind: &str| plan[kind].as_u64().unwrap_or_default();
        seen.pages.push(pages("Shared Hit Blocks") + pages("Shared Read Blocks"));
        find_scans(&plan, &mut seen.scans);
    }
    seen
}

/// The statements of a log with their plans. Each plan follows its line, indented by tabs.
fn plans(log: &str) -> Vec<(String, Value)> {
    let parts = log.split("LOG:  duration:").skip(1);
    let json = |part: &str| {
        let lines = part.lines().skip(1).take_while(|line| line.starts_with('\t'));
        lines.map(|line| &line[1..]).collect::<Vec<_>>().join("\n")
    };
    parts
        .filter_map(|part| {
            let plan: Value = serde_json::from_str(&json(part)).ok()?;
            Some((plan["Query Text"].as_str()?.to_owned(), plan["Plan"].clone()))
        })
        .collect()
}

/// Every node of a plan that reads a growing table from end to end.
fn find_scans(plan: &Value, scans: &mut Vec<String>) {
    let table = plan["Relation Name"].as_str().unwrap_or_default();
    let is_scan = plan["Node Type"] == "Seq Scan"
        || plan["Node Type"].as_str().is_some_and(|node| node.starts_with("Index"))
            && plan["Index Cond"].is_null()
            && plan["Rows Removed by Filter"].as_u64().is_some_and(|rows| rows > 2_000);
    if is_scan && GROWING.contains(&table) {
        scans.push(format!("{} on {table} {}, {} rows", plan["Node Type"], plan["Index Name"], plan["Plan Rows"]));
    }
    for part in plan["Plans"].as_array().into_iter().flatten() {
        find_scans(part, scans);
    }
}
