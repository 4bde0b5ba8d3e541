//! The statements for all results of an inquiry except a payment. Each names the status that it starts from.

use sqlx::Row;

use crate::orders::{self, Transition, tell};
use crate::{StoreError, Write, jobs, refunds};
use domain::id::{OrderId, TransactionId};
use domain::job::{Job, QueueName};
use domain::order::OrderStatus;

/// A debit of Atmos may take 120 s; ten minutes after the callback that allowed it, none can still be on its way. An order
/// that is being confirmed lives at least this long after its time and after its last permission; longer where its row says
/// that a debit may come later.
pub const CONFIRMING_GRACE_MS: i64 = 600_000;

/// The most payment links of an order. After the last one it just waits for its TTL.
pub const MAX_LINKS: i64 = 3;

/// Forgets the decision that the gateway contradicts: the order stays with a person, who is told. If the decision was
/// taken back meanwhile, nothing is written.
pub(super) async fn forget_resolution(
    write: &mut Write,
    id: OrderId,
    transaction_id: TransactionId,
    what: &str,
) -> Result<Transition, StoreError> {
    let row = sqlx::query("-- resolution_of\nselect status, resolution_transaction_id from orders where id = $1")
        .bind(id.0)
        .fetch_one(write.transaction())
        .await?;
    let is_asked = row.try_get::<Option<i64>, _>("resolution_transaction_id")? == Some(transaction_id.0);
    if !is_asked || orders::parse_status(row.try_get("status")?)? != OrderStatus::Review {
        return Ok(Transition::Refused);
    }
    orders::clear_resolution(write, id).await?;
    tell(write, id, Some(OrderStatus::Review), OrderStatus::Review, what).await?;
    Ok(Transition::Made)
}

/// Notes that no money had moved when the inquiry began. The order stays as it is; its followers are told.
pub(super) async fn keep_unpaid(
    write: &mut Write,
    id: OrderId,
    asked_at_ms: i64,
    page_is_closed: bool,
) -> Result<(), StoreError> {
    sqlx::query(
        "-- keep_unpaid
        update orders set seen_unpaid_at_ms = $2, seen_closed_at_ms = coalesce($3, seen_closed_at_ms)
        where id = $1 and status in ('pending', 'confirming')",
    )
    .bind(id.0)
    .bind(asked_at_ms)
    .bind(page_is_closed.then_some(asked_at_ms))
    .execute(write.transaction())
    .await?;
    if !write.changed.contains(&id) {
        write.changed.push(id);
    }
    Ok(())
}

pub(super) async fn reopen(
    write: &mut Write,
    id: OrderId,
    asked_at_ms: i64,
    believed_ms: i64,
    transaction_id: TransactionId,
    link_is_closed: bool,
) -> Result<Transition, StoreError> {
    let now_ms = write.now_ms();
    let row = sqlx::query(
        "-- reopen_order
        update orders set status = 'pending', allowed_transaction_id = null, allowed_until_ms = null,
            seen_unpaid_at_ms = $4
        where id = $1 and status = 'confirming' and allowed_transaction_id = $2
            and (last_allowed_at_ms <= $3 or exists (select 1 from transactions told
                where told.gateway = orders.gateway and told.transaction_id = $2 and told.closed_at_ms <= $4
                    and told.closed_at_ms >= orders.last_allowed_at_ms))
        returning payment_url, expires_at_ms",
    )
    .bind(id.0)
    .bind(transaction_id.0)
    .bind(believed_ms)
    .bind(asked_at_ms)
    .fetch_optional(write.transaction())
    .await?;
    let Some(row) = row else { return Ok(Transition::Refused) };
    let has_link = row.try_get::<Option<String>, _>("payment_url")?.is_some();
    let is_in_time = row.try_get::<Option<i64>, _>("expires_at_ms")?.is_none_or(|expires_at_ms| expires_at_ms > now_ms);
    let cause = format!("the gateway closed transaction {transaction_id} unpaid");
    tell(write, id, Some(OrderStatus::Confirming), OrderStatus::Pending, &cause).await?;
    if link_is_closed {
        // Refused only if no further link is due.
        let _ = drop_closed_link(write, id, asked_at_ms, transaction_id).await?;
    } else if !has_link && is_in_time {
        // The link's job found the order being paid by an earlier draft, and ended.
        jobs::stage(write, Job::CreatePaymentLink { order_id: id }, QueueName::Links, now_ms).await?;
    }
    Ok(Transition::Made)
}

