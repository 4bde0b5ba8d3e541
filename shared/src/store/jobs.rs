//! Job rows: the outbox, the leases and the dead letters.

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{Database, Store, StoreError, Write, orders, padded, placeholders};
use crate::id::{JobId, OrderId};
use crate::job::{ClaimedJob, Job, JobKind, JobRow, JobState, Lease, QueueName};

/// Four renewals long: one slow statement loses no lease, yet a killed worker's jobs restart within seconds.
pub const LEASE_MS: i64 = 8_000;

/// How long an id that was pushed may stay unclaimed before it is offered again: the price of a lost id.
pub const OFFER_GRACE_MS: i64 = 5_000;

/// The same for a suspect, whose worker first lets everything else end: offered sooner, it would drain one worker
/// after the other.
const SUSPECT_GRACE_MS: i64 = 120_000;

/// Crashes after which a job runs alone.
const SUSPECT_CRASHES: i64 = 2;

/// Crashes while running alone after which a job is a dead letter.
const CRASHES_ALONE: i64 = 3;

/// What becomes of a job row when its run ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Done for good.
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
    },
    /// Never started: hand it back as it was, without counting the attempt.
    Release {
        /// When it may be offered again, epoch milliseconds.
        not_before_ms: i64,
    },
}

/// When a queue has something due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueJobs {
    /// When the earliest open row of the queue is due, epoch milliseconds.
    pub earliest_ms: Option<i64>,
    /// The queue.
    pub queue: QueueName,
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

/// How an operator's command about one job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Done.
    Done,
    /// There is no such job.
    Unknown,
    /// The job's state or kind does not allow it; the sentence says why.
    Refused(String),
}

const OPEN: &str = "state in ('available', 'enqueued', 'running')";
const ROW: &str =
    "id, queue, kind, subject_id, state, attempt, crashes, due_at_ms, last_error, created_at_ms, finished_at_ms";

/// Stages a job: commits with the transaction, and wakes the relay then.
///
/// There is one open row per kind and subject. If it is available it becomes due no later than `due_at_ms`; if its id
/// is in the queue, nothing is needed; if it is running, its run is told by `wakes` to look once more. A suspect keeps
/// its place and time.
pub(super) async fn stage(write: &mut Write, job: Job, queue: QueueName, due_at_ms: i64) -> Result<(), StoreError> {
    let id = match write.job_ids.pop() {
        Some(id) => id,
        None => super::ids::take_block(&mut write.transaction, "jobs", 1).await?,
    };
    let payload = serde_json::to_string(&job).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    let now_ms = write.now_ms();
    sqlx::query(
        "-- stage_job
        insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms)
        values ($1, $2, $3, $4, $5, 'available', $6, $7)
        on conflict (kind, subject_id) where state in ('available', 'enqueued', 'running') do update set
            due_at_ms = case when jobs.state = 'available' and jobs.queue <> 'suspect' and excluded.due_at_ms < jobs.due_at_ms
                then excluded.due_at_ms else jobs.due_at_ms end,
            queue = case when jobs.state = 'available' and jobs.queue <> 'suspect'
                then excluded.queue else jobs.queue end,
            wakes = case when jobs.state = 'running' then jobs.wakes + 1 else jobs.wakes end",
    )
    .bind(id)
    .bind(queue.as_str())
    .bind(job.kind().as_str())
    .bind(job.subject_id())
    .bind(payload)
    .bind(due_at_ms)
    .bind(now_ms)
    .execute(write.connection())
    .await?;
    write.jobs_staged = true;
    Ok(())
}

/// Stages one job in a transaction of its own, due now: an operator's `reconcile`, a hint, the seed of `sweep`.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn stage_now(store: &Store, job: Job) -> Result<(), StoreError> {
    let mut write = store.begin(1).await?;
    let now_ms = write.now_ms();
    stage(&mut write, job, job.kind().queue(), now_ms).await?;
    write.commit().await
}

