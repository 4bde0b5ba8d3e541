//! Job rows: the outbox and the leases.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use serde::Serialize;
use sqlx::{AssertSqlSafe, Row};

use super::given::Column::Number;
use super::given::{given, rows, unindexed};
use super::together::Locked;
use super::{Database, Store, StoreError, Write};
use crate::id::JobId;
use crate::job::{JobKind, Lease, QueueName};

mod attempts;
mod claiming;
mod dead_letters;
mod finishing;
mod operating;
mod relaying;
mod staging;
mod suspects;
mod turning;

pub use attempts::{ATTEMPTS_OF_A_JOB, failed_attempts};
pub use claiming::{claim, hand_back};
pub use dead_letters::BuriedBy;
pub(super) use dead_letters::{Dead, bury, cancel_dead, complete_instead};
pub(super) use finishing::{Ending, WokenBy, finish, finish_all, not_ended};
pub use finishing::{Finish, finish_alone};
pub(super) use operating::{cancel, job_columns, job_row, revive, run_now};
pub use operating::{count_dead, list, show};
pub use relaying::{
    Crashed, DueJobs, Lapsed, count_enqueued, earliest_due, end_all_leases, lapsed, offer, offer_again,
    offer_all_again, oldest_due_age_ms, withdraw_offer,
};
pub(super) use relaying::{count_crash, grace_ms};
pub(super) use staging::{Staged, stage, stage_all};
pub use staging::{seed, stage_now};
pub use suspects::{SuspectGroup, claim_suspects, end_leases_of_suspects, group_suspects, hand_back_suspects};
pub(super) use turning::turn_all;

/// Four renewals long: one slow statement loses no lease, yet a killed worker's jobs restart within seconds. Where the line
/// to the database is slow a lease lasts ten round trips longer, at most 12 s.
pub const LEASE_MS: i64 = 8_000;

/// How long an id that was pushed may stay unclaimed before it is offered again: the price of a lost id.
pub const OFFER_GRACE_MS: i64 = 5_000;

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

fn parse_queue(text: &str) -> Result<QueueName, StoreError> {
    QueueName::parse(text).ok_or(StoreError::UnknownValue { column: "jobs.queue", value: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::JobState;

    #[test]
    fn what_is_open_is_the_same_in_sql_in_the_indexes_and_here() {
        let open: Vec<String> =
            JobState::ALL.iter().filter(|state| state.is_open()).map(|state| format!("'{state}'")).collect();

        assert_eq!(OPEN, format!("state in ({})", open.join(", ")));
        let tables = include_str!("../../../migrations/0001_orders_and_jobs.sql");
        assert!(tables.contains(&format!("create unique index jobs_open on jobs (kind, subject_id) where {OPEN};")));
    }
}