pub(super) async fn drop_closed_link(
    write: &mut Write,
    id: OrderId,
    asked_at_ms: i64,
    transaction_id: TransactionId,
) -> Result<Transition, StoreError> {
    let now_ms = write.now_ms();
    let done = sqlx::query(
        "-- drop_closed_link
        update orders set transaction_id = null, payment_url = null, seen_unpaid_at_ms = $5, seen_closed_at_ms = null
        where id = $1 and status = 'pending' and transaction_id = $2 and expires_at_ms > $3 and links_made < $4
            and allowed_transaction_id is null",
    )
    .bind(id.0)
    .bind(transaction_id.0)
    .bind(now_ms)
    .bind(MAX_LINKS)
    .bind(asked_at_ms)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Transition::Refused);
    }
    let cause =
        format!("transaction {transaction_id} was closed unpaid at the gateway; a new payment link is being made");
    tell(write, id, Some(OrderStatus::Pending), OrderStatus::Pending, &cause).await?;
    jobs::stage(write, Job::CreatePaymentLink { order_id: id }, QueueName::Links, now_ms).await?;
    Ok(Transition::Made)
}

pub(super) async fn expire(
    write: &mut Write,
    id: OrderId,
    from: OrderStatus,
    asked_at_ms: i64,
) -> Result<Transition, StoreError> {
    let done = sqlx::query(
        "-- expire_order
        update orders set status = 'expired', allowed_transaction_id = null, allowed_until_ms = null, final_at_ms = $2
        where id = $1 and (
            (status = 'pending' and expires_at_ms <= $3)
            or (status = 'confirming' and expires_at_ms <= $4 and last_allowed_at_ms <= $4
                and coalesce(allowed_until_ms, 0) <= $3))",
    )
    .bind(id.0)
    .bind(write.now_ms())
    .bind(asked_at_ms)
    .bind(asked_at_ms - CONFIRMING_GRACE_MS)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Transition::Refused);
    }
    let cause = "its time was over, and the gateway showed no money";
    tell(write, id, Some(from), OrderStatus::Expired, cause).await?;
    Ok(Transition::Made)
}

pub(super) async fn mark_refunded(
    write: &mut Write,
    id: OrderId,
    from: OrderStatus,
    transaction_id: TransactionId,
) -> Result<Transition, StoreError> {
    let done = sqlx::query(
        "-- mark_refunded
        update orders set status = 'refunded', transaction_id = $2, refunded_amount = amount, refund_reserved = amount,
            final_at_ms = coalesce(final_at_ms, $3), allowed_transaction_id = nullif(allowed_transaction_id, $2)
        where id = $1 and ((status = 'paid' and transaction_id = $2)
            or (status = 'confirming' and allowed_transaction_id = $2))
        returning needs_review",
    )
    .bind(id.0)
    .bind(transaction_id.0)
    .bind(write.now_ms())
    .fetch_optional(write.transaction())
    .await?;
    let Some(order) = done else { return Ok(Transition::Refused) };
    refunds::outcome_is_known(write, id, &order).await?;
    refunds::close_as_seen(write, id).await?;
    let cause = match from {
        OrderStatus::Confirming => {
            format!(
                "the gateway took the money of transaction {transaction_id}, and gave it back before it was confirmed"
            )
        }
        _ => format!("the gateway shows transaction {transaction_id} as reversed"),
    };
    tell(write, id, Some(from), OrderStatus::Refunded, &cause).await?;
    Ok(Transition::Made)
}
