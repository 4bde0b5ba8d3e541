//! The sandbox's clock. It can be put forward, so that an hour of waiting is one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Moments further ahead could no longer be added.
pub(crate) const FURTHEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The clock for the end of tokens and drafts. Clones share one clock; after a restart it has the machine's time again.
#[derive(Clone, Debug, Default)]
pub(crate) struct SandboxClock {
    forward_ms: Arc<AtomicU64>,
}

impl SandboxClock {
    /// Puts the clock forward, at most to [`FURTHEST`].
    pub(crate) fn advance(&self, step: Duration) {
        let furthest = as_ms(FURTHEST);
        let step = as_ms(step.min(FURTHEST));
        let forward = |ms: u64| Some(ms.saturating_add(step).min(furthest));
        // The closure always returns a new value.
        let _ = self.forward_ms.fetch_update(Ordering::AcqRel, Ordering::Acquire, forward);
    }

    /// How far it is ahead of the machine's clock.
    pub(crate) fn forward(&self) -> Duration {
        Duration::from_millis(self.forward_ms.load(Ordering::Acquire))
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        now_ms().saturating_add(i64::try_from(self.forward().as_millis()).unwrap_or(i64::MAX))
    }

    /// The current moment, for durations that must not follow a step of the machine's clock.
    pub(crate) fn now(&self) -> Instant {
        Instant::now() + self.forward()
    }
}

fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or_default()
}
