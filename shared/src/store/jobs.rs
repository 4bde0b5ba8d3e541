//! Job rows: the outbox and the leases.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::given::Column::{Number, Text};
use super::given::{given, rows, unindexed};
use super::together::{Group, Locked, Share, Together, Written, together};
use super::{Database, STATEMENT_TIMEOUT, Store, StoreError, Write, padded, placeholders};
use crate::failpoint::{Point, reach};
use crate::id::JobId;
use crate::job::{ClaimedJob, Job, JobState, Lease, QueueName};

mod dead_letters;
mod in_hand;
mod operating;
mod relaying;

pub use dead_letters::{BuriedBy, bury};
pub(super) use dead_letters::{cancel_dead_letters, cancel_dead_refunds};
pub use in_hand::{InHand, hand_back};
pub use operating::{Command, cancel, count_dead, list, of_order, retry, show};
pub use relaying::{
    Crashed, DueJobs, OFFER_GRACE_MS, count_enqueued, earliest_due, end_all_leases, offer, offer_again,
    offer_all_again, oldest_due_age_ms, recover_crashed, withdraw_offer,
};

/// Four renewals long: one slow statement loses no lease, yet a killed worker's jobs restart within seconds.
pub const LEASE_MS: i64 = 8_000;

/// How often a claim whose answer was lost is taken back; well within a lease.
const UNCLAIM_EVERY: Duration = Duration::from_millis(500);

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

/// More leases are not renewed in one statement.
const RENEWED_TOGETHER: usize = 256;

/// In the words of the partial indexes.
pub(super) const OPEN: &str = "state in ('available', 'enqueued', 'running')";

/// Stages a job: commits with the transaction, and wakes the relay then. One that is due now is marked as offered where
/// the relay of this process takes it at once, which saves a write of its row.
///
/// There is one open row per kind and subject. If it is available it becomes due no later than `due_at_ms`; if its id
/// is in the queue, nothing is needed; if it is running, its run is told by `wakes` to look once more. A suspect keeps
/// its place and time.
pub(super) async fn stage(write: &mut Write, job: Job, queue: QueueName, due_at_ms: i64) -> Result<(), StoreError> {
    stage_all(write, &[Staged { job, queue, due_at_ms }]).await
}

/// A job to be staged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Staged {
    pub(super) job: Job,
    pub(super) queue: QueueName,
    pub(super) due_at_ms: i64,
}

/// As [`stage`], of several jobs, no two of which have kind and subject in common.
pub(super) async fn stage_all(write: &mut Write, jobs: &[Staged]) -> Result<(), StoreError> {
    stage_rows(write, jobs, None).await.map(drop)
}

/// As [`stage_all`], and claims those that nobody runs and that are no suspects, each with a lease of [`LEASE_MS`] under
/// this token: the writer runs them itself.
pub(super) async fn stage_and_claim(
    write: &mut Write,
    jobs: &[Staged],
    token: i64,
) -> Result<Vec<ClaimedJob>, StoreError> {
    stage_rows(write, jobs, Some(token)).await
}

