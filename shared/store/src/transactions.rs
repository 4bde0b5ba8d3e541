//! The gateway's transactions for our orders: drafts, payments, reversals.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::group_commit::BatchQueue;
use super::reading::{self, ReadByNumber, ReadInBatch};
use super::statement::{Statement, json};
use super::{Store, StoreError, Write};
use domain::id::{OrderId, TransactionId};
use domain::order::{GatewayIdentity, Order};
use domain::transaction::{StoredState, StoredTransaction};

const RECORD_DRAFTS: Statement = Statement {
    sqlite: "-- record_drafts
        insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms)
        select value ->> 'gateway', value ->> 'transaction_id', value ->> 'order_id', value ->> 'amount', 'open', $2
        from json_each($1) where true
        on conflict (gateway, transaction_id) do update set order_id = transactions.order_id
        returning order_id, transaction_id",
    postgres: "-- record_drafts
        insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms)
        select gateway, transaction_id, order_id, amount, 'open', $2
        from json_populate_recordset(cast(null as transactions), cast($1 as json))
        on conflict (gateway, transaction_id) do update set order_id = transactions.order_id
        returning order_id, transaction_id",
};

/// Records drafts; it may be repeated. Returns the drafts that belong to their orders: if a gateway gives a number
/// twice (a sandbox that was reset), one order must not pay another.
pub(super) async fn record_drafts(
    write: &mut Write,
    drafts: &[(&Order, TransactionId)],
) -> Result<HashSet<(OrderId, TransactionId)>, StoreError> {
    #[derive(Serialize)]
    struct DraftRow<'a> {
        gateway: &'a str,
        transaction_id: TransactionId,
        order_id: OrderId,
        amount: i64,
    }
    let mut new = Vec::with_capacity(drafts.len());
    for (order, transaction_id) in drafts {
        // A draft is made at an account.
        let Some(gateway) = order.gateway() else { continue };
        let (gateway, amount) = (gateway.0.as_str(), order.amount.get());
        new.push(DraftRow { gateway, transaction_id: *transaction_id, order_id: order.id, amount });
    }
    // All transactions take these locks in the same order.
    new.sort_unstable_by_key(|draft| draft.transaction_id);
    let (text, now_ms) = (RECORD_DRAFTS.on(write.store.database()), write.now_ms());
    let kept = sqlx::query(text).bind(json(&new)?).bind(now_ms).fetch_all(write.transaction()).await?;
    kept.iter()
        .map(|row| Ok((OrderId(row.try_get("order_id")?), TransactionId(row.try_get("transaction_id")?))))
        .collect()
}

/// The columns of a [`StoredTransaction`], for a statement that reads it whole.
macro_rules! transaction_columns {
    () => {
        "gateway, transaction_id, order_id, amount, state, success_transaction_id, seen_amount, looked_at_ms,
            accepted_at_ms, created_at_ms, external_id, account, gateway_at_ms, debited_at_ms, closed_at_ms, close_code"
    };
}
pub(super) use transaction_columns;

const TRANSACTIONS_OF_ORDERS: Statement = Statement {
    sqlite: concat!(
        "-- transactions_of_orders
        select * from (
            select ",
        transaction_columns!(),
        ",
                row_number() over (partition by order_id order by created_at_ms desc, transaction_id desc) as age
            from transactions where order_id in (select value from json_each($1))
        ) as aged where age <= 100 order by order_id, age desc"
    ),
    postgres: concat!(
        "-- transactions_of_orders
        select * from (
            select ",
        transaction_columns!(),
        ",
                row_number() over (partition by order_id order by created_at_ms desc, transaction_id desc) as age
            from transactions
            where order_id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
        ) as aged where age <= 100 order by order_id, age desc"
    ),
};

/// The newest hundred transactions of an order, oldest first. For orders that are asked for at the same time they are
/// read in one statement.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn of_order(store: &Store, order_id: OrderId) -> Result<Vec<StoredTransaction>, StoreError> {
    reading::find(store, order_id.0).await
}

impl ReadInBatch for Vec<StoredTransaction> {
    fn batch_queue(store: &Store) -> &BatchQueue<ReadByNumber<Self>> {
        &store.0.batch_queues.transactions
    }

    async fn find_all(store: &Store, numbers: String) -> Result<HashMap<i64, Self>, StoreError> {
        let text = TRANSACTIONS_OF_ORDERS.on(store.database());
        let found = sqlx::query(text).bind(numbers).fetch_all(store.readers()).await?;
        let mut of_orders: HashMap<i64, Self> = HashMap::new();
        for row in &found {
            let transaction = from_row(row)?;
            of_orders.entry(transaction.order_id.0).or_default().push(transaction);
        }
        Ok(of_orders)
    }
}

