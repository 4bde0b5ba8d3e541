//! Counters of what this process writes.

use std::sync::LazyLock;

use prometheus::IntCounterVec;

use domain::refund::RefundState;
use telemetry::metrics::counter_vec;

static ORDER_TRANSITIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("tasdiq_order_transitions_total", "Orders that entered a status, by this process.", &["status"])
});

/// Orders that entered a status, by this process. Final statuses are counted only here: counting their rows would scan
/// a table that grows for ever.
pub(crate) fn order_transitions() -> &'static IntCounterVec {
    &ORDER_TRANSITIONS
}

static REFUNDS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let refunds = counter_vec("tasdiq_refunds_total", "Refunds that entered a state, by this process.", &["state"]);
    for state in RefundState::ALL {
        refunds.with_label_values(&[state.as_str()]);
    }
    refunds
});

/// Refunds that entered a state, by this process: `open` (asked for), `done`, `refused`, `review`.
pub(crate) fn refunds() -> &'static IntCounterVec {
    &REFUNDS
}

static CLOCK_STEPS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let steps = counter_vec(
        "tasdiq_clock_steps_total",
        "Steps of the database's clock that this process has seen: it was set.",
        &["direction"],
    );
    // An alert on a rate needs series that start at zero.
    for direction in ["forward", "back"] {
        steps.with_label_values(&[direction]);
    }
    steps
});

/// Steps of the database's clock: `forward`, `back`.
pub fn clock_steps() -> &'static IntCounterVec {
    &CLOCK_STEPS
}
