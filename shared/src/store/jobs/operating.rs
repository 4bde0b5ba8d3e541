//! What operators see of jobs and do to them.

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::OPEN;
use crate::id::JobId;
use crate::job::{JobKind, JobRow, JobState, QueueName};
use crate::store::{Store, StoreError, Write};

/// The columns of a [`JobRow`].
pub(in crate::store) const ROW: &str =
    "id, queue, kind, subject_id, state, attempt, crashes, due_at_ms, last_error, created_at_ms, finished_at_ms";

/// One job as operators see it.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn show(store: &Store, id: JobId) -> Result<Option<JobRow>, StoreError> {
    sqlx::query(AssertSqlSafe(format!("-- show_job\nselect {ROW} from jobs where id = $1")))
        .bind(id.0)
        .fetch_optional(store.readers())
        .await?
        .map(|row| job_row(&row))
        .transpose()
}

/// The newest jobs, of one state or kind if asked.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn list(
    store: &Store,
    state: Option<JobState>,
    kind: Option<JobKind>,
    limit: i64,
) -> Result<Vec<JobRow>, StoreError> {
    // Only what is asked for stands in the text, so that the index of open or dead rows can serve.
    let mut conditions = Vec::new();
    if let Some(state) = state {
        conditions.push(format!("state = '{state}'"));
        if state.is_open() {
            conditions.push(OPEN.to_owned());
        }
    }
    if let Some(kind) = kind {
        conditions.push(format!("kind = '{kind}'"));
    }
    let condition = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") };
    let rows = sqlx::query(AssertSqlSafe(format!(
        "-- list_jobs\nselect {ROW} from jobs where {condition} order by id desc limit $1"
    )))
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(job_row).collect()
}

/// Makes a dead letter available, with its attempts and crashes counted from the start. Returns whether it could: there may
/// be an open job like it.
pub(in crate::store) async fn revive(write: &mut Write, job: &JobRow) -> Result<bool, StoreError> {
    let now_ms = write.now_ms();
    let done = sqlx::query(AssertSqlSafe(format!(
        "-- retry_job
        update jobs set state = 'available', queue = $3, attempt = 0, crashes = 0, due_at_ms = $2, finished_at_ms = null
        where id = $1 and state = 'dead' and not exists (
            select 1 from jobs other where other.kind = jobs.kind and other.subject_id = jobs.subject_id and other.{OPEN})"
    )))
    .bind(job.id.0)
    .bind(now_ms)
    .bind(JobKind::parse(&job.kind).map_or(QueueName::Background, JobKind::queue).as_str())
    .execute(write.transaction())
    .await?;
    write.fresh.due(now_ms);
    Ok(done.rows_affected() > 0)
}

/// Makes a waiting job due now.
pub(in crate::store) async fn run_now(store: &Store, id: JobId) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    let now_ms = write.now_ms();
    sqlx::query(
        "-- run_job_now\nupdate jobs set due_at_ms = $2 where id = $1 and state = 'available' and due_at_ms > $2",
    )
    .bind(id.0)
    .bind(now_ms)
    .execute(write.transaction())
    .await?;
    write.fresh.due(now_ms);
    write.commit().await
}

/// Calls off a job that waits or is dead; returns whether it was.
pub(in crate::store) async fn cancel(write: &mut Write, id: JobId) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "-- cancel_job
        update jobs set state = 'canceled', lease_token = null, finished_at_ms = $2
        where id = $1 and state in ('available', 'enqueued', 'dead')",
    )
    .bind(id.0)
    .bind(write.now_ms())
    .execute(write.transaction())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// How many dead letters there are.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn count_dead(store: &Store) -> Result<i64, StoreError> {
    let row = sqlx::query("-- count_dead\nselect count(*) as dead from jobs where state = 'dead'")
        .fetch_one(store.readers())
        .await?;
    Ok(row.try_get("dead")?)
}

pub(in crate::store) fn job_row(row: &AnyRow) -> Result<JobRow, StoreError> {
    let state: String = row.try_get("state")?;
    Ok(JobRow {
        id: JobId(row.try_get("id")?),
        queue: row.try_get("queue")?,
        kind: row.try_get("kind")?,
        subject_id: row.try_get("subject_id")?,
        state: JobState::parse(&state).ok_or(StoreError::UnknownValue { column: "jobs.state", value: state })?,
        attempt: row.try_get("attempt")?,
        crashes: row.try_get("crashes")?,
        due_at_ms: row.try_get("due_at_ms")?,
        last_error: row.try_get("last_error")?,
        created_at_ms: row.try_get("created_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
    })
}