/// Seeds the one `sweep` row unless it is open already.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn seed_sweep(store: &Store) -> Result<(), StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "-- open_sweep\nselect count(*) as open from jobs where kind = 'sweep' and subject_id = 0 and {OPEN}"
    )))
    .fetch_one(store.readers())
    .await?;
    match row.try_get::<i64, _>("open")? {
        0 => stage_now(store, Job::Sweep).await,
        _ => Ok(()),
    }
}

/// Claims those of the ids that are still offered, each with a lease of [`LEASE_MS`] under one fresh token.
///
/// Ids that are not returned belong to somebody else, or to the past; forget them.
///
/// # Errors
/// [`StoreError`]; the rows then wait for their grace to end, or, if the claim was made and only its answer lost, are
/// handed back before this returns.
pub async fn claim(store: &Store, ids: &[JobId]) -> Result<Vec<ClaimedJob>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let token: i64 = rand::random();
    match claim_with(store, ids, token).await {
        Err(trouble) => {
            // At most once: where the database stays away, the leases end by themselves.
            if let Err(again) = unclaim(store, token, ids).await {
                tracing::debug!(error = %again, "whether a claim was made is not known");
            }
            Err(trouble)
        }
        claimed => claimed,
    }
}

/// Hands back what a claim with that token may have taken.
async fn unclaim(store: &Store, token: i64, ids: &[JobId]) -> Result<(), StoreError> {
    let sql = format!(
        "-- unclaim_jobs
        update jobs set state = 'available', attempt = attempt - 1, lease_token = null, due_at_ms = $2
        where lease_token = $1 and state = 'running' and id in ({})",
        placeholders(3, ids.len())
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(token).bind(store.now_ms());
    for id in ids {
        query = query.bind(id.0);
    }
    query.execute(store.writer()).await?;
    Ok(())
}

async fn claim_with(store: &Store, ids: &[JobId], token: i64) -> Result<Vec<ClaimedJob>, StoreError> {
    let mut jobs = claim_those(store, ids, token, store.skip_locked()).await?;
    let missed = |id: &&JobId| jobs.iter().all(|job| job.lease.job_id != **id);
    let missed: Vec<JobId> = ids.iter().filter(missed).copied().collect();
    if !missed.is_empty() && store.database() == Database::Postgres {
        // Most of these belong to somebody else by now. But a row that another process's relay merely looked at was
        // locked for that moment, too: passed over, its job would wait until its id is offered again.
        jobs.extend(claim_those(store, &missed, token, "order by id for update").await?);
    }
    Ok(jobs)
}

/// Claims those that still wait. Whoever waits for locks takes them in the order of ids, so that nobody waits in a circle.
async fn claim_those(store: &Store, ids: &[JobId], token: i64, locking: &str) -> Result<Vec<ClaimedJob>, StoreError> {
    let ids = padded(ids);
    let sql = format!(
        "-- claim_jobs
        update jobs set state = 'running', attempt = attempt + 1, lease_token = $1, due_at_ms = $2
        where id in (select id from jobs where id in ({}) and state = 'enqueued' {locking})
        returning id, queue, kind, payload, attempt, crashes, wakes, created_at_ms",
        placeholders(3, ids.len()),
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(token).bind(store.now_ms() + LEASE_MS);
    for id in ids {
        query = query.bind(id.0);
    }
    let rows = query.fetch_all(store.writer()).await?;
    rows.iter().map(|row| claimed(row, token)).collect()
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
    })
}

