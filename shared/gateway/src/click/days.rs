//! The days on which a payment may have been made: `status_by_mti` asks about one day of Tashkent.

use std::cmp::Reverse;
use std::time::Duration;

use domain::time::{day_in_tashkent, millis};
use time::{Date, OffsetDateTime};

/// Our clock may be ahead of Click's by so much.
const CLOCKS_APART: Duration = Duration::from_secs(300);

/// The most days from the first one that one inquiry asks about.
const MOST_DAYS: usize = 7;

/// The days of Tashkent, from the attempt's first Prepare to the time until which its debit may come, and the one of
/// `today_ms`, as `YYYY-MM-DD`. The latest is first: most payments at midnight are made after it.
pub(super) fn of_attempt(prepared_at_ms: i64, debit_until_ms: i64, today_ms: Option<i64>) -> Vec<String> {
    let day = |at_ms: i64| day_in_tashkent(at_ms).unwrap_or(OffsetDateTime::UNIX_EPOCH.date());
    let first = day(prepared_at_ms.saturating_sub(millis(CLOCKS_APART)));
    let last = day(debit_until_ms.saturating_add(millis(CLOCKS_APART)));
    let following = std::iter::successors(Some(first), |day| day.next_day());
    let mut days: Vec<Date> = following.take_while(|day| *day <= last).take(MOST_DAYS).collect();
    days.extend([Some(last), today_ms.map(day)].into_iter().flatten());
    days.sort_unstable_by_key(|day| Reverse(*day));
    days.dedup();
    days.into_iter().map(written).collect()
}

fn written(day: Date) -> String {
    format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn ms(at: OffsetDateTime) -> i64 {
        at.unix_timestamp() * 1_000
    }

    fn days(prepared_at: OffsetDateTime) -> Vec<String> {
        of_attempt(ms(prepared_at), ms(prepared_at) + HOUR_MS, None)
    }

    #[test]
    fn around_midnight_in_tashkent_two_days_are_asked_about() {
        assert_eq!(days(datetime!(2026-08-22 12:00 +5)), ["2026-08-22"]);
        assert_eq!(days(datetime!(2026-08-22 22:54 +5)), ["2026-08-22"]);
        assert_eq!(days(datetime!(2026-08-22 22:55 +5)), ["2026-08-23", "2026-08-22"]);
        assert_eq!(days(datetime!(2026-08-22 23:59:59 +5)), ["2026-08-23", "2026-08-22"]);
        assert_eq!(days(datetime!(2026-08-23 00:04 +5)), ["2026-08-23", "2026-08-22"]);
        assert_eq!(days(datetime!(2026-08-23 00:06 +5)), ["2026-08-23"]);
    }

    #[test]
    fn the_day_is_tashkents_and_not_the_servers() {
        assert_eq!(days(datetime!(2026-08-22 20:00 UTC)), ["2026-08-23"]);
        assert_eq!(days(datetime!(2026-12-31 19:30 UTC)), ["2027-01-01"]);
    }

    #[test]
    fn a_debit_that_may_come_later_is_asked_about_on_each_day_until_then() {
        let prepared = ms(datetime!(2026-08-22 22:50 +5));
        let until = |at, today| of_attempt(prepared, ms(at), today);

        assert_eq!(until(datetime!(2026-08-22 23:50 +5), None), ["2026-08-22"]);
        assert_eq!(until(datetime!(2026-08-23 00:15 +5), None), ["2026-08-23", "2026-08-22"]);
        assert_eq!(until(datetime!(2026-08-24 09:00 +5), None), ["2026-08-24", "2026-08-23", "2026-08-22"]);
        let today = Some(ms(datetime!(2026-08-25 09:00 +5)));
        assert_eq!(until(datetime!(2026-08-22 23:50 +5), today), ["2026-08-25", "2026-08-22"]);
        assert_eq!(until(datetime!(2026-08-25 09:00 +5), today).len(), 4, "no day twice");
        let long = until(datetime!(2026-12-31 09:00 +5), today);
        assert_eq!((long.len(), long[0].as_str(), long[7].as_str()), (8, "2026-12-31", "2026-08-22"));
    }

    #[test]
    fn no_time_makes_it_panic() {
        for at_ms in [i64::MIN, 0, 253_402_300_799_000, i64::MAX] {
            for until_ms in [i64::MIN, 0, i64::MAX] {
                let days = of_attempt(at_ms, until_ms, Some(until_ms));
                assert!((1..=9).contains(&days.len()), "{days:?}");
            }
        }
    }
}
