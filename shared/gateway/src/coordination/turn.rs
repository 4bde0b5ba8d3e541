//! A call that asks for its turn, and what it is told.

use std::time::Duration;

use super::budget::Pace;
use super::weather::{Obstacle, Urgency};

/// A call that wants to leave.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) urgency: Urgency,
    pub(super) pace: Option<Pace>,
    /// Random; the call's name, should it become the probe.
    pub(super) name: String,
    pub(super) minds_breaker: bool,
}

/// When an admitted call may leave.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) wait: Duration,
    pub(super) probe: Option<String>,
    pub(super) is_alone: bool,
}

/// Why a call may not leave, and for how long at least.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) obstacle: Obstacle,
    pub(super) wait: Duration,
}
