//! The admission as one process sees it, and the settings that an operator makes at run time.

use std::time::Duration;

use domain::gateway_rate::GatewayRate;

/// The settings that an operator has made; each holds until the operator changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatorSettings {
    /// The rate limit that takes the place of the configured one.
    pub rate: Option<GatewayRate>,
    /// Whether calls are paused.
    pub is_paused: bool,
    /// When the breaker was last reset by hand, epoch milliseconds. A new time closes an open breaker.
    pub breaker_reset_at_ms: Option<i64>,
    /// When a `Retry-After` was last overridden, epoch milliseconds. A new time ends the waiting.
    pub retry_after_overridden_at_ms: Option<i64>,
}

/// The admission as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionView {
    /// The rate limit that the process was configured with; `None` is unlimited.
    pub configured: Option<GatewayRate>,
    /// The rate limit in force.
    pub rate: Option<GatewayRate>,
    /// Whether an operator has paused the calls.
    pub is_paused: bool,
    /// Whether all processes see the same. Without Redis each process has its own breaker and limit.
    pub is_shared: bool,
    /// The circuit breaker.
    pub breaker: BreakerView,
    /// The time that is left of the gateway's `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// The state of the circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All calls leave.
    Closed,
    /// No call leaves.
    Open,
    /// One call, the probe, tests whether the gateway works again.
    Probing,
}

impl BreakerState {
    /// All states.
    pub const ALL: [BreakerState; 3] = [BreakerState::Closed, BreakerState::Open, BreakerState::Probing];

    /// Its name in metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::Probing => "probing",
        }
    }
}

/// The circuit breaker at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerView {
    /// Its state.
    pub state: BreakerState,
    /// How long ago it opened.
    pub opened_ago: Option<Duration>,
    /// The time until it lets the next call through.
    pub opens_in: Duration,
    /// The failure that opened it, or the failure of its last probe.
    pub cause: String,
}

impl AdmissionView {
    /// Whether operators should see the change at once: more has changed than the times.
    pub(super) fn differs_from(&self, other: &AdmissionView) -> bool {
        let gist = |view: &AdmissionView| {
            let breaker = (view.breaker.state, view.breaker.cause.clone());
            (view.configured, view.rate, view.is_paused, view.is_shared, breaker, view.retry_after.is_some())
        };
        gist(self) != gist(other)
    }
}