async fn stage_rows(
    write: &mut Write,
    jobs: &[Staged],
    claimed_under: Option<i64>,
) -> Result<Vec<ClaimedJob>, StoreError> {
    #[derive(Serialize)]
    struct New {
        job_id: i64,
        on_queue: &'static str,
        of_kind: &'static str,
        about: i64,
        says: String,
        born: &'static str,
        due: i64,
        since: Option<i64>,
    }
    let now_ms = write.now_ms();
    let grace_ends_ms = now_ms + OFFER_GRACE_MS;
    let mut new = Vec::with_capacity(jobs.len());
    for Staged { job, queue, due_at_ms } in jobs {
        let job_id = match write.job_ids.pop() {
            Some(id) => id,
            None => super::ids::take_block(&mut write.transaction, "jobs", 1).await?,
        };
        let is_offered = *due_at_ms <= now_ms && write.store.0.fresh.is_open(*queue);
        let (born, due) = match claimed_under {
            Some(_) => (JobState::Running, now_ms + LEASE_MS),
            None if is_offered => (JobState::Enqueued, grace_ends_ms),
            None => (JobState::Available, *due_at_ms),
        };
        new.push(New {
            job_id,
            on_queue: queue.as_str(),
            of_kind: job.kind().as_str(),
            about: job.subject_id(),
            says: serde_json::to_string(job).map_err(|error| sqlx::Error::Encode(Box::new(error)))?,
            born: born.as_str(),
            due,
            since: (born == JobState::Enqueued).then_some(*due_at_ms),
        });
    }
    // One order of locks.
    new.sort_unstable_by_key(|new| (new.of_kind, new.about));
    let returning = match claimed_under {
        Some(_) => "id, queue, state, due_at_ms, lease_token, kind, payload, attempt, crashes, wakes, created_at_ms",
        None => "id, queue, state, due_at_ms",
    };
    // Without its own condition SQLite takes `on conflict` for the condition of a join.
    let sql = format!(
        "-- stage_jobs
        insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, waiting_since_ms, created_at_ms,
            lease_token, attempt)
        select job_id, on_queue, of_kind, about, says, born, due, since, $2, $3, case when born = 'running' then 1 else 0 end
        from {} where true
        on conflict (kind, subject_id) where state in ('available', 'enqueued', 'running') do update set
            state = case when {MAY_BE_HURRIED} then excluded.state else jobs.state end,
            due_at_ms = case when {MAY_BE_HURRIED} and (excluded.state <> 'available' or excluded.due_at_ms < jobs.due_at_ms)
                then excluded.due_at_ms else jobs.due_at_ms end,
            waiting_since_ms = case when not {MAY_BE_HURRIED} then jobs.waiting_since_ms
                when jobs.due_at_ms < excluded.waiting_since_ms then jobs.due_at_ms else excluded.waiting_since_ms end,
            queue = case when {MAY_BE_HURRIED} then excluded.queue else jobs.queue end,
            lease_token = case when {MAY_BE_HURRIED} then excluded.lease_token else jobs.lease_token end,
            attempt = case when {MAY_BE_HURRIED} then jobs.attempt + excluded.attempt else jobs.attempt end,
            wakes = case when jobs.state = 'running' then jobs.wakes + 1 else jobs.wakes end
        returning {returning}",
        given(
            write.store.database(),
            1,
            &[
                Number("job_id"),
                Text("on_queue"),
                Text("of_kind"),
                Number("about"),
                Text("says"),
                Text("born"),
                Number("due"),
                Number("since"),
            ]
        )
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(rows(&new)?).bind(now_ms).bind(claimed_under);
    let staged = query.fetch_all(write.connection()).await?;
    let mut claimed_jobs = Vec::new();
    for row in staged {
        let (state, due_at_ms): (String, i64) = (row.try_get("state")?, row.try_get("due_at_ms")?);
        match (JobState::parse(&state), claimed_under) {
            // One that was offered a moment ago by somebody else may be pushed a second time, which does no harm.
            (Some(JobState::Enqueued), None) if due_at_ms == grace_ends_ms => {
                let queue = parse_queue(&row.try_get::<String, _>("queue")?)?;
                write.fresh.offer(queue, JobId(row.try_get("id")?));
            }
            (Some(JobState::Available), _) => write.fresh.due(due_at_ms),
            (Some(JobState::Running), Some(token)) if row.try_get::<Option<i64>, _>("lease_token")? == Some(token) => {
                claimed_jobs.push(claimed(&row, token)?);
            }
            _ => (),
        }
    }
    Ok(claimed_jobs)
}

/// Of a row that is open already: whether staging its job again moves it. A suspect keeps its place and time.
const MAY_BE_HURRIED: &str = "(jobs.queue <> 'suspect'
    and (jobs.state = 'available' or jobs.state = 'enqueued' and excluded.state = 'running'))";

/// Hands back, for as long as it may be needed, what a transaction claimed that may or may not have been committed.
pub(super) fn hand_back_if_claimed(store: &Store, token: i64, claimed: &[ClaimedJob]) {
    if !claimed.is_empty() {
        let ids = claimed.iter().map(|job| job.lease.job_id).collect();
        tokio::spawn(keep_unclaiming(store.clone(), token, ids, false));
    }
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
/// handed back before this returns, or else as soon as the database answers.
pub async fn claim(store: &Store, ids: &[JobId]) -> Result<Vec<ClaimedJob>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let token: i64 = rand::random();
    match claim_with(store, ids, token).await {
        // The database has said that nothing was done.
        Err(StoreError::Conflict(trouble)) => Err(StoreError::Conflict(trouble)),
        Err(trouble) => {
            // Left alone, the leases would end, and an outage of the database would count as a crash.
            let first = unclaim(store, token, ids).await;
            tokio::spawn(keep_unclaiming(store.clone(), token, ids.to_vec(), first.is_ok()));
            Err(trouble)
        }
        claimed => claimed,
    }
}

/// Hands back what a claim with that token may have taken.
async fn unclaim(store: &Store, token: i64, ids: &[JobId]) -> Result<(), StoreError> {
    let ids = padded(ids);
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

/// As [`unclaim`], until the database has answered for as long as a statement of ours may run: where only the connection
/// broke, the server may still be at the claim, and would commit it after we looked.
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
            // Well before a lease ends. A database that takes no writes at all must not be hit the harder for it.
            Err(trouble) if trouble.is_passing() => pause = (pause * 2).min(Duration::from_secs(4)),
            Err(trouble) => {
                tracing::warn!(error = %trouble, "whether a claim was made is not known; its leases end by themselves");
                return;
            }
        }
    }
}

