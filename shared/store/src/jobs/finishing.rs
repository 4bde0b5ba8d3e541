//! Ends runs: writes the job's row, fenced by its lease.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use sqlx::Row;

use super::attempts::{self, Ended};
use super::queues_of_kinds;
use crate::group_commit::{BatchOutcome, BatchQueue, Batched, LockedRows, MemberOutcome, run_in_batch};
use crate::statement::{LockingStatement, json};
use crate::{Store, StoreError, Write};
use domain::id::JobId;
use domain::job::{AttemptOutcome, Lease, QueueName};
use failpoint::{Point, reach};

/// How a run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Done for good: the row leaves the table.
    Complete,
    /// Run again at this time. This is no failure, so attempts count from the start again.
    Snooze {
        /// When, epoch milliseconds.
        until_ms: i64,
        /// On which queue.
        queue: QueueName,
    },
    /// Failed; run again at this time.
    Retry {
        /// When, epoch milliseconds.
        not_before_ms: i64,
        /// The error, for the operator.
        error: String,
        /// How its attempt ended.
        outcome: AttemptOutcome,
    },
    /// Never started: hand it back unchanged, without counting the attempt.
    Release {
        /// When it may be enqueued again, epoch milliseconds.
        not_before_ms: i64,
        /// The reason for the wait, for the operator; `None` keeps the last error.
        reason: Option<String>,
    },
}

/// How a run's end changes the list of the causes that woke its job, if the row stays in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WokenBy {
    /// The run has handled all causes that it was told of, so the list is emptied. If another cause came meanwhile it
    /// woke the job, and the whole list stays.
    TakenUp,
    /// The run has not handled them, or that is not known: the list stays.
    Kept,
}

/// Empties the list of the causes that woke a running job, unless another has come since its claim. The run goes on.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn forget_woken_by(store: &Store, lease: &Lease) -> Result<(), StoreError> {
    sqlx::query(
        "-- forget_woken_by
        update jobs set woken_by = null where id = $1 and lease_token = $2 and wakes <= $3",
    )
    .bind(lease.job_id.0)
    .bind(lease.token)
    .bind(lease.wakes)
    .execute(store.writer())
    .await?;
    Ok(())
}

/// Ends a run within a transaction. It must be the first statement of every transaction that writes a job's effect.
///
/// A job that was woken while it ran becomes `available` and due now, whatever `finish` says.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the row no longer has this lease: roll back.
pub(crate) async fn finish(write: &mut Write, lease: &Lease, finish: &Finish) -> Result<(), StoreError> {
    match finish_all(write, &[(*lease, finish.clone())], WokenBy::Kept, LockedRows::Wait).await?.is_empty() {
        true => Err(StoreError::LeaseLost),
        false => Ok(()),
    }
}

/// As [`finish`], for several runs. Returns the ids of the ended ones; the others have lost their lease, or their rows
/// were skipped.
pub(crate) async fn finish_all(
    write: &mut Write,
    runs: &[(Lease, Finish)],
    woken_by: WokenBy,
    locked: LockedRows,
) -> Result<HashSet<JobId>, StoreError> {
    let complete: Vec<Lease> =
        runs.iter().filter(|(_, finish)| *finish == Finish::Complete).map(|(lease, _)| *lease).collect();
    let mut ended = complete_all(write, &complete, locked).await?;
    // A job that was woken while it ran is not complete either.
    let rest: Vec<&(Lease, Finish)> = runs.iter().filter(|(lease, _)| !ended.contains(&lease.job_id)).collect();
    if !rest.is_empty() {
        ended.extend(put_back_all(write, &rest, woken_by, locked).await?);
    }
    Ok(ended)
}

