//! Metrics of the admission of calls to the gateway.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec};
use telemetry::metrics::{counter_vec, gauge_vec};

use super::view::{AdmissionView, BreakerState};

static GATEWAY_CALLS_HELD_BACK: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let held_back = counter_vec(
        "tasdiq_gateway_calls_held_back_total",
        "Calls to the gateway that did not leave, by the reason.",
        &["by"],
    );
    for by in ["rate_limit", "retry_after", "breaker", "operator"] {
        held_back.with_label_values(&[by]);
    }
    held_back
});

/// Calls that did not leave, by the reason: `rate_limit`, `retry_after`, `breaker`, `operator`. The job runs again later, so
/// one piece of work may be counted many times.
pub(crate) fn gateway_calls_held_back() -> &'static IntCounterVec {
    &GATEWAY_CALLS_HELD_BACK
}

static GATEWAY_BREAKER: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_gateway_breaker",
        "1 for the state of the gateway's circuit breaker, as this process sees it.",
        &["state"],
    )
});

static GATEWAY_RATE_LIMIT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_gateway_rate_limit",
        "The rate limit of gateway calls in force: calls per second, and burst; absent if it is unlimited.",
        &["part"],
    )
});

static GATEWAY_PAUSED: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge_vec("tasdiq_gateway_paused", "1 while an operator has paused calls to the gateway.", &[]));

static GATEWAY_RETRY_AFTER: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_gateway_retry_after_seconds",
        "The time that is left of the gateway's Retry-After; 0 if there is none.",
        &[],
    )
});

/// Sets the gauges to the admission as this process sees it.
pub fn gauge_admission(view: &AdmissionView) {
    let none: [&str; 0] = [];
    for state in BreakerState::ALL {
        GATEWAY_BREAKER.with_label_values(&[state.as_str()]).set((view.breaker.state == state).into());
    }
    match view.rate {
        Some(rate) => {
            GATEWAY_RATE_LIMIT.with_label_values(&["per_second"]).set(rate.per_second.into());
            GATEWAY_RATE_LIMIT.with_label_values(&["burst"]).set(rate.burst.into());
        }
        None => GATEWAY_RATE_LIMIT.reset(),
    }
    GATEWAY_PAUSED.with_label_values(&none).set(view.is_paused.into());
    let retry_after = view.retry_after.map_or(0, |left| left.as_millis().div_ceil(1_000));
    GATEWAY_RETRY_AFTER.with_label_values(&none).set(i64::try_from(retry_after).unwrap_or(i64::MAX));
}
