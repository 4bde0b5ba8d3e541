//! The places of calls that wait for the rate limit, and how long calls wait.

use std::time::Duration;

use tokio::sync::Semaphore;

use super::rate_limit::MAX_WAITING;

/// The places of calls that wait for the rate limit, and the lock that lets one of them ask at a time.
#[derive(Debug)]
pub(super) struct WaitingCalls {
    pub(super) places: Semaphore,
    pub(super) first: tokio::sync::Mutex<()>,
}

impl Default for WaitingCalls {
    fn default() -> Self {
        WaitingCalls { places: Semaphore::new(MAX_WAITING), first: tokio::sync::Mutex::default() }
    }
}

/// A waiting inquiry asks again after this: it may go like a link meanwhile.
pub(super) const INQUIRE_AGAIN: Duration = Duration::from_millis(50);

/// How long calls wait while an operator has paused them; the operator may resume them at any moment.
pub(super) const PAUSED: Duration = Duration::from_secs(2);
pub(super) const PAUSED_LATE: Duration = Duration::from_secs(15);