/// Renews leases in one statement, for [`LEASE_MS`] from now.
///
/// Returns the ids whose lease is still ours; a running job that is missing from it must be aborted.
///
/// # Errors
/// [`StoreError`]; then nothing is known, and nothing may be aborted.
pub async fn renew(store: &Store, leases: &[Lease]) -> Result<Vec<JobId>, StoreError> {
    let mut renewed = Vec::with_capacity(leases.len());
    for leases in leases.chunks(256) {
        let leases = padded(leases);
        let pairs =
            (0..leases.len()).map(|n| format!("(${}, ${})", 2 * n + 2, 2 * n + 3)).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "-- renew_leases
            update jobs set due_at_ms = $1 where (id, lease_token) in (values {pairs}) and state = 'running' returning id"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(store.now_ms() + LEASE_MS);
        for lease in leases {
            query = query.bind(lease.job_id.0).bind(lease.token);
        }
        for row in query.fetch_all(store.writer()).await? {
            renewed.push(JobId(row.try_get("id")?));
        }
    }
    Ok(renewed)
}

/// Ends a run within a transaction; the first statement of every write of an effect.
///
/// A job that was woken while it ran returns to `available`, due now, whatever `finish` says.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the row no longer carries the lease: roll back.
pub(super) async fn finish(write: &mut Write, lease: &Lease, finish: &Finish) -> Result<(), StoreError> {
    let now_ms = write.now_ms();
    let (state, due_at_ms, queue, error) = match finish {
        Finish::Complete => (JobState::Completed, now_ms, None, None),
        Finish::Snooze { until_ms, queue } => (JobState::Available, *until_ms, Some(*queue), None),
        Finish::Retry { not_before_ms, error } => (JobState::Available, *not_before_ms, None, Some(error.clone())),
        Finish::Release { not_before_ms } => (JobState::Available, *not_before_ms, None, None),
    };
    // Taken back: attempts of a run that never was. Counted anew: attempts after a run that went well.
    let attempt = match finish {
        Finish::Complete | Finish::Retry { .. } => "attempt",
        Finish::Snooze { .. } => "0",
        Finish::Release { .. } => "attempt - 1",
    };
    let (crashes, last_error) = match finish {
        Finish::Release { .. } => ("crashes", "coalesce($7, last_error)"),
        _ => ("0", "$7"),
    };
    let sql = format!(
        "-- finish_job
        update jobs set
            state = case when wakes > $3 then 'available' else $4 end,
            due_at_ms = case when wakes > $3 then $5 else $6 end,
            finished_at_ms = case when wakes > $3 or $4 = 'available' then null else $5 end,
            queue = case when queue = 'suspect' and {crashes} > 0 then queue
                when wakes <= $3 and $8 is not null then $8
                when wakes <= $3 and queue <> 'suspect' then queue
                when kind = 'create_payment_link' then 'links' when kind = 'sweep' then 'background' else 'settle' end,
            attempt = case when wakes > $3 then 0 else {attempt} end,
            crashes = {crashes}, last_error = {last_error}, lease_token = null
        where id = $1 and state = 'running' and lease_token = $2
        returning state, due_at_ms",
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(lease.job_id.0)
        .bind(lease.token)
        .bind(lease.wakes)
        .bind(state.as_str())
        .bind(now_ms)
        .bind(due_at_ms)
        .bind(error)
        .bind(queue.map(QueueName::as_str))
        .fetch_optional(write.connection())
        .await?
        .ok_or(StoreError::LeaseLost)?;
    // The relay of this process sleeps until the earliest due row it knew of.
    write.jobs_staged |= row.try_get::<String, _>("state")? == JobState::Available.as_str();
    Ok(())
}

/// Ends a run that wrote nothing else.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the lease belongs to somebody else.
pub async fn finish_alone(store: &Store, lease: &Lease, how: &Finish) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    finish(&mut write, lease, how).await?;
    write.commit().await
}

