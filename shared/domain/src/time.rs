//! Times and durations as numbers and texts.

use std::time::Duration;

use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::{format_description, offset};
use time::{Date, OffsetDateTime, UtcOffset};

/// RFC 3339 with milliseconds, always three digits, so that columns of times line up.
const RFC3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A date alone.
const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// Epoch milliseconds as an RFC 3339 time in UTC, for JSON and people.
pub fn rfc3339(epoch_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(epoch_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(RFC3339).ok())
        .unwrap_or_else(|| epoch_ms.to_string())
}

/// The offset of Uzbekistan, where the gateways are at home: five hours ahead of UTC all year.
pub const TASHKENT: UtcOffset = offset!(+5);

fn in_tashkent(epoch_ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(epoch_ms.div_euclid(1_000)).ok()?.checked_to_offset(TASHKENT)
}

/// The day in Uzbekistan at a moment in epoch milliseconds; `None` beyond the years that a calendar has.
pub fn day_in_tashkent(epoch_ms: i64) -> Option<Date> {
    Some(in_tashkent(epoch_ms)?.date())
}

/// A moment as calendars and clocks in Uzbekistan show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TashkentTime {
    /// The year.
    pub year: i32,
    /// The month, 1 to 12.
    pub month: u8,
    /// The day of the month, from 1.
    pub day: u8,
    /// The hour, 0 to 23.
    pub hour: u8,
    /// The minute, 0 to 59.
    pub minute: u8,
}

impl TashkentTime {
    /// The moment of epoch milliseconds; `None` beyond the years that a calendar has.
    pub fn of(epoch_ms: i64) -> Option<Self> {
        let time = in_tashkent(epoch_ms)?;
        Some(TashkentTime {
            year: time.year(),
            month: time.month().into(),
            day: time.day(),
            hour: time.hour(),
            minute: time.minute(),
        })
    }

    /// Whether both are on one day.
    pub fn is_on_day_of(self, other: Self) -> bool {
        (self.year, self.month, self.day) == (other.year, other.month, other.day)
    }
}

/// The epoch milliseconds of an RFC 3339 time, such as `2026-11-01T09:30:00Z`, or of the beginning of a date in UTC, such as
/// `2026-11-01`; `None` for any other text.
pub fn parse(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| Date::parse(text, DATE).map(|date| date.midnight().assume_utc()))
        .ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

/// A duration in whole milliseconds, as the database stores it.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    /// The last hours of the last year that a calendar has are in the next one there.
    #[test]
    fn no_moment_makes_a_day_in_tashkent_panic() {
        let day = |time: OffsetDateTime| day_in_tashkent(time.unix_timestamp() * 1_000);
        assert_eq!(day(datetime!(2026-08-22 18:59:59 UTC)), Some(date!(2026 - 08 - 22)));
        assert_eq!(day(datetime!(2026-08-22 19:00 UTC)), Some(date!(2026 - 08 - 23)));
        assert_eq!(day_in_tashkent(-1), Some(date!(1970 - 01 - 01)));
        for beyond in [i64::MIN, i64::MAX, 253_402_300_799_000] {
            assert_eq!((day_in_tashkent(beyond), TashkentTime::of(beyond)), (None, None));
        }
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(rfc3339(1_656_326_529_324), "2022-06-27T10:42:09.324Z");
        assert_eq!(rfc3339(1_656_326_529_300), "2022-06-27T10:42:09.300Z");
    }

    #[test]
    fn a_day_in_tashkent_begins_at_seven_in_the_evening_utc() {
        // 2026-12-31T18:59:59Z and a second later.
        let [before, after] =
            [1_798_743_599_000, 1_798_743_600_000].map(|epoch_ms| TashkentTime::of(epoch_ms).unwrap());

        assert_eq!(before, TashkentTime { year: 2026, month: 12, day: 31, hour: 23, minute: 59 });
        assert_eq!(after, TashkentTime { year: 2027, month: 1, day: 1, hour: 0, minute: 0 });
        assert!(!before.is_on_day_of(after) && TashkentTime::of(i64::MAX).is_none());
    }

    #[test]
    fn a_time_and_a_date_are_read() {
        for (text, expected) in [
            ("2022-06-27T10:42:09.324Z", Some(1_656_326_529_324)),
            ("2022-06-27T15:42:09.324+05:00", Some(1_656_326_529_324)),
            ("2022-06-27T10:42:09Z", Some(1_656_326_529_000)),
            ("2022-06-27", Some(1_656_288_000_000)),
            ("2022-06-27T10:42:09", None),
            ("2022-06-27T10:42:09 05:00", None),
            ("2022-02-30", None),
            ("27.06.2022", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
