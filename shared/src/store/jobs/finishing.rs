//! Ends of runs: what becomes of a job's row, fenced by its lease.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;
use sqlx::{AssertSqlSafe, Row};

use super::QUEUE_OF_KIND;
use super::attempts::{self, Ended};
use crate::failpoint::{Point, reach};
use crate::id::JobId;
use crate::job::{AttemptOutcome, Lease, QueueName};
use crate::store::given::Column::{Number, Text};
use crate::store::given::{given, rows, unindexed};
use crate::store::statement::LockingStatement;
use crate::store::together::{Group, Locked, Share, Together, Written, together};
use crate::store::{Store, StoreError, Write};

/// What becomes of a job row when its run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Done for good: the row leaves the table.
    Complete,
    /// Run again at this time, in epoch milliseconds; no failure, so attempts count from the start again.
    Snooze {
        /// When.
        until_ms: i64,
        /// On which queue.
        queue: QueueName,
    },
    /// Failed; run again at this time.
    Retry {
        /// When, epoch milliseconds.
        not_before_ms: i64,
        /// What went wrong, for the operator.
        error: String,
        /// How its attempt ended.
        outcome: AttemptOutcome,
    },
    /// Never started: hand it back as it was, without counting the attempt.
    Release {
        /// When it may be offered again, epoch milliseconds.
        not_before_ms: i64,
        /// What it waits for, for the operator; without one the last trouble stays.
        reason: Option<String>,
    },
}

/// What becomes of the list of what woke a job, where its row stays in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum WokenBy {
    /// The run has taken up all that it was told of. (What came meanwhile woke it, and then the whole list stays.)
    TakenUp,
    /// It has not, or that is not known.
    Kept,
}

/// Ends a run within a transaction; the first statement of every write of an effect.
///
/// A job that was woken while it ran returns to `available`, due now, whatever `finish` says.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the row no longer carries the lease: roll back.
pub(in crate::store) async fn finish(write: &mut Write, lease: &Lease, finish: &Finish) -> Result<(), StoreError> {
    match finish_all(write, &[(*lease, finish.clone())], WokenBy::Kept, Locked::Waited).await?.is_empty() {
        true => Err(StoreError::LeaseLost),
        false => Ok(()),
    }
}

/// As [`finish`], of several runs. Returns those that are ended; the others carry their lease no longer, or were passed
/// over.
pub(in crate::store) async fn finish_all(
    write: &mut Write,
    runs: &[(Lease, Finish)],
    woken_by: WokenBy,
    locked: Locked,
) -> Result<HashSet<JobId>, StoreError> {
    let complete: Vec<Lease> =
        runs.iter().filter(|(_, finish)| *finish == Finish::Complete).map(|(lease, _)| *lease).collect();
    let mut ended = complete_all(write, &complete, locked).await?;
    // What was woken while it ran is not complete either.
    let rest: Vec<&(Lease, Finish)> = runs.iter().filter(|(lease, _)| !ended.contains(&lease.job_id)).collect();
    if !rest.is_empty() {
        ended.extend(put_back_all(write, &rest, woken_by, locked).await?);
    }
    Ok(ended)
}

/// The state stands in `coalesce`, for no index has it so: PostgreSQL would rather read all that run than those that it is
/// given.
const COMPLETE_JOBS: LockingStatement = LockingStatement {
    sqlite: "-- complete_jobs
        delete from jobs where id in (
            select jobs.id from json_each($1) as ended join jobs on jobs.id = ended.value ->> 'job_id'
            where state = 'running' and lease_token = ended.value ->> 'token' and wakes <= ended.value ->> 'heard')
        returning id",
    postgres: "-- complete_jobs
        delete from jobs
        using json_to_recordset(cast($1 as json)) as ended(job_id bigint, token bigint, heard bigint)
        where id = any(array(
                select id from jobs where id = any(array(
                    select job_id from json_to_recordset(cast($1 as json)) as ended(job_id bigint)))
                for update))
            and id = job_id and coalesce(state, '') = 'running' and lease_token = token and wakes <= heard
        returning id",
    postgres_skipping: "-- complete_jobs
        delete from jobs
        using json_to_recordset(cast($1 as json)) as ended(job_id bigint, token bigint, heard bigint)
        where id = any(array(
                select id from jobs where id = any(array(
                    select job_id from json_to_recordset(cast($1 as json)) as ended(job_id bigint)))
                for update skip locked))
            and id = job_id and coalesce(state, '') = 'running' and lease_token = token and wakes <= heard
        returning id",
};

/// A job that is complete leaves the table: what it did stands in the order's history. Returns those that have left; one
/// that was woken while it ran stays as it is.
async fn complete_all(write: &mut Write, leases: &[Lease], locked: Locked) -> Result<HashSet<JobId>, StoreError> {
    #[derive(Serialize)]
    struct Completing {
        job_id: i64,
        token: i64,
        heard: i64,
    }
    if leases.is_empty() {
        return Ok(HashSet::new());
    }
    let completing = |lease: &Lease| Completing { job_id: lease.job_id.0, token: lease.token, heard: lease.wakes };
    let completing: Vec<Completing> = leases.iter().map(completing).collect();
    let sql = COMPLETE_JOBS.on(write.store.database(), locked);
    let gone = sqlx::query(sql).bind(rows(&completing)?).fetch_all(write.transaction()).await?;
    gone.iter().map(|row| Ok(JobId(row.try_get("id")?))).collect()
}

