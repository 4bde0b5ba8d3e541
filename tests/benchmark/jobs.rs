//! The cost of a job without its work: in the queue alone, on its whole way, and until it begins.

use std::time::Duration;

use serde_json::json;

use super::Extent;
use super::report::{Section, ratio};
use super::shop::progress;
use crate::jobs::{Behind, backlog, idle, transport};

/// The default of `--concurrency`, and the value for a slow gateway.
const SLOTS: [usize; 2] = [64, 256];

/// Measures all three.
pub(super) async fn measure(extent: Extent) -> Vec<Section> {
    // A listener for the beginnings of jobs costs time, so this measurement comes last.
    vec![carried(extent).await, drained(extent).await, begun(extent).await]
}

async fn carried(extent: Extent) -> Section {
    let mut table = "| empty jobs at once | per second |\n|---|---:|\n".to_owned();
    let mut json = Vec::new();
    for slots in SLOTS {
        progress("Redis", &format!("{} empty jobs, {slots} at once", extent.jobs));
        let rate = transport::measure(i64::try_from(extent.jobs).unwrap(), slots).await;
        table.push_str(&format!("| {slots} | {rate} |\n"));
        json.push(json!({ "what": "empty jobs", "load": format!("{slots} at once"), "per_second": rate }));
    }
    Section::Table { title: "Empty jobs that wait in Redis: taken, run by apalis, no database".to_owned(), table, json }
}

async fn begun(extent: Extent) -> Section {
    let mut table = "| nothing else is done | number | p50 ms | p90 ms | p99 ms | longest ms |\n\
                     |---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    let mut json = Vec::new();
    for behind in Behind::ALL {
        progress(behind.name(), "from a commit until its job begins");
        let took = idle::measure(behind, i64::try_from(extent.payments).unwrap()).await;
        let [p50, p90, p99, longest] = [50, 90, 99, 100].map(|percent| milliseconds(&took, percent));
        table.push_str(&format!("| {} | {} | {p50} | {p90} | {p99} | {longest} |\n", behind.name(), took.len()));
        json.push(json!({
            "setup": behind.name(), "what": "commit until the job begins", "number": took.len(),
            "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "longest_ms": longest,
        }));
    }
    Section::Table { title: "From the commit that stages a job until the job begins".to_owned(), table, json }
}

async fn drained(extent: Extent) -> Section {
    let mut table = format!(
        "| a backlog of jobs | at once | {} due, per second | {} due, per second | ratio |\n|---|---:|---:|---:|---:|\n",
        backlog::SMALL,
        extent.jobs / 5,
    );
    let mut json = Vec::new();
    for behind in Behind::ALL {
        for slots in SLOTS {
            progress(behind.name(), &format!("backlogs, {slots} at once"));
            let rates = backlog::measure(behind, slots, extent.jobs / 5, extent.small_backlogs).await;
            let ratio = ratio(rates.large, rates.small);
            let name = behind.name();
            table.push_str(&format!("| {name} | {slots} | {} | {} | {ratio} |\n", rates.small, rates.large));
            json.push(json!({
                "setup": name, "what": "backlog", "load": format!("{slots} at once"), "per_second": rates.large,
                "per_second_of_small": rates.small,
            }));
        }
    }
    Section::Table { title: "The whole way of a job: row, queue, claim, inquiry, end".to_owned(), table, json }
}

/// The time within which this many percent began, to hundredths of a millisecond.
fn milliseconds(sorted: &[Duration], percent: usize) -> String {
    let micros = sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1].as_micros();
    format!("{}.{:02}", micros / 1_000, micros % 1_000 / 10)
}