/// Makes the running job a dead letter and moves its order, in one transaction.
///
/// `refused` tells a final no of the gateway, which makes a pending order `failed`; everything else is for a person.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the lease belongs to somebody else.
pub async fn bury(store: &Store, lease: &Lease, reason: &str, refused: bool) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    let now_ms = write.now_ms();
    let row = sqlx::query(
        "-- bury_job
        update jobs set state = 'dead', lease_token = null, due_at_ms = $3, finished_at_ms = $3, last_error = $4
        where id = $1 and state = 'running' and lease_token = $2 returning kind, subject_id",
    )
    .bind(lease.job_id.0)
    .bind(lease.token)
    .bind(now_ms)
    .bind(reason.to_owned())
    .fetch_optional(write.connection())
    .await?
    .ok_or(StoreError::LeaseLost)?;
    move_order_of_dead(&mut write, &row, reason, refused).await?;
    write.commit().await
}

async fn move_order_of_dead(write: &mut Write, row: &AnyRow, reason: &str, refused: bool) -> Result<(), StoreError> {
    let kind: String = row.try_get("kind")?;
    let subject_id: i64 = row.try_get("subject_id")?;
    let order_id = match JobKind::parse(&kind) {
        Some(JobKind::CreatePaymentLink | JobKind::SettleOrder) => Some(OrderId(subject_id)),
        Some(JobKind::ProcessCallback) => super::callbacks::order_of(write, subject_id).await?,
        Some(JobKind::Sweep) | None => None,
    };
    let Some(order_id) = order_id else { return Ok(()) };
    if refused && kind == JobKind::CreatePaymentLink.as_str() {
        orders::fail(write, order_id, reason).await
    } else {
        orders::put_before_a_person(write, order_id, &format!("job {kind} is a dead letter: {reason}")).await
    }
}

/// For each queue, when its earliest open row is due. One statement; the relay's idle work.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn earliest_due(store: &Store) -> Result<Vec<DueJobs>, StoreError> {
    let parts: Vec<String> = QueueName::ALL
        .iter()
        .map(|queue| {
            format!(
                "select '{queue}' as queue, coalesce((select due_at_ms from jobs where queue = '{queue}' and {OPEN} \
                order by due_at_ms limit 1), -1) as due_at_ms"
            )
        })
        .collect();
    let rows = sqlx::query(AssertSqlSafe(format!("-- earliest_due\n{}", parts.join(" union all "))))
        .fetch_all(store.readers())
        .await?;
    rows.iter()
        .map(|row| {
            let due_at_ms: i64 = row.try_get("due_at_ms")?;
            let queue = parse_queue(&row.try_get::<String, _>("queue")?)?;
            Ok(DueJobs { earliest_ms: (due_at_ms >= 0).then_some(due_at_ms), queue })
        })
        .collect()
}

/// Marks up to `limit` available, due rows of a queue as enqueued and returns their ids, to be pushed at once.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn offer(store: &Store, queue: QueueName, limit: i64) -> Result<Vec<JobId>, StoreError> {
    mark_offered(store, "offer_jobs", "available", queue, limit).await
}

/// Moves up to `limit` enqueued rows whose grace is over to a new grace and returns their ids; they may be pushed
/// again. All are moved, pushed or not, so that they do not clog the head of the index.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn offer_again(store: &Store, queue: QueueName, limit: i64) -> Result<Vec<JobId>, StoreError> {
    mark_offered(store, "offer_jobs_again", "enqueued", queue, limit).await
}

async fn mark_offered(
    store: &Store,
    name: &str,
    state: &str,
    queue: QueueName,
    limit: i64,
) -> Result<Vec<JobId>, StoreError> {
    let sql = format!(
        "-- {name}
        update jobs set state = 'enqueued', due_at_ms = $1,
            waiting_since_ms = case when state = 'available' then due_at_ms else waiting_since_ms end
        where id in (
            select id from jobs where queue = $2 and {OPEN} and state = '{state}' and due_at_ms <= $3
            order by due_at_ms limit $4 {})
        returning id",
        store.skip_locked()
    );
    let now_ms = store.now_ms();
    let grace_ms = if queue == QueueName::Suspect { SUSPECT_GRACE_MS } else { OFFER_GRACE_MS };
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(now_ms + grace_ms)
        .bind(queue.as_str())
        .bind(now_ms)
        .bind(limit)
        .fetch_all(store.writer())
        .await?;
    rows.iter().map(|row| Ok(JobId(row.try_get("id")?))).collect()
}

