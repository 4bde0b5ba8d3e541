//! Counts of jobs that end with their worker.

use std::sync::LazyLock;

use domain::job::JobKind;
use prometheus::IntCounterVec;
use telemetry::metrics::counter_vec;

static JOB_CRASHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let crashes = counter_vec(
        "tasdiq_job_crashes_total",
        "Leases that ran out with their worker, as counted by this process's relay.",
        &["kind"],
    );
    // An alert on a rate needs series that begin at zero.
    for kind in JobKind::ALL {
        crashes.with_label_values(&[kind.as_str()]);
    }
    crashes
});

/// Leases that ran out, by the job's kind. Each is counted by the one relay that found it.
pub(super) fn job_crashes() -> &'static IntCounterVec {
    &JOB_CRASHES
}
