//! Converts a job into the next one when its run ends: one row is written, where completing the one and staging the
//! other would write two.

use std::collections::HashSet;

use serde::Serialize;
use sqlx::Row;

use super::Staged;
use crate::group_commit::LockedRows;
use crate::statement::{LockingStatement, json};
use crate::{StoreError, Write};
use domain::id::JobId;
use domain::job::Lease;

// `offset 0` makes PostgreSQL ask for each row with both columns of the index. Without it, and without statistics of a
// young table, it joins by the kind alone, and reads every open job of that kind for each row.
const CONVERT_JOBS: LockingStatement = LockingStatement {
    sqlite: "-- convert_jobs
        update jobs set kind = next.kind, payload = next.payload, queue = next.queue, state = 'available',
            due_at_ms = next.due_at_ms, created_at_ms = $2, attempt = 0, crashes = 0, last_error = null,
            lease_token = null, waiting_since_ms = null,
            began_at_ms = null, worker_host = null, worker_pid = null
        from (
            select value ->> 'id' as id, value ->> 'lease_token' as lease_token, value ->> 'kind' as kind,
                value ->> 'payload' as payload, value ->> 'queue' as queue, value ->> 'due_at_ms' as due_at_ms
            from json_each($1)
        ) as next
        where jobs.id = next.id and jobs.state = 'running' and jobs.lease_token = next.lease_token
            and not exists (select 1 from jobs beside where beside.kind = next.kind
                and beside.subject_id = jobs.subject_id and beside.state in ('available', 'enqueued', 'running'))
        returning id, due_at_ms",
    postgres: "-- convert_jobs
        update jobs set kind = next.kind, payload = next.payload, queue = next.queue, state = 'available',
            due_at_ms = next.due_at_ms, created_at_ms = $2, attempt = 0, crashes = 0, last_error = null,
            lease_token = null, waiting_since_ms = null,
            began_at_ms = null, worker_host = null, worker_pid = null
        from json_populate_recordset(cast(null as jobs), cast($1 as json)) as next
        where jobs.id = any(array(
                select id from jobs
                where id = any(array(select id from json_populate_recordset(cast(null as jobs), cast($1 as json))))
                for update))
            and jobs.id = next.id and coalesce(jobs.state, '') = 'running' and jobs.lease_token = next.lease_token
            and not exists (select 1 from jobs beside where beside.kind = next.kind
                and beside.subject_id = jobs.subject_id and beside.state in ('available', 'enqueued', 'running')
                offset 0)
        returning jobs.id, jobs.due_at_ms",
    postgres_skipping: "-- convert_jobs
        update jobs set kind = next.kind, payload = next.payload, queue = next.queue, state = 'available',
            due_at_ms = next.due_at_ms, created_at_ms = $2, attempt = 0, crashes = 0, last_error = null,
            lease_token = null, waiting_since_ms = null,
            began_at_ms = null, worker_host = null, worker_pid = null
        from json_populate_recordset(cast(null as jobs), cast($1 as json)) as next
        where jobs.id = any(array(
                select id from jobs
                where id = any(array(select id from json_populate_recordset(cast(null as jobs), cast($1 as json))))
                for update skip locked))
            and jobs.id = next.id and coalesce(jobs.state, '') = 'running' and jobs.lease_token = next.lease_token
            and not exists (select 1 from jobs beside where beside.kind = next.kind
                and beside.subject_id = jobs.subject_id and beside.state in ('available', 'enqueued', 'running')
                offset 0)
        returning jobs.id, jobs.due_at_ms",
};

/// Ends runs by converting each row into the job that follows, as if the first were complete and the next just staged.
/// The row keeps its id. A wake that came during the run is forgotten, so a kind may be converted only by an effect
/// after which another run of it has nothing to do.
///
/// Returns the ids of the converted jobs. The others have lost their lease, were skipped, or have an open job of the
/// next kind beside them; the caller must finish those and stage the next job. If another transaction opens that job at
/// the same moment, this one fails as a conflict and is run again.
///
/// # Errors
/// [`StoreError::Conflict`], as described.
pub(crate) async fn convert_all(
    write: &mut Write,
    runs: &[(Lease, Staged)],
    locked: LockedRows,
) -> Result<HashSet<JobId>, StoreError> {
    #[derive(Serialize)]
    struct ConvertedJob {
        id: JobId,
        lease_token: i64,
        kind: &'static str,
        payload: String,
        queue: &'static str,
        due_at_ms: i64,
    }
    let mut converting = Vec::with_capacity(runs.len());
    for (lease, next) in runs {
        converting.push(ConvertedJob {
            id: lease.job_id,
            lease_token: lease.token,
            kind: next.job.kind().as_str(),
            payload: next.payload()?,
            queue: next.queue.as_str(),
            due_at_ms: next.due_at_ms,
        });
    }
    let now_ms = write.now_ms();
    let text = CONVERT_JOBS.on(write.store.database(), locked);
    let query = sqlx::query(text).bind(json(&converting)?).bind(now_ms);
    let mut converted = HashSet::with_capacity(runs.len());
    for row in query.fetch_all(write.transaction()).await.map_err(as_conflict)? {
        converted.insert(JobId(row.try_get("id")?));
        write.recent.due(row.try_get("due_at_ms")?);
    }
    Ok(converted)
}

/// Another transaction has opened the next job since the statement checked.
fn as_conflict(error: sqlx::Error) -> StoreError {
    match error.as_database_error().is_some_and(|database| database.is_unique_violation()) {
        true => StoreError::Conflict(error),
        false => error.into(),
    }
}
