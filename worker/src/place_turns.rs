//! When the jobs of an account that found no place run again: one after the other, at the pace at which places become free.

use std::time::Duration;

/// An account at which no job has begun or ended for so long, and for longer than its jobs have taken, has a silent gateway. A
/// wait for a place is of no use then.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// The longest wait for a place. The job keeps its lease meanwhile, and no slot.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// While its gateway is silent, a job without a place runs again after this time and up to as much more.
const SILENT_TURN: Duration = Duration::from_secs(2);

/// Turns are given out in order up to this far ahead. A job beyond it runs again after half of this time or up to twice as
/// much: a gateway that has become faster has places free, and the jobs with later turns do not know it.
const FURTHEST_TURN: Duration = Duration::from_secs(30);

/// How long a place is taken, while no end has told it.
const USUAL_RUN: Duration = Duration::from_millis(200);

/// About as many ends decide how long the next runs take.
const ENDS_THAT_COUNT: u32 = 16;

/// Turns are a little closer together than ends: a place that stands empty costs more than a job that comes twice.
const CLOSER: u32 = 16;

/// Jobs come back in groups of one moment, at most so far apart: the relay enqueues each group with one statement.
const LONGEST_STEP_MS: u64 = 128;

/// The turns of one account's jobs. Times are those since some moment in the past, the same for all calls. Pure.
#[derive(Debug)]
pub(crate) struct PlaceTurns {
    /// How many jobs have a place.
    running: usize,
    /// When a job last began or ended.
    moved_at: Duration,
    /// How long a job has its place.
    run: Duration,
    next: NextTurns,
}

/// The next turn of each urgency: no job for which a customer waits comes after all those that may wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct NextTurns {
    soon: Duration,
    late: Duration,
}

/// What else decides about a job without a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// The places that the account could take now, besides those that its jobs have.
    free: usize,
    /// How many jobs may wait for a place at most where this one waits, too.
    waiting: usize,
    is_late: bool,
}

impl Room {
    /// So many jobs may wait for a place at most. `is_late` says that no customer waits for this one.
    pub(crate) fn new(free: usize, waiting: usize, is_late: bool) -> Self {
        Room { free, waiting: if is_late { waiting / 2 } else { waiting }, is_late }
    }
}

impl Default for PlaceTurns {
    fn default() -> Self {
        PlaceTurns { running: 0, moved_at: Duration::ZERO, run: USUAL_RUN, next: NextTurns::default() }
    }
}

impl PlaceTurns {
    /// A job takes a place.
    pub(crate) fn begin(&mut self, now: Duration) {
        self.running += 1;
        self.moved(now);
    }

    /// A job leaves its place, which it took at `began_at`.
    pub(crate) fn end(&mut self, now: Duration, began_at: Duration) {
        self.running = self.running.saturating_sub(1);
        let (was_silent, took) = (self.is_silent(now), now.saturating_sub(began_at));
        self.moved(now);
        self.run = match was_silent {
            true => took,
            false => (self.run * (ENDS_THAT_COUNT - 1) + took) / ENDS_THAT_COUNT,
        };
    }

    fn moved(&mut self, now: Duration) {
        if self.is_silent(now) {
            // The pace before a silence says nothing about the one after it.
            (self.run, self.next) = (USUAL_RUN, NextTurns::default());
        }
        self.moved_at = now;
    }

    fn is_silent(&self, now: Duration) -> bool {
        now.saturating_sub(self.moved_at) >= SILENT_AFTER.max(self.run * 3 / 2)
    }

    /// The time between two ends.
    ///
    /// It is not that which is seen: where places stand empty there are fewer ends, and jobs that come at their pace would leave
    /// still more places empty.
    fn interval(&self, room: Room) -> Duration {
        self.run / u32::try_from(self.running + room.free).unwrap_or(u32::MAX).max(1)
    }

    /// How many jobs may wait for a place: so many as have it in time.
    pub(crate) fn may_wait(&self, now: Duration, room: Room) -> usize {
        if self.is_silent(now) {
            return 0;
        }
        let in_time = LONGEST_WAIT.as_nanos() / self.interval(room).as_nanos().max(1);
        usize::try_from(in_time).unwrap_or(usize::MAX).min(room.waiting).max(1)
    }

    /// How long a job is put off that has no place and may not wait for one. `spread_permille` is random, 0 to 999.
    pub(crate) fn give_out(&mut self, now: Duration, room: Room, spread_permille: u32) -> Duration {
        let spread = |time: Duration| time + time * spread_permille.min(999) / 1_000;
        if self.is_silent(now) {
            return spread(SILENT_TURN);
        }
        let (interval, waiting) = (self.interval(room), u32::try_from(self.may_wait(now, room)).unwrap_or(u32::MAX));
        let next = match room.is_late {
            true => &mut self.next.late,
            false => &mut self.next.soon,
        };
        // By then half of the waiting jobs have places. A quarter may come at once, and the last quarter is for other jobs.
        *next = (*next).max(now + interval.saturating_mul(waiting.div_ceil(2)));
        if *next - now > FURTHEST_TURN {
            return step_before(now + spread(FURTHEST_TURN / 2), LONGEST_STEP_MS).saturating_sub(now);
        }
        let step = u64::try_from(interval.saturating_mul(waiting / 4).as_millis()).unwrap_or(u64::MAX);
        let turn = step_before(*next, step.min(LONGEST_STEP_MS));
        *next += interval * (CLOSER - 1) / CLOSER;
        turn.saturating_sub(now)
    }
}

/// The last moment before this one that is a whole step. Steps are powers of two, so that they stay the same while the
/// pace changes a little.
fn step_before(time: Duration, most_ms: u64) -> Duration {
    let Some(exponent) = most_ms.checked_ilog2() else { return time };
    let step = Duration::from_millis(1 << exponent);
    time.saturating_sub(Duration::from_nanos(u64::try_from(time.as_nanos() % step.as_nanos()).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
