//! Steps of the database's clock: each is logged, and the last one is stored for `doctor`.

use std::time::Duration;

use sqlx::Row;
use tracing::{debug, warn};

use super::{Store, StoreError, metrics};
use failpoint::{self, Point};

/// A stored step of the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptStep {
    /// When a process saw it, in epoch milliseconds of the new time.
    pub at_ms: i64,
    /// By how many milliseconds the clock was set; negative when it was set back.
    pub by_ms: i64,
}

/// Sets this process's clock from the database's answer, and reports a step.
pub(super) async fn take_over(store: &Store, database_ms: i64, round_trip: Duration) {
    let Some(by_ms) = store.clock().set(database_ms + scripted_ms(), round_trip) else { return };
    let direction = if by_ms > 0 { "forward" } else { "back" };
    metrics::clock_steps().with_label_values(&[direction]).inc();
    warn!(
        by_ms,
        "the database's clock stepped {direction} by {} s; leases are spared, and open jobs are brought near",
        seconds(by_ms).abs()
    );
    if let Err(trouble) = keep(store, by_ms).await {
        debug!(error = %trouble, "the step of the database's clock is not kept for `doctor`");
    }
}

/// A step in whole seconds, rounded: a measurement guesses half of the round trip.
pub fn seconds(by_ms: i64) -> i64 {
    (by_ms + 500).div_euclid(1_000)
}

/// One hour, where a test sets the database's clock.
fn scripted_ms() -> i64 {
    const HOUR_MS: i64 = 3_600_000;
    let ahead = if failpoint::strikes(Point::DatabaseClockAhead) { HOUR_MS } else { 0 };
    let behind = if failpoint::strikes(Point::DatabaseClockBehind) { HOUR_MS } else { 0 };
    ahead - behind
}

async fn keep(store: &Store, by_ms: i64) -> Result<(), StoreError> {
    sqlx::query(
        "-- keep_clock_step
        insert into installation (name, value) values ('clock_step', $1)
        on conflict (name) do update set value = excluded.value",
    )
    .bind(format!("{} {by_ms}", store.now_ms()))
    .execute(store.writer())
    .await?;
    Ok(())
}

/// The last step that any process has seen.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn last(store: &Store) -> Result<Option<KeptStep>, StoreError> {
    let row = sqlx::query("-- last_clock_step\nselect value from installation where name = 'clock_step'")
        .fetch_optional(store.readers())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let value: String = row.try_get("value")?;
    let kept = value
        .split_once(' ')
        .and_then(|(at_ms, by_ms)| Some(KeptStep { at_ms: at_ms.parse().ok()?, by_ms: by_ms.parse().ok()? }));
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_in_the_nearest_seconds() {
        for (by_ms, told) in [(3_599_999, 3_600), (-3_599_999, -3_600), (-3_600_001, -3_600), (2_400, 2), (-2_600, -3)]
        {
            assert_eq!(seconds(by_ms), told, "{by_ms}");
        }
    }
}
