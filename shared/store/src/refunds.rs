//! Refunds: a row first, the call afterwards. This file reads them, and has what settlements and operators do to them.
//!
//! A guarded statement takes a refund's money from the order's reserve, so that no two refunds can give the same money
//! back. Locks are taken in this order: the job's row, the order's, the refund's.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::orders::{self, tell};
use super::{Store, StoreError, Write, findings};
use domain::id::{OrderId, RefundId, TransactionId};
use domain::job::JobKind;
use domain::money::som;
use domain::order::OrderStatus;
use domain::refund::{Refund, RefundState};
use domain::review::NewFinding;

mod requesting;
mod running;

pub use requesting::{NewRefund, Requested, request};
pub use running::{begin_sending, close_as_done, close_as_refused, keep_refusal, put_in_review, take_back_sending};

/// The columns of a [`Refund`], for a statement that reads it whole.
macro_rules! refund_columns {
    () => {
        "id, order_id, amount, state, transaction_id, success_transaction_id, requested_by, reason, sent_at_ms,
            refused_code, outcome, created_at_ms, finished_at_ms"
    };
}
pub(super) use refund_columns;

/// The refund of this number.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn find(store: &Store, id: RefundId) -> Result<Option<Refund>, StoreError> {
    let row = sqlx::query(concat!("-- find_refund\nselect ", refund_columns!(), " from refunds where id = $1"))
        .bind(id.0)
        .fetch_optional(store.readers())
        .await?;
    row.map(|row| from_row(&row)).transpose()
}

/// The newest hundred refunds of an order, oldest first.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn of_order(store: &Store, order_id: OrderId) -> Result<Vec<Refund>, StoreError> {
    let rows = sqlx::query(concat!(
        "-- refunds_of_order\nselect ",
        refund_columns!(),
        " from refunds where order_id = $1 order by id desc limit 100"
    ))
    .bind(order_id.0)
    .fetch_all(store.readers())
    .await?;
    rows.iter().rev().map(from_row).collect()
}

/// An inquiry has shown that the order's money went back, whatever the reason: the order's open refund, if there is one,
/// is done. The order's row is locked.
pub(super) async fn close_as_seen(write: &mut Write, order_id: OrderId) -> Result<(), StoreError> {
    let now_ms = write.now_ms();
    let done = sqlx::query(
        "-- close_seen_refund
        update refunds set state = 'done', outcome = 'the gateway showed the money as given back', finished_at_ms = $2
        where order_id = $1 and state in ('open', 'review')",
    )
    .bind(order_id.0)
    .bind(now_ms)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() > 0 {
        write.refunds.push(RefundState::Done);
        cancel_dead_jobs(write, JobKind::RefundOrder, order_id).await?;
    }
    Ok(())
}

/// Cancels the dead letters of this kind about an order's refunds, whose outcome is known now.
pub(super) async fn cancel_dead_jobs(write: &mut Write, kind: JobKind, order_id: OrderId) -> Result<(), StoreError> {
    sqlx::query(
        "-- cancel_dead_refunds
        update jobs set state = 'canceled', finished_at_ms = $3
        where kind = $1 and subject_id in (select id from refunds where order_id = $2)
            and coalesce(state, '') = 'dead'",
    )
    .bind(kind.as_str())
    .bind(order_id.0)
    .bind(write.now_ms())
    .execute(write.transaction())
    .await?;
    Ok(())
}

/// The refund's job is a dead letter, so its outcome is unknown. Returns whether the refund was still open.
pub(super) async fn dead_letter(write: &mut Write, id: RefundId, reason: &str) -> Result<bool, StoreError> {
    let row = sqlx::query("-- order_of_refund\nselect order_id from refunds where id = $1")
        .bind(id.0)
        .fetch_optional(write.transaction())
        .await?;
    match row {
        Some(row) => review(write, OrderId(row.try_get("order_id")?), id, reason).await,
        None => Ok(true), // its order is unknown; a person must hear of that
    }
}