const COMPLETE_JOBS: LockingStatement = LockingStatement {
    sqlite: "-- complete_jobs
        delete from jobs where id in (
            select jobs.id from json_each($1) as run join jobs on jobs.id = run.value ->> 'id'
            where jobs.state = 'running' and jobs.lease_token = run.value ->> 'lease_token'
                and jobs.wakes <= run.value ->> 'wakes')
        returning id",
    postgres: "-- complete_jobs
        delete from jobs using json_populate_recordset(cast(null as jobs), cast($1 as json)) as run
        where jobs.id = any(array(
                select id from jobs
                where id = any(array(select id from json_populate_recordset(cast(null as jobs), cast($1 as json))))
                for update))
            and jobs.id = run.id and coalesce(jobs.state, '') = 'running' and jobs.lease_token = run.lease_token
            and jobs.wakes <= run.wakes
        returning jobs.id",
    postgres_skipping: "-- complete_jobs
        delete from jobs using json_populate_recordset(cast(null as jobs), cast($1 as json)) as run
        where jobs.id = any(array(
                select id from jobs
                where id = any(array(select id from json_populate_recordset(cast(null as jobs), cast($1 as json))))
                for update skip locked))
            and jobs.id = run.id and coalesce(jobs.state, '') = 'running' and jobs.lease_token = run.lease_token
            and jobs.wakes <= run.wakes
        returning jobs.id",
};

/// Deletes completed jobs: the order's history tells what they did. Returns the ids of the deleted ones; a job that was
/// woken while it ran stays.
async fn complete_all(write: &mut Write, leases: &[Lease], locked: LockedRows) -> Result<HashSet<JobId>, StoreError> {
    #[derive(Serialize)]
    struct CompletedRun {
        id: JobId,
        lease_token: i64,
        wakes: i64,
    }
    if leases.is_empty() {
        return Ok(HashSet::new());
    }
    let run = |lease: &Lease| CompletedRun { id: lease.job_id, lease_token: lease.token, wakes: lease.wakes };
    let runs: Vec<CompletedRun> = leases.iter().map(run).collect();
    let text = COMPLETE_JOBS.on(write.store.database(), locked);
    let gone = sqlx::query(text).bind(json(&runs)?).fetch_all(write.transaction()).await?;
    gone.iter().map(|row| Ok(JobId(row.try_get("id")?))).collect()
}

