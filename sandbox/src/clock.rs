//! The sandbox's time, which can be put forward: an hour of waiting is one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::transaction::now_ms;

/// More would leave the range in which moments can be added up.
pub(crate) const FURTHEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The time by which tokens and drafts end. Clones are the same clock; a restart forgets how far it was put forward.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    forward_ms: Arc<AtomicU64>,
}

impl Clock {
    /// Puts the clock forward, to [`FURTHEST`] at most.
    pub(crate) fn advance(&self, step: Duration) {
        let furthest = as_ms(FURTHEST);
        let step = as_ms(step.min(FURTHEST));
        let forward = |ms: u64| Some(ms.saturating_add(step).min(furthest));
        // The closure always gives a new value.
        let _ = self.forward_ms.fetch_update(Ordering::AcqRel, Ordering::Acquire, forward);
    }

    /// How far it is ahead of the machine's.
    pub(crate) fn forward(&self) -> Duration {
        Duration::from_millis(self.forward_ms.load(Ordering::Acquire))
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        now_ms().saturating_add(i64::try_from(self.forward().as_millis()).unwrap_or(i64::MAX))
    }

    /// The present moment, for what must not follow a step of the machine's clock.
    pub(crate) fn now(&self) -> Instant {
        Instant::now() + self.forward()
    }
}

fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
