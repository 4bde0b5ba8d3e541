//! A limit per minute for things that anyone can cause.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// At most so many in a minute; the first one after a minute begins the next minute.
#[derive(Debug)]
pub(crate) struct MinuteLimit {
    per_minute: u32,
    minute: Mutex<CurrentMinute>,
}

#[derive(Debug)]
struct CurrentMinute {
    began: Instant,
    left: u32,
}

impl MinuteLimit {
    /// A limit that is not used yet.
    pub(crate) fn new(per_minute: u32) -> Self {
        MinuteLimit { per_minute, minute: Mutex::new(CurrentMinute { began: Instant::now(), left: per_minute }) }
    }

    /// Whether one more is allowed now.
    pub(crate) fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut minute = self.minute.lock();
        if now.saturating_duration_since(minute.began) >= Duration::from_secs(60) {
            *minute = CurrentMinute { began: now, left: self.per_minute };
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
    fn a_minute_limit_is_used_up_within_its_minute_and_unused_in_the_next() {
        let limit = MinuteLimit::new(100);
        let now = Instant::now();

        assert_eq!((0..1_000).filter(|_| limit.take_at(now)).count(), 100);
        assert!(limit.take_at(now + Duration::from_secs(61)));
    }
}
