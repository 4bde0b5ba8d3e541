//! Whether the database answers, how fast, what time it has, and whether it takes writes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::Row;

use super::{Database, Store, StoreError, WriteProof, clock_steps, jobs};
use crate::clock::host_ms;

/// A measurement of the clock that took longer is not believed.
const TRUSTED_ROUND_TRIP: Duration = Duration::from_secs(1);

/// A heartbeat is a write, every 3 s; one that hangs fails within this.
const PROVEN_FOR: Duration = Duration::from_secs(15);

/// So many round trips a renewal may take, with those that it waits behind.
const ROUND_TRIPS_OF_A_RENEWAL: u32 = 10;

/// No line is so slow that a lease lasts longer than this besides.
pub(super) const MOST_LEASE_FOR_THE_LINE_MS: i64 = 12_000;

impl Store {
    /// Asks the database for its time and sets the clock by it. To be repeated every [`crate::clock::MEASURED_EVERY`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn measure_clock(&self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let database_ms = match self.0.database {
            // The file's database has no clock but the host's.
            Database::Sqlite => host_ms(),
            Database::Postgres => {
                let mut connection = self.0.upkeep.acquire().await?;
                let asked = Instant::now();
                // In the simple protocol, which takes one round trip.
                let row = connection.ask(
                    "-- measure_clock\nselect cast(extract(epoch from clock_timestamp()) * 1000 as bigint) as now_ms",
                );
                let row = row.await?;
                let round_trip = asked.elapsed();
                connection.give_back();
                let round_trip_us = i64::try_from(round_trip.as_micros()).unwrap_or(i64::MAX);
                self.0.round_trip_us.store(round_trip_us, Ordering::Relaxed);
                // A slow answer may be wrong by half its way; the next beat asks again.
                if round_trip <= TRUSTED_ROUND_TRIP || self.0.clock.measured_ago().is_none() {
                    clock_steps::take_over(self, row.try_get("now_ms")?, round_trip).await;
                }
                return Ok(());
            }
        };
        clock_steps::take_over(self, database_ms, asked.elapsed()).await;
        Ok(())
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("-- ping\nselect 1").fetch_one(&self.0.readers).await?;
        Ok(())
    }

    /// The settings of the server, switched off there, without which a commit that was answered may be lost with its power.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn unsafe_settings(&self) -> Result<Vec<String>, StoreError> {
        match self.0.database {
            Database::Sqlite => Ok(Vec::new()),
            Database::Postgres => {
                let rows = sqlx::query(
                    "-- unsafe_settings
                    select name from pg_settings where name in ('fsync', 'full_page_writes') and setting = 'off' order by name",
                );
                let rows = rows.fetch_all(&self.0.readers).await?;
                Ok(rows.iter().map(|row| row.try_get("name")).collect::<Result<_, _>>()?)
            }
        }
    }

    /// How long the database took when it was last asked for its time; nothing for a file of ours.
    pub fn round_trip(&self) -> Duration {
        Duration::from_micros(self.0.round_trip_us.load(Ordering::Relaxed).unsigned_abs())
    }

    /// How long a lease lasts here, milliseconds: [`jobs::LEASE_MS`], and what the line to the database takes besides.
    pub fn lease_ms(&self) -> i64 {
        lease_ms(self.round_trip())
    }

    /// Remembers how the last write of this process's own row went.
    pub(super) fn note_proof(&self, is_good: bool) {
        let proof = WriteProof { at: Instant::now(), is_good };
        *self.0.last_proof.lock() = Some(proof);
    }

    /// Why nothing can be written, as the last heartbeat has shown; `None` before the first one. Reads may go on meanwhile: a
    /// disk may be full, a lock held, a right taken away.
    pub fn write_fault(&self) -> Option<&'static str> {
        let proof = (*self.0.last_proof.lock())?;
        match proof {
            WriteProof { is_good: false, .. } => Some("takes no writes"),
            WriteProof { at, .. } if at.elapsed() > PROVEN_FOR => Some("has taken no write for 15 s"),
            WriteProof { .. } => None,
        }
    }
}

/// How long a lease lasts where the database answers after so long.
fn lease_ms(round_trip: Duration) -> i64 {
    let for_the_line = i64::try_from((round_trip * ROUND_TRIPS_OF_A_RENEWAL).as_millis()).unwrap_or(i64::MAX);
    jobs::LEASE_MS + for_the_line.min(MOST_LEASE_FOR_THE_LINE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts_longer_where_the_line_is_slow() {
        for (round_trip_ms, lease) in [(0, 8_000), (1, 8_010), (200, 10_000), (400, 12_000), (60_000, 20_000)] {
            assert_eq!(lease_ms(Duration::from_millis(round_trip_ms)), lease, "{round_trip_ms} ms");
        }
    }
}
