//! Dead letters: the only functions that write them, for worker and relay. `kinds` decides in the same transaction what
//! a dead letter means.

use sqlx::Row;

use super::attempts::{self, Ended};
use crate::{StoreError, Write};
use domain::id::JobId;
use domain::job::{AttemptOutcome, JobKind, Lease};

/// The caller that dead-letters a running job.
#[derive(Clone, Copy, Debug)]
pub enum DeadLetteredBy<'a> {
    /// The worker that runs it, with its lease.
    Worker(&'a Lease),
    /// The relay, because the lease ran out; this counts as one more crash. A renewal that comes first wins, and so
    /// does another relay.
    Relay {
        /// The job.
        id: JobId,
        /// Its crashes before this one.
        crashes: i64,
    },
}

/// A job that has just been dead-lettered, in the transaction that must say what this means.
#[derive(Debug)]
pub(crate) struct Dead {
    /// The job.
    pub(crate) id: JobId,
    /// Its kind. Our table does not have the kinds of a newer release.
    pub(crate) kind: String,
    /// The id of its subject.
    pub(crate) subject_id: i64,
}

const DEAD_LETTER_BY_WORKER: &str = "-- dead_letter_job
    update jobs set state = 'dead', lease_token = null, due_at_ms = $2, finished_at_ms = $2, last_error = $3
    where id = $1 and state = 'running' and lease_token = $4 returning kind, subject_id";

const DEAD_LETTER_BY_RELAY: &str = "-- dead_letter_job
    update jobs set state = 'dead', lease_token = null, crashes = crashes + 1, due_at_ms = $2, finished_at_ms = $2,
        last_error = $3
    where id = $1 and state = 'running' and due_at_ms <= $2 and crashes = $4 returning kind, subject_id";

/// Dead-letters a running job.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the caller no longer holds the job: another lease was taken, or the lease was renewed
/// in time.
pub(crate) async fn dead_letter(write: &mut Write, by: DeadLetteredBy<'_>, reason: &str) -> Result<Dead, StoreError> {
    let (id, text, guard) = match by {
        DeadLetteredBy::Worker(lease) => (lease.job_id, DEAD_LETTER_BY_WORKER, lease.token),
        DeadLetteredBy::Relay { id, crashes } => (id, DEAD_LETTER_BY_RELAY, crashes),
    };
    let query = sqlx::query(text).bind(id.0).bind(write.now_ms()).bind(reason.to_owned()).bind(guard);
    let row = query.fetch_optional(write.transaction()).await?.ok_or(StoreError::LeaseLost)?;
    let outcome = match by {
        DeadLetteredBy::Worker(_) => AttemptOutcome::Failed,
        DeadLetteredBy::Relay { .. } => AttemptOutcome::Crashed,
    };
    attempts::keep(write, &[Ended::of(id, outcome, reason)]).await?;
    Ok(Dead { id, kind: row.try_get("kind")?, subject_id: row.try_get("subject_id")? })
}

/// Completes the job instead: its row leaves the table, and no person has to see it.
pub(crate) async fn complete_instead(write: &mut Write, dead: &Dead) -> Result<(), StoreError> {
    sqlx::query("-- complete_refused_job\ndelete from jobs where id = $1")
        .bind(dead.id.0)
        .execute(write.transaction())
        .await?;
    Ok(())
}

/// Cancels the dead letter of this kind and subject, if there is one: no person has to look at it any more. `coalesce`
/// keeps the index of all dead letters out of the plan; the index on kind and subject finds one faster.
pub(crate) async fn cancel_dead(write: &mut Write, kind: JobKind, subject_id: i64) -> Result<(), StoreError> {
    sqlx::query(
        "-- cancel_dead_letter
        update jobs set state = 'canceled', finished_at_ms = $3 where kind = $1 and subject_id = $2 and coalesce(state, '') = 'dead'",
    )
    .bind(kind.as_str())
    .bind(subject_id)
    .bind(write.now_ms())
    .execute(write.transaction())
    .await?;
    Ok(())
}
