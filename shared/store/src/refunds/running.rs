//! The writes of a `refund_order` run; each function is fenced by its lease.

use domain::transaction::StoredState;
use sqlx::Row;

use super::{WasSent, give_back, outcome_is_known, review};
use crate::jobs::{self, Finish};
use crate::orders::{Transition, parse_status, tell};
use crate::transactions::{SeenTransaction, keep_seen};
use crate::{Store, StoreError};
use domain::id::RefundId;
use domain::job::Lease;
use domain::money::som;
use domain::order::{Order, OrderStatus};
use domain::refund::{Refund, RefundState};
use failpoint::{Point, reach};

/// Marks an open refund as sent, right before the call, and returns the time of the mark. A lease cannot fence a call
/// at the gateway; this mark can. `None` means that it was marked before or is no longer open, and must not be sent.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease.
pub async fn begin_sending(store: &Store, lease: &Lease, id: RefundId) -> Result<Option<i64>, StoreError> {
    let mut write = store.begin(0).await?;
    jobs::hold(&mut write, lease).await?;
    let now_ms = write.now_ms();
    let done = sqlx::query(
        "-- begin_sending_refund
        update refunds set sent_at_ms = $2 where id = $1 and state = 'open' and sent_at_ms is null",
    )
    .bind(id.0)
    .bind(now_ms)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    write.commit().await?;
    Ok(Some(now_ms))
}

/// Takes the mark back. Only for a request that certainly never left, or that the gateway refused without processing
/// it.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease. That worker finds the mark, and asks the gateway.
pub async fn take_back_sending(store: &Store, lease: &Lease, id: RefundId, sent_at_ms: i64) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    jobs::hold(&mut write, lease).await?;
    sqlx::query(
        "-- take_back_sending_refund
        update refunds set sent_at_ms = null where id = $1 and state = 'open' and sent_at_ms = $2",
    )
    .bind(id.0)
    .bind(sent_at_ms)
    .execute(write.transaction())
    .await?;
    write.commit().await
}

/// Stores the gateway's final no; an inquiry must still confirm that the money did not move.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease.
pub async fn keep_refusal(store: &Store, lease: &Lease, id: RefundId, code: &str) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    jobs::hold(&mut write, lease).await?;
    sqlx::query("-- keep_refund_refusal\nupdate refunds set refused_code = $2 where id = $1 and state = 'open'")
        .bind(id.0)
        .bind(code.to_owned())
        .execute(write.transaction())
        .await?;
    write.commit().await
}

/// The money went back: writes refund, order, transaction, history and the job's end in one transaction.
///
/// [`Transition::Refused`] if an inquiry has closed the refund meanwhile; nothing is written, and the job still
/// runs.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease.
pub async fn close_as_done(
    store: &Store,
    lease: &Lease,
    order: &Order,
    refund: &Refund,
) -> Result<Transition, StoreError> {
    let mut write = store.begin(0).await?;
    jobs::finish(&mut write, lease, &Finish::Complete).await?;
    let (now_ms, id) = (write.now_ms(), refund.id);
    let paid_back = sqlx::query(
        "-- refund_order
        update orders set refunded_amount = refunded_amount + $2,
            status = case when refunded_amount + $2 = amount then 'refunded' else status end
        where id = $1 and status = 'paid' and refunded_amount + $2 <= refund_reserved returning status, needs_review",
    )
    .bind(refund.order_id.0)
    .bind(refund.amount)
    .fetch_optional(write.transaction())
    .await?;
    let closed = sqlx::query(
        "-- close_refund
        update refunds set state = 'done', outcome = null, finished_at_ms = $2
        where id = $1 and state in ('open', 'review')",
    )
    .bind(id.0)
    .bind(now_ms)
    .execute(write.transaction())
    .await?;
    let Some(order_row) = paid_back.filter(|_| closed.rows_affected() > 0) else { return Ok(Transition::Refused) };
    outcome_is_known(&mut write, refund.order_id, &order_row).await?;
    let seen = SeenTransaction {
        transaction_id: refund.transaction_id,
        state: StoredState::Reversed,
        success_transaction_id: Some(refund.success_transaction_id),
        amount: None,
    };
    let seen = order.gateway().map(|gateway| (order.id, gateway, seen));
    keep_seen(&mut write, seen.as_slice()).await?;
    let to = parse_status(order_row.try_get("status")?)?;
    let cause = format!("refund {id} of {} soʻm was made, transaction {}", som(refund.amount), refund.transaction_id);
    tell(&mut write, refund.order_id, Some(OrderStatus::Paid), to, &cause).await?;
    write.refunds.push(RefundState::Done);
    reach(Point::RefundBeforeCommit);
    write.commit().await?;
    reach(Point::RefundAfterCommit);
    Ok(Transition::Made)
}

/// The refund will never be made: the order stays paid and gets its reserve back, so that another one may be asked for.
///
/// [`Transition::Refused`] as with [`close_as_done`].
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease.
pub async fn close_as_refused(
    store: &Store,
    lease: &Lease,
    refund: &Refund,
    why: &str,
) -> Result<Transition, StoreError> {
    let mut write = store.begin(0).await?;
    jobs::finish(&mut write, lease, &Finish::Complete).await?;
    if !give_back(&mut write, refund, why, WasSent::Maybe).await? {
        return Ok(Transition::Refused);
    }
    write.commit().await?;
    Ok(Transition::Made)
}

/// It is unknown whether the money went back: the refund keeps its reserve and stays the one open refund, and a paid
/// order is marked for a person.
///
/// [`Transition::Refused`] as with [`close_as_done`].
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease.
pub async fn put_in_review(
    store: &Store,
    lease: &Lease,
    refund: &Refund,
    what: &str,
) -> Result<Transition, StoreError> {
    let mut write = store.begin(0).await?;
    jobs::finish(&mut write, lease, &Finish::Complete).await?;
    if !review(&mut write, refund.order_id, refund.id, what).await? {
        return Ok(Transition::Refused);
    }
    write.commit().await?;
    Ok(Transition::Made)
}