/// How many rows of the queue are enqueued; at most some thousands by the relay's limit.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn count_enqueued(store: &Store, queue: QueueName) -> Result<i64, StoreError> {
    let row =
        sqlx::query("-- count_enqueued\nselect count(*) as enqueued from jobs where queue = $1 and state = 'enqueued'")
            .bind(queue.as_str())
            .fetch_one(store.readers())
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
        .execute(store.writer())
        .await?;
    Ok(done.rows_affected())
}

/// Ends every lease now: whoever held them cannot be alive, as we hold the lock of the data directory.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn end_all_leases(store: &Store) -> Result<u64, StoreError> {
    let done = sqlx::query(AssertSqlSafe(format!(
        "-- end_all_leases\nupdate jobs set due_at_ms = $1 where {OPEN} and state = 'running'"
    )))
    .bind(store.now_ms())
    .execute(store.writer())
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
    let rows = sqlx::query(AssertSqlSafe(format!(
        "-- crashed_jobs
        select id, kind, subject_id, crashes from jobs
        where queue = $1 and {OPEN} and state = 'running' and due_at_ms <= $2 order by due_at_ms limit 100"
    )))
    .bind(queue.as_str())
    .bind(store.now_ms())
    .fetch_all(store.readers())
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
    let mut write = store.begin(0).await?;
    let now_ms = write.now_ms();
    let kind: String = row.try_get("kind")?;
    let is_sweep = kind == JobKind::Sweep.as_str();
    let is_dead = !is_sweep && crashes >= SUSPECT_CRASHES + CRASHES_ALONE;
    let wait_ms = match crashes {
        _ if is_sweep => 15 * 60_000,
        ..SUSPECT_CRASHES => 0,
        SUSPECT_CRASHES => 10_000,
        _ => 60_000,
    };
    // A renewal that comes first wins: the row is then no longer due.
    let sql = format!(
        "-- count_crash
        update jobs set crashes = $3, lease_token = null, last_error = $4, due_at_ms = $5,
            state = '{}', queue = {}, finished_at_ms = {}
        where id = $1 and state = 'running' and due_at_ms <= $2",
        if is_dead { "dead" } else { "available" },
        if crashes >= SUSPECT_CRASHES && !is_sweep { "'suspect'" } else { "queue" },
        if is_dead { "$5" } else { "null" },
    );
    let done = sqlx::query(AssertSqlSafe(sql))
        .bind(row.try_get::<i64, _>("id")?)
        .bind(now_ms)
        .bind(crashes)
        .bind(REASON)
        .bind(now_ms + wait_ms)
        .execute(write.connection())
        .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    if is_dead {
        move_order_of_dead(&mut write, row, &format!("{REASON}, {crashes} times"), false).await?;
    }
    write.jobs_staged = true;
    write.commit().await?;
    Ok(Some(Crashed { job_id: JobId(row.try_get("id")?), kind, crashes, is_dead }))
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
                    "select coalesce((select due_at_ms from jobs where queue = '{queue}' and {OPEN} \
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
        if matches!(state, JobState::Available | JobState::Enqueued | JobState::Running) {
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

/// The jobs about one order, newest first, at most 100.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn of_order(store: &Store, order_id: OrderId) -> Result<Vec<JobRow>, StoreError> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "-- jobs_of_order\nselect {ROW} from jobs where subject_id = $1 and kind in ('create_payment_link', 'settle_order')
        order by id desc limit 100"
    )))
    .bind(order_id.0)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(job_row).collect()
}

