//! Stages jobs: they commit in the transaction of their cause.

use serde::Serialize;
use sqlx::Row;

use super::{ENQUEUE_GRACE_MS, parse_queue};
use crate::statement::{Statement, json};
use crate::{Store, StoreError, Write};
use domain::id::JobId;
use domain::job::{Job, JobState, QueueName};

/// Stages a job in this transaction, whose commit wakes the relay. If the job is due now and this process's relay can
/// push it at once, the row is marked as enqueued already, which saves one write.
///
/// There is one open row per kind and subject. If it is available, it becomes due no later than `due_at_ms`. If it is
/// enqueued, nothing changes; only a row on `background` that is now due on `settle` changes its queue, and its old id
/// becomes void. If it is running, `wakes` tells its run that another one must follow. A suspect keeps its queue and
/// time.
pub(crate) async fn stage(write: &mut Write, job: Job, queue: QueueName, due_at_ms: i64) -> Result<(), StoreError> {
    stage_all(write, &[Staged { job, queue, due_at_ms, woken_by: None }]).await
}

/// A job to be staged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Staged {
    pub(crate) job: Job,
    pub(crate) queue: QueueName,
    pub(crate) due_at_ms: i64,
    /// The number of a further cause that its next run must handle; only its handler knows the meaning.
    pub(crate) woken_by: Option<i64>,
}

/// The most characters of a list of causes. A longer list takes no more: only without any running worker does a job
/// wait for so many.
const LONGEST_WOKEN_BY: i64 = 500;

impl Staged {
    /// The job's own data, for its row.
    pub(super) fn payload(&self) -> Result<String, StoreError> {
        Ok(serde_json::to_string(&self.job).map_err(|error| sqlx::Error::Encode(Box::new(error)))?)
    }
}

// Without a condition of its own SQLite would read `on conflict` as the condition of a join.
const STAGE_JOBS: Statement = Statement {
    sqlite: "-- stage_jobs
        insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, waiting_since_ms, created_at_ms, woken_by)
        select value ->> 'id', value ->> 'queue', value ->> 'kind', value ->> 'subject_id', value ->> 'payload',
            value ->> 'state', value ->> 'due_at_ms', value ->> 'waiting_since_ms', $2, value ->> 'woken_by'
        from json_each($1) where true
        on conflict (kind, subject_id) where state in ('available', 'enqueued', 'running') do update set
            state = case when jobs.queue <> 'suspect' and jobs.state = 'available' then excluded.state
                when jobs.state = 'enqueued' and jobs.queue = 'background' and excluded.queue = 'settle'
                    and coalesce(excluded.waiting_since_ms, excluded.due_at_ms) <= $2 then excluded.state
                else jobs.state end,
            due_at_ms = case when jobs.queue <> 'suspect' and jobs.state = 'available'
                    and (excluded.state <> 'available' or excluded.due_at_ms < jobs.due_at_ms)
                then excluded.due_at_ms
                when jobs.state = 'enqueued' and jobs.queue = 'background' and excluded.queue = 'settle'
                    and coalesce(excluded.waiting_since_ms, excluded.due_at_ms) <= $2 then excluded.due_at_ms
                else jobs.due_at_ms end,
            waiting_since_ms = case when jobs.queue = 'suspect' or jobs.state <> 'available'
                then jobs.waiting_since_ms
                when jobs.due_at_ms < excluded.waiting_since_ms then jobs.due_at_ms
                else excluded.waiting_since_ms end,
            queue = case when jobs.queue <> 'suspect' and jobs.state = 'available' then excluded.queue
                when jobs.state = 'enqueued' and jobs.queue = 'background' and excluded.queue = 'settle'
                    and coalesce(excluded.waiting_since_ms, excluded.due_at_ms) <= $2 then excluded.queue
                else jobs.queue end,
            wakes = case when jobs.state = 'running' then jobs.wakes + 1 else jobs.wakes end,
            woken_by = case when excluded.woken_by is null or length(jobs.woken_by) > $3 then jobs.woken_by
                else coalesce(jobs.woken_by || ' ', '') || excluded.woken_by end
        returning id, queue, state, due_at_ms",
    postgres: "-- stage_jobs
        insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, waiting_since_ms, created_at_ms, woken_by)
        select id, queue, kind, subject_id, payload, state, due_at_ms, waiting_since_ms, $2, woken_by
        from json_populate_recordset(cast(null as jobs), cast($1 as json))
        on conflict (kind, subject_id) where state in ('available', 'enqueued', 'running') do update set
            state = case when jobs.queue <> 'suspect' and jobs.state = 'available' then excluded.state
                when jobs.state = 'enqueued' and jobs.queue = 'background' and excluded.queue = 'settle'
                    and coalesce(excluded.waiting_since_ms, excluded.due_at_ms) <= $2 then excluded.state
                else jobs.state end,
            due_at_ms = case when jobs.queue <> 'suspect' and jobs.state = 'available'
                    and (excluded.state <> 'available' or excluded.due_at_ms < jobs.due_at_ms)
                then excluded.due_at_ms
                when jobs.state = 'enqueued' and jobs.queue = 'background' and excluded.queue = 'settle'
                    and coalesce(excluded.waiting_since_ms, excluded.due_at_ms) <= $2 then excluded.due_at_ms
                else jobs.due_at_ms end,
            waiting_since_ms = case when jobs.queue = 'suspect' or jobs.state <> 'available'
                then jobs.waiting_since_ms
                when jobs.due_at_ms < excluded.waiting_since_ms then jobs.due_at_ms
                else excluded.waiting_since_ms end,
            queue = case when jobs.queue <> 'suspect' and jobs.state = 'available' then excluded.queue
                when jobs.state = 'enqueued' and jobs.queue = 'background' and excluded.queue = 'settle'
                    and coalesce(excluded.waiting_since_ms, excluded.due_at_ms) <= $2 then excluded.queue
                else jobs.queue end,
            wakes = case when jobs.state = 'running' then jobs.wakes + 1 else jobs.wakes end,
            woken_by = case when excluded.woken_by is null or length(jobs.woken_by) > $3 then jobs.woken_by
                else coalesce(jobs.woken_by || ' ', '') || excluded.woken_by end
        returning jobs.id, jobs.queue, jobs.state, jobs.due_at_ms",
};

