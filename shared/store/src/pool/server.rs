//! The server behind the connections: whether it listens, and whether it still accepts writes.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use sqlx::{AnyConnection, Error, Row};

use super::connect_probe::ConnectProbe;

/// The server that a database's URL leads to.
///
/// After a failover the name leads to another server, now or some seconds later, while connections to the demoted one
/// still answer reads. The server therefore has eras. The first sign that it accepts no writes starts a new era, and
/// all connections of earlier eras, idle or borrowed, are closed when they are next used.
#[derive(Debug)]
pub(crate) struct Server {
    probe: Option<ConnectProbe>,
    era: Mutex<Era>,
}

#[derive(Debug, Default)]
struct Era {
    number: u64,
    began: Option<Instant>,
}

/// A server that replicates another one.
#[derive(Debug, thiserror::Error)]
#[error("the server is a standby and takes no writes; it was demoted, or DATABASE_URL does not lead to the primary")]
struct Standby;

impl Server {
    /// The server of that URL.
    pub(crate) fn of(url: &str) -> Self {
        Server { probe: ConnectProbe::of(url), era: Mutex::default() }
    }

    /// Returns once the port has refused connections for a moment.
    pub(super) async fn refusal(&self) -> Error {
        match &self.probe {
            Some(probe) => probe.refusal().await,
            None => std::future::pending().await,
        }
    }

    /// The number of the present era.
    pub(super) fn era(&self) -> u64 {
        self.lock().number
    }

    /// Ends the era of this number, unless it has ended already.
    pub(super) fn leave(&self, era: u64) {
        let mut now = self.lock();
        if now.number == era {
            *now = Era { number: era + 1, began: Some(Instant::now()) };
            tracing::warn!("the database's server takes no writes any more; connections to it are closed");
        }
    }

    /// Whether a connection of this age belongs to the present era.
    pub(crate) fn is_of_this_era(&self, age: Duration) -> bool {
        self.lock().began.is_none_or(|began| age < began.elapsed())
    }

    /// Checks that the server answers on this connection and accepts writes.
    ///
    /// # Errors
    /// It does not answer, or is a standby. The latter ends the era.
    pub(super) async fn test(&self, connection: &mut AnyConnection, era: u64) -> Result<(), Error> {
        let asked = "-- test_connection\nselect cast(pg_is_in_recovery() as int) as is_standby";
        let row = sqlx::raw_sql(asked).fetch_one(connection).await?;
        if row.try_get::<i32, _>("is_standby")? == 0 {
            return Ok(());
        }
        self.leave(era);
        Err(Error::Io(std::io::Error::other(Standby)))
    }

    fn lock(&self) -> MutexGuard<'_, Era> {
        self.era.lock()
    }
}

/// Whether a test failed because the server accepts no writes.
pub(super) fn is_standby(error: &Error) -> bool {
    matches!(error, Error::Io(error) if error.get_ref().is_some_and(|cause| cause.is::<Standby>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: DATABASE-2
    #[test]
    fn connections_made_before_a_server_was_left_are_of_another_era() {
        let server = Server::of("postgres://db.test/x");
        assert!(server.is_of_this_era(Duration::from_secs(60)), "no era has ended yet");

        server.leave(0);
        server.leave(0);

        assert_eq!(server.era(), 1, "each who finds out ends one era only once");
        assert!(!server.is_of_this_era(Duration::from_secs(60)));
        assert!(server.is_of_this_era(Duration::ZERO));
    }
}
