//! What is counted and shown of the weather at the gateway.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec};
use telemetry::metrics::{counter_vec, gauge_vec};

use super::weather::{State, View};

static GATEWAY_CALLS_HELD_BACK: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let held_back = counter_vec(
        "tasdiq_gateway_calls_held_back_total",
        "Calls to the gateway that did not leave, by what held them back.",
        &["by"],
    );
    for by in ["budget", "retry_after", "breaker", "operator"] {
        held_back.with_label_values(&[by]);
    }
    held_back
});

/// Calls that did not leave, by what held them back: `budget`, `retry_after`, `breaker`, `operator`. A job's work is then
/// done later, so one piece of work may be counted many times.
pub(crate) fn gateway_calls_held_back() -> &'static IntCounterVec {
    &GATEWAY_CALLS_HELD_BACK
}

static GATEWAY_BREAKER: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_gateway_breaker",
        "1 for the state that the gateway's breaker is in, as this process sees it.",
        &["state"],
    )
});

static GATEWAY_BUDGET: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_gateway_budget",
        "The budget of gateway calls in force: calls per second, and at once; nothing if it is unlimited.",
        &["part"],
    )
});

static GATEWAY_CLOSED: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge_vec("tasdiq_gateway_closed", "1 while an operator lets no call to the gateway leave.", &[]));

static GATEWAY_PATIENCE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec("tasdiq_gateway_retry_after_seconds", "How long the gateway's wish for patience holds yet.", &[])
});

/// Tells the weather at the gateway as this process sees it.
pub fn gauge_weather(view: &View) {
    let none: [&str; 0] = [];
    for state in State::ALL {
        GATEWAY_BREAKER.with_label_values(&[state.as_str()]).set((view.breaker.state == state).into());
    }
    match view.rate {
        Some(rate) => {
            GATEWAY_BUDGET.with_label_values(&["per_second"]).set(rate.per_second.into());
            GATEWAY_BUDGET.with_label_values(&["burst"]).set(rate.burst.into());
        }
        None => GATEWAY_BUDGET.reset(),
    }
    GATEWAY_CLOSED.with_label_values(&none).set(view.is_closed.into());
    let told_for = view.told_for.map_or(0, |told_for| told_for.as_millis().div_ceil(1_000));
    GATEWAY_PATIENCE.with_label_values(&none).set(i64::try_from(told_for).unwrap_or(i64::MAX));
}
