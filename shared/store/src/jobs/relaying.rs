//! The relay's side: due jobs, lost ids, and the jobs of dead workers.

use std::collections::HashSet;

use sqlx::Row;

use super::attempts::{self, Ended};
use super::suspects::{ALONE_CRASHES, DEADLY_CRASHES, SUSPECT_CRASHES};
use super::{ENQUEUE_GRACE_MS, parse_queue};
use crate::statement::{Statement, json};
use crate::{Database, Store, StoreError};
use domain::id::JobId;
use domain::job::{AttemptOutcome, Death, JobKind, QueueName};
use failpoint::{Point, reach};

/// The same for a suspect. It is claimed only when its process has started, and may wait for a place before that.
const SUSPECT_GRACE_MS: i64 = 15_000;

/// How long an id of this queue may stay unclaimed.
pub(crate) fn grace_ms(queue: QueueName) -> i64 {
    match queue {
        QueueName::Suspect => SUSPECT_GRACE_MS,
        QueueName::Settle | QueueName::Links | QueueName::Background => ENQUEUE_GRACE_MS,
    }
}

/// When the relay must handle a queue again, epoch milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueJobs {
    /// The queue.
    pub queue: QueueName,
    /// When its earliest available row is due.
    pub available_ms: Option<i64>,
    /// When the grace of the earliest enqueued row or the lease of the earliest running row ends; `None` also if this
    /// was not asked.
    pub lost_ms: Option<i64>,
}

/// A lease that ran out, as the relay has handled it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crashed {
    /// The job.
    pub job_id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its crashes so far, this one included.
    pub crashes: i64,
    /// Whether it was dead-lettered.
    pub is_dead: bool,
}

/// For each queue in `$1`; for enqueued and running rows only where `$3` is 1. `$2` stands for no row.
const EARLIEST_DUE: Statement = Statement {
    sqlite: "-- earliest_due
        select value as queue,
            coalesce((select due_at_ms from jobs where queue = value and state = 'available'
                order by due_at_ms limit 1), $2) as available,
            coalesce(case when $3 = 1 then (select due_at_ms from jobs where queue = value and state = 'enqueued'
                order by due_at_ms limit 1) end, $2) as enqueued,
            coalesce(case when $3 = 1 then (select due_at_ms from jobs where queue = value and state = 'running'
                order by due_at_ms limit 1) end, $2) as running
        from json_each($1)",
    postgres: "-- earliest_due
        select value as queue,
            coalesce((select due_at_ms from jobs where queue = value and state = 'available'
                order by due_at_ms limit 1), $2) as available,
            coalesce(case when $3 = 1 then (select due_at_ms from jobs where queue = value and state = 'enqueued'
                order by due_at_ms limit 1) end, $2) as enqueued,
            coalesce(case when $3 = 1 then (select due_at_ms from jobs where queue = value and state = 'running'
                order by due_at_ms limit 1) end, $2) as running
        from json_array_elements_text(cast($1 as json))",
};

/// When the earliest available row of each queue is due, and with `asks_for_lost` also the earliest enqueued or running
/// one. One statement: this is the relay's work while it is idle.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn earliest_due(store: &Store, asks_for_lost: bool) -> Result<Vec<DueJobs>, StoreError> {
    let rows = sqlx::query(EARLIEST_DUE.on(store.database()))
        .bind(names(QueueName::ALL)?)
        .bind(NONE_IS_DUE)
        .bind(i64::from(asks_for_lost))
        .fetch_all(store.upkeep_readers())
        .await?;
    rows.iter()
        .map(|row| {
            let due = |column| -> Result<Option<i64>, StoreError> {
                let due_at_ms: i64 = row.try_get(column)?;
                Ok((due_at_ms != NONE_IS_DUE).then_some(due_at_ms))
            };
            let lost = [due("enqueued")?, due("running")?];
            Ok(DueJobs {
                queue: parse_queue(&row.try_get::<String, _>("queue")?)?,
                available_ms: due("available")?,
                lost_ms: lost.into_iter().flatten().min(),
            })
        })
        .collect()
}

/// A time that no row has: both databases keep the type of a column that is never null.
const NONE_IS_DUE: i64 = i64::MAX;

/// The names of queues, as a parameter.
fn names(queues: &[QueueName]) -> Result<String, StoreError> {
    json(&queues.iter().map(|queue| queue.as_str()).collect::<Vec<_>>())
}

const ENQUEUE_JOBS: Statement = Statement {
    sqlite: "-- enqueue_jobs
        update jobs set state = 'enqueued', due_at_ms = $1, waiting_since_ms = due_at_ms
        where id in (select id from jobs where queue = $2 and state = 'available' and due_at_ms <= $3
            order by due_at_ms limit $4)
        returning id",
    postgres: "-- enqueue_jobs
        update jobs set state = 'enqueued', due_at_ms = $1, waiting_since_ms = due_at_ms
        where id = any(array(select id from jobs where queue = $2 and state = 'available' and due_at_ms <= $3
                order by due_at_ms limit $4 for update skip locked))
            and (select set_config('synchronous_commit', 'off', true)) = 'off'
        returning id",
};

