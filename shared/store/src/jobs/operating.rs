//! Jobs as operators see and change them.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::claiming::numbers_of;
use crate::{Store, StoreError, Write};
use domain::id::JobId;
use domain::job::{JobKind, JobRow, JobState, QueueName};

/// The columns of a [`JobRow`], for a statement that reads it whole.
macro_rules! job_columns {
    () => {
        "id, queue, kind, subject_id, state, attempt, crashes, due_at_ms, waiting_since_ms, last_error, created_at_ms,
            finished_at_ms, woken_by"
    };
}
pub(crate) use job_columns;

/// One job, as operators see it.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn show(store: &Store, id: JobId) -> Result<Option<JobRow>, StoreError> {
    sqlx::query(concat!("-- show_job\nselect ", job_columns!(), " from jobs where id = $1"))
        .bind(id.0)
        .fetch_optional(store.readers())
        .await?
        .map(|row| job_row(&row))
        .transpose()
}

/// The newest jobs, of one state or kind if asked for.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn list(
    store: &Store,
    state: Option<JobState>,
    kind: Option<JobKind>,
    limit: i64,
) -> Result<Vec<JobRow>, StoreError> {
    // The state is part of the text, so that its partial index can be used.
    let text = match state {
        None => concat!(
            "-- list_jobs\nselect ",
            job_columns!(),
            " from jobs where (kind = $2 or $2 is null) order by id desc limit $1"
        ),
        Some(JobState::Available) => concat!(
            "-- list_available_jobs\nselect ",
            job_columns!(),
            " from jobs where state = 'available' and (kind = $2 or $2 is null) order by id desc limit $1"
        ),
        Some(JobState::Enqueued) => concat!(
            "-- list_enqueued_jobs\nselect ",
            job_columns!(),
            " from jobs where state = 'enqueued' and (kind = $2 or $2 is null) order by id desc limit $1"
        ),
        Some(JobState::Running) => concat!(
            "-- list_running_jobs\nselect ",
            job_columns!(),
            " from jobs where state = 'running' and (kind = $2 or $2 is null) order by id desc limit $1"
        ),
        Some(JobState::Completed) => concat!(
            "-- list_completed_jobs\nselect ",
            job_columns!(),
            " from jobs where state = 'completed' and (kind = $2 or $2 is null) order by id desc limit $1"
        ),
        Some(JobState::Canceled) => concat!(
            "-- list_canceled_jobs\nselect ",
            job_columns!(),
            " from jobs where state = 'canceled' and (kind = $2 or $2 is null) order by id desc limit $1"
        ),
        Some(JobState::Dead) => concat!(
            "-- list_dead_jobs\nselect ",
            job_columns!(),
            " from jobs where state = 'dead' and (kind = $2 or $2 is null) order by id desc limit $1"
        ),
    };
    let query = sqlx::query(text).bind(limit).bind(kind.map(JobKind::as_str));
    let rows = query.fetch_all(store.readers()).await?;
    rows.iter().map(job_row).collect()
}

/// Makes a dead letter available, with attempts and crashes reset. Returns whether it could: there may be an open job
/// of the same kind and subject.
pub(crate) async fn revive(write: &mut Write, job: &JobRow) -> Result<bool, StoreError> {
    let now_ms = write.now_ms();
    let done = sqlx::query(
        "-- retry_job
        update jobs set state = 'available', queue = $3, attempt = 0, crashes = 0, due_at_ms = $2, finished_at_ms = null
        where id = $1 and kind = $4 and state = 'dead' and not exists (
            select 1 from jobs other where other.kind = jobs.kind and other.subject_id = jobs.subject_id
                and other.state in ('available', 'enqueued', 'running'))",
    )
    .bind(job.id.0)
    .bind(now_ms)
    .bind(JobKind::parse(&job.kind).map_or(QueueName::Background, JobKind::queue).as_str())
    .bind(job.kind.clone())
    .execute(write.transaction())
    .await?;
    write.recent.due(now_ms);
    Ok(done.rows_affected() > 0)
}

/// Makes a waiting job due now.
pub(crate) async fn run_now(store: &Store, id: JobId) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    let now_ms = write.now_ms();
    sqlx::query(
        "-- run_job_now\nupdate jobs set due_at_ms = $2 where id = $1 and state = 'available' and due_at_ms > $2",
    )
    .bind(id.0)
    .bind(now_ms)
    .execute(write.transaction())
    .await?;
    write.recent.due(now_ms);
    write.commit().await
}

/// Cancels a job that waits or is dead; returns whether it did. If its row has become another kind of job since it was
/// read, that job must go on.
pub(crate) async fn cancel(write: &mut Write, job: &JobRow) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "-- cancel_job
        update jobs set state = 'canceled', lease_token = null, finished_at_ms = $2
        where id = $1 and kind = $3 and state in ('available', 'enqueued', 'dead')",
    )
    .bind(job.id.0)
    .bind(write.now_ms())
    .bind(job.kind.clone())
    .execute(write.transaction())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// The number of dead letters.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn count_dead(store: &Store) -> Result<i64, StoreError> {
    let row = sqlx::query("-- count_dead\nselect count(*) as dead from jobs where state = 'dead'")
        .fetch_one(store.readers())
        .await?;
    Ok(row.try_get("dead")?)
}

pub(crate) fn job_row(row: &AnyRow) -> Result<JobRow, StoreError> {
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
        waiting_since_ms: row.try_get("waiting_since_ms")?,
        last_error: row.try_get("last_error")?,
        created_at_ms: row.try_get("created_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
        woken_by: numbers_of(row.try_get("woken_by")?),
    })
}
