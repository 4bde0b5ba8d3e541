//! Claims jobs by their ids, each under a lease.

use std::time::Duration;

use sqlx::Row;
use sqlx::any::AnyRow;
use tracing::warn;

use super::attempts::{self, HOST};
use super::{Finish, finish_alone, parse_queue};
use crate::group_commit::LockedRows;
use crate::statement::{LockingStatement, Statement, json};
use crate::{Database, STATEMENT_TIMEOUT, Store, StoreError};
use domain::id::JobId;
use domain::job::{ClaimedJob, Lease};

/// How often to try to undo a claim whose answer was lost; well within a lease.
const UNCLAIM_EVERY: Duration = Duration::from_millis(500);

/// Claims the jobs of these ids that are still enqueued, each with a lease; all leases share one new token.
///
/// The other ids belong to another worker, or are out of date; forget them.
///
/// # Errors
/// [`StoreError`]. Without a claim the rows wait for their grace to end. If the claim was made and only its answer was
/// lost, the rows are handed back before this returns, or else as soon as the database answers.
pub async fn claim(store: &Store, ids: &[JobId]) -> Result<Vec<ClaimedJob>, StoreError> {
    // The id of a suspect may still wait in the list of its job's earlier queue.
    claim_under(store, ids, rand::random(), None).await
}

/// As [`claim`], under this token. With `suspects` it claims only suspects that have crashed this many times.
pub(super) async fn claim_under(
    store: &Store,
    ids: &[JobId],
    token: i64,
    suspects: Option<i64>,
) -> Result<Vec<ClaimedJob>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    match claim_with(store, ids, token, suspects).await {
        // The database's answer says that nothing was done.
        Err(StoreError::Conflict(trouble)) => Err(StoreError::Conflict(trouble)),
        Err(trouble) => {
            // Otherwise the leases would run out, and an outage of the database would count as a crash.
            let first = unclaim(store, token, ids).await;
            tokio::spawn(keep_unclaiming(store.clone(), token, ids.to_vec(), first.is_ok()));
            Err(trouble)
        }
        claimed => claimed,
    }
}

const UNCLAIM_JOBS: Statement = Statement {
    sqlite: "-- unclaim_jobs
        update jobs set state = 'available', attempt = attempt - 1, lease_token = null, due_at_ms = $2,
            began_at_ms = null, worker_host = null, worker_pid = null
        where id in (select value from json_each($3)) and lease_token = $1 and state = 'running'",
    postgres: "-- unclaim_jobs
        update jobs set state = 'available', attempt = attempt - 1, lease_token = null, due_at_ms = $2,
            began_at_ms = null, worker_host = null, worker_pid = null
        where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($3 as json))))
            and lease_token = $1 and coalesce(state, '') = 'running'",
};

/// Hands back the jobs that a claim with this token may have taken.
pub(super) async fn unclaim(store: &Store, token: i64, ids: &[JobId]) -> Result<(), StoreError> {
    let query = sqlx::query(UNCLAIM_JOBS.on(store.database())).bind(token).bind(store.now_ms()).bind(json(ids)?);
    query.execute(store.writer()).await?;
    Ok(())
}

/// Repeats [`unclaim`] until the database has answered for as long as a statement may run. If only the connection
/// broke, the server may still be executing the claim, and could commit it after an earlier answer.
async fn keep_unclaiming(store: Store, token: i64, ids: Vec<JobId>, mut is_answered: bool) {
    let mut answered_for = Duration::ZERO;
    let mut pause = UNCLAIM_EVERY;
    while answered_for <= STATEMENT_TIMEOUT {
        tokio::time::sleep(pause).await;
        if is_answered {
            answered_for += pause;
        }
        match unclaim(&store, token, &ids).await {
            Ok(()) => (is_answered, pause) = (true, UNCLAIM_EVERY),
            // Well before a lease ends. A database that accepts no writes must not get more load for it.
            Err(trouble) if trouble.is_passing() => pause = (pause * 2).min(Duration::from_secs(4)),
            Err(trouble) => {
                warn!(error = %trouble, "whether a claim was made is not known; its leases end by themselves");
                return;
            }
        }
    }
}