const ENQUEUE_AGAIN: Statement = Statement {
    sqlite: "-- enqueue_jobs_again
        update jobs set due_at_ms = $1
        where id in (select id from jobs where queue = $2 and state = 'enqueued' and due_at_ms <= $3
            order by due_at_ms limit $4)
        returning id",
    postgres: "-- enqueue_jobs_again
        update jobs set due_at_ms = $1
        where id = any(array(select id from jobs where queue = $2 and state = 'enqueued' and due_at_ms <= $3
                order by due_at_ms limit $4 for update skip locked))
            and (select set_config('synchronous_commit', 'off', true)) = 'off'
        returning id",
};

/// Marks up to `limit` available, due rows of a queue as enqueued, and returns their ids. The caller must push them at
/// once.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn enqueue(store: &Store, queue: QueueName, limit: u64) -> Result<Vec<JobId>, StoreError> {
    mark_enqueued(store, &ENQUEUE_JOBS, queue, limit).await
}

/// Gives up to `limit` enqueued rows whose grace is over a new grace, and returns their ids, which may be pushed again.
/// All get it, pushed or not, so that they do not block the head of the index.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn enqueue_again(store: &Store, queue: QueueName, limit: u64) -> Result<Vec<JobId>, StoreError> {
    mark_enqueued(store, &ENQUEUE_AGAIN, queue, limit).await
}

/// This commit may be lost with the server: the rows are then found due as before.
async fn mark_enqueued(
    store: &Store,
    statement: &Statement,
    queue: QueueName,
    limit: u64,
) -> Result<Vec<JobId>, StoreError> {
    let now_ms = store.now_ms();
    let rows = sqlx::query(statement.on(store.database()))
        .bind(now_ms + grace_ms(queue))
        .bind(queue.as_str())
        .bind(now_ms)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(store.upkeep())
        .await?;
    rows.iter().map(|row| Ok(JobId(row.try_get("id")?))).collect()
}

const WITHDRAW_ENQUEUED: Statement = Statement {
    sqlite: "-- withdraw_enqueued
        update jobs set state = 'available', due_at_ms = coalesce(waiting_since_ms, $1)
        where id in (select value from json_each($2)) and state = 'enqueued'",
    postgres: "-- withdraw_enqueued
        update jobs set state = 'available', due_at_ms = coalesce(waiting_since_ms, $1)
        where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($2 as json))))
            and coalesce(state, '') = 'enqueued'",
};

/// Makes enqueued rows available again, with their earlier due time, because the queue refused their ids.
///
/// # Errors
/// [`StoreError`] when the database did not do it; the rows then wait for their grace to end.
pub async fn withdraw_enqueued(store: &Store, ids: &[JobId]) -> Result<(), StoreError> {
    let query = sqlx::query(WITHDRAW_ENQUEUED.on(store.database())).bind(store.now_ms()).bind(json(ids)?);
    query.execute(store.upkeep()).await?;
    Ok(())
}

/// The number of enqueued rows of a queue; the relay limits it to some thousands.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn count_enqueued(store: &Store, queue: QueueName) -> Result<i64, StoreError> {
    let row =
        sqlx::query("-- count_enqueued\nselect count(*) as enqueued from jobs where queue = $1 and state = 'enqueued'")
            .bind(queue.as_str())
            .fetch_one(store.upkeep_readers())
            .await?;
    Ok(row.try_get("enqueued")?)
}

/// Makes every enqueued row due now: the in-process queue of an earlier run is gone, with its ids.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn enqueue_all_again(store: &Store) -> Result<u64, StoreError> {
    let done = sqlx::query("-- enqueue_all_again\nupdate jobs set due_at_ms = $1 where state = 'enqueued'")
        .bind(store.now_ms())
        .execute(store.upkeep())
        .await?;
    Ok(done.rows_affected())
}

/// Ends every lease now. Their holders cannot be alive, because this process holds the lock of the data directory.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn end_all_leases(store: &Store) -> Result<u64, StoreError> {
    let done = sqlx::query("-- end_all_leases\nupdate jobs set due_at_ms = $1 where state = 'running'")
        .bind(store.now_ms())
        .execute(store.upkeep())
        .await?;
    Ok(done.rows_affected())
}

/// A running job whose lease ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapsed {
    /// The job.
    pub job_id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its crashes so far, this one not included.
    pub crashes: i64,
    /// Whether another transaction has locked its row, so that its worker could not renew it.
    pub is_locked: bool,
}

/// Only for PostgreSQL: SQLite has no row locks.
const UNLOCKED_JOBS: &str = "-- unlocked_jobs
    select id from jobs
    where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
    for update skip locked";

