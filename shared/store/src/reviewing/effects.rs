//! The statements of a decision. Each names the status that it starts from, and returns `None` if another transaction
//! was faster. The caller has checked before, with the order's row locked, that the findings are those of the decision.

use super::plan::RefundInReview;
use super::{Decision, Resolved};
use crate::orders::tell;
use crate::{StoreError, Write, transactions};
use domain::id::{OrderId, TransactionId};
use domain::order::{Order, OrderStatus};
use domain::refund::RefundState;

pub(super) async fn ask(
    write: &mut Write,
    id: OrderId,
    transaction_id: TransactionId,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let done = sqlx::query(
        "-- ask_about_resolution
        update orders set resolution_by = $2, resolution_reason = $3, resolution_transaction_id = $4
        where id = $1 and status = 'review' and resolution_transaction_id is null",
    )
    .bind(id.0)
    .bind(decision.by.clone())
    .bind(decision.reason.clone())
    .bind(transaction_id.0)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    let cause = format!(
        "{} resolved it as paid by transaction {transaction_id}, which the gateway is asked about: {}",
        decision.by, decision.reason
    );
    tell(write, id, Some(OrderStatus::Review), OrderStatus::Review, &cause).await?;
    Ok(Some(Resolved::Asked(transaction_id)))
}

pub(super) async fn end(
    write: &mut Write,
    order: &Order,
    status: OrderStatus,
    transaction_id: Option<TransactionId>,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let now_ms = write.now_ms();
    let done = sqlx::query(
        "-- end_reviewed_order
        update orders set status = $2, final_at_ms = $3, transaction_id = $4, allowed_transaction_id = null,
            refunded_amount = case when $2 = 'refunded' then amount else refunded_amount end,
            refund_reserved = case when $2 = 'refunded' then amount else refund_reserved end,
            needs_review = 0, reason = null, suggested_act = null, resolution_by = $5, resolution_reason = $6
        where id = $1 and status = 'review' and resolution_transaction_id is null",
    )
    .bind(order.id.0)
    .bind(status.as_str())
    .bind(now_ms)
    .bind(transaction_id.map(|id| id.0))
    .bind(decision.by.clone())
    .bind(decision.reason.clone())
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    if order.resolution.is_some() {
        // An inquiry contradicted the first decision; a person who decides the same again is believed.
        transactions::accept(write, order.id).await?;
    }
    told(write, order.id, OrderStatus::Review, status, decision).await
}

pub(super) async fn take_back(
    write: &mut Write,
    id: OrderId,
    transaction_id: TransactionId,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let done = sqlx::query(
        "-- take_resolution_back
        update orders set resolution_by = null, resolution_reason = null, resolution_transaction_id = null
        where id = $1 and status = 'review' and resolution_transaction_id = $2",
    )
    .bind(id.0)
    .bind(transaction_id.0)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    let cause = format!("{} took back that transaction {transaction_id} paid it: {}", decision.by, decision.reason);
    tell(write, id, Some(OrderStatus::Review), OrderStatus::Review, &cause).await?;
    Ok(Some(Resolved::TakenBack))
}

pub(super) async fn unmark(
    write: &mut Write,
    order: &Order,
    status: OrderStatus,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let id = order.id;
    let done = sqlx::query(
        "-- unmark_order
        update orders set needs_review = 0, reason = case when status = 'failed' then reason else null end,
            suggested_act = null, resolution_by = $3, resolution_reason = $4
        where id = $1 and status = $2 and needs_review = 1",
    )
    .bind(id.0)
    .bind(status.as_str())
    .bind(decision.by.clone())
    .bind(decision.reason.clone())
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    // Otherwise the next inquiry would put the same before a person again.
    transactions::accept(write, id).await?;
    told(write, id, status, status, decision).await
}

pub(super) async fn refund_made(
    write: &mut Write,
    order: &Order,
    refund: RefundInReview,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let is_whole = order.refunded_amount + refund.amount >= order.amount.get();
    let status = if is_whole { OrderStatus::Refunded } else { OrderStatus::Paid };
    let done = sqlx::query(
        "-- refund_was_made
        update orders set status = $2, refunded_amount = refunded_amount + $3, needs_review = 0, reason = null,
            suggested_act = null, resolution_by = $4, resolution_reason = $5
        where id = $1 and status = 'paid' and needs_review = 1 and refunded_amount = $6",
    )
    .bind(order.id.0)
    .bind(status.as_str())
    .bind(refund.amount)
    .bind(decision.by.clone())
    .bind(decision.reason.clone())
    .bind(order.refunded_amount)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 || !end_refund(write, refund, RefundState::Done, decision).await? {
        return Ok(None);
    }
    told(write, order.id, OrderStatus::Paid, status, decision).await
}

pub(super) async fn refund_not_made(
    write: &mut Write,
    order: &Order,
    refund: RefundInReview,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let id = order.id;
    let done = sqlx::query(
        "-- refund_was_not_made
        update orders set refund_reserved = refund_reserved - $2, needs_review = 0, reason = null, suggested_act = null,
            resolution_by = $3, resolution_reason = $4
        where id = $1 and status = 'paid' and needs_review = 1",
    )
    .bind(id.0)
    .bind(refund.amount)
    .bind(decision.by.clone())
    .bind(decision.reason.clone())
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 || !end_refund(write, refund, RefundState::Refused, decision).await? {
        return Ok(None);
    }
    told(write, id, OrderStatus::Paid, OrderStatus::Paid, decision).await
}

async fn end_refund(
    write: &mut Write,
    refund: RefundInReview,
    state: RefundState,
    decision: &Decision,
) -> Result<bool, StoreError> {
    let now_ms = write.now_ms();
    let done = sqlx::query(
        "-- end_reviewed_refund
        update refunds set state = $2, outcome = $3, finished_at_ms = $4 where id = $1 and state = 'review'",
    )
    .bind(refund.id)
    .bind(state.as_str())
    .bind(format!("{} said so: {}", decision.by, decision.reason))
    .bind(now_ms)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    write.refunds.push(state);
    Ok(true)
}

async fn told(
    write: &mut Write,
    id: OrderId,
    from: OrderStatus,
    to: OrderStatus,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let cause = format!("{} resolved it as {}: {}", decision.by, decision.status, decision.reason);
    tell(write, id, Some(from), to, &cause).await?;
    Ok(Some(Resolved::Settled(to)))
}
