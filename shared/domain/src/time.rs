//! Times and durations as numbers and texts.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// RFC 3339 with milliseconds, always three digits, so that columns of times line up.
const RFC3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Epoch milliseconds as an RFC 3339 time in UTC, for JSON and people.
pub fn rfc3339(epoch_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(epoch_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(RFC3339).ok())
        .unwrap_or_else(|| epoch_ms.to_string())
}

/// A duration in whole milliseconds, as the database stores it.
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(rfc3339(1_656_326_529_324), "2022-06-27T10:42:09.324Z");
        assert_eq!(rfc3339(1_656_326_529_300), "2022-06-27T10:42:09.300Z");
    }
}