/// Ends runs whose jobs stay in the table.
async fn put_back_all(
    write: &mut Write,
    runs: &[&(Lease, Finish)],
    woken_by: WokenBy,
    locked: Locked,
) -> Result<HashSet<JobId>, StoreError> {
    let now_ms = write.now_ms();
    let ends = runs.iter().map(|(lease, finish)| End::of(lease, finish, now_ms)).collect::<Vec<_>>();
    let given = given(
        write.store.database(),
        1,
        &[
            Number("job_id"),
            Number("token"),
            Number("heard"),
            Text("how"),
            Number("next_due"),
            Text("next_queue"),
            Text("trouble"),
        ],
    );
    // One that is complete comes here where it was woken meanwhile, and runs again.
    let sql = format!(
        "-- finish_jobs
        update jobs set
            state = 'available',
            due_at_ms = case when wakes > heard then $2 else next_due end,
            queue = case when queue = 'suspect' and how = 'release' and crashes > 0 then queue
                when wakes <= heard and next_queue is not null then next_queue
                when wakes <= heard and queue <> 'suspect' then queue
                else {} end,
            attempt = case when wakes > heard or how = 'snooze' then 0 when how = 'release' then attempt - 1
                else attempt end,
            crashes = case when how = 'release' then crashes else 0 end,
            last_error = case when how = 'release' then coalesce(trouble, last_error) else trouble end,
            woken_by = case when wakes > heard or $3 = 1 then woken_by end,
            began_at_ms = case when how = 'retry' then began_at_ms end,
            worker_host = case when how = 'retry' then worker_host end,
            worker_pid = case when how = 'retry' then worker_pid end, lease_token = null
        from {given} where id {} and id = job_id and {} = 'running' and lease_token = token
            and (how <> 'complete' or wakes > heard)
        returning id, due_at_ms",
        *QUEUE_OF_KIND,
        write.store.one_of(&format!(
            "select id from jobs where id {} {}",
            given.any("job_id"),
            locked.clause(&write.store, "jobs")
        )),
        unindexed("state")
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(rows(&ends)?).bind(now_ms);
    let query = query.bind(i64::from(woken_by == WokenBy::Kept));
    let rows = query.fetch_all(write.transaction()).await?;
    let mut ended = HashSet::with_capacity(rows.len());
    for row in rows {
        ended.insert(JobId(row.try_get("id")?));
        // The relay of this process sleeps until the earliest due row it knew of.
        write.fresh.due(row.try_get("due_at_ms")?);
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

/// How a run ends, as its statement reads it.
#[derive(Serialize)]
struct End<'a> {
    job_id: i64,
    token: i64,
    /// The wakes it knew of.
    heard: i64,
    /// Decides how attempts and crashes count. Taken back: attempts of a run that never was. Counted anew: attempts after
    /// a run that went well.
    how: &'static str,
    next_due: i64,
    next_queue: Option<&'static str>,
    trouble: Option<&'a str>,
}

impl<'a> End<'a> {
    fn of(lease: &Lease, finish: &'a Finish, now_ms: i64) -> Self {
        let (how, next_due, queue, trouble) = match finish {
            Finish::Complete => ("complete", now_ms, None, None),
            Finish::Snooze { until_ms, queue } => ("snooze", *until_ms, Some(*queue), None),
            Finish::Retry { not_before_ms, error, .. } => ("retry", *not_before_ms, None, Some(error.as_str())),
            Finish::Release { not_before_ms, reason } => ("release", *not_before_ms, None, reason.as_deref()),
        };
        End {
            job_id: lease.job_id.0,
            token: lease.token,
            heard: lease.wakes,
            how,
            next_due,
            next_queue: queue.map(QueueName::as_str),
            trouble,
        }
    }
}

/// Ends a run that wrote nothing else.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the lease belongs to somebody else.
pub async fn finish_alone(store: &Store, lease: &Lease, how: &Finish) -> Result<(), StoreError> {
    together(store, Ending { run: (*lease, how.clone()) }).await
}

/// A run that ends and wrote nothing else.
#[derive(Debug)]
pub(in crate::store) struct Ending {
    run: (Lease, Finish),
}

impl Together for Ending {
    type Answer = ();

    fn group(store: &Store) -> &Group<Self> {
        &store.0.groups.endings
    }

    fn subject(&self) -> Option<i64> {
        Some(self.run.0.job_id.0)
    }

    async fn write_all(store: &Store, items: &[Arc<Self>], locked: Locked) -> Result<Written<()>, StoreError> {
        let runs: Vec<(Lease, Finish)> = items.iter().map(|item| item.run.clone()).collect();
        let mut write = store.begin_upkeep().await?;
        let ended = finish_all(&mut write, &runs, WokenBy::Kept, locked).await?;
        reach(Point::FinishBeforeCommit);
        write.commit().await?;
        reach(Point::FinishAfterCommit);
        let share = |(lease, _): &(Lease, Finish)| match (ended.contains(&lease.job_id), locked) {
            (true, _) => Share::Done(()),
            (false, Locked::Waited) => Share::LeaseLost,
            (false, Locked::PassedOver) => Share::Alone,
        };
        Ok(Written::Committed(runs.iter().map(share).collect()))
    }
}

/// The places of those runs that were not ended.
pub(in crate::store) fn not_ended(runs: &[(Lease, Finish)], ended: &HashSet<JobId>) -> Vec<usize> {
    let is_missing = |(_, (lease, _)): &(usize, &(Lease, Finish))| !ended.contains(&lease.job_id);
    runs.iter().enumerate().filter(is_missing).map(|(place, _)| place).collect()
}
