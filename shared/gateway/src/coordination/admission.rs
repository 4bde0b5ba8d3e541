//! The rules that decide whether a call to the gateway may leave, inside one process: `Retry-After`, circuit breaker and
//! rate limit together. They are a pure function of the events and their times.
//!
//! `admission.lua` has the same rules between processes: a change here is a change there, and a property test compares the
//! two. One state machine for both would need a compare-and-set on Redis: two round trips, one call after the other. The
//! script takes one round trip for many calls at once.

use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Breaker;
use super::call::{CallOutcome, Obstacle};
use super::decision::{CallRequest, Denied, Granted};
use super::rate_limit::Bucket;
use super::view::BreakerView;

/// The state on which the next call is decided.
#[derive(Default, Debug)]
pub(super) struct Admission {
    retry_after_until: Option<Instant>,
    breaker: Breaker,
    bucket: Bucket,
}

impl Admission {
    /// Lets a call leave after a wait, or says why it may not.
    pub(super) fn admit(&mut self, now: Instant, request: &CallRequest) -> Result<Granted, Denied> {
        if let Some(wait) = self.retry_after(now) {
            return Err(Denied { obstacle: Obstacle::RetryAfter, wait });
        }
        let is_probe = match self.breaker.ask(now) {
            Ok(is_probe) => is_probe && request.minds_breaker,
            Err(wait) if request.minds_breaker => {
                return Err(Denied { obstacle: Obstacle::Breaker { cause: self.breaker.view(now).cause }, wait });
            }
            Err(_) => false,
        };
        let wait = match request.limit {
            None => Duration::ZERO,
            Some(limit) => self
                .bucket
                .take(limit, request.urgency, now)
                .map_err(|wait| Denied { obstacle: Obstacle::RateLimit, wait })?,
        };
        let probe = is_probe.then(|| request.name.clone());
        if is_probe {
            self.breaker.begin_probe(&request.name, now + wait);
        }
        Ok(Granted { wait, probe, is_alone: true })
    }

    /// Counts the result of a call.
    pub(super) fn settle(&mut self, now: Instant, probe: Option<&str>, outcome: CallOutcome<'_>) {
        self.breaker.settle(now, probe, outcome);
    }

    /// Lets no call leave for so long. A shorter time than one that was asked for before changes nothing.
    pub(super) fn begin_retry_after(&mut self, now: Instant, wait: Duration) {
        let until = now + wait;
        self.retry_after_until = Some(self.retry_after_until.map_or(until, |before| before.max(until)));
    }

    /// Forgets the gateway's `Retry-After`.
    pub(super) fn end_retry_after(&mut self) {
        self.retry_after_until = None;
    }

    /// Closes the breaker.
    pub(super) fn reset_breaker(&mut self) {
        self.breaker = Breaker::default();
    }

    /// The time that is left of a `Retry-After`, and the breaker.
    pub(super) fn view(&self, now: Instant) -> (Option<Duration>, BreakerView) {
        (self.retry_after(now), self.breaker.view(now))
    }

    fn retry_after(&self, now: Instant) -> Option<Duration> {
        self.retry_after_until?.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}
