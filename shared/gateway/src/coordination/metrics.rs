//! Metrics of the admission of calls to the gateway.

use std::sync::LazyLock;

use domain::gateway_rate::GatewayRate;
use prometheus::{IntCounterVec, IntGaugeVec};
use telemetry::metrics::{counter_vec, gauge_vec};

use super::account::CoordinatedAccount;
use super::call::Obstacle;
use super::view::{AdmissionView, BreakerState};

/// Labels: `gateway` and the reason: `rate_limit`, `retry_after`, `breaker`, `operator`. The job runs again later, so one
/// piece of work may be counted many times.
static GATEWAY_CALLS_HELD_BACK: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_gateway_calls_held_back_total",
        "Calls to a gateway that did not leave, by gateway and reason.",
        &["gateway", "by"],
    )
});

/// Creates the series of this account's gateway: an alert on a rate needs series that begin at zero.
pub(super) fn begin_at_zero(account: &CoordinatedAccount) {
    for by in ["rate_limit", "retry_after", "breaker", "operator"] {
        GATEWAY_CALLS_HELD_BACK.with_label_values(&[account.gateway_label(), by]);
    }
}

/// Counts a call that did not leave.
pub(super) fn count_held_back(account: &CoordinatedAccount, obstacle: &Obstacle) {
    GATEWAY_CALLS_HELD_BACK.with_label_values(&[account.gateway_label(), obstacle.name()]).inc();
}

static GATEWAY_BREAKER: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_gateway_breaker",
        "1 for the state of an account's circuit breaker, as this process sees it.",
        &["gateway", "account", "state"],
    )
});

static GATEWAY_RATE_LIMIT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_gateway_rate_limit",
        "The rate limit of an account's calls in force: calls per second, and burst; absent if it is unlimited.",
        &["gateway", "account", "part"],
    )
});

static GATEWAY_PAUSED: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_gateway_paused",
        "1 while an operator has paused the calls of an account.",
        &["gateway", "account"],
    )
});

static GATEWAY_RETRY_AFTER: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "tasdiq_gateway_retry_after_seconds",
        "The time that is left of the gateway's Retry-After for an account; 0 if there is none.",
        &["gateway", "account"],
    )
});

/// Sets the gauges of an account to its admission as this process sees it.
pub(super) fn gauge_admission(account: &CoordinatedAccount, view: &AdmissionView) {
    let (gateway, account) = (account.gateway_label(), account.identity().0.as_str());
    for state in BreakerState::ALL {
        let breaker = GATEWAY_BREAKER.with_label_values(&[gateway, account, state.as_str()]);
        breaker.set((view.breaker.state == state).into());
    }
    let parts = |rate: GatewayRate| [("per_second", rate.per_second), ("burst", rate.burst)];
    match view.rate {
        Some(rate) => {
            for (part, value) in parts(rate) {
                GATEWAY_RATE_LIMIT.with_label_values(&[gateway, account, part]).set(value.into());
            }
        }
        None => {
            for part in ["per_second", "burst"] {
                // There is none to remove where it was unlimited before, too.
                let _ = GATEWAY_RATE_LIMIT.remove_label_values(&[gateway, account, part]);
            }
        }
    }
    GATEWAY_PAUSED.with_label_values(&[gateway, account]).set(view.is_paused.into());
    let retry_after = view.retry_after.map_or(0, |left| left.as_millis().div_ceil(1_000));
    let gauge = GATEWAY_RETRY_AFTER.with_label_values(&[gateway, account]);
    gauge.set(i64::try_from(retry_after).unwrap_or(i64::MAX));
}
