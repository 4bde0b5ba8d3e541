//! Job rows: the outbox and the leases.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde::Serialize;
use sqlx::Row;

use super::statement::{Statement, json};
use super::{Database, Store, StoreError, Write};
use domain::id::JobId;
use domain::job::{JobKind, Lease, QueueName};

mod attempts;
mod claiming;
mod converting;
mod dead_letters;
mod finishing;
mod operating;
mod relaying;
mod staging;
mod suspects;

pub use attempts::{ATTEMPTS_OF_A_JOB, failed_attempts};
pub use claiming::{claim, hand_back};
pub(super) use converting::convert_all;
pub use dead_letters::DeadLetteredBy;
pub(super) use dead_letters::{Dead, cancel_dead, complete_instead, dead_letter};
pub(super) use finishing::{Ending, WokenBy, finish, finish_all, not_ended};
pub use finishing::{Finish, finish_alone, forget_woken_by};
pub(super) use operating::{cancel, job_columns, job_row, revive, run_now};
pub use operating::{count_dead, list, show};
pub use relaying::{
    Crashed, DueJobs, Lapsed, count_enqueued, earliest_due, end_all_leases, enqueue, enqueue_again, enqueue_all_again,
    lapsed, oldest_due_age_ms, withdraw_enqueued,
};
pub(super) use relaying::{count_crash, grace_ms};
pub(super) use staging::{Staged, stage, stage_all};
pub use staging::{seed, stage_now};
pub use suspects::{SuspectGroup, claim_suspects, end_leases_of_suspects, group_suspects, hand_back_suspects};

/// Four times the renewal interval: one slow statement loses no lease, yet the jobs of a killed worker run again within
/// seconds. On a slow network to the database a lease lasts ten round trips longer, at most 12 s more.
pub const LEASE_MS: i64 = 8_000;

/// How long a pushed id may stay unclaimed before it is enqueued again: the price of a lost id.
pub const ENQUEUE_GRACE_MS: i64 = 5_000;

/// The most leases that one statement renews.
const RENEWED_TOGETHER: usize = 256;

/// The queue of each kind, as a JSON object.
fn queues_of_kinds() -> Result<String, StoreError> {
    let queues: BTreeMap<&str, &str> = JobKind::ALL.iter().map(|kind| (kind.as_str(), kind.queue().as_str())).collect();
    serde_json::to_string(&queues).map_err(|error| sqlx::Error::Encode(Box::new(error)).into())
}

/// The pauses before a locked row is renewed again. Mostly the end of its own run has locked it.
const RENEWED_AGAIN_MS: [u64; 2] = [50, 150];

