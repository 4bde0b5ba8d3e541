//! The gateway's transactions that are ours: drafts, payments, reversals.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{Store, StoreError, Write};
use crate::id::{OrderId, TransactionId};
use crate::order::{Order, named_values};

named_values! {
    /// Where a transaction was when it was last looked at.
    StoredState {
        /// A draft, or not yet known closed: each look asks about it.
        Open = "open",
        /// Closed and unpaid.
        Closed = "closed",
        /// Money moved.
        Debited = "debited",
        /// Money moved and went back.
        Reversed = "reversed",
    }
}

use std::fmt;

use serde::Serialize;

/// A transaction of one of our orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredTransaction {
    /// The gateway's number of it.
    pub transaction_id: TransactionId,
    /// The order it was made for.
    pub order_id: OrderId,
    /// Its amount in tiyin.
    pub amount: i64,
    /// Where it was when last looked at.
    pub state: StoredState,
    /// The permanent id of the debit.
    pub success_transaction_id: Option<TransactionId>,
    /// The amount in tiyin that the gateway named with the debit, which need not be the order's.
    pub seen_amount: Option<i64>,
    /// When a look last saw its state change, epoch milliseconds.
    pub looked_at_ms: Option<i64>,
    /// Whether a person knows of its debit, or of its unreadable answer, and leaves it as it is.
    pub is_accepted: bool,
}

/// Keeps a draft; harmless to repeat. Returns whether it is this order's: a gateway that gives a number twice (a
/// sandbox that was reset) must not have one order pay another.
pub(super) async fn record_draft(
    write: &mut Write,
    order: &Order,
    transaction_id: TransactionId,
) -> Result<bool, StoreError> {
    let now_ms = write.now_ms();
    let row = sqlx::query(
        "-- record_draft
        insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms)
        values ($1, $2, $3, $4, 'open', $5)
        on conflict (gateway, transaction_id) do update set order_id = transactions.order_id returning order_id",
    )
    .bind(order.gateway.0.clone())
    .bind(transaction_id.0)
    .bind(order.id.0)
    .bind(order.amount.get())
    .bind(now_ms)
    .fetch_one(write.connection())
    .await?;
    Ok(row.try_get::<i64, _>("order_id")? == order.id.0)
}

/// The newest hundred transactions of an order, oldest first.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn of_order(store: &Store, order_id: OrderId) -> Result<Vec<StoredTransaction>, StoreError> {
    let rows = sqlx::query(
        "-- transactions_of_order
        select transaction_id, order_id, amount, state, success_transaction_id, seen_amount, looked_at_ms, accepted_at_ms
        from transactions where order_id = $1 order by created_at_ms desc, transaction_id desc limit 100",
    )
    .bind(order_id.0)
    .fetch_all(store.readers())
    .await?;
    rows.iter().rev().map(from_row).collect()
}

fn from_row(row: &AnyRow) -> Result<StoredTransaction, StoreError> {
    let state: String = row.try_get("state")?;
    Ok(StoredTransaction {
        transaction_id: TransactionId(row.try_get("transaction_id")?),
        order_id: OrderId(row.try_get("order_id")?),
        amount: row.try_get("amount")?,
        state: StoredState::parse(&state)
            .ok_or(StoreError::UnknownValue { column: "transactions.state", value: state })?,
        success_transaction_id: row.try_get::<Option<i64>, _>("success_transaction_id")?.map(TransactionId),
        seen_amount: row.try_get("seen_amount")?,
        looked_at_ms: row.try_get("looked_at_ms")?,
        is_accepted: row.try_get::<Option<i64>, _>("accepted_at_ms")?.is_some(),
    })
}

/// A person knows what the gateway says of the order's transactions, and leaves them as they are.
pub(super) async fn accept(write: &mut Write, order_id: OrderId) -> Result<(), StoreError> {
    let now_ms = write.now_ms();
    sqlx::query("-- accept_transactions\nupdate transactions set accepted_at_ms = $2 where order_id = $1")
        .bind(order_id.0)
        .bind(now_ms)
        .execute(write.connection())
        .await?;
    Ok(())
}

/// What a look saw, to be kept with whatever the look leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which transaction.
    pub transaction_id: TransactionId,
    /// Where it is.
    pub state: StoredState,
    /// The permanent id of its debit.
    pub success_transaction_id: Option<TransactionId>,
    /// The amount in tiyin that the gateway named, where money moved.
    pub amount: Option<i64>,
}

/// Keeps what a look saw. A debit is never forgotten: a debited row only becomes reversed.
pub(super) async fn keep_seen(write: &mut Write, gateway: &str, seen: &[Seen]) -> Result<(), StoreError> {
    for seen in seen {
        let now_ms = write.now_ms();
        sqlx::query(
            "-- keep_seen
            update transactions set state = $3, looked_at_ms = $4,
                success_transaction_id = coalesce($5, success_transaction_id), seen_amount = coalesce($6, seen_amount),
                accepted_at_ms = case when state = $3 then accepted_at_ms else null end
            where gateway = $1 and transaction_id = $2 and (state = 'open' or state = $3 or $3 in ('debited', 'reversed'))
                and not (state = 'reversed' and $3 = 'debited')
                -- the draft that may debit just now is never put aside as closed
                and not ($3 = 'closed' and exists (select 1 from orders o where o.id = transactions.order_id
                    and o.allowed_transaction_id = $2))",
        )
        .bind(gateway.to_owned())
        .bind(seen.transaction_id.0)
        .bind(seen.state.as_str())
        .bind(now_ms)
        .bind(seen.success_transaction_id.map(|id| id.0))
        .bind(seen.amount)
        .execute(write.connection())
        .await?;
    }
    Ok(())
}
