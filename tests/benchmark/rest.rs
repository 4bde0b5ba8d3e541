//! The needs of the idle program: the time of a start, memory and processor at rest, and room on the disk.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::json;

use super::Extent;
use super::load::Figures;
use super::report::Section;
use super::setup::{Setup, safe_servers};
use super::shop::progress;
use super::usage::{Usage, Who, memory_kib, mib};
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::role::{RunningRole, client};
use crate::support::wait::PATIENCE;

/// Measures all of it.
pub(super) async fn measure(extent: Extent) -> Section {
    progress("the program", "starting and resting");
    let mut table = "| what | start to its first answer, p50 ms | longest ms | memory MiB | processor, % of a core |\n\
                     |---|---:|---:|---:|---:|\n"
        .to_owned();
    let mut json = Vec::new();
    let (up, api, worker) = starts(extent.starts).await;
    let mut line = |what: &str, starts: Option<&Figures>, memory: Option<u64>, share: Option<u128>| {
        let [p50, longest] = [50, 100].map(|part| starts.map_or("–".to_owned(), |starts| starts.percentile_ms(part)));
        let memory_text = memory.map_or("–".to_owned(), mib);
        let share_text =
            share.map_or("–".to_owned(), |hundredths| format!("{}.{:02}", hundredths / 100, hundredths % 100));
        table.push_str(&format!("| {what} | {p50} | {longest} | {memory_text} | {share_text} |\n"));
        json.push(json!({
            "what": what, "start_p50_ms": p50, "start_longest_ms": longest, "memory_kib": memory,
            "processor_hundredths_of_percent": share.map(|share| u64::try_from(share).unwrap_or(u64::MAX)),
        }));
    };

    let resting = Resting::of(Setup::embedded().await, extent.rest).await;
    line("`tasdiq up`", Some(&up), resting.memory(Who::Up), resting.share(&[Who::Up]));
    let resting = Resting::of(Setup::servers(2).await, extent.rest).await;
    line("API", Some(&api), resting.memory(Who::Api), resting.share(&[Who::Api]));
    line("worker", Some(&worker), resting.memory(Who::Worker), None);
    line("all roles", None, None, resting.share(&[Who::Api, Who::Worker]));
    line("Redis and PostgreSQL for them", None, None, resting.share(&[Who::Redis, Who::Postgres]));

    let (size, stripped) = sizes();
    let size_text = |bytes: u64| format!("{} MiB", mib(bytes / 1_024));
    table.push_str(&format!(
        "\n| what | its file | without symbols |\n|---|---:|---:|\n| the program | {} |",
        size_text(size)
    ));
    table.push_str(&format!(" {} |\n", stripped.map_or("–".to_owned(), size_text)));
    json.push(json!({ "what": "the program", "bytes": size, "bytes_stripped": stripped }));
    Section::Table { title: "Starting, resting, and how large it is".to_owned(), table, json }
}

/// A setup at rest.
struct Resting {
    used: Vec<(Who, Duration)>,
    memory: Vec<(Who, u64)>,
    time: Duration,
}

impl Resting {
    async fn of(setup: Setup, time: Duration) -> Self {
        // By then the work after a start is done.
        tokio::time::sleep(time / 5).await;
        let processes = setup.processes();
        let before = Usage::now(&processes);
        tokio::time::sleep(time).await;
        let used = Usage::now(&processes).since(&before);
        Resting { used, memory: processes.iter().map(|(who, id)| (*who, memory_kib(*id))).collect(), time }
    }

    fn memory(&self, of: Who) -> Option<u64> {
        self.memory.iter().filter(|(who, _)| *who == of).map(|(_, kib)| *kib).max()
    }

    /// The use of processors in hundredths of a percent of one core.
    fn share(&self, of: &[Who]) -> Option<u128> {
        let used: u128 = self.used.iter().filter(|(who, _)| of.contains(who)).map(|(_, time)| time.as_micros()).sum();
        Some(used * 10_000 / self.time.as_micros().max(1))
    }
}

/// The times from the start of a program to its first answer, with existing tables: `up`, an API, a worker.
async fn starts(count: usize) -> (Figures, Figures, Figures) {
    let (http, mut ups, mut apis, mut workers) = (client(), Vec::new(), Vec::new(), Vec::new());
    let data_dir = tempfile::tempdir().unwrap();
    // The first one makes the tables.
    for _ in 0..=count {
        let [address, sandbox] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let environment = [
            ("TASDIQ_DATA_DIR", data_dir.path().to_str().unwrap()),
            ("TASDIQ_LISTEN", &address),
            ("TASDIQ_SANDBOX_LISTEN", &sandbox),
        ];
        let began = Instant::now();
        let mut up = RunningRole::new(Program::start(&[], &environment), &address);
        ups.push(first_answer(&http, &up, began).await);
        up.program.signal("TERM");
        up.program.wait_exit(PATIENCE).await;
    }
    ups.remove(0);
    let (_postgres, installation) = safe_servers().await;
    for _ in 0..count {
        let began = Instant::now();
        let api = installation.begin_api(0);
        apis.push(first_answer(&http, &api.role, began).await);
        let began = Instant::now();
        let worker = installation.begin_worker(&[], &[]);
        workers.push(first_answer(&http, &worker, began).await);
    }
    (Figures::of(ups), Figures::of(apis), Figures::of(workers))
}

/// The time until the program answers that it is ready.
async fn first_answer(http: &Client, role: &RunningRole, began: Instant) -> Duration {
    let url = format!("{}/readyz", role.url);
    while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
        assert!(began.elapsed() < PATIENCE, "the program does not become ready: {}", role.program.output());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    began.elapsed()
}

/// The size of the program's file in bytes, and its size without symbols if there is a `strip`.
fn sizes() -> (u64, Option<u64>) {
    let size = |path: &str| fs::metadata(path).map(|file| file.len());
    let folder = tempfile::tempdir().unwrap();
    let stripped = folder.path().join("stripped");
    let is_stripped = Command::new("strip").arg("-o").arg(&stripped).arg(Program::FILE).status();
    let stripped = is_stripped.is_ok_and(|status| status.success()).then(|| fs::metadata(&stripped).unwrap().len());
    (size(Program::FILE).unwrap(), stripped)
}
