//! Calls that write nothing: may it be paid, how does a transaction stand, which transactions were there.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::CalledAccount;
use super::deciding::may_hold;
use crate::callbacks::LockedOrder;
use crate::transactions::{self, from_row, transaction_columns};
use crate::{Store, StoreError, orders};
use domain::callback_verdict::CallbackVerdict;
use domain::id::{OrderId, TransactionId};
use domain::order::GatewayIdentity;
use domain::transaction::StoredTransaction;

/// Whether a transaction of this amount could begin on this order now (Payme documents, CheckPerformTransaction). It
/// writes nothing and promises nothing: [`super::begin`] decides.
///
/// `Allowed`, or why not: `UnknownOrder`, `WrongAmount`, `Late`, `NotPayable` (also if the order is paid), and
/// `SecondTransaction` while another live transaction holds the order.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn may_pay(
    store: &Store,
    account: &CalledAccount,
    order_id: Option<OrderId>,
    amount: Option<i64>,
) -> Result<CallbackVerdict, StoreError> {
    let order = match order_id {
        Some(order_id) => orders::find(store, order_id).await?,
        None => None,
    };
    let Some(order) = order.filter(|order| order.is_of(&account.gateway)) else {
        return Ok(CallbackVerdict::UnknownOrder);
    };
    if amount != Some(order.amount.get()) {
        return Ok(CallbackVerdict::WrongAmount);
    }
    let holder = match order.allowed_transaction_id {
        Some(allowed) => {
            let known = transactions::of_order(store, order.id).await?;
            known.into_iter().find(|transaction| transaction.transaction_id == allowed)
        }
        None => None,
    };
    let read = LockedOrder {
        status: order.status,
        gateway: order.account.map(|account| account.gateway),
        amount: order.amount.get(),
        expires_at_ms: order.expires_at_ms,
        allowed: order.allowed_transaction_id,
        payer: order.transaction_id,
    };
    let freed = may_hold(account, &read, None, holder.as_ref(), store.now_ms());
    Ok(freed.map_or_else(|refusal| refusal, |_| CallbackVerdict::Allowed))
}

/// The transaction of this gateway account with the gateway's own id (Payme documents, CheckTransaction). It changes
/// nothing, also not a transaction that is too old.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn inspect(
    store: &Store,
    gateway: &GatewayIdentity,
    external_id: &str,
) -> Result<Option<StoredTransaction>, StoreError> {
    let row = sqlx::query(concat!(
        "-- inspect_transaction
        select ",
        transaction_columns!(),
        " from transactions where gateway = $1 and external_id = $2"
    ))
    .bind(gateway.0.clone())
    .bind(external_id.to_owned())
    .fetch_optional(store.readers())
    .await?;
    row.map(|row| from_row(&row)).transpose()
}

/// A place in a statement: the gateway's time and our number of a transaction. Many may begin in one millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatementPlace {
    /// The gateway's own time, epoch milliseconds.
    pub gateway_at_ms: i64,
    /// Our number.
    pub transaction_id: TransactionId,
}

/// Some transactions of a statement.
#[derive(Clone, Debug)]
pub struct StatementPage {
    /// The transactions, by the gateway's time and our number, ascending.
    pub transactions: Vec<StoredTransaction>,
    /// The last one's place, after which the next page begins; `None` once there are no more.
    pub next: Option<StatementPlace>,
}

/// The transactions of an account that the gateway began from `from_ms` to `to_ms` by its own clock, both included, in
/// every state (Payme documents, GetStatement). One page of at most `limit`: ask again with its `next` as `after`, so
/// that a huge window never fills the memory.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn statement(
    store: &Store,
    gateway: &GatewayIdentity,
    from_ms: i64,
    to_ms: i64,
    after: Option<StatementPlace>,
    limit: u32,
) -> Result<StatementPage, StoreError> {
    let after = after.unwrap_or(StatementPlace { gateway_at_ms: from_ms, transaction_id: TransactionId(i64::MIN) });
    let rows = sqlx::query(concat!(
        "-- statement_of_account
        select ",
        transaction_columns!(),
        " from transactions
        where gateway = $1 and gateway_at_ms >= $2 and gateway_at_ms <= $3
            and (gateway_at_ms > $2 or transaction_id > $4)
        order by gateway_at_ms, transaction_id limit $5"
    ))
    .bind(gateway.0.clone())
    .bind(after.gateway_at_ms)
    .bind(to_ms)
    .bind(after.transaction_id.0)
    .bind(i64::from(limit))
    .fetch_all(store.readers())
    .await?;
    let place = |row: &AnyRow| -> Result<StatementPlace, StoreError> {
        let transaction_id = TransactionId(row.try_get("transaction_id")?);
        Ok(StatementPlace { gateway_at_ms: row.try_get("gateway_at_ms")?, transaction_id })
    };
    let is_full = u32::try_from(rows.len()).is_ok_and(|read| read >= limit);
    let next = rows.last().filter(|_| is_full).map(place).transpose()?;
    Ok(StatementPage { transactions: rows.iter().map(from_row).collect::<Result<_, _>>()?, next })
}
