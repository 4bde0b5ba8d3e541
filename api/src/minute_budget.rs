//! How often something may happen in a minute that anybody can make happen.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many times a minute, counted from the first time on.
#[derive(Debug)]
pub(crate) struct MinuteBudget {
    per_minute: u32,
    minute: Mutex<Minute>,
}

#[derive(Debug)]
struct Minute {
    began: Instant,
    left: u32,
}

impl MinuteBudget {
    /// A budget of which nothing is spent yet.
    pub(crate) fn new(per_minute: u32) -> Self {
        MinuteBudget { per_minute, minute: Mutex::new(Minute { began: Instant::now(), left: per_minute }) }
    }

    /// Whether it may happen once more.
    pub(crate) fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut minute = self.minute.lock();
        if now.saturating_duration_since(minute.began) >= Duration::from_secs(60) {
            *minute = Minute { began: now, left: self.per_minute };
        }
        let may = minute.left > 0;
        minute.left = minute.left.saturating_sub(1);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_within_its_minute_and_is_whole_in_the_next() {
        let budget = MinuteBudget::new(100);
        let now = Instant::now();

        assert_eq!((0..1_000).filter(|_| budget.take_at(now)).count(), 100);
        assert!(budget.take_at(now + Duration::from_secs(61)));
    }
}
