//! A limit for log lines about events that any caller can cause.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const MINUTE: Duration = Duration::from_secs(60);

/// A number of lines a minute, counted from the first line on. Lines that are left out are counted, and reported in one line.
#[derive(Debug)]
pub struct LineBudget {
    per_minute: u32,
    minute: Mutex<LineMinute>,
}

#[derive(Debug)]
struct LineMinute {
    began: Instant,
    lines: u32,
    left_out: u64,
}

impl LineBudget {
    /// A budget of which no line is used yet.
    pub fn new(per_minute: u32) -> Self {
        LineBudget { per_minute, minute: Mutex::new(LineMinute { began: Instant::now(), lines: 0, left_out: 0 }) }
    }

    /// As [`LineBudget::take`]; before, `tell` gets the number of lines that were left out in a minute that is over.
    pub fn take_and_tell(&self, tell: impl FnOnce(u64)) -> bool {
        if let Some(lines) = self.left_out() {
            tell(lines);
        }
        self.take()
    }

    /// Whether one more line may be written; else it is counted as left out.
    pub fn take(&self) -> bool {
        let mut minute = self.minute.lock();
        let may = minute.lines < self.per_minute;
        match may {
            true => minute.lines += 1,
            false => minute.left_out += 1,
        }
        may
    }

    /// Begins a new minute if the last one is over, and answers how many lines were left out in that, if any. Call it before
    /// each [`LineBudget::take`], and at other times, so that the number is reported soon.
    pub fn left_out(&self) -> Option<u64> {
        self.left_out_at(Instant::now())
    }

    fn left_out_at(&self, now: Instant) -> Option<u64> {
        let mut minute = self.minute.lock();
        if now.saturating_duration_since(minute.began) < MINUTE {
            return None;
        }
        let left_out = minute.left_out;
        *minute = LineMinute { began: now, lines: 0, left_out: 0 };
        (left_out > 0).then_some(left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_minute_is_told_once_as_a_number() {
        let budget = LineBudget::new(100);
        let later = Instant::now() + MINUTE;

        assert_eq!((0..1_000).filter(|_| budget.take()).count(), 100);

        assert_eq!(budget.left_out(), None, "the minute is not over");
        assert_eq!(budget.left_out_at(later), Some(900));
        assert!(budget.take(), "the next minute is whole");
        assert_eq!(budget.left_out_at(later + MINUTE), None);
    }
}
