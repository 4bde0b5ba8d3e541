//! The metrics of a process, under names that dashboards may rely on.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, Opts};

/// A family of counters, registered once. A name registered twice is a defect, seen by the missing metric, and no
/// reason to stop taking payments.
pub fn counter_vec(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    #[allow(clippy::expect_used)] // Names and labels are literals of ours.
    let counters = IntCounterVec::new(Opts::new(name, help), labels).expect("a valid metric name");
    let _ = prometheus::register(Box::new(counters.clone()));
    counters
}

static ORDER_TRANSITIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("tasdiq_order_transitions_total", "Orders that entered a status, by this process.", &["status"])
});

/// Orders that entered a status, by this process.
pub fn order_transitions() -> &'static IntCounterVec {
    &ORDER_TRANSITIONS
}
