//! The question whether a call may leave, and the two answers.

use std::time::Duration;

use super::call::{Obstacle, Urgency};
use super::rate_limit::RateLimit;

/// A call that asks to leave.
#[derive(Clone, Debug)]
pub(super) struct CallRequest {
    pub(super) urgency: Urgency,
    pub(super) limit: Option<RateLimit>,
    /// Random; the call's name if it becomes the probe.
    pub(super) name: String,
    pub(super) minds_breaker: bool,
}

/// The call may leave after `wait`.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) wait: Duration,
    pub(super) probe: Option<String>,
    pub(super) is_alone: bool,
}

/// The call may not leave, for `wait` at least.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) obstacle: Obstacle,
    pub(super) wait: Duration,
}
