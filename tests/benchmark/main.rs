//! `cargo bench -p tasdiq --bench throughput`: prints the tables of BENCHMARKS.md for this machine; with `-- webhook` the
//! one of the webhook alone.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a measurement that cannot go on ends")]
#![allow(
    unused_imports,
    unused_macros,
    reason = "the tests beside the helpers are left out here, and what they use is not"
)]

#[path = "mod.rs"]
mod benchmark;
#[path = "../roles/mod.rs"]
mod roles;
#[path = "../support/mod.rs"]
mod support;

use benchmark::Extent;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_given = |name: &str| arguments.iter().any(|argument| argument == name);
    let extent = match (is_given("--quick"), is_given("--bench")) {
        (true, _) => Extent::QUICK,
        (false, true) => Extent::FULL,
        (false, false) => {
            // `cargo test --all-targets` starts benchmarks, too, and wants to know no more than that they build.
            println!("nothing is measured; say `cargo bench -p tasdiq --bench throughput`");
            return;
        }
    };
    if is_given("webhook") {
        println!("{}", benchmark::webhook::run(benchmark::webhook::Extent::FULL).await);
        return;
    }
    let extent = if is_given("servers") { Extent::SERVERS } else { extent };
    let report = benchmark::run(extent).await;
    println!("{}", report.text);
    if let Some(file) = arguments.iter().skip_while(|argument| *argument != "--json").nth(1) {
        std::fs::write(file, format!("{:#}\n", report.json)).expect("the file of --json can be written");
    }
}