/// As [`stage`], for several jobs with different kinds or subjects.
pub(crate) async fn stage_all(write: &mut Write, jobs: &[Staged]) -> Result<(), StoreError> {
    #[derive(Serialize)]
    struct New {
        id: i64,
        queue: &'static str,
        kind: &'static str,
        subject_id: i64,
        payload: String,
        state: &'static str,
        due_at_ms: i64,
        waiting_since_ms: Option<i64>,
        woken_by: Option<String>,
    }
    if jobs.is_empty() {
        return Ok(());
    }
    let now_ms = write.now_ms();
    let grace_ends_ms = now_ms + ENQUEUE_GRACE_MS;
    let mut new = Vec::with_capacity(jobs.len());
    for staged in jobs {
        let Staged { job, queue, due_at_ms, woken_by } = staged;
        let job_id = match write.job_ids.pop() {
            Some(id) => id,
            None => {
                let store = write.store.clone();
                store.0.ids.take_within(&store, write.transaction(), "jobs", 1).await?
            }
        };
        let is_enqueued = *due_at_ms <= now_ms && write.store.0.relay_inbox.is_open(*queue);
        let (state, due) = match is_enqueued {
            true => (JobState::Enqueued, grace_ends_ms),
            false => (JobState::Available, *due_at_ms),
        };
        new.push(New {
            id: job_id,
            queue: queue.as_str(),
            kind: job.kind().as_str(),
            subject_id: job.subject_id(),
            payload: staged.payload()?,
            state: state.as_str(),
            due_at_ms: due,
            waiting_since_ms: is_enqueued.then_some(*due_at_ms),
            woken_by: woken_by.map(|number| number.to_string()),
        });
    }
    // All transactions take these locks in the same order.
    new.sort_unstable_by_key(|new| (new.kind, new.subject_id));
    let text = STAGE_JOBS.on(write.store.database());
    let query = sqlx::query(text).bind(json(&new)?).bind(now_ms).bind(LONGEST_WOKEN_BY);
    for row in query.fetch_all(write.transaction()).await? {
        let (state, due_at_ms): (String, i64) = (row.try_get("state")?, row.try_get("due_at_ms")?);
        match JobState::parse(&state) {
            // Another transaction may have enqueued it a moment ago. Pushing its id twice does no harm.
            Some(JobState::Enqueued) if due_at_ms == grace_ends_ms => {
                let queue = parse_queue(&row.try_get::<String, _>("queue")?)?;
                write.recent.enqueue(queue, JobId(row.try_get("id")?));
            }
            Some(JobState::Available) => write.recent.due(due_at_ms),
            _ => (),
        }
    }
    Ok(())
}

/// Stages one job in a separate transaction, due now: for an operator's `reconcile`, a hint, the first `sweep`.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn stage_now(store: &Store, job: Job) -> Result<(), StoreError> {
    let mut write = store.begin(1).await?;
    let now_ms = write.now_ms();
    stage(&mut write, job, job.kind().queue(), now_ms).await?;
    write.commit().await
}

/// Stages a job that has no subject, due now, unless it is open already.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn seed(store: &Store, job: Job) -> Result<(), StoreError> {
    let row = sqlx::query(
        "-- open_job
        select count(*) as open from jobs
        where kind = $1 and subject_id = $2 and state in ('available', 'enqueued', 'running')",
    )
    .bind(job.kind().as_str())
    .bind(job.subject_id())
    .fetch_one(store.readers())
    .await?;
    match row.try_get::<i64, _>("open")? {
        0 => stage_now(store, job).await,
        _ => Ok(()),
    }
}
