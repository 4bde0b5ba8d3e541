//! Metrics of the log itself.

use std::sync::LazyLock;

use prometheus::IntCounterVec;

use super::lost;
use crate::metrics::counter_vec;

static LOG_LINES_DROPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_log_lines_dropped_total",
        "Log lines of this process that were lost, by cause: no room for them, or the system did not write them.",
        &["cause"],
    )
});

/// Sets the counter of lost lines to the log's own number. The log counts by itself, because it must never wait for a metric.
pub fn count_lost_lines() {
    let lost = lost();
    for (cause, lines) in [("no_room", lost.no_room), ("not_written", lost.not_written)] {
        let counter = LOG_LINES_DROPPED.with_label_values(&[cause]);
        counter.inc_by(lines.saturating_sub(counter.get()));
    }
}
