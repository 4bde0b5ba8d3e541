//! Who is alive: what `doctor` and `/metrics` show to those who scale.

use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError};

/// A process that has not told of itself for this long counts as gone.
pub const ALIVE_MS: i64 = 15_000;

/// One process of the installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Random per start.
    pub id: String,
    /// `up`, `api` or `worker`.
    pub role: String,
    /// Its release.
    pub version: String,
    /// How many jobs it runs at once; 0 for an API.
    pub slots: i64,
    /// The queues it takes from, comma-separated.
    pub queues: String,
    /// The random value of the Redis it uses.
    pub twin: Option<String>,
    /// When it started, epoch milliseconds.
    pub started_at_ms: i64,
    /// When it last told of itself, epoch milliseconds.
    pub heartbeat_at_ms: i64,
}

/// Tells that this process is alive.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn beat(store: &Store, process: &Process) -> Result<(), StoreError> {
    sqlx::query(
        "-- beat
        insert into processes (id, role, version, slots, queues, twin, started_at_ms, heartbeat_at_ms)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (id) do update set twin = excluded.twin, heartbeat_at_ms = excluded.heartbeat_at_ms",
    )
    .bind(process.id.clone())
    .bind(process.role.clone())
    .bind(process.version.clone())
    .bind(process.slots)
    .bind(process.queues.clone())
    .bind(process.twin.clone())
    .bind(process.started_at_ms)
    .bind(store.now_ms())
    .execute(store.writer())
    .await?;
    Ok(())
}

/// Tells that this process ends.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn leave(store: &Store, id: &str) -> Result<(), StoreError> {
    sqlx::query("-- leave\ndelete from processes where id = $1").bind(id.to_owned()).execute(store.writer()).await?;
    Ok(())
}

/// The processes that are alive.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn alive(store: &Store) -> Result<Vec<Process>, StoreError> {
    let rows = sqlx::query(
        "-- processes_alive
        select id, role, version, slots, queues, twin, started_at_ms, heartbeat_at_ms from processes
        where heartbeat_at_ms > $1 order by role, started_at_ms",
    )
    .bind(store.now_ms() - ALIVE_MS)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &AnyRow) -> Result<Process, StoreError> {
    Ok(Process {
        id: row.try_get("id")?,
        role: row.try_get("role")?,
        version: row.try_get("version")?,
        slots: row.try_get("slots")?,
        queues: row.try_get("queues")?,
        twin: row.try_get("twin")?,
        started_at_ms: row.try_get("started_at_ms")?,
        heartbeat_at_ms: row.try_get("heartbeat_at_ms")?,
    })
}
