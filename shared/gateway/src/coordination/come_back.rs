//! When those who were held back ask again: one after the other, and not all in the moment the way is clear.

use std::time::Duration;

use tokio::time::Instant;

use super::budget::Pace;
use super::weather::Urgency;

/// Those who find a longer line come back at some moment within this.
const LONGEST_LINE: Duration = Duration::from_secs(60);
const LONGEST_LATE_LINE: Duration = Duration::from_secs(300);

/// Between two of them where no budget sets a pace.
const UNLIMITED: Duration = Duration::from_millis(10);

/// The places that this process has given away.
#[derive(Debug, Default)]
pub(super) struct Line {
    next_now: Option<Instant>,
    next_soon: Option<Instant>,
    next_later: Option<Instant>,
}

impl Line {
    /// How long to wait for one who cannot be served before `wait` is over.
    pub(super) fn place(&mut self, urgency: Urgency, wait: Duration, pace: Option<Pace>, now: Instant) -> Duration {
        let (next, longest) = match urgency {
            Urgency::Now => (&mut self.next_now, LONGEST_LINE),
            Urgency::Soon => (&mut self.next_soon, LONGEST_LINE),
            Urgency::Later => (&mut self.next_later, LONGEST_LATE_LINE),
        };
        let first = now + wait;
        let place = next.map_or(first, |next| next.max(first));
        if place - first > longest {
            return wait + longest.mul_f64(rand::random());
        }
        *next = Some(place + pace.map_or(UNLIMITED, |pace| pace.between_turns));
        place - now
    }
}
