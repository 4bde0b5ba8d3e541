//! The rate limit inside one process. `admission.lua` has the same rules between processes, see `admission.rs`.

use std::time::Duration;

use domain::gateway_rate::GatewayRate;
use tokio::time::Instant;

use super::call::Urgency;

/// A customer waits up to 3 s for the payment link. A call that would have to wait longer than this tries again later.
pub(super) const LONGEST_WAIT_URGENT: Duration = Duration::from_secs(2);

/// The longest time that a late call waits until the rate limit lets it leave. A job asks about two drafts of one order in
/// one run, also where the limit lets late calls leave one at a time.
pub(super) const LONGEST_WAIT_LATE: Duration = Duration::from_secs(5);

/// In so many calls one inquiry on a recent hint goes like a link.
pub(super) const CALLS_PER_INQUIRY: u32 = 8;

/// The most late calls of a process that wait at one time, and the most inquiries on recent hints. They hold slots of the
/// worker that urgent calls need.
pub(super) const MAX_WAITING: usize = 8;

/// A rate limit as the generic cell rate algorithm needs it: `burst` calls at once, then one every `interval`. Late calls
/// leave `reserved` calls of the burst to urgent ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateLimit {
    pub(super) interval: Duration,
    pub(super) burst: u32,
    pub(super) reserved: u32,
}

impl RateLimit {
    /// A rate or burst of zero counts as one: a limit that lets no call leave would end all payments without a message.
    pub(super) fn new(rate: GatewayRate) -> Self {
        let burst = rate.burst.max(1);
        // At least one, unless there is only one.
        let reserved = (burst / 4).max(1).min(burst - 1);
        RateLimit { interval: Duration::from_secs(1) / rate.per_second.max(1), burst, reserved }
    }

    /// How long a call of that urgency may wait while its place is taken in advance. An inquiry on a recent hint may take no
    /// more than the reserved calls, so that a link still leaves at once. A late call takes nothing in advance, because it
    /// would take it from the reserve; it waits without a place ([`MAX_WAITING`]).
    pub(super) fn longest_wait(self, urgency: Urgency) -> Duration {
        match urgency {
            Urgency::Now => LONGEST_WAIT_URGENT,
            Urgency::Soon => (self.interval * self.reserved).min(LONGEST_WAIT_URGENT),
            Urgency::Later => Duration::ZERO,
        }
    }

    /// How many calls may be owed when a call of that urgency is to leave at once.
    pub(super) fn free_calls(self, urgency: Urgency) -> u32 {
        match urgency {
            Urgency::Now => self.burst - 1,
            Urgency::Soon | Urgency::Later => self.burst - 1 - self.reserved,
        }
    }

    /// The most that is ever owed. A debt from a slower limit must not outlive that limit.
    pub(super) fn longest_debt(self) -> Duration {
        self.interval * self.burst + LONGEST_WAIT_URGENT
    }
}

/// The calls that are left of the rate limit, given out in the order in which they are asked for.
#[derive(Debug)]
pub(super) struct Bucket {
    /// When the whole burst will be there again.
    full_at: Instant,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket { full_at: Instant::now() }
    }
}

impl Bucket {
    /// Takes the next call, and answers how long after `now` it may leave. Where that is too long it takes nothing, and the
    /// error is how long to wait first.
    pub(super) fn take(&mut self, limit: RateLimit, urgency: Urgency, now: Instant) -> Result<Duration, Duration> {
        let debt = self.full_at.saturating_duration_since(now).min(limit.longest_debt());
        let wait = debt.saturating_sub(limit.interval * limit.free_calls(urgency));
        if wait > limit.longest_wait(urgency) {
            return Err(wait);
        }
        self.full_at = now + debt + limit.interval;
        Ok(wait)
    }
}

/// While Redis is away the processes cannot be counted; four of them together stay within the rate limit.
const PARTS_WITHOUT_REDIS: u32 = 4;

/// The part of the rate limit that one process may use while it cannot share the limit with the others.
pub fn rate_without_redis(rate: GatewayRate) -> GatewayRate {
    GatewayRate {
        per_second: (rate.per_second / PARTS_WITHOUT_REDIS).max(1),
        burst: (rate.burst / PARTS_WITHOUT_REDIS).max(1),
    }
}
