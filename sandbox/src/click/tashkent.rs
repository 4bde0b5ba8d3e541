//! Click's days and months, which are those of Tashkent (five hours before UTC, all year).

use time::format_description::BorrowedFormatItem;
use time::macros::{format_description, offset};
use time::{Date, OffsetDateTime, PrimitiveDateTime, UtcOffset};

const TASHKENT: UtcOffset = offset!(+5);
const MOMENT: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// A moment as `sign_time` writes it: `2026-08-22 14:03:11`.
pub(crate) fn written(at_ms: i64) -> String {
    moment(at_ms).format(MOMENT).unwrap_or_default()
}

/// The epoch milliseconds of a moment written as [`written`] does; `None` if it is no such text.
pub(crate) fn read(text: &str) -> Option<i64> {
    let moment = PrimitiveDateTime::parse(text, MOMENT).ok()?.assume_offset(TASHKENT);
    moment.unix_timestamp().checked_mul(1000)
}

/// Whether a moment has a year of four digits, so that it can be written.
pub(crate) fn is_writable(at_ms: i64) -> bool {
    (0..253_402_300_000_000).contains(&at_ms)
}

/// The day of a moment.
pub(crate) fn day(at_ms: i64) -> Date {
    moment(at_ms).date()
}

/// A day written as `2026-08-22`; `None` if it is no such text.
pub(crate) fn read_day(text: &str) -> Option<Date> {
    Date::parse(text, DAY).ok()
}

/// Whether a payment may still be reversed: in the month in which it was paid, and on the first day of the next month
/// (Click documents, Merchant API, reversal).
pub(crate) fn is_reversible(paid_at_ms: i64, now_ms: i64) -> bool {
    let (paid, now) = (day(paid_at_ms), day(now_ms));
    let months = |day: Date| i64::from(day.year()) * 12 + i64::from(u8::from(day.month()));
    match months(now) - months(paid) {
        0 => true,
        1 => now.day() == 1,
        _ => false,
    }
}

fn moment(at_ms: i64) -> OffsetDateTime {
    let moment = OffsetDateTime::from_unix_timestamp(at_ms.div_euclid(1000));
    moment.unwrap_or(OffsetDateTime::UNIX_EPOCH).to_offset(TASHKENT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_moment_is_read_as_it_is_written(second in 0_i64..253_402_000_000) {
            let at_ms = second * 1000;
            prop_assert_eq!(read(&written(at_ms)), Some(at_ms));
            prop_assert_eq!(read_day(&written(at_ms)[..10]), Some(day(at_ms)));
        }

        /// Any payment can be reversed on its own day, and none after the first day of the second month behind it.
        #[test]
        fn a_reversal_is_a_matter_of_days(second in 0_i64..4_000_000_000, later in 0_i64..86_400 * 70) {
            let (paid, now) = (second * 1000, (second + later) * 1000);
            if day(paid) == day(now) {
                prop_assert!(is_reversible(paid, now));
            }
            if later > 86_400 * 32 {
                prop_assert!(!is_reversible(paid, now));
            }
        }
    }

    fn at(text: &str) -> i64 {
        read(text).expect("a moment")
    }

    #[test]
    fn a_day_begins_five_hours_before_that_of_utc() {
        assert_eq!(written(0), "1970-01-01 05:00:00");
        assert_eq!(read("1970-01-01 05:00:00"), Some(0));
        assert_eq!(day(at("2026-08-31 23:59:59")), read_day("2026-08-31").expect("a day"));
        assert_eq!(day(at("2026-08-31 23:59:59") + 1000), read_day("2026-09-01").expect("a day"));
    }

    #[test]
    fn nonsense_is_no_day_and_no_moment() {
        for text in ["", "2026-02-30", "22.08.2026", "2026-8-2", "2026-08-22 14:03:11"] {
            assert_eq!(read_day(text), None, "{text}");
        }
        for text in ["", "2026-08-22", "2026-08-22T14:03:11", "2026-08-22 25:00:00"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_payment_is_reversed_in_its_month_and_on_the_first_day_of_the_next() {
        let paid = at("2026-12-31 23:59:59");

        for (now, may) in [
            ("2026-12-31 23:59:59", true),
            ("2027-01-01 00:00:00", true),
            ("2027-01-01 23:59:59", true),
            ("2027-01-02 00:00:00", false),
            ("2027-02-01 00:00:00", false),
            ("2027-12-31 00:00:00", false),
        ] {
            assert_eq!(is_reversible(paid, at(now)), may, "{now}");
        }
    }
}
