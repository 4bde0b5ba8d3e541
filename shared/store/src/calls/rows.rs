//! The statements on the transactions that calls are about, and the one that frees their orders.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::Row;

use super::deciding::RowChange;
use crate::orders::{Told, tell_all};
use crate::statement::{Statement, json};
use crate::transactions::{from_row, transaction_columns};
use crate::{StoreError, Write};
use domain::id::{OrderId, TransactionId};
use domain::order::{GatewayIdentity, OrderStatus};
use domain::transaction::StoredTransaction;

/// A transaction by the gateway's own id.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct CalledBy<'a> {
    pub(super) of_gateway: &'a str,
    pub(super) external: &'a str,
}

const FIND_CALLED: Statement = Statement {
    sqlite: concat!(
        "-- find_called
        select ",
        transaction_columns!(),
        " from json_each($1) as asked
        cross join transactions
        where transactions.gateway = asked.value ->> 'of_gateway' and transactions.external_id = asked.value ->> 'external'"
    ),
    postgres: concat!(
        "-- find_called
        select ",
        transaction_columns!(),
        " from json_to_recordset(cast($1 as json)) as asked(of_gateway text, external text)
        cross join lateral (select * from transactions
            where gateway = asked.of_gateway and external_id = asked.external limit 1) as called"
    ),
};

/// The transactions of these ids, by the gateway's own id. It may belong to another gateway account, too.
pub(super) async fn find_called(
    write: &mut Write,
    asked: &[CalledBy<'_>],
) -> Result<HashMap<(String, String), StoredTransaction>, StoreError> {
    let text = FIND_CALLED.on(write.store.database());
    let rows = sqlx::query(text).bind(json(asked)?).fetch_all(write.transaction()).await?;
    let mut called = HashMap::with_capacity(rows.len());
    for row in &rows {
        let transaction = from_row(row)?;
        let external_id = transaction.external_id.clone().unwrap_or_default();
        called.insert((transaction.gateway.0.clone(), external_id), transaction);
    }
    Ok(called)
}

/// A transaction by our number.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Numbered<'a> {
    pub(super) of_gateway: &'a str,
    pub(super) number: TransactionId,
}

const FIND_HOLDERS: Statement = Statement {
    sqlite: concat!(
        "-- find_holders
        select ",
        transaction_columns!(),
        " from json_each($1) as asked
        cross join transactions
        where transactions.gateway = asked.value ->> 'of_gateway'
            and transactions.transaction_id = asked.value ->> 'number'"
    ),
    postgres: concat!(
        "-- find_holders
        select ",
        transaction_columns!(),
        " from json_to_recordset(cast($1 as json)) as asked(of_gateway text, number bigint)
        cross join lateral (select * from transactions
            where gateway = asked.of_gateway and transaction_id = asked.number limit 1) as holder"
    ),
};

/// The transactions of these numbers, by their orders.
pub(super) async fn find_holders(
    write: &mut Write,
    asked: &[Numbered<'_>],
) -> Result<HashMap<OrderId, StoredTransaction>, StoreError> {
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let text = FIND_HOLDERS.on(write.store.database());
    let rows = sqlx::query(text).bind(json(asked)?).fetch_all(write.transaction()).await?;
    rows.iter().map(|row| from_row(row).map(|holder| (holder.order_id, holder))).collect()
}

/// A new transaction.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct BegunRow<'a> {
    pub(super) gateway: &'a str,
    pub(super) transaction_id: TransactionId,
    pub(super) order_id: OrderId,
    pub(super) amount: i64,
    pub(super) external_id: &'a str,
    pub(super) account: &'a str,
    pub(super) gateway_at_ms: i64,
}