/// `$3` holds the queues of all kinds; a kind of a newer release goes to `settle`, which is served first. A completed run
/// comes here if its job was woken meanwhile, and the job runs again.
const FINISH_JOBS: LockingStatement = LockingStatement {
    sqlite: "-- finish_jobs
        update jobs set
            state = 'available',
            due_at_ms = case when jobs.wakes > run.wakes then $2 else run.due_at_ms end,
            queue = case when jobs.queue = 'suspect' and run.how = 'release' and jobs.crashes > 0 then jobs.queue
                when jobs.wakes <= run.wakes and run.queue is not null then run.queue
                when jobs.wakes <= run.wakes and jobs.queue <> 'suspect' then jobs.queue
                else coalesce($3 ->> jobs.kind, 'settle') end,
            attempt = case when jobs.wakes > run.wakes or run.how = 'snooze' then 0
                when run.how = 'release' then jobs.attempt - 1 else jobs.attempt end,
            crashes = case when run.how = 'release' then jobs.crashes else 0 end,
            last_error = case when run.how = 'release' then coalesce(run.last_error, jobs.last_error)
                else run.last_error end,
            woken_by = case when jobs.wakes > run.wakes or $4 = 1 then jobs.woken_by end,
            began_at_ms = case when run.how = 'retry' then jobs.began_at_ms end,
            worker_host = case when run.how = 'retry' then jobs.worker_host end,
            worker_pid = case when run.how = 'retry' then jobs.worker_pid end,
            lease_token = null
        from (
            select value ->> 'id' as id, value ->> 'lease_token' as lease_token, value ->> 'wakes' as wakes,
                value ->> 'how' as how, value ->> 'due_at_ms' as due_at_ms, value ->> 'queue' as queue,
                value ->> 'last_error' as last_error
            from json_each($1)
        ) as run
        where jobs.id in (select value ->> 'id' from json_each($1))
            and jobs.id = run.id and jobs.state = 'running' and jobs.lease_token = run.lease_token
            and (run.how <> 'complete' or jobs.wakes > run.wakes)
        returning id, due_at_ms",
    postgres: "-- finish_jobs
        update jobs set
            state = 'available',
            due_at_ms = case when jobs.wakes > run.wakes then $2 else run.due_at_ms end,
            queue = case when jobs.queue = 'suspect' and run.how = 'release' and jobs.crashes > 0 then jobs.queue
                when jobs.wakes <= run.wakes and run.queue is not null then run.queue
                when jobs.wakes <= run.wakes and jobs.queue <> 'suspect' then jobs.queue
                else coalesce(cast($3 as json) ->> jobs.kind, 'settle') end,
            attempt = case when jobs.wakes > run.wakes or run.how = 'snooze' then 0
                when run.how = 'release' then jobs.attempt - 1 else jobs.attempt end,
            crashes = case when run.how = 'release' then jobs.crashes else 0 end,
            last_error = case when run.how = 'release' then coalesce(run.last_error, jobs.last_error)
                else run.last_error end,
            woken_by = case when jobs.wakes > run.wakes or $4 = 1 then jobs.woken_by end,
            began_at_ms = case when run.how = 'retry' then jobs.began_at_ms end,
            worker_host = case when run.how = 'retry' then jobs.worker_host end,
            worker_pid = case when run.how = 'retry' then jobs.worker_pid end,
            lease_token = null
        from json_to_recordset(cast($1 as json)) as run(
            id bigint, lease_token bigint, wakes bigint, how text, due_at_ms bigint, queue text, last_error text)
        where jobs.id = any(array(
                select id from jobs
                where id = any(array(select id from json_to_recordset(cast($1 as json)) as run(id bigint)))
                for update))
            and jobs.id = run.id and coalesce(jobs.state, '') = 'running' and jobs.lease_token = run.lease_token
            and (run.how <> 'complete' or jobs.wakes > run.wakes)
        returning jobs.id, jobs.due_at_ms",
    postgres_skipping: "-- finish_jobs
        update jobs set
            state = 'available',
            due_at_ms = case when jobs.wakes > run.wakes then $2 else run.due_at_ms end,
            queue = case when jobs.queue = 'suspect' and run.how = 'release' and jobs.crashes > 0 then jobs.queue
                when jobs.wakes <= run.wakes and run.queue is not null then run.queue
                when jobs.wakes <= run.wakes and jobs.queue <> 'suspect' then jobs.queue
                else coalesce(cast($3 as json) ->> jobs.kind, 'settle') end,
            attempt = case when jobs.wakes > run.wakes or run.how = 'snooze' then 0
                when run.how = 'release' then jobs.attempt - 1 else jobs.attempt end,
            crashes = case when run.how = 'release' then jobs.crashes else 0 end,
            last_error = case when run.how = 'release' then coalesce(run.last_error, jobs.last_error)
                else run.last_error end,
            woken_by = case when jobs.wakes > run.wakes or $4 = 1 then jobs.woken_by end,
            began_at_ms = case when run.how = 'retry' then jobs.began_at_ms end,
            worker_host = case when run.how = 'retry' then jobs.worker_host end,
            worker_pid = case when run.how = 'retry' then jobs.worker_pid end,
            lease_token = null
        from json_to_recordset(cast($1 as json)) as run(
            id bigint, lease_token bigint, wakes bigint, how text, due_at_ms bigint, queue text, last_error text)
        where jobs.id = any(array(
                select id from jobs
                where id = any(array(select id from json_to_recordset(cast($1 as json)) as run(id bigint)))
                for update skip locked))
            and jobs.id = run.id and coalesce(jobs.state, '') = 'running' and jobs.lease_token = run.lease_token
            and (run.how <> 'complete' or jobs.wakes > run.wakes)
        returning jobs.id, jobs.due_at_ms",
};