pub(super) fn from_row(row: &AnyRow) -> Result<StoredTransaction, StoreError> {
    let state: String = row.try_get("state")?;
    Ok(StoredTransaction {
        gateway: GatewayIdentity(row.try_get("gateway")?),
        transaction_id: TransactionId(row.try_get("transaction_id")?),
        order_id: OrderId(row.try_get("order_id")?),
        amount: row.try_get("amount")?,
        state: StoredState::parse(&state)
            .ok_or(StoreError::UnknownValue { column: "transactions.state", value: state })?,
        success_transaction_id: row.try_get::<Option<i64>, _>("success_transaction_id")?.map(TransactionId),
        seen_amount: row.try_get("seen_amount")?,
        looked_at_ms: row.try_get("looked_at_ms")?,
        is_accepted: row.try_get::<Option<i64>, _>("accepted_at_ms")?.is_some(),
        created_at_ms: row.try_get("created_at_ms")?,
        external_id: row.try_get("external_id")?,
        account: row.try_get("account")?,
        gateway_at_ms: row.try_get("gateway_at_ms")?,
        debited_at_ms: row.try_get("debited_at_ms")?,
        closed_at_ms: row.try_get("closed_at_ms")?,
        close_code: row.try_get("close_code")?,
    })
}

/// Marks the order's transactions as accepted: a person knows what the gateway says of them, and leaves them as they
/// are.
pub(super) async fn accept(write: &mut Write, order_id: OrderId) -> Result<(), StoreError> {
    let now_ms = write.now_ms();
    sqlx::query("-- accept_transactions\nupdate transactions set accepted_at_ms = $2 where order_id = $1")
        .bind(order_id.0)
        .bind(now_ms)
        .execute(write.transaction())
        .await?;
    Ok(())
}

/// A transaction as an inquiry saw it, to be written with the inquiry's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenTransaction {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// Its state.
    pub state: StoredState,
    /// The permanent id of its debit.
    pub success_transaction_id: Option<TransactionId>,
    /// The amount in tiyin that the gateway named, if money moved.
    pub amount: Option<i64>,
}

// Found by their orders: for a list of numbers at one gateway PostgreSQL may read all rows of that gateway.
const KEEP_SEEN: Statement = Statement {
    sqlite: "-- keep_seen
        update transactions set state = seen.state, looked_at_ms = $2,
            success_transaction_id = coalesce(seen.success_transaction_id, transactions.success_transaction_id),
            seen_amount = coalesce(seen.seen_amount, transactions.seen_amount),
            accepted_at_ms = case when transactions.state = seen.state then transactions.accepted_at_ms else null end
        from (
            select value ->> 'order_id' as order_id, value ->> 'gateway' as gateway,
                value ->> 'transaction_id' as transaction_id, value ->> 'state' as state,
                value ->> 'success_transaction_id' as success_transaction_id, value ->> 'seen_amount' as seen_amount
            from json_each($1)
        ) as seen
        where transactions.order_id in (select value ->> 'order_id' from json_each($1))
            and transactions.order_id = seen.order_id and transactions.transaction_id = seen.transaction_id
            and coalesce(transactions.gateway, '') = seen.gateway
            and (transactions.state in ('open', seen.state) or seen.state in ('debited', 'reversed'))
            and not (transactions.state = 'reversed' and seen.state = 'debited')
            -- the draft that may debit just now is never put aside as closed
            and not (seen.state = 'closed' and exists (select 1 from orders
                where orders.id = transactions.order_id and orders.allowed_transaction_id = seen.transaction_id))",
    postgres: "-- keep_seen
        update transactions set state = seen.state, looked_at_ms = $2,
            success_transaction_id = coalesce(seen.success_transaction_id, transactions.success_transaction_id),
            seen_amount = coalesce(seen.seen_amount, transactions.seen_amount),
            accepted_at_ms = case when transactions.state = seen.state then transactions.accepted_at_ms else null end
        from json_populate_recordset(cast(null as transactions), cast($1 as json)) as seen
        where transactions.order_id = any(array(
                select order_id from json_populate_recordset(cast(null as transactions), cast($1 as json))))
            and transactions.order_id = seen.order_id and transactions.transaction_id = seen.transaction_id
            and coalesce(transactions.gateway, '') = seen.gateway
            and (transactions.state in ('open', seen.state) or seen.state in ('debited', 'reversed'))
            and not (transactions.state = 'reversed' and seen.state = 'debited')
            -- the draft that may debit just now is never put aside as closed
            and not (seen.state = 'closed' and exists (select 1 from orders
                where orders.id = transactions.order_id and orders.allowed_transaction_id = seen.transaction_id))",
};

/// Writes what inquiries saw of orders' transactions. A debit is never forgotten: a debited row can only become
/// reversed.
pub(super) async fn keep_seen(
    write: &mut Write,
    inquiries: &[(OrderId, &GatewayIdentity, SeenTransaction)],
) -> Result<(), StoreError> {
    #[derive(Serialize)]
    struct SeenRow<'a> {
        order_id: OrderId,
        gateway: &'a str,
        transaction_id: TransactionId,
        state: &'static str,
        success_transaction_id: Option<TransactionId>,
        seen_amount: Option<i64>,
    }
    if inquiries.is_empty() {
        return Ok(());
    }
    let mut saw = Vec::with_capacity(inquiries.len());
    for (order_id, gateway, seen) in inquiries {
        saw.push(SeenRow {
            order_id: *order_id,
            gateway: &gateway.0,
            transaction_id: seen.transaction_id,
            state: seen.state.as_str(),
            success_transaction_id: seen.success_transaction_id,
            seen_amount: seen.amount,
        });
    }
    let (text, now_ms) = (KEEP_SEEN.on(write.store.database()), write.now_ms());
    sqlx::query(text).bind(json(&saw)?).bind(now_ms).execute(write.transaction()).await?;
    Ok(())
}