const BEGIN_TRANSACTIONS: Statement = Statement {
    sqlite: concat!(
        "-- begin_transactions
        insert into transactions
            (gateway, transaction_id, order_id, amount, state, created_at_ms, external_id, account, gateway_at_ms)
        select value ->> 'gateway', value ->> 'transaction_id', value ->> 'order_id', value ->> 'amount', 'open', $2,
            value ->> 'external_id', value ->> 'account', value ->> 'gateway_at_ms'
        from json_each($1) where true
        on conflict (gateway, external_id) where external_id is not null do nothing
        returning ",
        transaction_columns!()
    ),
    postgres: concat!(
        "-- begin_transactions
        insert into transactions
            (gateway, transaction_id, order_id, amount, state, created_at_ms, external_id, account, gateway_at_ms)
        select gateway, transaction_id, order_id, amount, 'open', $2, external_id, account, gateway_at_ms
        from json_populate_recordset(cast(null as transactions), cast($1 as json))
        on conflict (gateway, external_id) where external_id is not null do nothing
        returning ",
        transaction_columns!()
    ),
};

/// Makes the rows of transactions that begin now, and returns those made, by their orders. One is missing if a call at
/// the same moment began it on another order.
pub(super) async fn begin_all(
    write: &mut Write,
    new: &mut [BegunRow<'_>],
) -> Result<HashMap<OrderId, StoredTransaction>, StoreError> {
    if new.is_empty() {
        return Ok(HashMap::new());
    }
    // All transactions take these locks in the same order.
    new.sort_unstable_by_key(|begun| (begun.gateway, begun.external_id));
    let (text, now_ms) = (BEGIN_TRANSACTIONS.on(write.store.database()), write.now_ms());
    let rows = sqlx::query(text).bind(json(new)?).bind(now_ms).fetch_all(write.transaction()).await?;
    rows.iter().map(|row| from_row(row).map(|begun| (begun.order_id, begun))).collect()
}

const MOVE_TOLD: Statement = Statement {
    sqlite: concat!(
        "-- move_told
        update transactions set state = told.becomes,
            accepted_at_ms = case when transactions.state = told.becomes then transactions.accepted_at_ms else null end,
            debited_at_ms = coalesce(transactions.debited_at_ms, told.told_debited_ms),
            close_code = case when transactions.closed_at_ms is null then told.told_code else transactions.close_code end,
            closed_at_ms = coalesce(transactions.closed_at_ms, told.told_closed_ms)
        from (
            select value ->> 'of_order' as of_order, value ->> 'of_gateway' as of_gateway, value ->> 'number' as number,
                value ->> 'was' as was, value ->> 'becomes' as becomes, value ->> 'told_debited_ms' as told_debited_ms,
                value ->> 'told_closed_ms' as told_closed_ms, value ->> 'told_code' as told_code
            from json_each($1)
        ) as told
        where transactions.order_id in (select value ->> 'of_order' from json_each($1))
            and transactions.order_id = told.of_order and transactions.transaction_id = told.number
            and coalesce(transactions.gateway, '') = told.of_gateway and transactions.state = told.was
        returning ",
        transaction_columns!()
    ),
    postgres: concat!(
        "-- move_told
        update transactions set state = told.becomes,
            accepted_at_ms = case when transactions.state = told.becomes then transactions.accepted_at_ms else null end,
            debited_at_ms = coalesce(transactions.debited_at_ms, told.told_debited_ms),
            close_code = case when transactions.closed_at_ms is null then told.told_code else transactions.close_code end,
            closed_at_ms = coalesce(transactions.closed_at_ms, told.told_closed_ms)
        from json_to_recordset(cast($1 as json)) as told(of_order bigint, of_gateway text, number bigint, was text,
            becomes text, told_debited_ms bigint, told_closed_ms bigint, told_code bigint)
        where transactions.order_id = any(array(
                select of_order from json_to_recordset(cast($1 as json)) as moved(of_order bigint)))
            and transactions.order_id = told.of_order and transactions.transaction_id = told.number
            and coalesce(transactions.gateway, '') = told.of_gateway and transactions.state = told.was
        returning ",
        transaction_columns!()
    ),
};

/// Changes the rows of transactions as their gateways told, and returns those changed, by their orders. Each order's row
/// is locked, so each row still has the state that was read.
pub(super) async fn move_all(
    write: &mut Write,
    moves: &[(&StoredTransaction, RowChange)],
) -> Result<HashMap<OrderId, StoredTransaction>, StoreError> {
    #[derive(Serialize)]
    struct MovedRow<'a> {
        of_order: OrderId,
        of_gateway: &'a str,
        number: TransactionId,
        was: &'static str,
        becomes: &'static str,
        told_debited_ms: Option<i64>,
        told_closed_ms: Option<i64>,
        told_code: Option<i64>,
    }
    if moves.is_empty() {
        return Ok(HashMap::new());
    }
    let mut moved = Vec::with_capacity(moves.len());
    for (row, change) in moves {
        moved.push(MovedRow {
            of_order: row.order_id,
            of_gateway: &row.gateway.0,
            number: row.transaction_id,
            was: row.state.as_str(),
            becomes: change.state.as_str(),
            told_debited_ms: change.debited_at_ms,
            told_closed_ms: change.closed_at_ms,
            told_code: change.close_code,
        });
    }
    let text = MOVE_TOLD.on(write.store.database());
    let rows = sqlx::query(text).bind(json(&moved)?).fetch_all(write.transaction()).await?;
    rows.iter().map(|row| from_row(row).map(|moved| (moved.order_id, moved))).collect()
}