/// An operator's retry: a dead letter becomes available, with its attempts and crashes counted from the start.
///
/// The order of a dead `create_payment_link` returns from `failed` to `pending` in the same transaction.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn retry(store: &Store, id: JobId) -> Result<Command, StoreError> {
    let Some(job) = show(store, id).await? else { return Ok(Command::Unknown) };
    if job.state == JobState::Available {
        return run_now(store, id).await;
    }
    if job.state != JobState::Dead {
        return Ok(Command::Refused(format!(
            "the job is {}; only a dead letter or a waiting job is retried",
            job.state
        )));
    }
    let mut write = store.begin(0).await?;
    let now_ms = write.now_ms();
    let done = sqlx::query(AssertSqlSafe(format!(
        "-- retry_job
        update jobs set state = 'available', queue = $3, attempt = 0, crashes = 0, due_at_ms = $2, finished_at_ms = null
        where id = $1 and state = 'dead' and not exists (
            select 1 from jobs other where other.kind = jobs.kind and other.subject_id = jobs.subject_id and other.{OPEN})"
    )))
    .bind(id.0)
    .bind(now_ms)
    .bind(JobKind::parse(&job.kind).map_or(QueueName::Background, JobKind::queue).as_str())
    .execute(write.connection())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Command::Refused("another job of this kind for the same order is open already".into()));
    }
    if job.kind == JobKind::CreatePaymentLink.as_str() {
        let order_id = OrderId(job.subject_id);
        if !orders::unfail(&mut write, order_id, "an operator retried the payment link").await? {
            return Ok(Command::Refused(format!("order {order_id} is no longer failed; see `orders show {order_id}`")));
        }
    }
    write.jobs_staged = true;
    write.commit().await?;
    Ok(Command::Done)
}

async fn run_now(store: &Store, id: JobId) -> Result<Command, StoreError> {
    let mut write = store.begin(0).await?;
    sqlx::query(
        "-- run_job_now\nupdate jobs set due_at_ms = $2 where id = $1 and state = 'available' and due_at_ms > $2",
    )
    .bind(id.0)
    .bind(store.now_ms())
    .execute(write.connection())
    .await?;
    write.jobs_staged = true;
    write.commit().await?;
    Ok(Command::Done)
}

/// An operator's cancel. Jobs that money depends on are refused; canceling `create_payment_link` cancels its order.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn cancel(store: &Store, id: JobId) -> Result<Command, StoreError> {
    let Some(job) = show(store, id).await? else { return Ok(Command::Unknown) };
    match JobKind::parse(&job.kind) {
        Some(kind @ (JobKind::SettleOrder | JobKind::Sweep | JobKind::ProcessCallback)) => {
            return Ok(Command::Refused(format!(
                "{kind} is never canceled: money may have moved that only it will notice"
            )));
        }
        Some(JobKind::CreatePaymentLink) | None => (),
    }
    let mut write = store.begin(1).await?;
    let done = sqlx::query(
        "-- cancel_job
        update jobs set state = 'canceled', lease_token = null, finished_at_ms = $2
        where id = $1 and state in ('available', 'enqueued', 'dead')",
    )
    .bind(id.0)
    .bind(store.now_ms())
    .execute(write.connection())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Command::Refused(format!(
            "the job is {}; it can be canceled only while it waits or is dead",
            job.state
        )));
    }
    if job.kind == JobKind::CreatePaymentLink.as_str() {
        let order_id = OrderId(job.subject_id);
        // A draft may exist that nobody here knows to be unpaid. Staged first: jobs before the order's row.
        let now_ms = write.now_ms();
        stage(&mut write, Job::SettleOrder { order_id }, QueueName::Background, now_ms).await?;
        orders::cancel(&mut write, order_id, "an operator canceled the payment link").await?;
    }
    write.commit().await?;
    Ok(Command::Done)
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

fn job_row(row: &AnyRow) -> Result<JobRow, StoreError> {
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

fn parse_queue(text: &str) -> Result<QueueName, StoreError> {
    QueueName::parse(text).ok_or(StoreError::UnknownValue { column: "jobs.queue", value: text.to_owned() })
}
