//! The weather at the gateway in words: who may call now, who is told to wait and why, and how it is told to others.

use std::time::Duration;

use domain::gateway_rate::GatewayRate;

/// Which calls go first when the budget is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A customer waits for a page: new links, the token that they need.
    Now,
    /// A customer may wait for the result: looks on fresh hints. They leave a quarter of the burst to links, but for one look
    /// in eight turns, so that many links do not keep payments from being confirmed.
    Soon,
    /// Nobody waits: looks of the schedule and back, an audit's, `doctor`'s. They leave a quarter of the burst alone.
    Later,
}

/// What came of a call, as far as the breaker is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The gateway answered, be it no.
    Answered,
    /// It did not, or nothing that makes sense, or it does not admit us. The cause is for the operator, without secrets.
    Failed(&'a str),
    /// It says nothing about the gateway.
    Neither,
}

/// What keeps a call from leaving.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Our own budget of calls is used up.
    #[error("the budget of gateway calls is used up")]
    Budget,
    /// The gateway has asked one of our processes for patience.
    #[error("the gateway has asked us to wait")]
    RetryAfter,
    /// The breaker is open: the gateway failed too often in a row.
    #[error("the gateway has failed several times in a row: {cause}")]
    Breaker {
        /// The last failure that was counted.
        cause: String,
    },
    /// An operator has closed the gateway.
    #[error("an operator has closed the gateway; `tasdiq weather open` opens it")]
    Operator,
}

impl Obstacle {
    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Obstacle::Budget => "budget",
            Obstacle::RetryAfter => "retry_after",
            Obstacle::Breaker { .. } => "breaker",
            Obstacle::Operator => "operator",
        }
    }
}

/// A call that may not leave now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no call to the gateway for {} ms: {obstacle}", retry_after.as_millis())]
pub struct HeldBack {
    /// Why.
    pub obstacle: Obstacle,
    /// When to ask again. Those who are told so one after the other are told different times.
    pub retry_after: Duration,
}

/// The right to make one call, and the duty to tell what came of it ([`super::Coordination::settle`]).
#[derive(Debug)]
pub struct Pass {
    /// Random, of the one call that tries whether the gateway is back.
    pub(super) probe: Option<String>,
    /// Given by this process alone, because Redis is away.
    pub(super) is_alone: bool,
}

impl Pass {
    /// Whether everybody else waits for what comes of this call. It should not take longer than [`PROBE_WITHIN`].
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }
}

/// So long a probe may take; for a while longer nobody else probes.
pub const PROBE_WITHIN: Duration = Duration::from_secs(8);

/// What an operator has said; it holds until somebody says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatorsWord {
    /// Instead of the configured budget.
    pub rate: Option<GatewayRate>,
    /// Whether no call may leave.
    pub is_closed: bool,
    /// When the gateway was last opened by hand, epoch milliseconds; a new moment closes an open breaker.
    pub opened_at_ms: Option<i64>,
    /// When the patience that the gateway had asked for was last overridden, epoch milliseconds; a new moment ends it.
    pub overridden_at_ms: Option<i64>,
}

/// The weather as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The budget that the process was configured with; `None` is unlimited.
    pub configured: Option<GatewayRate>,
    /// The budget in force.
    pub rate: Option<GatewayRate>,
    /// Whether an operator has closed the gateway.
    pub is_closed: bool,
    /// Whether this is what all processes see; without Redis it is this one's alone.
    pub is_shared: bool,
    /// The breaker.
    pub breaker: BreakerView,
    /// How long the gateway's wish for patience holds yet.
    pub told_for: Option<Duration>,
}

/// Whether calls pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All of them.
    Closed,
    /// None.
    Open,
    /// One, which tries whether the gateway is back.
    Probing,
}

impl State {
    /// All there are.
    pub const ALL: [State; 3] = [State::Closed, State::Open, State::Probing];

    /// Its name in metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open => "open",
            State::Probing => "probing",
        }
    }
}

/// A breaker as somebody sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerView {
    /// Whether calls pass.
    pub state: State,
    /// How long ago it opened.
    pub opened_ago: Option<Duration>,
    /// How long it lets nobody through yet.
    pub opens_in: Duration,
    /// The failure that opened it, or that its last probe met.
    pub cause: String,
}

impl View {
    /// Whether somebody should be told at once that `self` is no longer `other`: more has changed than time.
    pub(super) fn differs_from(&self, other: &View) -> bool {
        let gist = |view: &View| {
            let breaker = (view.breaker.state, view.breaker.cause.clone());
            (view.configured, view.rate, view.is_closed, view.is_shared, breaker, view.told_for.is_some())
        };
        gist(self) != gist(other)
    }
}