async fn claim_with(
    store: &Store,
    ids: &[JobId],
    token: i64,
    suspects: Option<i64>,
) -> Result<Vec<ClaimedJob>, StoreError> {
    let mut jobs = claim_those(store, ids, token, suspects, LockedRows::Skip).await?;
    let missed = |id: &&JobId| jobs.iter().all(|job| job.lease.job_id != **id);
    let missed: Vec<JobId> = ids.iter().filter(missed).copied().collect();
    if !missed.is_empty() && store.database() == Database::Postgres {
        // Most of these belong to other workers by now. But another process's relay may have locked a row only to check
        // it; if it were skipped, its job would wait until its id is enqueued again.
        match claim_those(store, &missed, token, suspects, LockedRows::Wait).await {
            Ok(more) => jobs.extend(more),
            // One of them stays locked. The jobs that were claimed must run.
            Err(StoreError::Conflict(_)) => (),
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(jobs)
}

/// The pauses between attempts to hand a job back.
const HAND_BACK_PAUSES_MS: [u64; 6] = [50, 200, 800, 2_000, 2_000, 0];

/// Hands back a claimed job that was never started, as soon as the database accepts it. The attempt does not count.
pub async fn hand_back(store: &Store, job: &ClaimedJob) {
    let id = job.lease.job_id;
    for pause_ms in HAND_BACK_PAUSES_MS {
        let released = Finish::Release { not_before_ms: store.now_ms(), reason: None };
        match finish_alone(store, &job.lease, &released).await {
            Err(trouble) if trouble.is_passing() && pause_ms > 0 => {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            Err(trouble) => {
                warn!(job.id = %id, error = %trouble, "job {id} is not handed back; it is run when its lease ends");
                return;
            }
            Ok(()) => return,
        }
    }
}

/// This commit may be lost with the server: the job is then enqueued again, and the fence refuses the run that has
/// begun. `coalesce` keeps the index on the state out of the plan: PostgreSQL would read all enqueued jobs instead of
/// the listed ones. Where the statement waits for locks it takes them in the order in which jobs are staged, so that no
/// deadlock arises.
const CLAIM_JOBS: LockingStatement = LockingStatement {
    sqlite: "-- claim_jobs
        update jobs set state = 'running', attempt = attempt + 1, lease_token = $1, due_at_ms = $2,
            began_at_ms = $5, worker_host = $6, worker_pid = $7
        where id in (select value from json_each($3)) and state = 'enqueued'
            and (queue = 'suspect' and crashes = $4 or queue <> 'suspect' and $4 is null)
        returning id, queue, kind, payload, attempt, crashes, wakes, woken_by, created_at_ms",
    postgres: "-- claim_jobs
        update jobs set state = 'running', attempt = attempt + 1, lease_token = $1, due_at_ms = $2,
            began_at_ms = $5, worker_host = $6, worker_pid = $7
        where id = any(array(
                select id from jobs
                where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($3 as json))))
                    and coalesce(state, '') = 'enqueued'
                    and (queue = 'suspect' and crashes = $4 or queue <> 'suspect' and $4 is null)
                order by kind, subject_id for update))
            and (select set_config('synchronous_commit', 'off', true)) = 'off'
        returning id, queue, kind, payload, attempt, crashes, wakes, woken_by, created_at_ms",
    postgres_skipping: "-- claim_jobs
        update jobs set state = 'running', attempt = attempt + 1, lease_token = $1, due_at_ms = $2,
            began_at_ms = $5, worker_host = $6, worker_pid = $7
        where id = any(array(
                select id from jobs
                where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($3 as json))))
                    and coalesce(state, '') = 'enqueued'
                    and (queue = 'suspect' and crashes = $4 or queue <> 'suspect' and $4 is null)
                for update skip locked))
            and (select set_config('synchronous_commit', 'off', true)) = 'off'
        returning id, queue, kind, payload, attempt, crashes, wakes, woken_by, created_at_ms",
};

/// Claims the jobs that are still enqueued.
async fn claim_those(
    store: &Store,
    ids: &[JobId],
    token: i64,
    suspects: Option<i64>,
    locked: LockedRows,
) -> Result<Vec<ClaimedJob>, StoreError> {
    // The lease must begin when the statement starts, not while it waits for a connection.
    let connection = store.writer().acquire().await?;
    let now_ms = store.now_ms();
    let query = sqlx::query(CLAIM_JOBS.on(store.database(), locked))
        .bind(token)
        .bind(now_ms + store.lease_ms())
        .bind(json(ids)?)
        .bind(suspects)
        .bind(now_ms)
        .bind(HOST.as_str())
        .bind(attempts::pid());
    connection.fetch_all(query).await?.iter().map(|row| claimed(row, token)).collect()
}

fn claimed(row: &AnyRow, token: i64) -> Result<ClaimedJob, StoreError> {
    let payload: String = row.try_get("payload")?;
    Ok(ClaimedJob {
        lease: Lease { job_id: JobId(row.try_get("id")?), token, wakes: row.try_get("wakes")? },
        job: serde_json::from_str(&payload).map_err(|_| payload),
        kind: row.try_get("kind")?,
        queue: parse_queue(&row.try_get::<String, _>("queue")?)?,
        attempt: row.try_get("attempt")?,
        crashes: row.try_get("crashes")?,
        created_at_ms: row.try_get("created_at_ms")?,
        woken_by: numbers_of(row.try_get("woken_by")?),
    })
}

/// The numbers of the causes that woke a job, as its row lists them. An entry that is no number comes from a newer
/// release, and is left to that release's handlers.
pub(super) fn numbers_of(woken_by: Option<String>) -> Vec<i64> {
    woken_by.iter().flat_map(|list| list.split(' ')).filter_map(|number| number.parse().ok()).collect()
}
