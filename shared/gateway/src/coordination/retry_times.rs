//! The times at which calls that were held back ask again: one after the other, so that they do not all come at once when
//! calls may leave again.

use std::time::Duration;

use tokio::time::Instant;

use super::call::Urgency;
use super::rate_limit::RateLimit;

/// The times are given out in order up to this far ahead; a caller beyond it gets a random time within it.
const LONGEST: Duration = Duration::from_secs(60);
const LONGEST_LATE: Duration = Duration::from_secs(300);

/// The time between two callers where there is no rate limit.
const UNLIMITED: Duration = Duration::from_millis(10);

/// The next free time of each urgency, as given out by this process.
#[derive(Debug, Default)]
pub(super) struct RetryTimes {
    next_now: Option<Instant>,
    next_soon: Option<Instant>,
    next_later: Option<Instant>,
}

impl RetryTimes {
    /// How long a caller waits that cannot be served before `wait` is over.
    pub(super) fn give_out(
        &mut self,
        urgency: Urgency,
        wait: Duration,
        limit: Option<RateLimit>,
        now: Instant,
    ) -> Duration {
        let (next, longest) = match urgency {
            Urgency::Now => (&mut self.next_now, LONGEST),
            Urgency::Soon => (&mut self.next_soon, LONGEST),
            Urgency::Later => (&mut self.next_later, LONGEST_LATE),
        };
        let first = now + wait;
        let time = next.map_or(first, |next| next.max(first));
        if time - first > longest {
            return wait + longest.mul_f64(rand::random());
        }
        *next = Some(time + limit.map_or(UNLIMITED, |limit| limit.interval));
        time - now
    }
}
