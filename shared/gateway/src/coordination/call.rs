//! A call to the gateway, as the admission sees it: how urgent it is, why it is held back, and what came of it.

use std::time::Duration;

/// Which calls go first when the rate limit is nearly reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A customer waits for a page: new links, and the token that they need.
    Now,
    /// A customer may wait for the result: inquiries on recent hints. They leave a quarter of the burst to links. One inquiry
    /// in eight calls may go like a link, so that many links do not keep payments from being confirmed.
    Soon,
    /// No customer waits: scheduled and late inquiries, those of an audit and of `doctor`. They leave a quarter of the burst
    /// to the others.
    Later,
}

/// The result of a call, as far as the circuit breaker is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome<'a> {
    /// The gateway answered; a refusal is an answer, too.
    Answered,
    /// The gateway did not answer, sent an unreadable answer, or does not admit us. The cause is for the operator, without
    /// secrets.
    Failed(&'a str),
    /// The result says nothing about the gateway's health.
    Neither,
}

/// The reason why a call may not leave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Our own rate limit is reached.
    #[error("the rate limit of gateway calls is reached")]
    RateLimit,
    /// The gateway sent a `Retry-After` to one of our processes, and that time is not over.
    #[error("the gateway has asked us to wait (Retry-After)")]
    RetryAfter,
    /// The circuit breaker is open: the gateway failed too often in a row.
    #[error("the gateway has failed several times in a row: {cause}")]
    Breaker {
        /// The last failure that was counted.
        cause: String,
    },
    /// An operator has paused the calls.
    #[error("an operator has paused calls to the gateway; `tasdiq gateways resume` lets them leave again")]
    Operator,
}

impl Obstacle {
    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Obstacle::RateLimit => "rate_limit",
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
    /// The reason.
    pub obstacle: Obstacle,
    /// How long to wait before the caller asks again. Callers that are held back at the same time get different times.
    pub retry_after: Duration,
}

/// The longest time that a probe may take. Other calls can become the probe only a little later.
pub const PROBE_WITHIN: Duration = Duration::from_secs(8);
