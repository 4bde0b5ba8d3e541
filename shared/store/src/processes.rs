//! The processes of the installation, for `doctor` and `/metrics`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::IgnoredAny;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::statement::Statement;
use super::{Store, StoreError};
use domain::order::GatewayIdentity;

/// A process without a heartbeat for this long counts as gone.
pub const ALIVE_MS: i64 = 15_000;

/// Three heartbeats long: after this a process without a heartbeat, and a consumer without news from its queue, are
/// silent. With the heartbeat that may still be on its way this shows within 15 s.
pub const SILENT_MS: i64 = 10_000;

/// For how long a silent process is shown, so that an operator has time to come. A killed process leaves its row behind
/// just like one that hangs.
const RECENT_MS: i64 = 10 * 60_000;

/// After this a process without a heartbeat has no consumer any more.
const CONSUMER_GONE_MS: i64 = 60_000;

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
    /// The random id of the Redis instance it uses. The column and the JSON field keep their older name, which older releases
    /// and scripts read.
    #[serde(rename = "twin")]
    pub redis_instance_id: Option<String>,
    /// When it started, epoch milliseconds.
    pub started_at_ms: i64,
    /// Its last heartbeat, epoch milliseconds.
    pub heartbeat_at_ms: i64,
    /// When its consumer last heard from the queue, or was too busy to ask. Before that it is the time of its start;
    /// `None` for a process that takes no jobs.
    pub queue_heard_at_ms: Option<i64>,
    /// The admission of the calls of `gateway` as it sees it, the JSON of `process::admission::ReportedAdmission`; `None` for an
    /// older release.
    pub admission: Option<String>,
    /// The same with the names of older releases, which write and read this alone.
    pub weather: Option<String>,
    /// Why its log lines are lost, for people; `None` while they are written.
    pub log_fault: Option<String>,
    /// The one of its gateway accounts that processes of a release with one account may have, too; `None` where it has none.
    pub gateway: Option<GatewayIdentity>,
    /// All its gateway accounts, JSON: for each identity the `process::admission::ReportedAdmission` of its calls. `None` for a
    /// release that had one account.
    pub accounts: Option<String>,
}

impl Process {
    /// Whether it has written a heartbeat recently.
    pub fn is_alive(&self, now_ms: i64) -> bool {
        now_ms - self.heartbeat_at_ms < ALIVE_MS
    }

    /// Its gateway accounts.
    pub fn account_identities(&self) -> Vec<GatewayIdentity> {
        let accounts = self.accounts.as_deref().and_then(|accounts| serde_json::from_str(accounts).ok());
        match accounts {
            Some(accounts) => BTreeMap::<String, IgnoredAny>::into_keys(accounts).map(GatewayIdentity).collect(),
            None => self.gateway.iter().cloned().collect(),
        }
    }

    /// Whether it hangs or was killed: its heartbeats have stopped, and it has not deleted its row either.
    pub fn is_silent(&self, now_ms: i64) -> bool {
        now_ms - self.heartbeat_at_ms > SILENT_MS
    }

    /// Whether its consumer asks the queue and gets no answer, or has just fallen silent with the whole process. A
    /// process that is silent for longer was most likely killed, and its successor is asked instead.
    pub fn has_silent_consumer(&self, now_ms: i64) -> bool {
        now_ms - self.heartbeat_at_ms < CONSUMER_GONE_MS
            && self.queue_heard_at_ms.is_some_and(|heard_at_ms| now_ms - heard_at_ms > SILENT_MS)
    }
}

/// The columns of a [`Process`].
macro_rules! process_columns {
    () => {
        "id, role, version, slots, queues, twin, started_at_ms, heartbeat_at_ms, queue_heard_at_ms, weather, log_fault,
            gateway, admission, accounts"
    };
}

/// Writes this process's heartbeat, which also proves that writes succeed; see [`Store::write_fault`].
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn write_heartbeat(store: &Store, process: &Process) -> Result<(), StoreError> {
    let told = sqlx::query(concat!(
        "-- write_heartbeat
        insert into processes (",
        process_columns!(),
        ")
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        on conflict (id) do update set twin = excluded.twin, heartbeat_at_ms = excluded.heartbeat_at_ms,
            queue_heard_at_ms = excluded.queue_heard_at_ms, weather = excluded.weather, log_fault = excluded.log_fault,
            admission = excluded.admission, accounts = excluded.accounts",
    ))
    .bind(process.id.clone())
    .bind(process.role.clone())
    .bind(process.version.clone())
    .bind(process.slots)
    .bind(process.queues.clone())
    .bind(process.redis_instance_id.clone())
    .bind(process.started_at_ms)
    .bind(store.now_ms())
    .bind(process.queue_heard_at_ms)
    .bind(process.weather.clone())
    .bind(process.log_fault.clone())
    .bind(process.gateway.as_ref().map(|gateway| gateway.0.clone()))
    .bind(process.admission.clone())
    .bind(process.accounts.clone())
    .execute(store.upkeep())
    .await;
    store.note_proof(told.is_ok());
    told?;
    Ok(())
}

/// Deletes the row of a process that ends.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn delete(store: &Store, id: &str) -> Result<(), StoreError> {
    sqlx::query("-- delete_process\ndelete from processes where id = $1")
        .bind(id.to_owned())
        .execute(store.writer())
        .await?;
    Ok(())
}

/// The processes that are alive.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn alive(store: &Store) -> Result<Vec<Process>, StoreError> {
    let mut processes = recent(store).await?;
    let now_ms = store.now_ms();
    processes.retain(|process| process.is_alive(now_ms));
    Ok(processes)
}

const WORKERS_OF_ACCOUNT: Statement = Statement {
    sqlite: "-- workers_of_account
        select count(*) as workers from processes where heartbeat_at_ms > $1 and slots > 0
            and (gateway = $2 or exists (select 1 from json_each(accounts) where key = $2))",
    postgres: "-- workers_of_account
        select count(*) as workers from processes where heartbeat_at_ms > $1 and slots > 0
            and (gateway = $2 or jsonb_exists(cast(accounts as jsonb), $2))",
};

/// Whether a living worker has this gateway account.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn has_worker_of(store: &Store, gateway: &GatewayIdentity) -> Result<bool, StoreError> {
    let query = sqlx::query(WORKERS_OF_ACCOUNT.on(store.database()));
    let query = query.bind(store.now_ms() - ALIVE_MS).bind(gateway.0.clone());
    let row = query.fetch_one(store.readers()).await?;
    Ok(row.try_get::<i64, _>("workers")? > 0)
}

/// The living processes, and those that fell silent within the last 10 min without deleting their row.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn recent(store: &Store) -> Result<Vec<Process>, StoreError> {
    let rows = sqlx::query(concat!(
        "-- recent_processes
        select ",
        process_columns!(),
        " from processes where heartbeat_at_ms > $1 order by role, started_at_ms"
    ))
    .bind(store.now_ms() - RECENT_MS)
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
        redis_instance_id: row.try_get("twin")?,
        started_at_ms: row.try_get("started_at_ms")?,
        heartbeat_at_ms: row.try_get("heartbeat_at_ms")?,
        queue_heard_at_ms: row.try_get("queue_heard_at_ms")?,
        admission: row.try_get("admission")?,
        weather: row.try_get("weather")?,
        log_fault: row.try_get("log_fault")?,
        gateway: row.try_get::<Option<String>, _>("gateway")?.map(GatewayIdentity),
        accounts: row.try_get("accounts")?,
    })
}