/// Ends runs whose jobs stay in the table.
async fn put_back_all(
    write: &mut Write,
    runs: &[&(Lease, Finish)],
    woken_by: WokenBy,
    locked: LockedRows,
) -> Result<HashSet<JobId>, StoreError> {
    let now_ms = write.now_ms();
    let ends = runs.iter().map(|(lease, finish)| End::of(lease, finish, now_ms)).collect::<Vec<_>>();
    let text = FINISH_JOBS.on(write.store.database(), locked);
    let query = sqlx::query(text).bind(json(&ends)?).bind(now_ms).bind(queues_of_kinds()?);
    let query = query.bind(i64::from(woken_by == WokenBy::Kept));
    let rows = query.fetch_all(write.transaction()).await?;
    let mut ended = HashSet::with_capacity(rows.len());
    for row in rows {
        ended.insert(JobId(row.try_get("id")?));
        // The relay of this process sleeps until the earliest due time that it knows of.
        write.recent.due(row.try_get("due_at_ms")?);
    }
    let failed = runs.iter().filter_map(|(lease, finish)| match finish {
        Finish::Retry { error, outcome, .. } if ended.contains(&lease.job_id) => {
            Some(Ended::of(lease.job_id, *outcome, error))
        }
        _ => None,
    });
    attempts::keep(write, &failed.collect::<Vec<_>>()).await?;
    Ok(ended)
}

/// How a run ends, as a row parameter.
#[derive(Serialize)]
struct End<'a> {
    id: JobId,
    lease_token: i64,
    /// The wakes that the run was told of.
    wakes: i64,
    /// Decides how attempts and crashes count. `release` takes back the attempt of a run that never was; `snooze`
    /// resets the attempts after a successful run.
    how: &'static str,
    due_at_ms: i64,
    queue: Option<&'static str>,
    last_error: Option<&'a str>,
}

impl<'a> End<'a> {
    fn of(lease: &Lease, finish: &'a Finish, now_ms: i64) -> Self {
        let (how, due_at_ms, queue, last_error) = match finish {
            Finish::Complete => ("complete", now_ms, None, None),
            Finish::Snooze { until_ms, queue } => ("snooze", *until_ms, Some(*queue), None),
            Finish::Retry { not_before_ms, error, .. } => ("retry", *not_before_ms, None, Some(error.as_str())),
            Finish::Release { not_before_ms, reason } => ("release", *not_before_ms, None, reason.as_deref()),
        };
        End {
            id: lease.job_id,
            lease_token: lease.token,
            wakes: lease.wakes,
            how,
            due_at_ms,
            queue: queue.map(QueueName::as_str),
            last_error,
        }
    }
}

/// Ends a run without any other write.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease.
pub async fn finish_alone(store: &Store, lease: &Lease, how: &Finish) -> Result<(), StoreError> {
    run_in_batch(store, Ending { run: (*lease, how.clone()) }).await
}

/// The end of a run that writes nothing else.
#[derive(Debug)]
pub(crate) struct Ending {
    run: (Lease, Finish),
}

impl Batched for Ending {
    type Answer = ();

    fn batch_queue(store: &Store) -> &BatchQueue<Self> {
        &store.0.batch_queues.endings
    }

    fn subject(&self) -> Option<i64> {
        Some(self.run.0.job_id.0)
    }

    async fn write_all(store: &Store, items: &[Arc<Self>], locked: LockedRows) -> Result<BatchOutcome<()>, StoreError> {
        let runs: Vec<(Lease, Finish)> = items.iter().map(|item| item.run.clone()).collect();
        let mut write = store.begin_upkeep().await?;
        let ended = finish_all(&mut write, &runs, WokenBy::Kept, locked).await?;
        reach(Point::FinishBeforeCommit);
        write.commit().await?;
        reach(Point::FinishAfterCommit);
        let outcome = |(lease, _): &(Lease, Finish)| match (ended.contains(&lease.job_id), locked) {
            (true, _) => MemberOutcome::Done(()),
            (false, LockedRows::Wait) => MemberOutcome::LeaseLost,
            (false, LockedRows::Skip) => MemberOutcome::Alone,
        };
        Ok(BatchOutcome::Committed(runs.iter().map(outcome).collect()))
    }
}

/// The positions of the runs that were not ended.
pub(crate) fn not_ended(runs: &[(Lease, Finish)], ended: &HashSet<JobId>) -> Vec<usize> {
    let is_missing = |(_, (lease, _)): &(usize, &(Lease, Finish))| !ended.contains(&lease.job_id);
    runs.iter().enumerate().filter(is_missing).map(|(place, _)| place).collect()
}
