//! The metrics of a worker.

use std::sync::LazyLock;
use std::time::Duration;

use domain::job::JobKind;
use domain::order::PaymentType;
use prometheus::{HistogramVec, IntCounterVec};
use telemetry::metrics::{counter_vec, histogram_vec};

const BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

static JOBS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter_vec("tasdiq_jobs_total", "Runs of jobs by how they ended.", &["kind", "outcome"]));

static JOB_SECONDS: LazyLock<HistogramVec> =
    LazyLock::new(|| histogram_vec("tasdiq_job_seconds", "How long runs of jobs took.", &["kind"], BUCKETS));

static UNPROVEN: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_callbacks_unproven_total",
        "Stored callbacks whose signature no longer fits, by gateway.",
        &["gateway"],
    )
});

pub(crate) fn count_job(kind: &str, outcome: &str) {
    JOBS.with_label_values(&[kind, outcome]).inc();
}

pub(crate) fn observe_job(kind: JobKind, took: Duration) {
    JOB_SECONDS.with_label_values(&[kind.as_str()]).observe(took.as_secs_f64());
}

pub(crate) fn count_unproven_callback(gateway: PaymentType) {
    UNPROVEN.with_label_values(&[gateway.as_str()]).inc();
}
