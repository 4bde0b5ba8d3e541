//! `cargo bench -p tasdiq --bench throughput` prints the tables of `docs/benchmarks/raw.md` for this machine. Names of
//! parts after `--` select these parts alone.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a measurement that cannot go on ends")]
#![allow(
    unused_imports,
    unused_macros,
    reason = "the tests beside the helpers are left out here, and what they use is not"
)]

#[path = "mod.rs"]
mod benchmark;
#[path = "../jobs/mod.rs"]
mod jobs;
#[path = "../support/mod.rs"]
mod support;

use benchmark::{Extent, Part};

/// The exit code when a measured value is not as it must be.
const FAULTY: i32 = 1;

/// sysexits: the command was used wrongly.
const USAGE: i32 = 64;

#[tokio::main]
async fn main() {
    let (mut extent, mut parts, mut json, mut is_bench) = (Extent::FULL, Vec::new(), None, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), Part::parse(&argument)) {
            ("--bench", _) => is_bench = true,
            ("--quick", _) => (extent, is_bench) = (Extent::QUICK, true),
            ("--json", _) => json = Some(arguments.next().unwrap_or_else(|| refuse("--json needs the name of a file"))),
            (_, Some(part)) => parts.push(part),
            (other, None) => refuse(&format!("there is no {other:?} to be measured")),
        }
    }
    if !is_bench {
        // `cargo test --all-targets` starts benchmarks, too, and only checks that they build.
        println!("nothing is measured; say `cargo bench -p tasdiq --bench throughput`");
        return;
    }
    let parts = if parts.is_empty() { Part::USUAL.to_vec() } else { parts };
    let report = benchmark::run(&parts, extent).await;
    println!("{}", report.text);
    if let Some(file) = json {
        std::fs::write(file, format!("{:#}\n", report.json)).expect("the file of --json can be written");
    }
    if !report.faults.is_empty() {
        eprintln!("{}", report.faults.join("\n"));
        std::process::exit(FAULTY);
    }
}

fn refuse(why: &str) -> ! {
    eprintln!(
        "{why}; say some of: up servers webhook calls burst jobs rest workers siege lists grown soak, --quick, --json FILE"
    );
    std::process::exit(USAGE)
}
