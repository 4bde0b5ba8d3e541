//! Requests for refunds: the money is reserved in the transaction that makes the row.

use sqlx::Row;

use super::{find, from_row, of_order, refund_columns};
use crate::idempotency::{self, IdempotencyKey, IdempotencyKeyRow, KeyOwner};
use crate::orders::{self, tell};
use crate::{Database, Store, StoreError, Write, anew_after_conflict, jobs};
use domain::id::{OrderId, RefundId, TransactionId};
use domain::job::{Job, QueueName};
use domain::money::Tiyin;
use domain::order::OrderStatus;
use domain::refund::{Refund, RefundState};
use failpoint::{Point, reach};

/// A request for a refund.
#[derive(Clone, Debug)]
pub struct NewRefund {
    /// The order to refund.
    pub order_id: OrderId,
    /// The amount to give back.
    pub amount: Tiyin,
    /// The reason.
    pub reason: Option<String>,
    /// The requester: the name of an API key, to which the idempotency key then belongs, or of an operator.
    pub requested_by: String,
}

/// How a request for a refund ended.
#[derive(Clone, Debug)]
pub enum Requested {
    /// A new refund; its job is staged.
    New(Refund),
    /// The refund that the same request made before.
    Repeated(Refund),
    /// The idempotency key was used with another body, or for an order.
    KeyReused,
    /// The same request, or another about the order, is being carried out at this moment: ask again.
    InFlight,
    /// There is no such order.
    UnknownOrder,
    /// The order is not paid.
    NotPaid(OrderStatus),
    /// Another refund of the order is not finished.
    InProgress(Refund),
    /// The outcome of another refund of the order is unknown; a person must find out.
    InReview(Refund),
    /// All of its money went back already.
    AlreadyRefunded,
    /// The gateway's permanent id of the debit is missing; an inquiry that learns it is staged.
    DebitUnknown,
}

/// Takes the amount from the order's reserve, and makes the refund, its history line, its `refund_order` job and its
/// idempotency key, if there is one, in one transaction.
///
/// # Errors
/// [`StoreError`] when the database did not do it; then nothing is written.
pub async fn request(store: &Store, new: &NewRefund, key: Option<&IdempotencyKey>) -> Result<Requested, StoreError> {
    let asked = match key {
        Some(_) => request_once(store, new, key).await,
        None => anew_after_conflict(|| request_once(store, new, key)).await,
    };
    match asked {
        // Another request holds the row of the key or of the order, and has not ended within the lock timeout.
        Err(StoreError::Conflict(_)) if key.is_some() => Ok(Requested::InFlight),
        result => result,
    }
}

async fn request_once(store: &Store, new: &NewRefund, key: Option<&IdempotencyKey>) -> Result<Requested, StoreError> {
    let block = match store.database() {
        Database::Sqlite => None,
        Database::Postgres => store.0.ids.take(store, "refunds", 1).await?.pop(),
    };
    let mut write = store.begin(1).await?;
    let id = match block {
        Some(id) => RefundId(id),
        None => RefundId(store.0.ids.take_within(store, write.transaction(), "refunds", 1).await?),
    };
    if let Some(key) = key
        && idempotency::keep_all(
            &mut write,
            vec![IdempotencyKeyRow::of(&new.requested_by, key, new.order_id, Some(id))],
        )
        .await?
        .is_empty()
    {
        drop(write);
        return repeated(store, &new.requested_by, key).await;
    }
    let Some((gateway, transaction_id)) = reserve(&mut write, new).await? else {
        drop(write);
        return why_not(store, new.order_id).await;
    };
    let Some(success_transaction_id) = debit_of(&mut write, &gateway, transaction_id).await? else {
        drop(write);
        jobs::stage_now(store, Job::SettleOrder { order_id: new.order_id }).await?;
        return Ok(Requested::DebitUnknown);
    };
    let Some(refund) = insert(&mut write, new, id, transaction_id, success_transaction_id).await? else {
        drop(write);
        return why_not(store, new.order_id).await;
    };
    let cause = format!("refund {id} of {} soʻm was asked for", new.amount);
    tell(&mut write, new.order_id, Some(OrderStatus::Paid), OrderStatus::Paid, &cause).await?;
    let now_ms = write.now_ms();
    jobs::stage(&mut write, Job::RefundOrder { refund_id: id }, QueueName::Settle, now_ms).await?;
    write.refunds.push(RefundState::Open);
    reach(Point::RequestBeforeCommit);
    write.commit().await?;
    reach(Point::RequestAfterCommit);
    Ok(Requested::New(refund))
}

