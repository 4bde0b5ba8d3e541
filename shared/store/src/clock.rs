//! One time for all processes: the database's, on a monotonic base.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use failpoint::{self, Point};

/// Database time, in epoch milliseconds.
///
/// It starts with the host's clock, and [`Clock::set`] sets it whenever the database has been asked. Between two
/// measurements it runs on the monotonic clock. A wrong or a changed host clock therefore does not change what is due.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

/// How often every process asks the database for its time. After a step of that clock, processes may differ for this
/// long.
pub const MEASURED_EVERY: Duration = Duration::from_secs(3);

/// A clock that was not measured for this long is no longer trusted.
const TRUSTED_FOR: Duration = Duration::from_secs(300);

/// A measurement that differs by more than this from the one before shows a step: the database's clock was set. A
/// smaller difference may come from a slow answer. It is well below the rest of a lease at its renewal.
const STEP_MS: i64 = 2_000;

/// How often the database's clock was set while this process ran, and by how much the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockSteps {
    /// How often it was set.
    pub count: u64,
    /// By how many milliseconds it was set the last time; negative when it was set back.
    pub last_ms: i64,
}

#[derive(Debug)]
struct Inner {
    base: Instant,
    /// Database time minus the time since `base`.
    offset_ms: AtomicI64,
    /// When it was last measured, on the same base; -1 before the first measurement.
    measured_ms: AtomicI64,
    steps: watch::Sender<ClockSteps>,
}

impl Clock {
    /// A clock that follows the host until it is [set](Clock::set).
    pub fn host() -> Self {
        Self::starting_at(host_ms())
    }

    /// A clock that starts at `now_ms`, as on a host with a wrong clock.
    pub fn starting_at(now_ms: i64) -> Self {
        Clock(Arc::new(Inner {
            base: Instant::now(),
            offset_ms: AtomicI64::new(now_ms),
            measured_ms: AtomicI64::new(-1),
            steps: watch::Sender::default(),
        }))
    }

    /// Now, in epoch milliseconds of the database.
    pub fn now_ms(&self) -> i64 {
        self.monotonic_ms() + self.0.offset_ms.load(Ordering::Acquire)
    }

    /// Sets the clock: `round_trip` ago the database was asked and said `database_ms`; half of the round trip is its
    /// age. Returns by how many milliseconds the database's clock was set since the measurement before, or `None` if it
    /// was not.
    pub fn set(&self, database_ms: i64, round_trip: Duration) -> Option<i64> {
        let age_ms = i64::try_from(round_trip.as_millis() / 2).unwrap_or(0);
        let monotonic_ms = self.monotonic_ms();
        let offset_ms = database_ms + age_ms - monotonic_ms;
        let step_ms = offset_ms - self.0.offset_ms.load(Ordering::Acquire);
        let has_stepped = self.measured_ago().is_some() && step_ms.abs() > STEP_MS;
        if has_stepped {
            // Before the new time can be read: a task that reads it and then asks for steps must learn of this one.
            self.0.steps.send_modify(|steps| *steps = ClockSteps { count: steps.count + 1, last_ms: step_ms });
        }
        self.0.offset_ms.store(offset_ms, Ordering::Release);
        self.0.measured_ms.store(monotonic_ms, Ordering::Relaxed);
        has_stepped.then_some(step_ms)
    }

    /// The steps of the database's clock that this process has seen, now and later.
    pub fn steps(&self) -> watch::Receiver<ClockSteps> {
        self.0.steps.subscribe()
    }

    /// How long ago the database was last asked, or `None` if never.
    pub fn measured_ago(&self) -> Option<Duration> {
        let measured_ms = self.0.measured_ms.load(Ordering::Relaxed);
        (measured_ms >= 0).then(|| Duration::from_millis(u64::try_from(self.monotonic_ms() - measured_ms).unwrap_or(0)))
    }

    /// Whether the clock was measured recently enough that it cannot have drifted far. If not, `/readyz` fails.
    pub fn is_trusted(&self) -> bool {
        is_trusted_after(self.measured_ago())
    }

    /// How far the host's clock is ahead of the database's, in milliseconds; for `doctor`.
    pub fn host_ahead_ms(&self) -> i64 {
        host_ms() - self.now_ms()
    }

    fn monotonic_ms(&self) -> i64 {
        i64::try_from(self.0.base.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

fn is_trusted_after(measured_ago: Option<Duration>) -> bool {
    measured_ago.is_some_and(|ago| ago <= TRUSTED_FOR)
}

/// The host's own clock, in epoch milliseconds.
pub(crate) fn host_ms() -> i64 {
    let host_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0);
    if failpoint::strikes(Point::HostClockAhead) { host_ms + 60_000 } else { host_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_starts_a_minute_wrong_is_right_once_measured() {
        let clock = Clock::starting_at(host_ms() + 60_000);

        clock.set(host_ms(), Duration::ZERO);

        assert!((clock.now_ms() - host_ms()).abs() < 100);
        assert!(clock.measured_ago().is_some());
    }

    #[test]
    fn only_a_measurement_that_differs_much_from_one_before_is_a_step() {
        let clock = Clock::starting_at(host_ms() + 60_000);
        let measure = |ahead_ms: i64| clock.set(host_ms() + ahead_ms, Duration::ZERO).map(|by_ms| by_ms / 100 * 100);

        let first = measure(0);
        let slow = measure(900);
        let hours = [measure(3_600_900), measure(3_600_900), measure(900)];

        assert_eq!((first, slow), (None, None), "the host's own clock may be wrong, and an answer slow");
        assert!(matches!(hours, [Some(3_599_900..=3_600_100), None, Some(-3_600_100..=-3_599_900)]), "{hours:?}");
        assert_eq!(clock.steps().borrow().count, 2);
    }

    #[test]
    fn a_clock_is_trusted_for_five_minutes_after_it_was_measured_and_not_before() {
        let clock = Clock::host();
        assert!(!clock.is_trusted(), "the database was not asked yet");

        clock.set(host_ms(), Duration::ZERO);

        assert!(clock.is_trusted());
        assert!(is_trusted_after(Some(Duration::from_secs(5 * 60))));
        assert!(!is_trusted_after(Some(Duration::from_secs(5 * 60 + 1))));
    }
}
