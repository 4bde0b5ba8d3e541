//! The days on which a payment may have been made: `status_by_mti` asks about one day of Tashkent.

use std::time::Duration;

use time::{Date, OffsetDateTime};

use super::call::TASHKENT;

/// Our clock may be ahead of Click's by so much.
const CLOCKS_APART: Duration = Duration::from_secs(300);

/// The day of Tashkent, or the two days around a midnight, on which an attempt of that time can have been paid, as
/// `YYYY-MM-DD`. The later one is first: most payments at midnight are made after it.
pub(super) fn of_attempt(prepared_at_ms: i64, debit_within: Duration) -> Vec<String> {
    let ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let day = |at_ms: i64| {
        let at = OffsetDateTime::from_unix_timestamp(at_ms.div_euclid(1_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        at.to_offset(TASHKENT).date()
    };
    let first = day(prepared_at_ms.saturating_sub(ms(CLOCKS_APART)));
    let last = day(prepared_at_ms.saturating_add(ms(debit_within)).saturating_add(ms(CLOCKS_APART)));
    let mut days = vec![written(last)];
    if first != last {
        days.push(written(first));
    }
    days
}

fn written(day: Date) -> String {
    format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn days(prepared_at: OffsetDateTime) -> Vec<String> {
        of_attempt(prepared_at.unix_timestamp() * 1_000, HOUR)
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
    fn no_time_makes_it_panic() {
        for at_ms in [i64::MIN, 0, i64::MAX] {
            assert!((1..=2).contains(&of_attempt(at_ms, HOUR).len()));
        }
    }
}
