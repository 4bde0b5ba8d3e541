//! A job that becomes the next one when its run ends: one row written, where completing it and staging the next are two.

use std::collections::HashSet;

use serde::Serialize;
use sqlx::{AssertSqlSafe, Row};

use super::{OPEN, Staged};
use crate::id::JobId;
use crate::job::Lease;
use crate::store::given::rows;
use crate::store::together::Locked;
use crate::store::{Database, StoreError, Write};

/// Ends runs by making each row the job that follows from it: as if the one were complete and the other just staged, under
/// the number of the first. What the run was woken for while it ran is forgotten with it, so a kind may only be turned by
/// an effect after which another run of it has nothing to do.
///
/// Returns those that are turned. The others carry their lease no longer, were passed over, or have the next job open
/// beside them: those are to be finished, and the next job staged. Where another transaction opens that in the same
/// moment, it fails as a conflict and is begun anew.
///
/// # Errors
/// [`StoreError::Conflict`] as told.
pub(in crate::store) async fn turn_all(
    write: &mut Write,
    runs: &[(Lease, Staged)],
    locked: Locked,
) -> Result<HashSet<JobId>, StoreError> {
    #[derive(Serialize)]
    struct Turning {
        job_id: i64,
        token: i64,
        next_kind: &'static str,
        says: String,
        next_queue: &'static str,
        next_due: i64,
    }
    let mut turning = Vec::with_capacity(runs.len());
    for (lease, next) in runs {
        turning.push(Turning {
            job_id: lease.job_id.0,
            token: lease.token,
            next_kind: next.job.kind().as_str(),
            says: next.payload()?,
            next_queue: next.queue.as_str(),
            next_due: next.due_at_ms,
        });
    }
    let sql = match write.store.database() {
        Database::Sqlite => format!(
            "-- turn_jobs
            update jobs set kind = next_kind, payload = says, queue = next_queue, state = 'available', due_at_ms = next_due,
                created_at_ms = $2, attempt = 0, crashes = 0, last_error = null, lease_token = null, waiting_since_ms = null,
                began_at_ms = null, worker_host = null, worker_pid = null
            from (select value ->> 'job_id' as job_id, value ->> 'token' as token, value ->> 'next_kind' as next_kind,
                    value ->> 'says' as says, value ->> 'next_queue' as next_queue, value ->> 'next_due' as next_due
                from json_each($1)) as given
            where id = job_id and state = 'running' and lease_token = token
                and not exists (select 1 from jobs beside
                    where beside.kind = next_kind and beside.subject_id = jobs.subject_id and beside.{OPEN})
            returning id, due_at_ms"
        ),
        Database::Postgres => format!(
            "-- turn_jobs
            update jobs set kind = next_kind, payload = says, queue = next_queue, state = 'available', due_at_ms = next_due,
                created_at_ms = $2, attempt = 0, crashes = 0, last_error = null, lease_token = null, waiting_since_ms = null,
                began_at_ms = null, worker_host = null, worker_pid = null
            from json_to_recordset(cast($1 as json)) as given(
                job_id bigint, token bigint, next_kind text, says text, next_queue text, next_due bigint)
            where id = any(array(
                    select id from jobs where id = any(array(
                        select job_id from json_to_recordset(cast($1 as json)) as given(job_id bigint)))
                    {lock}))
                and id = job_id and coalesce(state, '') = 'running' and lease_token = token
                and not exists (select 1 from jobs beside
                    where beside.kind = next_kind and beside.subject_id = jobs.subject_id and beside.{OPEN})
            returning id, due_at_ms",
            lock = locked.clause(&write.store, "jobs")
        ),
    };
    let now_ms = write.now_ms();
    let query = sqlx::query(AssertSqlSafe(sql)).bind(rows(&turning)?).bind(now_ms);
    let mut turned = HashSet::with_capacity(runs.len());
    for row in query.fetch_all(write.transaction()).await.map_err(as_conflict)? {
        turned.insert(JobId(row.try_get("id")?));
        write.fresh.due(row.try_get("due_at_ms")?);
    }
    Ok(turned)
}

/// Another transaction has opened the next job since the statement looked.
fn as_conflict(error: sqlx::Error) -> StoreError {
    match error.as_database_error().is_some_and(|database| database.is_unique_violation()) {
        true => StoreError::Conflict(error),
        false => error.into(),
    }
}