/// An operator's retry of a dead `refund_order`: `review` returns to `open`. A refund that was sent is still only
/// looked up.
///
/// Returns whether it did.
pub(super) async fn reopen(write: &mut Write, id: RefundId) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "-- reopen_refund\nupdate refunds set state = 'open', outcome = null where id = $1 and state = 'review'",
    )
    .bind(id.0)
    .execute(write.transaction())
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Cancels a refund that was never sent, for an operator. Returns whether it did: a refund that may have been sent
/// cannot be canceled.
pub(super) async fn call_off(write: &mut Write, id: RefundId) -> Result<bool, StoreError> {
    let row = sqlx::query(concat!("-- refund_to_call_off\nselect ", refund_columns!(), " from refunds where id = $1"))
        .bind(id.0)
        .fetch_optional(write.transaction())
        .await?;
    let Some(row) = row else { return Ok(false) };
    give_back(write, &from_row(&row)?, "an operator called it off", WasSent::Never).await
}

/// Puts the refund, with its reserve, and its order before a person. Returns whether the refund was open; if not,
/// nothing is written.
async fn review(write: &mut Write, order_id: OrderId, id: RefundId, what: &str) -> Result<bool, StoreError> {
    orders::lock(write, order_id).await?;
    let done = sqlx::query(
        "-- review_refund\nupdate refunds set state = 'review', outcome = $2 where id = $1 and state = 'open'",
    )
    .bind(id.0)
    .bind(what.to_owned())
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let reason = format!("whether refund {id} was made is not known: {what}");
    orders::put_before_a_person(write, order_id, &NewFinding::of_refund(id, reason)).await?;
    write.refunds.push(RefundState::Review);
    Ok(true)
}

/// Whether a refused refund may have been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WasSent {
    /// It may: the gateway has said no.
    Maybe,
    /// It must never have been sent.
    Never,
}

/// The refund will not be made, so its order gets the reserve back. Returns whether both rows allowed this; if not,
/// roll back.
async fn give_back(write: &mut Write, refund: &Refund, why: &str, sent: WasSent) -> Result<bool, StoreError> {
    let (now_ms, id) = (write.now_ms(), refund.id);
    let order = sqlx::query(
        "-- give_back_reserve
        update orders set refund_reserved = refund_reserved - $2
        where id = $1 and status = 'paid' and refund_reserved - $2 >= refunded_amount returning needs_review",
    )
    .bind(refund.order_id.0)
    .bind(refund.amount)
    .fetch_optional(write.transaction())
    .await?;
    let closed = sqlx::query(
        "-- refuse_refund
        update refunds set state = 'refused', outcome = $2, finished_at_ms = $3
        where id = $1 and state in ('open', 'review') and ($4 = 0 or sent_at_ms is null)",
    )
    .bind(id.0)
    .bind(why.to_owned())
    .bind(now_ms)
    .bind(i64::from(sent == WasSent::Never))
    .execute(write.transaction())
    .await?;
    let Some(order) = order.filter(|_| closed.rows_affected() > 0) else { return Ok(false) };
    outcome_is_known(write, refund.order_id, &order).await?;
    let cause = format!("refund {id} of {} soʻm was not made: {why}", som(refund.amount));
    tell(write, refund.order_id, Some(OrderStatus::Paid), OrderStatus::Paid, &cause).await?;
    write.refunds.push(RefundState::Refused);
    Ok(true)
}

/// The outcome of a refund that waited for a person is known now. `order` is the order's row as just written, with
/// `needs_review`.
pub(super) async fn outcome_is_known(write: &mut Write, order_id: OrderId, order: &AnyRow) -> Result<(), StoreError> {
    match order.try_get::<i64, _>("needs_review")? {
        0 => Ok(()), // no person was to find out
        _ => findings::refund_is_known(write, order_id).await,
    }
}

pub(super) fn from_row(row: &AnyRow) -> Result<Refund, StoreError> {
    let state: String = row.try_get("state")?;
    Ok(Refund {
        id: RefundId(row.try_get("id")?),
        order_id: OrderId(row.try_get("order_id")?),
        amount: row.try_get("amount")?,
        state: RefundState::parse(&state).ok_or(StoreError::UnknownValue { column: "refunds.state", value: state })?,
        transaction_id: TransactionId(row.try_get("transaction_id")?),
        success_transaction_id: TransactionId(row.try_get("success_transaction_id")?),
        requested_by: row.try_get("requested_by")?,
        reason: row.try_get("reason")?,
        sent_at_ms: row.try_get("sent_at_ms")?,
        refused_code: row.try_get("refused_code")?,
        outcome: row.try_get("outcome")?,
        created_at_ms: row.try_get("created_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
    })
}