/// Up to 100 running rows of a queue whose leases had ended by `now_ms`, epoch milliseconds. It waits for no lock.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn lapsed(store: &Store, queue: QueueName, now_ms: i64) -> Result<Vec<Lapsed>, StoreError> {
    let rows = sqlx::query(
        "-- crashed_jobs
        select id, kind, crashes from jobs
        where queue = $1 and state = 'running' and due_at_ms <= $2 order by due_at_ms limit 100",
    )
    .bind(queue.as_str())
    .bind(now_ms)
    .fetch_all(store.upkeep_readers())
    .await?;
    let mut lapsed = Vec::with_capacity(rows.len());
    for row in rows {
        lapsed.push(Lapsed {
            job_id: JobId(row.try_get("id")?),
            kind: row.try_get("kind")?,
            crashes: row.try_get("crashes")?,
            is_locked: false,
        });
    }
    if !lapsed.is_empty() && store.database() == Database::Postgres {
        let ids: Vec<JobId> = lapsed.iter().map(|lapsed| lapsed.job_id).collect();
        let mut unlocked = HashSet::new();
        for row in sqlx::query(UNLOCKED_JOBS).bind(json(&ids)?).fetch_all(store.upkeep()).await? {
            unlocked.insert(JobId(row.try_get("id")?));
        }
        for lapsed in &mut lapsed {
            lapsed.is_locked = !unlocked.contains(&lapsed.job_id);
        }
    }
    Ok(lapsed)
}

impl Lapsed {
    /// The reason, if this crash makes it a dead letter; `None` if it runs again.
    pub(crate) fn death(&self) -> Option<String> {
        let counted = self.crashes + 1;
        (!self.never_dies() && counted >= DEADLY_CRASHES).then(|| format!("{REASON}, {counted} times"))
    }

    fn never_dies(&self) -> bool {
        JobKind::parse(&self.kind).is_some_and(|kind| kind.death() == Death::Never)
    }
}

/// The error of a job whose lease ran out.
const REASON: &str = "the worker that ran it died";

/// Counts a crash and hands the job back, to run again after a wait. A renewal that comes first wins, because the row
/// is then not due. Another relay that comes first wins too: it has counted the crash.
pub(crate) async fn count_crash(store: &Store, lapsed: &Lapsed, now_ms: i64) -> Result<(), StoreError> {
    let (crashes, never_dies) = (lapsed.crashes + 1, lapsed.never_dies());
    let wait_ms = match crashes {
        _ if never_dies => 15 * 60_000,
        ..=ALONE_CRASHES => 0, // so far it ran with others, and is most likely innocent
        crashes if crashes == ALONE_CRASHES + 1 => 10_000,
        _ => 60_000,
    };
    let mut write = store.begin_upkeep().await?;
    let becomes_suspect = crashes >= SUSPECT_CRASHES && !never_dies;
    let done = sqlx::query(
        "-- count_crash
        update jobs set crashes = $3, lease_token = null, last_error = $4, due_at_ms = $5, state = 'available',
            queue = case when $6 = 1 then 'suspect' else queue end
        where id = $1 and state = 'running' and due_at_ms <= $2 and crashes = $3 - 1",
    )
    .bind(lapsed.job_id.0)
    .bind(now_ms)
    .bind(crashes)
    .bind(REASON)
    .bind(now_ms + wait_ms)
    .bind(i64::from(becomes_suspect))
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::LeaseLost);
    }
    attempts::keep(&mut write, &[Ended::of(lapsed.job_id, AttemptOutcome::Crashed, REASON)]).await?;
    write.recent.due(now_ms + wait_ms);
    reach(Point::CrashBeforeCommit);
    write.commit().await
}

/// For each queue in `$1`: since when its longest waiting row has waited, enqueued or not; -1 if none waits.
const OLDEST_DUE: Statement = Statement {
    sqlite: "-- oldest_due
        select coalesce((select due_at_ms from jobs where queue = value and state = 'available'
                order by due_at_ms limit 1), -1) as available_since_ms,
            coalesce((select min(waiting_since_ms) from jobs where queue = value and state = 'enqueued'), -1)
                as enqueued_since_ms
        from json_each($1)",
    postgres: "-- oldest_due
        select coalesce((select due_at_ms from jobs where queue = value and state = 'available'
                order by due_at_ms limit 1), -1) as available_since_ms,
            coalesce((select min(waiting_since_ms) from jobs where queue = value and state = 'enqueued'), -1)
                as enqueued_since_ms
        from json_array_elements_text(cast($1 as json))",
};

/// How long the longest waiting due job of these queues has waited, enqueued or not, milliseconds; 0 if none waits.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn oldest_due_age_ms(store: &Store, queues: &[QueueName]) -> Result<i64, StoreError> {
    let query = sqlx::query(OLDEST_DUE.on(store.database())).bind(names(queues)?);
    let mut oldest_ms: Option<i64> = None;
    for row in query.fetch_all(store.readers()).await? {
        for column in ["available_since_ms", "enqueued_since_ms"] {
            let since_ms: i64 = row.try_get(column)?;
            if since_ms >= 0 {
                oldest_ms = Some(oldest_ms.map_or(since_ms, |oldest| oldest.min(since_ms)));
            }
        }
    }
    Ok(oldest_ms.map_or(0, |since_ms| (store.now_ms() - since_ms).max(0)))
}
