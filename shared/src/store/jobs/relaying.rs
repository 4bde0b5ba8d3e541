//! The relay's half: what is due, what was lost on the way, whose worker died.

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{BuriedBy, bury, parse_queue};
use crate::failpoint::{Point, reach};
use crate::id::JobId;
use crate::job::{JobKind, JobState, QueueName};
use crate::store::{Store, StoreError, padded, placeholders};

/// How long an id that was pushed may stay unclaimed before it is offered again: the price of a lost id.
pub const OFFER_GRACE_MS: i64 = 5_000;

/// The same for a suspect, whose worker first lets everything else end: offered sooner, it would drain one worker
/// after the other.
const SUSPECT_GRACE_MS: i64 = 120_000;

/// Crashes after which a job runs alone.
const SUSPECT_CRASHES: i64 = 2;

/// Crashes while running alone after which a job is a dead letter.
const CRASHES_ALONE: i64 = 3;

/// When a queue has something to be looked at, epoch milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueJobs {
    /// The queue.
    pub queue: QueueName,
    /// When its earliest available row is due.
    pub available_ms: Option<i64>,
    /// When the grace of the earliest offered row or the lease of the earliest running row ends; `None` also where that was
    /// not asked.
    pub lost_ms: Option<i64>,
}

/// What the relay did about a lease that ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crashed {
    /// The job.
    pub job_id: JobId,
    /// Its kind.
    pub kind: String,
    /// Its crashes so far, this one included.
    pub crashes: i64,
    /// Whether it is a dead letter now.
    pub is_dead: bool,
}

/// For each queue, when its earliest available row is due, and with `asks_for_lost` when its earliest offered or running
/// one is. One statement; the relay's idle work.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn earliest_due(store: &Store, asks_for_lost: bool) -> Result<Vec<DueJobs>, StoreError> {
    let earliest = |queue: &QueueName, state: JobState| {
        format!(
            "coalesce((select due_at_ms from jobs where queue = '{queue}' and state = '{state}' \
            order by due_at_ms limit 1), {NONE_IS_DUE})"
        )
    };
    let part = |queue: &QueueName| {
        let available = earliest(queue, JobState::Available);
        let (enqueued, running) = match asks_for_lost {
            true => (earliest(queue, JobState::Enqueued), earliest(queue, JobState::Running)),
            false => (NONE_IS_DUE.to_string(), NONE_IS_DUE.to_string()),
        };
        format!("select '{queue}' as queue, {available} as available, {enqueued} as enqueued, {running} as running")
    };
    let parts: Vec<String> = QueueName::ALL.iter().map(part).collect();
    let rows = sqlx::query(AssertSqlSafe(format!("-- earliest_due\n{}", parts.join(" union all "))))
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

/// Marks up to `limit` available, due rows of a queue as enqueued and returns their ids, to be pushed at once.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn offer(store: &Store, queue: QueueName, limit: u64) -> Result<Vec<JobId>, StoreError> {
    mark_offered(store, "offer_jobs", "state = 'available'", queue, limit).await
}

/// Moves up to `limit` enqueued rows whose grace is over to a new grace and returns their ids; they may be pushed
/// again. All are moved, pushed or not, so that they do not clog the head of the index.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn offer_again(store: &Store, queue: QueueName, limit: u64) -> Result<Vec<JobId>, StoreError> {
    mark_offered(store, "offer_jobs_again", "state = 'enqueued'", queue, limit).await
}

async fn mark_offered(
    store: &Store,
    name: &str,
    condition: &str,
    queue: QueueName,
    limit: u64,
) -> Result<Vec<JobId>, StoreError> {
    let due = store.one_of(&format!(
        "select id from jobs where queue = $2 and {condition} and due_at_ms <= $3 order by due_at_ms limit $4 {}",
        store.skip_locked()
    ));
    let sql = format!(
        "-- {name}
        update jobs set state = 'enqueued', due_at_ms = $1,
            waiting_since_ms = case when state = 'available' then due_at_ms else waiting_since_ms end
        where id {due} {} returning id",
        store.may_be_lost()
    );
    let now_ms = store.now_ms();
    let grace_ms = if queue == QueueName::Suspect { SUSPECT_GRACE_MS } else { OFFER_GRACE_MS };
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(now_ms + grace_ms)
        .bind(queue.as_str())
        .bind(now_ms)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(store.upkeep())
        .await?;
    rows.iter().map(|row| Ok(JobId(row.try_get("id")?))).collect()
}

