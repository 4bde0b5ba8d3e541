//! The time from the commit that stages a job to the job's begin, with nothing else to do.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::id::CallbackId;
use domain::job::Job;
use sqlx::{AssertSqlSafe, Executor};
use store::jobs;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use tracing::Metadata;
use tracing::field::{Field, Visit};
use tracing::span::Attributes;

use super::{Behind, Installation};
use crate::support::listening::{TraceListener, listen};
use crate::support::wait::PATIENCE;

/// Between two jobs.
const EVERY: Duration = Duration::from_millis(23);

/// The jobs of this measurement have numbers from here on, and no other jobs of this process do.
const FIRST_JOB: i64 = 7_000_000_000;

/// Reports when a job begins: a worker then opens a span for it.
struct Beginnings(UnboundedSender<Instant>);

impl TraceListener for Beginnings {
    fn wants(&self, what: &Metadata<'_>) -> bool {
        what.is_span() && what.name() == "job"
    }

    fn span(&self, span: &Attributes<'_>) {
        let now = Instant::now();
        let mut number = JobNumber(0);
        span.record(&mut number);
        if number.0 >= FIRST_JOB {
            // An error only means that no test listens.
            let _ = self.0.send(now);
        }
    }
}

/// The value of `job.id` in a span.
struct JobNumber(i64);

impl Visit for JobNumber {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "job.id" {
            self.0 = format!("{value:?}").parse().unwrap_or_default();
        }
    }
}

/// The times of this many jobs, one at a time, shortest first. They run from the return of the call that commits, some
/// microseconds after the commit.
pub(crate) async fn measure(behind: Behind, count: i64) -> Vec<Duration> {
    let (sender, mut beginnings) = unbounded_channel();
    listen(Arc::new(Beginnings(sender)));
    let mut installation = Installation::start(behind, 64).await;
    let numbers = format!("update id_blocks set next = {FIRST_JOB} where name = 'jobs'");
    installation.filling.execute(AssertSqlSafe(numbers)).await.unwrap();
    let stop = CancellationToken::new();
    let mut parts = installation.run(&stop);
    let mut took = Vec::new();
    // The first jobs do not count. A worker also seeds a `sweep`.
    for number in -20..count {
        tokio::time::sleep(EVERY).await;
        while beginnings.try_recv().is_ok() {}
        let job = Job::ProcessCallback { callback_id: CallbackId(1_000 + number) };
        jobs::stage_now(&installation.store, job).await.unwrap();
        let committed = Instant::now();
        let begun = tokio::time::timeout(PATIENCE, beginnings.recv()).await.expect("the job begins").unwrap();
        if number >= 0 {
            took.push(begun.saturating_duration_since(committed));
        }
    }
    stop.cancel();
    while parts.join_next().await.is_some() {}
    took.sort_unstable();
    took
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_job_begins_long_before_any_timer_of_the_relay() {
        for behind in Behind::ALL {
            let took = measure(behind, 10).await;

            // Without the push or the wake its grace would end first, after five seconds.
            assert!(took[5] < Duration::from_millis(500), "{behind:?}: {took:?}");
        }
    }
}