/// The guard: takes the amount from what may still be given back. Returns the gateway and the transaction that paid.
async fn reserve(write: &mut Write, new: &NewRefund) -> Result<Option<(String, TransactionId)>, StoreError> {
    let row = sqlx::query(
        "-- reserve_refund
        update orders set refund_reserved = refund_reserved + $2
        where id = $1 and status = 'paid' and transaction_id is not null and refund_reserved + $2 <= amount
        returning gateway, transaction_id",
    )
    .bind(new.order_id.0)
    .bind(new.amount.get())
    .fetch_optional(write.transaction())
    .await?;
    row.map(|row| Ok((row.try_get("gateway")?, TransactionId(row.try_get("transaction_id")?)))).transpose()
}

async fn debit_of(
    write: &mut Write,
    gateway: &str,
    transaction_id: TransactionId,
) -> Result<Option<TransactionId>, StoreError> {
    let row = sqlx::query(
        "-- debit_to_refund
        select success_transaction_id from transactions
        where gateway = $1 and transaction_id = $2 and state = 'debited' and success_transaction_id is not null",
    )
    .bind(gateway.to_owned())
    .bind(transaction_id.0)
    .fetch_optional(write.transaction())
    .await?;
    row.map(|row| Ok(TransactionId(row.try_get("success_transaction_id")?))).transpose()
}

/// Returns `None` if the order has an open refund already.
async fn insert(
    write: &mut Write,
    new: &NewRefund,
    id: RefundId,
    transaction_id: TransactionId,
    success_transaction_id: TransactionId,
) -> Result<Option<Refund>, StoreError> {
    let now_ms = write.now_ms();
    let row = sqlx::query(concat!(
        "-- request_refund
        insert into refunds (id, order_id, amount, state, transaction_id, success_transaction_id, requested_by, reason,
            created_at_ms)
        values ($1, $2, $3, 'open', $4, $5, $6, $7, $8) on conflict do nothing
        returning ",
        refund_columns!()
    ))
    .bind(id.0)
    .bind(new.order_id.0)
    .bind(new.amount.get())
    .bind(transaction_id.0)
    .bind(success_transaction_id.0)
    .bind(new.requested_by.clone())
    .bind(new.reason.clone())
    .bind(now_ms)
    .fetch_optional(write.transaction())
    .await?;
    row.map(|row| from_row(&row)).transpose()
}

async fn repeated(store: &Store, api_key_name: &str, key: &IdempotencyKey) -> Result<Requested, StoreError> {
    let id = match idempotency::find(store, api_key_name, key).await? {
        KeyOwner::Nothing => return Ok(Requested::InFlight),
        KeyOwner::Refund(id) => id,
        KeyOwner::Order(_) | KeyOwner::OtherRequest => return Ok(Requested::KeyReused),
    };
    Ok(match find(store, id).await? {
        Some(refund) => Requested::Repeated(refund),
        None => Requested::InFlight,
    })
}

/// Why the guard refused, from the order's present row.
async fn why_not(store: &Store, order_id: OrderId) -> Result<Requested, StoreError> {
    let Some(order) = orders::find(store, order_id).await? else { return Ok(Requested::UnknownOrder) };
    match order.status {
        OrderStatus::Refunded => return Ok(Requested::AlreadyRefunded),
        OrderStatus::Paid => (),
        status @ (OrderStatus::Pending
        | OrderStatus::Confirming
        | OrderStatus::Expired
        | OrderStatus::Canceled
        | OrderStatus::Failed
        | OrderStatus::Review) => return Ok(Requested::NotPaid(status)),
    }
    let open = of_order(store, order_id).await?.into_iter().find(|refund| refund.state.is_open());
    Ok(match open {
        Some(refund) if refund.state == RefundState::Review => Requested::InReview(refund),
        Some(refund) => Requested::InProgress(refund),
        None => Requested::InFlight, // what was in the way has ended in this moment
    })
}
