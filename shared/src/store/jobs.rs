//! Job rows: the outbox and the leases.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::Serialize;
use sqlx::{AssertSqlSafe, Row};

use super::given::Column::{Number, Text};
use super::given::{given, rows, unindexed};
use super::together::{Group, Locked, Share, Together, Written, together};
use super::{Database, Store, StoreError, Write};
use crate::failpoint::{Point, reach};
use crate::id::JobId;
use crate::job::{JobKind, JobState, Lease, QueueName};

mod claiming;
mod dead_letters;
mod in_hand;
mod operating;
mod relaying;
mod staging;
mod suspects;

pub use claiming::claim;
use claiming::claimed;
pub(super) use claiming::hand_back_if_claimed;
pub use dead_letters::BuriedBy;
pub(super) use dead_letters::{Dead, bury, cancel_dead, complete_instead};
pub(super) use in_hand::Untaken;
pub use in_hand::{InHand, hand_back, hand_back_untaken};
pub(super) use operating::{cancel, job_columns, job_row, revive, run_now};
pub use operating::{count_dead, list, show};
pub use relaying::{
    Crashed, DueJobs, Lapsed, count_enqueued, earliest_due, end_all_leases, lapsed, offer, offer_again,
    offer_all_again, oldest_due_age_ms, withdraw_offer,
};
pub(super) use relaying::{count_crash, grace_ms};
pub(super) use staging::{Staged, stage, stage_all, stage_and_claim};
pub use staging::{seed, stage_now};
pub use suspects::{SuspectGroup, claim_suspects, end_leases_of_suspects, group_suspects, hand_back_suspects};

/// Four renewals long: one slow statement loses no lease, yet a killed worker's jobs restart within seconds. Where the line
/// to the database is slow a lease lasts ten round trips longer, at most 12 s.
pub const LEASE_MS: i64 = 8_000;

/// How long an id that was pushed may stay unclaimed before it is offered again: the price of a lost id.
pub const OFFER_GRACE_MS: i64 = 5_000;

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
        /// What it waits for, for the operator; without one the last trouble stays.
        reason: Option<String>,
    },
}

/// More leases are not renewed in one statement.
const RENEWED_TOGETHER: usize = 256;

/// The queue of each kind, of a row of `jobs`; a newer release's kind goes where jobs are looked at first.
static QUEUE_OF_KIND: LazyLock<String> = LazyLock::new(|| {
    let when = |kind: &JobKind| format!("when '{kind}' then '{}'", kind.queue());
    let all: Vec<String> = JobKind::ALL.iter().map(when).collect();
    format!("case kind {} else '{}' end", all.join(" "), QueueName::Settle)
});

/// The state of a job that is open, see [`JobState::is_open`], in the words of the partial indexes.
pub(super) const OPEN: &str = "state in ('available', 'enqueued', 'running')";

/// Rows that another transaction has locked are renewed again after these pauses; it is mostly their own run's end.
const RENEWED_AGAIN_MS: [u64; 2] = [50, 150];

/// Renews leases, many in one statement, for [`LEASE_MS`] from now.
///
/// Returns the ids whose lease is still ours; a running job that is missing from it must be aborted. A row that stays
/// locked keeps no other from being renewed: it is returned without a renewal, and the next round comes before its lease
/// ends. While it is locked, nobody else can take it over.
///
/// # Errors
/// [`StoreError`]; then nothing is known, and nothing may be aborted.
pub async fn renew(store: &Store, leases: &[Lease]) -> Result<Vec<JobId>, StoreError> {
    let mut ours = HashSet::with_capacity(leases.len());
    for leases in leases.chunks(RENEWED_TOGETHER) {
        ours.extend(renew_those(store, leases).await?);
    }
    if store.database() == Database::Postgres {
        let mut missed: Vec<Lease> = leases.iter().filter(|lease| !ours.contains(&lease.job_id)).copied().collect();
        for pause_ms in RENEWED_AGAIN_MS {
            // Most of them have just ended, and are missed rightly.
            let held = held_of(store, &missed).await?;
            missed.retain(|lease| held.contains(&lease.job_id));
            if missed.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            ours.extend(renew_those(store, &missed).await?);
            missed.retain(|lease| !ours.contains(&lease.job_id));
        }
        ours.extend(held_of(store, &missed).await?);
    }
    Ok(ours.into_iter().collect())
}

