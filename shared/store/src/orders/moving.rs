//! Transitions of orders without a settlement: failed and back, canceled, put before a person.

use sqlx::Row;

use super::{find, parse_status, tell};
use crate::findings::older::Mirror;
use crate::statement::Statement;
use crate::{Store, StoreError, Write, anew_after_conflict, findings, jobs};
use domain::id::OrderId;
use domain::job::{Job, QueueName};
use domain::order::{Order, OrderStatus, SuggestedAct};
use domain::review::NewFinding;
use failpoint::{Point, reach};

/// After a final no of the gateway, `pending` becomes `failed`, with the reason.
///
/// Returns whether it did; an order that an earlier draft has paid needs no further link.
pub(crate) async fn fail(write: &mut Write, id: OrderId, reason: &str) -> Result<bool, StoreError> {
    let now_ms = write.now_ms();
    let done = sqlx::query(
        "-- fail_order
        update orders set status = 'failed', final_at_ms = $2, reason = $3
        where id = $1 and status = 'pending' and payment_url is null",
    )
    .bind(id.0)
    .bind(now_ms)
    .bind(reason.to_owned())
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    tell(write, id, Some(OrderStatus::Pending), OrderStatus::Failed, reason).await?;
    Ok(true)
}

/// After an operator's retry of a dead `create_payment_link`, `failed` returns to `pending`, with new time to get its
/// link.
///
/// Returns whether it did; an order that a person has by now stays there.
pub(crate) async fn unfail(write: &mut Write, id: OrderId, cause: &str) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "-- unfail_order
        update orders set status = 'pending', final_at_ms = null, reason = null, needs_review = 0, suggested_act = null,
            pending_since_ms = $2,
            transaction_id = null, link_at_ms = null, expires_at_ms = null, links_made = 0,
            last_hint_at_ms = null, last_return_hint_at_ms = null, return_hints = 0
        where id = $1 and status = 'failed'",
    )
    .bind(id.0)
    .bind(write.now_ms())
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    findings::accept_all(write, id).await?;
    tell(write, id, Some(OrderStatus::Failed), OrderStatus::Pending, cause).await?;
    Ok(true)
}

/// How a request to cancel an order ended.
#[derive(Clone, Debug)]
pub enum Canceled {
    /// It is canceled, now or since before.
    Done(Order),
    /// It is not pending, and stays as it is.
    Refused(Order),
    /// There is no such order.
    Unknown,
}

/// Cancels a pending order, and stages an inquiry in the same transaction: money may move without a callback.
///
/// # Errors
/// [`StoreError`] when the database did not do it; then nothing is written.
pub async fn call_off(store: &Store, id: OrderId, cause: &str) -> Result<Canceled, StoreError> {
    anew_after_conflict(|| call_off_once(store, id, cause)).await
}

async fn call_off_once(store: &Store, id: OrderId, cause: &str) -> Result<Canceled, StoreError> {
    let mut write = store.begin(1).await?;
    let now_ms = write.now_ms();
    // Before the order's row, as in every settlement: all transactions take locks in the same order.
    jobs::stage(&mut write, Job::SettleOrder { order_id: id }, QueueName::Background, now_ms).await?;
    match cancel(&mut write, id, cause).await? {
        true => {
            reach(Point::CancelBeforeCommit);
            write.commit().await?;
            reach(Point::CancelAfterCommit);
        }
        false => drop(write),
    }
    Ok(match find(store, id).await? {
        Some(order) if order.status == OrderStatus::Canceled => Canceled::Done(order),
        Some(order) => Canceled::Refused(order),
        None => Canceled::Unknown,
    })
}

/// Cancels a pending order; any other stays as it is. Returns whether it was pending.
pub(crate) async fn cancel(write: &mut Write, id: OrderId, cause: &str) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "-- cancel_order\nupdate orders set status = 'canceled', final_at_ms = $2 where id = $1 and status = 'pending'",
    )
    .bind(id.0)
    .bind(write.now_ms())
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    tell(write, id, Some(OrderStatus::Pending), OrderStatus::Canceled, cause).await?;
    Ok(true)
}

const STATUS_FOR_REVIEW: Statement = Statement {
    sqlite: "-- status_for_review
        select status, resolution_transaction_id from orders where id = $1",
    postgres: "-- status_for_review
        select status, resolution_transaction_id from orders where id = $1 for update",
};

/// Puts an order before a person, because no rule settles what happened: the order goes to `review`, or, if its status
/// must stay, is marked.
///
/// Earlier findings stay beside the new one, and no finding is added twice.
pub(crate) async fn put_before_a_person(
    write: &mut Write,
    id: OrderId,
    finding: &NewFinding,
) -> Result<(), StoreError> {
    let text = STATUS_FOR_REVIEW.on(write.store.database());
    let Some(row) = sqlx::query(text).bind(id.0).fetch_optional(write.transaction()).await? else { return Ok(()) };
    let status = parse_status(row.try_get("status")?)?;
    let mut open = findings::of_locked(write, id).await?;
    let is_new = findings::add(write, id, &mut open, finding).await?;
    if status == OrderStatus::Review && row.try_get::<Option<i64>, _>("resolution_transaction_id")?.is_some() {
        // A person's decision is not carried out any more, and must be made again.
        clear_resolution(write, id).await?;
    } else if !is_new {
        return Ok(());
    }
    let to = if status.may_become(OrderStatus::Review) { OrderStatus::Review } else { status };
    let mirror = Mirror::of(&open);
    sqlx::query(
        "-- put_before_a_person
        update orders set status = $3, needs_review = case when $3 = 'review' then needs_review else 1 end, reason = $4,
            suggested_act = $5
        where id = $1 and status = $2",
    )
    .bind(id.0)
    .bind(status.as_str())
    .bind(to.as_str())
    .bind(mirror.reason)
    .bind(mirror.act.map(SuggestedAct::as_str))
    .execute(write.transaction())
    .await?;
    tell(write, id, Some(status), to, &finding.text).await
}

/// Removes a person's decision: the order waits for a new one.
pub(crate) async fn clear_resolution(write: &mut Write, id: OrderId) -> Result<(), StoreError> {
    sqlx::query(
        "-- clear_resolution
        update orders set resolution_by = null, resolution_reason = null, resolution_transaction_id = null
        where id = $1 and status = 'review'",
    )
    .bind(id.0)
    .execute(write.transaction())
    .await?;
    Ok(())
}