/// Makes rows available again, due as they were, whose ids the queue refused to take.
///
/// # Errors
/// [`StoreError`] when the database did not do it; the rows then wait for their grace to end.
pub async fn withdraw_offer(store: &Store, ids: &[JobId]) -> Result<(), StoreError> {
    let ids = padded(ids);
    let sql = format!(
        "-- withdraw_offer
        update jobs set state = 'available', due_at_ms = coalesce(waiting_since_ms, $1)
        where state = 'enqueued' and id in ({})",
        placeholders(2, ids.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(store.now_ms());
    for id in ids {
        query = query.bind(id.0);
    }
    query.execute(store.upkeep()).await?;
    Ok(())
}

/// How many rows of the queue are enqueued; at most some thousands by the relay's limit.
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

/// Makes every enqueued row due now: the in-process queue of an earlier run is gone with its ids.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn offer_all_again(store: &Store) -> Result<u64, StoreError> {
    let done = sqlx::query("-- offer_all_again\nupdate jobs set due_at_ms = $1 where state = 'enqueued'")
        .bind(store.now_ms())
        .execute(store.upkeep())
        .await?;
    Ok(done.rows_affected())
}

/// Ends every lease now: whoever held them cannot be alive, as we hold the lock of the data directory.
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

/// Counts a crash for up to 100 running rows of a queue whose lease ran out.
///
/// The first crash runs again like any other job; from the second on the job is a suspect, waits 10 s, then 60 s, and
/// runs alone; after three crashes alone it is a dead letter and its order moves. `sweep` is never dead: it waits
/// 15 min.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn recover_crashed(store: &Store, queue: QueueName) -> Result<Vec<Crashed>, StoreError> {
    let rows = sqlx::query(
        "-- crashed_jobs
        select id, kind, crashes from jobs
        where queue = $1 and state = 'running' and due_at_ms <= $2 order by due_at_ms limit 100",
    )
    .bind(queue.as_str())
    .bind(store.now_ms())
    .fetch_all(store.upkeep_readers())
    .await?;
    let mut recovered = Vec::new();
    for row in rows {
        let crashes = row.try_get::<i64, _>("crashes")? + 1;
        if let Some(crashed) = recover_one(store, &row, crashes).await? {
            recovered.push(crashed);
        }
    }
    Ok(recovered)
}

async fn recover_one(store: &Store, row: &AnyRow, crashes: i64) -> Result<Option<Crashed>, StoreError> {
    const REASON: &str = "the worker that ran it died";
    let job_id = JobId(row.try_get("id")?);
    let kind: String = row.try_get("kind")?;
    let is_sweep = kind == JobKind::Sweep.as_str();
    let is_dead = !is_sweep && crashes >= SUSPECT_CRASHES + CRASHES_ALONE;
    let counted = if is_dead {
        bury(store, BuriedBy::Relay { id: job_id, crashes: crashes - 1 }, &format!("{REASON}, {crashes} times"), false)
            .await
    } else {
        count_crash(store, job_id, crashes, is_sweep, REASON).await
    };
    match counted {
        Ok(()) => Ok(Some(Crashed { job_id, kind, crashes, is_dead })),
        Err(StoreError::LeaseLost) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// Hands a job whose lease ran out back, to run again after a wait. A renewal that comes first wins: the row is then no
/// longer due. So does another relay: it has counted the crash.
async fn count_crash(
    store: &Store,
    id: JobId,
    crashes: i64,
    is_sweep: bool,
    reason: &'static str,
) -> Result<(), StoreError> {
    let wait_ms = match crashes {
        _ if is_sweep => 15 * 60_000,
        ..SUSPECT_CRASHES => 0,
        SUSPECT_CRASHES => 10_000,
        _ => 60_000,
    };
    let mut write = store.begin_upkeep().await?;
    let now_ms = write.now_ms();
    let sql = format!(
        "-- count_crash
        update jobs set crashes = $3, lease_token = null, last_error = $4, due_at_ms = $5, state = 'available', queue = {}
        where id = $1 and state = 'running' and due_at_ms <= $2 and crashes = $3 - 1",
        if crashes >= SUSPECT_CRASHES && !is_sweep { "'suspect'" } else { "queue" },
    );
    let done = sqlx::query(AssertSqlSafe(sql))
        .bind(id.0)
        .bind(now_ms)
        .bind(crashes)
        .bind(reason)
        .bind(now_ms + wait_ms)
        .execute(write.transaction())
        .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::LeaseLost);
    }
    write.fresh.due(now_ms + wait_ms);
    reach(Point::CrashBeforeCommit);
    write.commit().await
}

/// How many milliseconds the longest waiting due job of these queues has waited, offered or not; 0 if none waits.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn oldest_due_age_ms(store: &Store, queues: &[QueueName]) -> Result<i64, StoreError> {
    let parts: Vec<String> = queues
        .iter()
        .flat_map(|queue| {
            [
                format!(
                    "select coalesce((select due_at_ms from jobs where queue = '{queue}' \
                    and state = 'available' order by due_at_ms limit 1), -1) as since_ms"
                ),
                format!(
                    "select coalesce((select min(waiting_since_ms) from jobs where queue = '{queue}' \
                    and state = 'enqueued'), -1) as since_ms"
                ),
            ]
        })
        .collect();
    if parts.is_empty() {
        return Ok(0);
    }
    let rows = sqlx::query(AssertSqlSafe(format!("-- oldest_due\n{}", parts.join(" union all "))))
        .fetch_all(store.readers())
        .await?;
    let mut oldest_ms = None;
    for row in rows {
        let since_ms: i64 = row.try_get("since_ms")?;
        if since_ms >= 0 {
            oldest_ms = Some(oldest_ms.map_or(since_ms, |oldest: i64| oldest.min(since_ms)));
        }
    }
    Ok(oldest_ms.map_or(0, |since_ms| (store.now_ms() - since_ms).max(0)))
}