#[derive(Serialize)]
struct Held {
    job_id: i64,
    token: i64,
}

impl Held {
    fn all(leases: &[Lease]) -> Vec<Held> {
        leases.iter().map(|lease| Held { job_id: lease.job_id.0, token: lease.token }).collect()
    }
}

/// The jobs that run under these leases, locked or not.
async fn held_of(store: &Store, leases: &[Lease]) -> Result<HashSet<JobId>, StoreError> {
    if leases.is_empty() {
        return Ok(HashSet::new());
    }
    let given = given(store.database(), 1, &[Number("job_id"), Number("token")]);
    let sql = format!(
        "-- held_leases
        select id from {given} join jobs on id = job_id where id {} and lease_token = token and {} = 'running'",
        given.any("job_id"),
        unindexed("state")
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(rows(&Held::all(leases))?);
    query.fetch_all(store.upkeep_readers()).await?.iter().map(|row| Ok(JobId(row.try_get("id")?))).collect()
}

/// Renews those whose rows are not locked, and returns them.
async fn renew_those(store: &Store, leases: &[Lease]) -> Result<HashSet<JobId>, StoreError> {
    let given = given(store.database(), 2, &[Number("job_id"), Number("token")]);
    let ours = store.one_of(&format!(
        "select id from {given} join jobs on id = job_id where id {} and lease_token = token and {} = 'running' {}",
        given.any("job_id"),
        unindexed("state"),
        Locked::PassedOver.clause(store, "jobs")
    ));
    let sql =
        format!("-- renew_leases\nupdate jobs set due_at_ms = $1 where id {ours} {} returning id", store.may_be_lost());
    let connection = store.upkeep().acquire().await?;
    let query = sqlx::query(AssertSqlSafe(sql)).bind(store.now_ms() + store.lease_ms()).bind(rows(&Held::all(leases))?);
    connection.fetch_all(query).await?.iter().map(|row| Ok(JobId(row.try_get("id")?))).collect()
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
    query.fetch_optional(write.transaction()).await?.map(|_| ()).ok_or(StoreError::LeaseLost)
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
                else {} end,
            attempt = case when wakes > heard or how = 'snooze' then 0 when how = 'release' then attempt - 1
                else attempt end,
            crashes = case when how = 'release' then crashes else 0 end,
            last_error = case when how = 'release' then coalesce(trouble, last_error) else trouble end,
            lease_token = null
        from {given} where id {} and id = job_id and {} = 'running' and lease_token = token
        returning id, state, due_at_ms",
        *QUEUE_OF_KIND,
        write.store.one_of(&format!(
            "select id from jobs where id {} {}",
            given.any("job_id"),
            locked.clause(&write.store, "jobs")
        )),
        unindexed("state")
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(rows(&ends)?).bind(now_ms).fetch_all(write.transaction()).await?;
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
            Finish::Release { not_before_ms, reason } => {
                ("release", JobState::Available, *not_before_ms, None, reason.as_deref())
            }
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
        let mut write = store.begin_upkeep().await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_is_the_same_in_sql_in_the_indexes_and_here() {
        let open: Vec<String> =
            JobState::ALL.iter().filter(|state| state.is_open()).map(|state| format!("'{state}'")).collect();

        assert_eq!(OPEN, format!("state in ({})", open.join(", ")));
        let tables = include_str!("../../../migrations/0001_orders_and_jobs.sql");
        assert!(tables.contains(&format!("create unique index jobs_open on jobs (kind, subject_id) where {OPEN};")));
    }
}