async fn claim_with(store: &Store, ids: &[JobId], token: i64) -> Result<Vec<ClaimedJob>, StoreError> {
    let mut jobs = claim_those(store, ids, token, store.skip_locked()).await?;
    let missed = |id: &&JobId| jobs.iter().all(|job| job.lease.job_id != **id);
    let missed: Vec<JobId> = ids.iter().filter(missed).copied().collect();
    if !missed.is_empty() && store.database() == Database::Postgres {
        // Most of these belong to somebody else by now. But a row that another process's relay merely looked at was
        // locked for that moment, too: passed over, its job would wait until its id is offered again.
        match claim_those(store, &missed, token, "order by kind, subject_id for update").await {
            Ok(more) => jobs.extend(more),
            // One of them is held for long. Those that we have must run.
            Err(StoreError::Conflict(_)) => (),
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(jobs)
}

/// Claims those that still wait. Whoever waits for locks takes them in the order in which jobs are staged, so that nobody
/// waits in a circle.
async fn claim_those(store: &Store, ids: &[JobId], token: i64, locking: &str) -> Result<Vec<ClaimedJob>, StoreError> {
    let ids = padded(ids);
    let waiting = store.one_of(&format!(
        "select id from jobs where id in ({}) and {} = 'enqueued' {locking}",
        placeholders(3, ids.len()),
        unindexed("state")
    ));
    let sql = format!(
        "-- claim_jobs
        update jobs set state = 'running', attempt = attempt + 1, lease_token = $1, due_at_ms = $2
        where id {waiting} returning id, queue, kind, payload, attempt, crashes, wakes, created_at_ms"
    );
    // A lease begins when the statement can, and not while it waits for a connection.
    let mut connection = store.writer().acquire().await?;
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(token).bind(store.now_ms() + LEASE_MS);
    for id in ids {
        query = query.bind(id.0);
    }
    let rows = query.fetch_all(&mut *connection).await?;
    connection.give_back();
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

/// Renews leases, many in one statement, for [`LEASE_MS`] from now.
///
/// Returns the ids whose lease is still ours; a running job that is missing from it must be aborted.
///
/// # Errors
/// [`StoreError`]; then nothing is known, and nothing may be aborted.
pub async fn renew(store: &Store, leases: &[Lease]) -> Result<Vec<JobId>, StoreError> {
    let mut renewed = HashSet::with_capacity(leases.len());
    for leases in leases.chunks(RENEWED_TOGETHER) {
        renewed.extend(renew_those(store, leases, Locked::PassedOver).await?);
    }
    // Rows that are passed over are just being written by their own runs. They are waited for one by one, and with no other
    // held: a transaction that ends several runs must not wait for one that waits for it.
    let mut first_trouble = None;
    for lease in leases {
        if !renewed.contains(&lease.job_id) && store.database() == Database::Postgres {
            match renew_those(store, &[*lease], Locked::Waited).await {
                Ok(more) => renewed.extend(more),
                Err(trouble) => first_trouble = first_trouble.or(Some(trouble)),
            }
        }
    }
    match first_trouble {
        Some(trouble) => Err(trouble),
        None => Ok(renewed.into_iter().collect()),
    }
}

async fn renew_those(store: &Store, leases: &[Lease], locked: Locked) -> Result<HashSet<JobId>, StoreError> {
    #[derive(Serialize)]
    struct Held {
        job_id: i64,
        token: i64,
    }
    let held: Vec<Held> = leases.iter().map(|lease| Held { job_id: lease.job_id.0, token: lease.token }).collect();
    let given = given(store.database(), 2, &[Number("job_id"), Number("token")]);
    let ours = store.one_of(&format!(
        "select id from {given} join jobs on id = job_id where id {} and lease_token = token and {} = 'running' {}",
        given.any("job_id"),
        unindexed("state"),
        locked.clause(store, "jobs")
    ));
    let sql = format!("-- renew_leases\nupdate jobs set due_at_ms = $1 where id {ours} returning id");
    let mut connection = store.writer().acquire().await?;
    let query = sqlx::query(AssertSqlSafe(sql)).bind(store.now_ms() + LEASE_MS).bind(rows(&held)?);
    let rows = query.fetch_all(&mut *connection).await?;
    connection.give_back();
    rows.iter().map(|row| Ok(JobId(row.try_get("id")?))).collect()
}

/// Locks the row of a job that still runs under this lease: what is written besides commits for its holder alone. For what
/// must be written in the midst of a run; its end is [`finish`].
///
/// # Errors
/// [`StoreError::LeaseLost`] when the row no longer carries the lease: roll back.
pub(super) async fn hold(write: &mut Write, lease: &Lease) -> Result<(), StoreError> {
    let sql = format!(
        "-- hold_lease\nselect id from jobs where id = $1 and state = 'running' and lease_token = $2 {}",
        write.for_update("jobs")
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(lease.job_id.0).bind(lease.token);
    query.fetch_optional(write.connection()).await?.map(|_| ()).ok_or(StoreError::LeaseLost)
}

/// Ends a run within a transaction; the first statement of every write of an effect.
///
/// A job that was woken while it ran returns to `available`, due now, whatever `finish` says.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the row no longer carries the lease: roll back.
pub(super) async fn finish(write: &mut Write, lease: &Lease, finish: &Finish) -> Result<(), StoreError> {
    match finish_all(write, &[(*lease, finish.clone())], Locked::Waited).await?.is_empty() {
        true => Err(StoreError::LeaseLost),
        false => Ok(()),
    }
}

/// As [`finish`], of several runs. Returns those that are ended; the others carry their lease no longer, or were passed
/// over.
pub(super) async fn finish_all(
    write: &mut Write,
    runs: &[(Lease, Finish)],
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
            Text("next_state"),
            Number("next_due"),
            Text("next_queue"),
            Text("trouble"),
        ],
    );
    let sql = format!(
        "-- finish_jobs
        update jobs set
            state = case when wakes > heard then 'available' else next_state end,
            due_at_ms = case when wakes > heard then $2 else next_due end,
            finished_at_ms = case when wakes > heard or next_state = 'available' then null else $2 end,
            queue = case when queue = 'suspect' and how = 'release' and crashes > 0 then queue
                when wakes <= heard and next_queue is not null then next_queue
                when wakes <= heard and queue <> 'suspect' then queue
                when kind = 'create_payment_link' then 'links' when kind = 'sweep' then 'background' else 'settle' end,
            attempt = case when wakes > heard or how = 'snooze' then 0 when how = 'release' then attempt - 1
                else attempt end,
            crashes = case when how = 'release' then crashes else 0 end,
            last_error = case when how = 'release' then coalesce(trouble, last_error) else trouble end,
            lease_token = null
        from {given} where id {} and id = job_id and {} = 'running' and lease_token = token
        returning id, state, due_at_ms",
        write.store.one_of(&format!(
            "select id from jobs where id {} {}",
            given.any("job_id"),
            locked.clause(&write.store, "jobs")
        )),
        unindexed("state")
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(rows(&ends)?).bind(now_ms).fetch_all(write.connection()).await?;
    let mut ended = HashSet::with_capacity(rows.len());
    for row in rows {
        ended.insert(JobId(row.try_get("id")?));
        // The relay of this process sleeps until the earliest due row it knew of.
        if row.try_get::<String, _>("state")? == JobState::Available.as_str() {
            write.fresh.due(row.try_get("due_at_ms")?);
        }
    }
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
    next_state: &'static str,
    next_due: i64,
    next_queue: Option<&'static str>,
    trouble: Option<&'a str>,
}

impl<'a> End<'a> {
    fn of(lease: &Lease, finish: &'a Finish, now_ms: i64) -> Self {
        let (how, state, next_due, queue, trouble) = match finish {
            Finish::Complete => ("complete", JobState::Completed, now_ms, None, None),
            Finish::Snooze { until_ms, queue } => ("snooze", JobState::Available, *until_ms, Some(*queue), None),
            Finish::Retry { not_before_ms, error } => {
                ("retry", JobState::Available, *not_before_ms, None, Some(error.as_str()))
            }
            Finish::Release { not_before_ms } => ("release", JobState::Available, *not_before_ms, None, None),
        };
        End {
            job_id: lease.job_id.0,
            token: lease.token,
            heard: lease.wakes,
            how,
            next_state: state.as_str(),
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
pub(super) struct Ending {
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
        let mut write = store.begin(0).await?;
        let ended = finish_all(&mut write, &runs, locked).await?;
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
pub(super) fn not_ended(runs: &[(Lease, Finish)], ended: &HashSet<JobId>) -> Vec<usize> {
    let is_missing = |(_, (lease, _)): &(usize, &(Lease, Finish))| !ended.contains(&lease.job_id);
    runs.iter().enumerate().filter(is_missing).map(|(place, _)| place).collect()
}

fn parse_queue(text: &str) -> Result<QueueName, StoreError> {
    QueueName::parse(text).ok_or(StoreError::UnknownValue { column: "jobs.queue", value: text.to_owned() })
}
