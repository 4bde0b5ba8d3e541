//! The gateway's transactions that are ours: drafts, payments, reversals.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::given::Column::{Number, Text};
use super::given::{given, numbers, rows, unindexed};
use super::together::{Group, Locked, Share, Together, Written, together};
use super::{Store, StoreError, Write};
use crate::id::{OrderId, TransactionId};
use crate::named_values::named_values;
use crate::order::{GatewayIdentity, Order};

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

/// Keeps drafts; harmless to repeat. Returns those that are their orders': a gateway that gives a number twice (a sandbox
/// that was reset) must not have one order pay another.
pub(super) async fn record_drafts(
    write: &mut Write,
    drafts: &[(&Order, TransactionId)],
) -> Result<HashSet<(OrderId, TransactionId)>, StoreError> {
    #[derive(Serialize)]
    struct Draft<'a> {
        at: &'a str,
        number: i64,
        of_order: i64,
        tiyin: i64,
    }
    let mut new = Vec::with_capacity(drafts.len());
    for (order, transaction_id) in drafts {
        let tiyin = order.amount.get();
        new.push(Draft { at: &order.gateway.0, number: transaction_id.0, of_order: order.id.0, tiyin });
    }
    // One order of locks.
    new.sort_unstable_by_key(|draft| draft.number);
    let sql = format!(
        "-- record_drafts
        insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms)
        select at, number, of_order, tiyin, 'open', $2 from {} where true
        on conflict (gateway, transaction_id) do update set order_id = transactions.order_id
        returning order_id, transaction_id",
        given(write.store.database(), 1, &[Text("at"), Number("number"), Number("of_order"), Number("tiyin")])
    );
    let now_ms = write.now_ms();
    let kept = sqlx::query(AssertSqlSafe(sql)).bind(rows(&new)?).bind(now_ms).fetch_all(write.transaction()).await?;
    kept.iter()
        .map(|row| Ok((OrderId(row.try_get("order_id")?), TransactionId(row.try_get("transaction_id")?))))
        .collect()
}

/// The newest hundred transactions of an order, oldest first. Those of orders that are asked for at the same time are read
/// in one statement.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn of_order(store: &Store, order_id: OrderId) -> Result<Vec<StoredTransaction>, StoreError> {
    together(store, Finding(order_id)).await
}

/// An order whose transactions are to be read.
#[derive(Debug)]
pub(super) struct Finding(OrderId);

impl Together for Finding {
    type Answer = Vec<StoredTransaction>;

    fn group(store: &Store) -> &Group<Self> {
        &store.0.groups.transactions
    }

    fn subject(&self) -> Option<i64> {
        None
    }

    async fn write_all(
        store: &Store,
        items: &[Arc<Self>],
        _locked: Locked,
    ) -> Result<Written<Vec<StoredTransaction>>, StoreError> {
        let sql = format!(
            "-- transactions_of_orders
            select * from (
                select transaction_id, order_id, amount, state, success_transaction_id, seen_amount, looked_at_ms,
                    accepted_at_ms,
                    row_number() over (partition by order_id order by created_at_ms desc, transaction_id desc) as age
                from transactions where order_id {}
            ) as aged where age <= 100 order by order_id, age desc",
            given(store.database(), 1, &[Number("of_order")]).any("of_order")
        );
        let ids: Vec<OrderId> = items.iter().map(|item| item.0).collect();
        let found = sqlx::query(AssertSqlSafe(sql)).bind(numbers("of_order", &ids)?).fetch_all(store.readers()).await?;
        let mut of_orders: HashMap<OrderId, Vec<StoredTransaction>> = HashMap::new();
        for row in &found {
            let transaction = from_row(row)?;
            of_orders.entry(transaction.order_id).or_default().push(transaction);
        }
        let share = |id: &OrderId| Share::Done(of_orders.get(id).cloned().unwrap_or_default());
        Ok(Written::Committed(ids.iter().map(share).collect()))
    }
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
        .execute(write.transaction())
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

/// Keeps what looks at orders saw of their transactions. A debit is never forgotten: a debited row only becomes reversed.
pub(super) async fn keep_seen(
    write: &mut Write,
    looks: &[(OrderId, &GatewayIdentity, Seen)],
) -> Result<(), StoreError> {
    #[derive(Serialize)]
    struct Look<'a> {
        of_order: i64,
        seen_at: &'a str,
        about: i64,
        is_now: &'static str,
        permanent: Option<i64>,
        moved: Option<i64>,
    }
    if looks.is_empty() {
        return Ok(());
    }
    let mut saw = Vec::with_capacity(looks.len());
    for (order_id, gateway, seen) in looks {
        saw.push(Look {
            of_order: order_id.0,
            seen_at: &gateway.0,
            about: seen.transaction_id.0,
            is_now: seen.state.as_str(),
            permanent: seen.success_transaction_id.map(|id| id.0),
            moved: seen.amount,
        });
    }
    let given = given(
        write.store.database(),
        1,
        &[Number("of_order"), Text("seen_at"), Number("about"), Text("is_now"), Number("permanent"), Number("moved")],
    );
    // Found by their orders: for a list of numbers at one gateway PostgreSQL may read all rows of that gateway.
    let sql = format!(
        "-- keep_seen
        update transactions set state = is_now, looked_at_ms = $2,
            success_transaction_id = coalesce(permanent, success_transaction_id), seen_amount = coalesce(moved, seen_amount),
            accepted_at_ms = case when state = is_now then accepted_at_ms else null end
        from {given} where order_id {} and order_id = of_order and {} = seen_at and transaction_id = about
            and (state = 'open' or state = is_now or is_now in ('debited', 'reversed'))
            and not (state = 'reversed' and is_now = 'debited')
            -- the draft that may debit just now is never put aside as closed
            and not (is_now = 'closed' and exists (select 1 from orders o where o.id = transactions.order_id
                and o.allowed_transaction_id = about))",
        given.any("of_order"),
        unindexed("gateway")
    );
    let now_ms = write.now_ms();
    sqlx::query(AssertSqlSafe(sql)).bind(rows(&saw)?).bind(now_ms).execute(write.transaction()).await?;
    Ok(())
}
