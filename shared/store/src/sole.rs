//! The one process that may use a PostgreSQL database without Redis: its queue is in its own memory.

use std::time::Duration;

use sqlx::{AnyConnection, Connection, Row};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Store, StoreError};

/// The number of the advisory lock on the database: the bytes of "tasdiq" as a number.
const LOCK: i64 = 0x7461_7364_6971;

/// How often the connection is checked.
const LOOKED_AFTER_EVERY: Duration = Duration::from_secs(3);

/// A server that has not answered in this time hangs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// The right to be the only process of a database. A separate connection holds it as an advisory lock, and the server
/// releases the lock when the process ends, in whatever way.
#[derive(Debug)]
pub struct SoleProcess {
    store: Store,
    connection: Option<AnyConnection>,
}

impl SoleProcess {
    /// Takes the right; `None` while another session holds it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn take(store: &Store) -> Result<Option<Self>, StoreError> {
        let connection = lock(store).await?;
        Ok(connection.map(|connection| SoleProcess { store: store.clone(), connection: Some(connection) }))
    }

    /// Continues without the right until it is free: the session that holds it belongs to no living process.
    pub fn believed(store: &Store) -> Self {
        SoleProcess { store: store.clone(), connection: None }
    }

    /// Keeps the right until `stop`, and takes it again after a lost connection. It returns earlier only if another
    /// process has taken the right meanwhile.
    pub async fn keep(mut self, stop: CancellationToken) {
        let was_held = self.connection.is_some();
        while stop.run_until_cancelled(sleep(LOOKED_AFTER_EVERY)).await.is_some() {
            if let Some(connection) = &mut self.connection {
                // A lock on a demoted server does not exist on the server that took over.
                let asked = sqlx::raw_sql("-- sole_process_holds\nselect 1 as holds where not pg_is_in_recovery()");
                if matches!(timeout(ANSWERED_WITHIN, asked.fetch_optional(connection)).await, Ok(Ok(Some(_)))) {
                    continue;
                }
                self.connection = None;
            }
            match lock(&self.store).await {
                Ok(Some(connection)) => self.connection = Some(connection),
                // The holder may be our own earlier session. A living process would write heartbeats.
                Ok(None) if was_held && is_taken(&self.store).await => {
                    tracing::error!("another `tasdiq up` has taken this database while the connection to it was lost");
                    return;
                }
                // The server is away, so no other process can take the right either.
                Ok(None) | Err(_) => (),
            }
        }
    }
}

/// Whether another process without Redis writes heartbeats.
async fn is_taken(store: &Store) -> bool {
    super::processes::alive(store).await.is_ok_and(|alive| {
        alive.iter().filter(|process| process.role == "up" && process.redis_instance_id.is_none()).count() > 1
    })
}

async fn lock(store: &Store) -> Result<Option<AnyConnection>, StoreError> {
    let Some(options) = &store.0.options else { return Ok(None) };
    let locking = async {
        let mut connection = AnyConnection::connect_with(options).await?;
        let row = sqlx::query("-- take_sole_process\nselect cast(pg_try_advisory_lock($1) as int) as is_ours")
            .bind(LOCK)
            .fetch_one(&mut connection)
            .await?;
        match row.try_get::<i32, _>("is_ours")? {
            0 => {
                connection.close().await?;
                Ok(None)
            }
            _ => Ok(Some(connection)),
        }
    };
    timeout(ANSWERED_WITHIN, locking).await.unwrap_or(Err(sqlx::Error::PoolTimedOut.into()))
}