/// An order whose allowed transaction takes no money any more.
#[derive(Clone, Debug)]
pub(super) struct Freed {
    pub(super) order_id: OrderId,
    pub(super) transaction_id: TransactionId,
    pub(super) cause: String,
}

const FREE_ORDERS: Statement = Statement {
    sqlite: "-- free_orders
        update orders set status = 'pending', allowed_transaction_id = null, allowed_until_ms = null,
            seen_unpaid_at_ms = $2
        from (
            select value ->> 'id' as id, value ->> 'allowed_transaction_id' as allowed_transaction_id from json_each($1)
        ) as freed
        where orders.id in (select value ->> 'id' from json_each($1)) and orders.id = freed.id
            and orders.status = 'confirming' and orders.allowed_transaction_id = freed.allowed_transaction_id
        returning id",
    postgres: "-- free_orders
        update orders set status = 'pending', allowed_transaction_id = null, allowed_until_ms = null,
            seen_unpaid_at_ms = $2
        from json_populate_recordset(cast(null as orders), cast($1 as json)) as freed
        where orders.id = any(array(select id from json_populate_recordset(cast(null as orders), cast($1 as json))))
            and orders.id = freed.id and coalesce(orders.status, '') = 'confirming'
            and orders.allowed_transaction_id = freed.allowed_transaction_id
        returning orders.id",
};

/// Frees orders: `confirming` becomes `pending`, so that another transaction may begin at once. An order that this
/// transaction does not hold stays as it is.
pub(super) async fn free_all(write: &mut Write, freed: &[Freed]) -> Result<(), StoreError> {
    #[derive(Serialize)]
    struct FreedRow {
        id: OrderId,
        allowed_transaction_id: TransactionId,
    }
    if freed.is_empty() {
        return Ok(());
    }
    let row = |freed: &Freed| FreedRow { id: freed.order_id, allowed_transaction_id: freed.transaction_id };
    let rows: Vec<FreedRow> = freed.iter().map(row).collect();
    let (text, now_ms) = (FREE_ORDERS.on(write.store.database()), write.now_ms());
    let done = sqlx::query(text).bind(json(&rows)?).bind(now_ms).fetch_all(write.transaction()).await?;
    let mut lines = Vec::with_capacity(done.len());
    for row in done {
        let id = OrderId(row.try_get("id")?);
        let cause = freed.iter().find(|freed| freed.order_id == id).map(|freed| freed.cause.clone());
        let (from, to) = (Some(OrderStatus::Confirming), OrderStatus::Pending);
        lines.push(Told { id, from, to, cause: cause.unwrap_or_default() });
    }
    if !lines.is_empty() {
        tell_all(write, &lines).await?;
    }
    Ok(())
}

/// Whether an order of this account has this number.
pub(super) async fn is_order_of(
    write: &mut Write,
    gateway: &GatewayIdentity,
    order_id: OrderId,
) -> Result<bool, StoreError> {
    let row = sqlx::query("-- is_order_of\nselect id from orders where id = $1 and gateway = $2")
        .bind(order_id.0)
        .bind(gateway.0.clone())
        .fetch_optional(write.transaction())
        .await?;
    Ok(row.is_some())
}
