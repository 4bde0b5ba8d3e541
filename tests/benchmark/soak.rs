//! A long steady load: does memory grow, and what does Redis keep at the end?

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Extent;
use super::load::at_a_rate;
use super::report::Section;
use super::setup::Setup;
use super::shop::{confirm_and_see_paid, progress};
use super::usage::{Who, memory_kib, mib};
use crate::support::wait::{PATIENCE, wait_until};

/// Orders a second that are made, paid and seen as paid.
const PAYMENTS_PER_SECOND: u32 = 50;

/// How often memory is measured.
const SAMPLES: u32 = 10;

/// Makes payments at a steady rate. Measures memory now and then, and once more when the queues are empty.
pub(super) async fn measure(extent: Extent) -> Section {
    let setup = Arc::new(Setup::servers(2).await);
    progress(setup.name(), &format!("{PAYMENTS_PER_SECOND} payments a second for {:?}", extent.soak));
    // The first payment is not measured.
    confirm_and_see_paid(Arc::clone(&setup)).await;
    let mut samples = Samples::default();
    samples.take(&setup, "before").await;
    let began = Instant::now();
    let count = usize::try_from(extent.soak.as_millis() * u128::from(PAYMENTS_PER_SECOND) / 1_000).unwrap();
    let by = Arc::clone(&setup);
    let paying = tokio::spawn(at_a_rate(PAYMENTS_PER_SECOND, count, move |_| {
        let setup = Arc::clone(&by);
        async move {
            confirm_and_see_paid(setup).await;
        }
    }));
    for sample in 1..=SAMPLES {
        tokio::time::sleep_until((began + extent.soak * sample / SAMPLES).into()).await;
        let seconds = began.elapsed().as_secs();
        samples.take(&setup, &format!("{}:{:02} min", seconds / 60, seconds % 60)).await;
    }
    let paid = paying.await.expect("every payment is seen").len();
    assert_eq!(paid, count);
    let Setup::Servers { installation, .. } = &*setup else { unreachable!("these are servers") };
    wait_until("empty queues", PATIENCE, async || {
        let waiting = installation.number("select count(*) from jobs where state in ('enqueued', 'running')").await;
        (waiting == 0).then_some(())
    })
    .await;
    // Buffers of connections are freed after some time.
    tokio::time::sleep((extent.soak / 60).min(Duration::from_secs(10))).await;
    samples.take(&setup, "queues empty").await;
    let title =
        format!("{PAYMENTS_PER_SECOND} payments a second for {} min, {paid} of them", extent.soak.as_secs() / 60);
    Section::Table { title, table: samples.table, json: samples.json }
}

struct Samples {
    table: String,
    json: Vec<serde_json::Value>,
}

impl Default for Samples {
    fn default() -> Self {
        let table = "| after | API MiB | workers MiB | Redis's data, bytes | Redis's memory KiB | jobs in the table |\n\
                     |---|---:|---:|---:|---:|---:|\n";
        Samples { table: table.to_owned(), json: Vec::new() }
    }
}

impl Samples {
    async fn take(&mut self, setup: &Setup, after: &str) {
        let Setup::Servers { installation, .. } = setup else { return };
        let memory = |of: Who| {
            let of = setup.processes().into_iter().filter(move |(who, _)| *who == of);
            of.map(|(_, id)| memory_kib(id)).collect::<Vec<_>>()
        };
        let each = |kib: &[u64]| kib.iter().map(|kib| mib(*kib)).collect::<Vec<_>>().join(" and ");
        let (api, workers) = (memory(Who::Api), memory(Who::Worker));
        let data = installation.redis.data_bytes().await;
        let info: String = installation.redis.command(&["INFO", "memory"]).await;
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse::<u64>().ok());
        let used = used.unwrap_or_default() / 1_024;
        let jobs = installation.number("select count(*) from jobs").await;
        self.table.push_str(&format!("| {after} | {} | {} | {data} | {used} | {jobs} |\n", each(&api), each(&workers)));
        self.json.push(json!({
            "what": "memory in a long load", "after": after, "api_kib": api, "workers_kib": workers,
            "redis_data_bytes": data, "redis_used_kib": used, "jobs": jobs,
        }));
    }
}