/// Renews leases for [`LEASE_MS`] from now, many in one statement.
///
/// Returns the ids whose lease is still ours; the caller must abort a running job that is missing. A row that stays
/// locked does not delay the other renewals. It is returned without a renewal, and the next round comes before its
/// lease ends; while it is locked, no other worker can take it over.
///
/// # Errors
/// [`StoreError`]. Then nothing is known, and nothing may be aborted.
pub async fn renew(store: &Store, leases: &[Lease]) -> Result<Vec<JobId>, StoreError> {
    let mut ours = HashSet::with_capacity(leases.len());
    for leases in leases.chunks(RENEWED_TOGETHER) {
        ours.extend(renew_those(store, leases).await?);
    }
    if store.database() == Database::Postgres {
        let mut missed: Vec<Lease> = leases.iter().filter(|lease| !ours.contains(&lease.job_id)).copied().collect();
        for pause_ms in RENEWED_AGAIN_MS {
            // Most of the missed runs have just ended, and are missed rightly.
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
struct LeaseRow {
    id: JobId,
    lease_token: i64,
}

impl LeaseRow {
    fn all(leases: &[Lease]) -> Vec<LeaseRow> {
        leases.iter().map(|lease| LeaseRow { id: lease.job_id, lease_token: lease.token }).collect()
    }
}

// `coalesce` keeps the index on the state out of the plan: PostgreSQL would read all running jobs instead of the listed
// ones.
const HELD_LEASES: Statement = Statement {
    sqlite: "-- held_leases
        select jobs.id from json_each($1) as held join jobs on jobs.id = held.value ->> 'id'
        where jobs.lease_token = held.value ->> 'lease_token' and jobs.state = 'running'",
    postgres: "-- held_leases
        select jobs.id from json_populate_recordset(cast(null as jobs), cast($1 as json)) as held
        join jobs on jobs.id = held.id
        where jobs.id = any(array(select id from json_populate_recordset(cast(null as jobs), cast($1 as json))))
            and jobs.lease_token = held.lease_token and coalesce(jobs.state, '') = 'running'",
};

/// The jobs that run under these leases, locked or not.
async fn held_of(store: &Store, leases: &[Lease]) -> Result<HashSet<JobId>, StoreError> {
    if leases.is_empty() {
        return Ok(HashSet::new());
    }
    let query = sqlx::query(HELD_LEASES.on(store.database())).bind(json(&LeaseRow::all(leases))?);
    query.fetch_all(store.upkeep_readers()).await?.iter().map(|row| Ok(JobId(row.try_get("id")?))).collect()
}

/// This commit may be lost with the server: the next renewal comes before the lease ends.
const RENEW_LEASES: Statement = Statement {
    sqlite: "-- renew_leases
        update jobs set due_at_ms = $1
        where id in (
            select jobs.id from json_each($2) as held join jobs on jobs.id = held.value ->> 'id'
            where jobs.lease_token = held.value ->> 'lease_token' and jobs.state = 'running')
        returning id",
    postgres: "-- renew_leases
        update jobs set due_at_ms = $1
        where id = any(array(
                select jobs.id from json_populate_recordset(cast(null as jobs), cast($2 as json)) as held
                join jobs on jobs.id = held.id
                where jobs.id = any(array(select id from json_populate_recordset(cast(null as jobs), cast($2 as json))))
                    and jobs.lease_token = held.lease_token and coalesce(jobs.state, '') = 'running'
                for update of jobs skip locked))
            and (select set_config('synchronous_commit', 'off', true)) = 'off'
        returning id",
};

/// Renews the leases whose rows are not locked, and returns their ids.
async fn renew_those(store: &Store, leases: &[Lease]) -> Result<HashSet<JobId>, StoreError> {
    let connection = store.upkeep().acquire().await?;
    let query = sqlx::query(RENEW_LEASES.on(store.database()));
    let query = query.bind(store.now_ms() + store.lease_ms()).bind(json(&LeaseRow::all(leases))?);
    connection.fetch_all(query).await?.iter().map(|row| Ok(JobId(row.try_get("id")?))).collect()
}

const HOLD_LEASE: Statement = Statement {
    sqlite: "-- hold_lease
        select id from jobs where id = $1 and state = 'running' and lease_token = $2",
    postgres: "-- hold_lease
        select id from jobs where id = $1 and state = 'running' and lease_token = $2 for update",
};

/// Locks the row of a job that still runs under this lease, so that only the lease's holder writes what this
/// transaction commits. For writes during a run; [`finish`] is for its end.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the row no longer has this lease: roll back.
pub(super) async fn hold(write: &mut Write, lease: &Lease) -> Result<(), StoreError> {
    let text = HOLD_LEASE.on(write.store.database());
    let query = sqlx::query(text).bind(lease.job_id.0).bind(lease.token);
    query.fetch_optional(write.transaction()).await?.map(|_| ()).ok_or(StoreError::LeaseLost)
}

fn parse_queue(text: &str) -> Result<QueueName, StoreError> {
    QueueName::parse(text).ok_or(StoreError::UnknownValue { column: "jobs.queue", value: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use domain::job::JobState;

    #[test]
    fn what_is_open_is_the_same_in_the_index_and_here() {
        let open: Vec<String> =
            JobState::ALL.iter().filter(|state| state.is_open()).map(|state| format!("'{state}'")).collect();

        let tables = include_str!("../../../migrations/0001_orders_and_jobs.sql");
        let index = format!("jobs_open on jobs (kind, subject_id) where state in ({});", open.join(", "));
        assert!(tables.contains(&index), "{index}");
    }
}
