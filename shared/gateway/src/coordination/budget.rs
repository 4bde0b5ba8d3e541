//! The budget of calls inside one process. `weather.lua` is the same between processes, see `admission.rs`.

use std::time::Duration;

use domain::gateway_rate::GatewayRate;
use tokio::time::Instant;

use super::weather::Urgency;

/// A customer waits up to 3 s for the payment link; a call that has to wait longer is better asked again later.
pub(super) const LONGEST_TURN: Duration = Duration::from_secs(2);

/// A late call waits so long at most until a turn is free. Two drafts of one order must both be asked about in one run,
/// also where the budget lets one late call leave at a time.
pub(super) const LONGEST_LATE_TURN: Duration = Duration::from_secs(5);

/// In so many turns one inquiry on a recent hint goes like a link.
pub(super) const INQUIRY_BESIDE_LINKS: u32 = 8;

/// So many calls of a process, late ones and those on fresh hints each, wait at a time, and no more: they hold slots that
/// urgent ones need.
pub(super) const LATE_IN_LINE: usize = 8;

/// A rate as the arithmetic of turns needs it (the generic cell rate algorithm): `burst` at once, then one every
/// `between_turns`, of which late calls leave `kept_back` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) between_turns: Duration,
    pub(super) burst: u32,
    pub(super) kept_back: u32,
}

impl Pace {
    /// A rate or burst of zero counts as one: a budget that admits nobody would be a silent end of all payments.
    pub(super) fn new(rate: GatewayRate) -> Self {
        let burst = rate.burst.max(1);
        // At least one, unless there is only one.
        let kept_back = (burst / 4).max(1).min(burst - 1);
        Pace { between_turns: Duration::from_secs(1) / rate.per_second.max(1), burst, kept_back }
    }

    /// How long a call of that urgency may wait for a turn that is its own from now on. Those on fresh hints get no more
    /// ahead than what is kept back, so that a link finds its turn at once. Late ones get none ahead: it would come out of
    /// what is kept back. They wait without one ([`LATE_IN_LINE`]).
    pub(super) fn longest_wait(self, urgency: Urgency) -> Duration {
        match urgency {
            Urgency::Now => LONGEST_TURN,
            Urgency::Soon => (self.between_turns * self.kept_back).min(LONGEST_TURN),
            Urgency::Later => Duration::ZERO,
        }
    }

    /// How many calls may be owed when one of that urgency is to leave at once.
    pub(super) fn free_turns(self, urgency: Urgency) -> u32 {
        match urgency {
            Urgency::Now => self.burst - 1,
            Urgency::Soon | Urgency::Later => self.burst - 1 - self.kept_back,
        }
    }

    /// More than this is never owed; a debt from a slower pace must not outlive it.
    pub(super) fn longest_debt(self) -> Duration {
        self.between_turns * self.burst + LONGEST_TURN
    }
}

/// A budget that hands out turns in the order they are asked for.
#[derive(Debug)]
pub(super) struct Bucket {
    /// When the bucket will be full again.
    full_at: Instant,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket { full_at: Instant::now() }
    }
}

impl Bucket {
    /// Takes the next turn and says how far from `now` it is, or, where that is too long, how long to wait first.
    pub(super) fn take_turn(&mut self, pace: Pace, urgency: Urgency, now: Instant) -> Result<Duration, Duration> {
        let debt = self.full_at.saturating_duration_since(now).min(pace.longest_debt());
        let wait = debt.saturating_sub(pace.between_turns * pace.free_turns(urgency));
        if wait > pace.longest_wait(urgency) {
            return Err(wait);
        }
        self.full_at = now + debt + pace.between_turns;
        Ok(wait)
    }
}
