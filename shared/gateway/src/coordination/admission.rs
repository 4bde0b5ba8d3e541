//! The rules of who may call the gateway, inside one process: patience, breaker and budget together, a pure function of what
//! happened and when.
//!
//! `weather.lua` has the same rules between processes, and a property test holds the two against each other: a change here is
//! a change there. One state machine for both would need a compare-and-set on Redis: two round trips, one call after the
//! other, where the script takes one round trip for many calls at once.

use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Breaker;
use super::budget::Bucket;
use super::turn::{Asked, Blocked, Turn};
use super::weather::{BreakerView, Obstacle, Outcome};

/// What decides about the next call.
#[derive(Default, Debug)]
pub(super) struct Admission {
    told_until: Option<Instant>,
    breaker: Breaker,
    bucket: Bucket,
}

impl Admission {
    /// Lets a call leave, after its wait for a turn; or says what is in its way.
    pub(super) fn admit(&mut self, now: Instant, asked: &Asked) -> Result<Turn, Blocked> {
        if let Some(wait) = self.told_for(now) {
            return Err(Blocked { obstacle: Obstacle::RetryAfter, wait });
        }
        let is_probe = match self.breaker.ask(now) {
            Ok(is_probe) => is_probe && asked.minds_breaker,
            Err(wait) if asked.minds_breaker => {
                return Err(Blocked { obstacle: Obstacle::Breaker { cause: self.breaker.view(now).cause }, wait });
            }
            Err(_) => false,
        };
        let wait = match asked.pace {
            None => Duration::ZERO,
            Some(pace) => self
                .bucket
                .take_turn(pace, asked.urgency, now)
                .map_err(|wait| Blocked { obstacle: Obstacle::Budget, wait })?,
        };
        let probe = is_probe.then(|| asked.name.clone());
        if is_probe {
            self.breaker.begin_probe(&asked.name, now + wait);
        }
        Ok(Turn { wait, probe, is_alone: true })
    }

    /// Takes note of what came of a call.
    pub(super) fn settle(&mut self, now: Instant, probe: Option<&str>, outcome: Outcome<'_>) {
        self.breaker.settle(now, probe, outcome);
    }

    /// Lets nobody call for so long.
    pub(super) fn tell(&mut self, now: Instant, patience: Duration) {
        let until = now + patience;
        self.told_until = Some(self.told_until.map_or(until, |told| told.max(until)));
    }

    /// Forgets that the gateway asked for patience.
    pub(super) fn end_patience(&mut self) {
        self.told_until = None;
    }

    /// Closes the breaker.
    pub(super) fn reset_breaker(&mut self) {
        self.breaker = Breaker::default();
    }

    /// How long nobody may call yet, and how the breaker is.
    pub(super) fn view(&self, now: Instant) -> (Option<Duration>, BreakerView) {
        (self.told_for(now), self.breaker.view(now))
    }

    fn told_for(&self, now: Instant) -> Option<Duration> {
        self.told_until?.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}
