//! The one way to a dead letter: the worker's and the relay's.

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use crate::failpoint::{Point, reach};
use crate::id::{JobId, OrderId, RefundId};
use crate::job::{JobKind, JobState, Lease};
use crate::order::SuggestedAct;
use crate::store::{Store, StoreError, Write, callbacks, orders, refunds};

/// Who says that a running job will not run again.
#[derive(Clone, Copy, Debug)]
pub enum BuriedBy<'a> {
    /// The worker that runs it, by its lease.
    Worker(&'a Lease),
    /// The relay, which counts one crash more: its lease ran out. A renewal that comes first wins, and so does another
    /// relay.
    Relay {
        /// The job.
        id: JobId,
        /// Its crashes before this one.
        crashes: i64,
    },
}

/// Makes a running job a dead letter and moves its order, in one transaction.
///
/// `refused` tells a final no of the gateway, which makes a pending order `failed`; everything else is for a person. A
/// final no to another link of an order that needs none any more is nothing to anybody: the job is complete. Returns which
/// of the two it is now.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the job is not whoever buries it's to bury: another lease, or one renewed in time.
pub async fn bury(store: &Store, by: BuriedBy<'_>, reason: &str, refused: bool) -> Result<JobState, StoreError> {
    let (id, crashes, guard) = match by {
        BuriedBy::Worker(lease) => (lease.job_id, "crashes", "lease_token = $4"),
        BuriedBy::Relay { id, .. } => (id, "crashes + 1", "due_at_ms <= $2 and crashes = $4"),
    };
    let mut write = store.begin(0).await?;
    let sql = format!(
        "-- bury_job
        update jobs set state = 'dead', lease_token = null, crashes = {crashes}, due_at_ms = $2, finished_at_ms = $2,
            last_error = $3
        where id = $1 and state = 'running' and {guard} returning kind, subject_id"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(id.0).bind(write.now_ms()).bind(reason.to_owned());
    let query = match by {
        BuriedBy::Worker(lease) => query.bind(lease.token),
        BuriedBy::Relay { crashes, .. } => query.bind(crashes),
    };
    let row = query.fetch_optional(write.transaction()).await?.ok_or(StoreError::LeaseLost)?;
    let is_dead = move_order(&mut write, &row, reason, refused).await?;
    if !is_dead {
        sqlx::query("-- complete_refused_job\nupdate jobs set state = 'completed' where id = $1")
            .bind(id.0)
            .execute(write.transaction())
            .await?;
    }
    reach(Point::BuryBeforeCommit);
    write.commit().await?;
    Ok(if is_dead { JobState::Dead } else { JobState::Completed })
}

/// Moves the order, or tells a person; returns whether anybody has to know of the dead letter.
async fn move_order(write: &mut Write, row: &AnyRow, reason: &str, refused: bool) -> Result<bool, StoreError> {
    let kind: String = row.try_get("kind")?;
    let subject_id: i64 = row.try_get("subject_id")?;
    let order_id = match JobKind::parse(&kind) {
        Some(JobKind::CreatePaymentLink | JobKind::SettleOrder) => Some(OrderId(subject_id)),
        Some(JobKind::ProcessCallback) => callbacks::order_of(write, subject_id).await?,
        Some(JobKind::RefundOrder) => {
            let reason = format!("its job is a dead letter: {reason}");
            return refunds::bury(write, RefundId(subject_id), &reason).await;
        }
        Some(JobKind::Sweep) | None => None,
    };
    let Some(order_id) = order_id else { return Ok(true) };
    if refused && kind == JobKind::CreatePaymentLink.as_str() {
        return orders::fail(write, order_id, reason).await;
    }
    orders::put_before_a_person(
        write,
        order_id,
        &format!("job {kind} is a dead letter: {reason}"),
        SuggestedAct::MendJob,
    )
    .await?;
    Ok(true)
}
