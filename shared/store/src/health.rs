//! Whether the database answers, how fast, what time it has, and whether it accepts writes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sqlx::Row;

use super::{Database, Store, StoreError, WriteProof, clock_steps, jobs};
use crate::clock::host_ms;

/// A time that took longer to arrive is not trusted.
const TRUSTED_ROUND_TRIP: Duration = Duration::from_secs(1);

/// How long a successful heartbeat proves that writes succeed. A heartbeat is a write, every 3 s, and fails within this
/// time if it hangs.
const PROVEN_FOR: Duration = Duration::from_secs(15);

/// The number of round trips that a renewal may take, with the statements that it waits behind.
const ROUND_TRIPS_OF_A_RENEWAL: u32 = 10;

/// The most that a slow network can add to a lease.
pub(super) const MOST_LEASE_FOR_THE_LINE_MS: i64 = 12_000;

impl Store {
    /// Asks the database for its time and sets the clock. Call it every [`crate::clock::MEASURED_EVERY`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn measure_clock(&self) -> Result<(), StoreError> {
        let asked = Instant::now();
        let database_ms = match self.0.database {
            // SQLite has no clock but the host's.
            Database::Sqlite => host_ms(),
            Database::Postgres => {
                let mut connection = self.0.upkeep.acquire().await?;
                let asked = Instant::now();
                // The simple protocol takes one round trip.
                let row = connection.ask(
                    "-- measure_clock\nselect cast(extract(epoch from clock_timestamp()) * 1000 as bigint) as now_ms",
                );
                let row = row.await?;
                let round_trip = asked.elapsed();
                connection.give_back();
                let round_trip_us = i64::try_from(round_trip.as_micros()).unwrap_or(i64::MAX);
                self.0.round_trip_us.store(round_trip_us, Ordering::Relaxed);
                // The time in a slow answer may be wrong by half its round trip; the next measurement will be better.
                if round_trip <= TRUSTED_ROUND_TRIP || self.0.clock.measured_ago().is_none() {
                    clock_steps::take_over(self, row.try_get("now_ms")?, round_trip).await;
                }
                return Ok(());
            }
        };
        clock_steps::take_over(self, database_ms, asked.elapsed()).await;
        Ok(())
    }

    /// Checks that the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("-- ping\nselect 1").fetch_one(&self.0.readers).await?;
        Ok(())
    }

    /// The server's settings that are switched off and without which an answered commit may be lost in a power failure.
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

    /// How long the database took when it was last asked for its time; zero for SQLite.
    pub fn round_trip(&self) -> Duration {
        Duration::from_micros(self.0.round_trip_us.load(Ordering::Relaxed).unsigned_abs())
    }

    /// How long a lease lasts here, milliseconds: [`jobs::LEASE_MS`], plus the time that the network to the database
    /// takes.
    pub fn lease_ms(&self) -> i64 {
        lease_ms(self.round_trip())
    }

    /// Remembers whether the last write of this process's own row succeeded.
    pub(super) fn note_proof(&self, is_good: bool) {
        let proof = WriteProof { at: Instant::now(), is_good };
        *self.0.last_proof.lock() = Some(proof);
    }

    /// Why nothing can be written, as the last heartbeat has shown; `None` before the first one. Reads may still
    /// succeed: a full disk, a held lock or a missing permission stops writes alone.
    pub fn write_fault(&self) -> Option<&'static str> {
        let proof = (*self.0.last_proof.lock())?;
        match proof {
            WriteProof { is_good: false, .. } => Some("takes no writes"),
            WriteProof { at, .. } if at.elapsed() > PROVEN_FOR => Some("has taken no write for 15 s"),
            WriteProof { .. } => None,
        }
    }
}

/// How long a lease lasts where the database answers after this round trip.
fn lease_ms(round_trip: Duration) -> i64 {
    let for_the_line = i64::try_from((round_trip * ROUND_TRIPS_OF_A_RENEWAL).as_millis()).unwrap_or(i64::MAX);
    jobs::LEASE_MS + for_the_line.min(MOST_LEASE_FOR_THE_LINE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: DATABASE-3
    #[test]
    fn a_lease_lasts_longer_where_the_line_is_slow() {
        for (round_trip_ms, lease) in [(0, 8_000), (1, 8_010), (200, 10_000), (400, 12_000), (60_000, 20_000)] {
            assert_eq!(lease_ms(Duration::from_millis(round_trip_ms)), lease, "{round_trip_ms} ms");
        }
    }
}
