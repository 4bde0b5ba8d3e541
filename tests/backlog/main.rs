//! `cargo bench -p tasdiq --bench backlog`: how fast a backlog of 100,000 due jobs drains beside backlogs of 1,000.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a measurement that cannot go on ends")]
#![allow(
    unused_imports,
    unused_macros,
    dead_code,
    reason = "the tests beside the helpers are left out here, and what they use is not"
)]

#[path = "mod.rs"]
mod backlog;
#[path = "../roles/mod.rs"]
mod roles;
#[path = "../support/mod.rs"]
mod support;

use backlog::Behind;

const LARGE: u64 = 100_000;

/// The default of `--concurrency`, and what is needed where the gateway is slow.
const SLOTS: [usize; 2] = [64, 256];

/// As many jobs in small backlogs as take some seconds.
const SMALL_ONES: u64 = 30;

#[tokio::main]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` starts benchmarks, too, and wants to know no more than that they build.
        println!("nothing is measured; say `cargo bench -p tasdiq --bench backlog`");
        return;
    }
    println!(
        "| on | jobs at once | 1,000 due jobs, per second | {LARGE} due jobs, per second | ratio |\n\
         |---|---:|---:|---:|---:|"
    );
    for (behind, name) in [
        (Behind::SqliteAndLocalQueue, "SQLite, queue in the process"),
        (Behind::PostgresAndRedis, "PostgreSQL (`fsync=on`), Redis"),
    ] {
        for slots in SLOTS {
            let rates = backlog::measure(behind, slots, LARGE, SMALL_ONES).await;
            let percent = rates.large * 100 / rates.small.max(1);
            println!(
                "| {name} | {slots} | {} | {} | {}.{:02} |",
                rates.small,
                rates.large,
                percent / 100,
                percent % 100
            );
        }
    }
}
