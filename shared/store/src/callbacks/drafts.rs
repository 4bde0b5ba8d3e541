//! The drafts that callbacks ask about, their orders, and the statement that allows one draft of an order to debit.

use domain::callback_verdict::CallbackVerdict;
use domain::transaction::StoredState;
use std::collections::{HashMap, HashSet};

use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::group_commit::LockedRows;
use crate::orders::{self, Told};
use crate::statement::{LockingStatement, Statement, json};
use crate::{StoreError, Write};
use domain::id::{OrderId, TransactionId};
use domain::job::JobKind;
use domain::order::{GatewayIdentity, OrderStatus};

/// A draft of ours that a callback asks about, with its order.
pub(super) struct KnownDraft {
    pub(super) order_id: OrderId,
    pub(super) amount: i64,
    pub(super) transaction_id: TransactionId,
    pub(super) order: LockedOrder,
}

/// An order as it is while its row is locked.
#[derive(Clone, Debug)]
pub(crate) struct LockedOrder {
    pub(crate) status: OrderStatus,
    /// The account through which it is paid; `None` until its customer has chosen one.
    pub(crate) gateway: Option<GatewayIdentity>,
    pub(crate) amount: i64,
    pub(crate) expires_at_ms: Option<i64>,
    /// The one transaction that was allowed to debit.
    pub(crate) allowed: Option<TransactionId>,
    /// The draft behind its link; after *paid*, the transaction that paid.
    pub(crate) payer: Option<TransactionId>,
}

impl LockedOrder {
    /// Whether it is paid through this account.
    pub(crate) fn is_of(&self, gateway: &GatewayIdentity) -> bool {
        self.gateway.as_ref() == Some(gateway)
    }

    /// Whether its time to pay is over.
    pub(crate) fn is_late(&self, now_ms: i64) -> bool {
        self.expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms <= now_ms)
    }
}

impl KnownDraft {
    /// Why the allowing statement skipped its order, whose row is locked.
    pub(super) fn why_not_allowed(&self, now_ms: i64) -> CallbackVerdict {
        let is_late = self.order.is_late(now_ms);
        match self.order.status {
            OrderStatus::Paid if self.order.payer == Some(self.transaction_id) => CallbackVerdict::AlreadyPaid,
            OrderStatus::Paid => CallbackVerdict::SecondTransaction,
            OrderStatus::Pending | OrderStatus::Confirming if is_late => CallbackVerdict::Late,
            OrderStatus::Pending | OrderStatus::Confirming => CallbackVerdict::SecondTransaction,
            OrderStatus::Expired => CallbackVerdict::Late,
            OrderStatus::Refunded | OrderStatus::Canceled | OrderStatus::Failed | OrderStatus::Review => {
                CallbackVerdict::NotPayable
            }
        }
    }
}

/// The result of looking up the transaction that a callback names.
pub(super) enum Found {
    /// No draft of ours has this number.
    Unknown,
    /// There is one, but another transaction holds its order at this moment: it must be answered alone.
    IsLocked,
    /// The draft with its order, whose row stays locked until the answer is committed.
    Draft(KnownDraft),
}

/// The draft that a callback names, and its gateway.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) gateway: &'a GatewayIdentity,
    pub(super) transaction_id: Option<TransactionId>,
}

/// Looks up each of these drafts.
pub(super) async fn find_drafts(
    write: &mut Write,
    named: &[Named<'_>],
    locked: LockedRows,
) -> Result<Vec<Found>, StoreError> {
    let Some(gateway) = named.first().map(|named| named.gateway) else { return Ok(Vec::new()) };
    let asked: Vec<TransactionId> = named.iter().filter_map(|named| named.transaction_id).collect();
    let amounts = amounts_of_drafts(write, gateway, &asked).await?;
    let order_ids: Vec<OrderId> = amounts.values().map(|(order_id, _)| *order_id).collect();
    let orders = lock_orders(write, &order_ids, locked).await?;
    let found = |named: &Named<'_>| {
        // One statement reads the drafts of one gateway.
        if named.gateway != gateway {
            return Found::IsLocked;
        }
        let Some(transaction_id) = named.transaction_id else { return Found::Unknown };
        let Some((order_id, amount)) = amounts.get(&transaction_id).copied() else { return Found::Unknown };
        match orders.get(&order_id) {
            Some(order) => Found::Draft(KnownDraft { order_id, amount, transaction_id, order: order.clone() }),
            None => Found::IsLocked,
        }
    };
    Ok(named.iter().map(found).collect())
}

const FIND_DRAFTS: Statement = Statement {
    sqlite: "-- find_drafts
        select transaction_id, order_id, amount from json_each($1)
        cross join transactions where gateway = $2 and transaction_id = value",
    postgres: "-- find_drafts
        select draft.transaction_id, draft.order_id, draft.amount
        from json_array_elements_text(cast($1 as json)) as asked
        cross join lateral (select transaction_id, order_id, amount from transactions
            where gateway = $2 and transaction_id = cast(asked.value as bigint) limit 1) as draft",
};

/// The drafts that are asked about, each with its order and amount. This is a separate statement: joined with the
/// orders, PostgreSQL would sometimes start with all orders; and with a list of drafts it may prefer to read all rows
/// of the gateway.
async fn amounts_of_drafts(
    write: &mut Write,
    gateway: &GatewayIdentity,
    asked: &[TransactionId],
) -> Result<HashMap<TransactionId, (OrderId, i64)>, StoreError> {
    let text = FIND_DRAFTS.on(write.store.database());
    let query = sqlx::query(text).bind(json(asked)?).bind(gateway.0.clone());
    let known = query.fetch_all(write.transaction()).await?;
    let draft = |row: &AnyRow| {
        let order = (OrderId(row.try_get("order_id")?), row.try_get("amount")?);
        Ok((TransactionId(row.try_get("transaction_id")?), order))
    };
    known.iter().map(draft).collect()
}

// The count or list of inquiries comes first, so that they are locked before any order is read.
const LOCK_ORDERS: LockingStatement = LockingStatement {
    sqlite: "-- lock_orders_asked_about
        select id, status, gateway, amount, expires_at_ms, allowed_transaction_id, transaction_id from orders
        where id in (select value from json_each($1)) order by id",
    postgres: "-- lock_orders_asked_about
        with inquiries as materialized (
            select subject_id from jobs
            where kind = $2 and state in ('available', 'enqueued', 'running') and subject_id = any(array(
                select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
            order by subject_id for update)
        select id, status, gateway, amount, expires_at_ms, allowed_transaction_id, transaction_id from orders
        where (select count(*) from inquiries) >= 0
            and id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
        order by id for update of orders",
    postgres_skipping: "-- lock_orders_asked_about
        with inquiries as materialized (
            select subject_id from jobs
            where kind = $2 and state in ('available', 'enqueued', 'running') and subject_id = any(array(
                select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
            order by subject_id for update skip locked)
        select id, status, gateway, amount, expires_at_ms, allowed_transaction_id, transaction_id from orders
        where id = any(array(select subject_id from inquiries))
        order by id for update of orders skip locked",
};

/// Locks orders, each after its inquiry, and reads what decides whether a draft of theirs may debit.
///
/// The inquiry's row comes first, as in every settlement, because it is staged once the order is decided about. An
/// order whose inquiry is locked is skipped and stays free for the holder of that lock; so is an order without an
/// inquiry, which is rare.
pub(crate) async fn lock_orders(
    write: &mut Write,
    ids: &[OrderId],
    locked: LockedRows,
) -> Result<HashMap<OrderId, LockedOrder>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let text = LOCK_ORDERS.on(write.store.database(), locked);
    let query = sqlx::query(text).bind(json(ids)?).bind(JobKind::SettleOrder.as_str());
    let rows = query.fetch_all(write.transaction()).await?;
    let order = |row: &AnyRow| {
        let order = LockedOrder {
            status: orders::parse_status(row.try_get("status")?)?,
            gateway: orders::gateway_of(row)?,
            amount: row.try_get("amount")?,
            expires_at_ms: row.try_get("expires_at_ms")?,
            allowed: row.try_get::<Option<i64>, _>("allowed_transaction_id")?.map(TransactionId),
            payer: row.try_get::<Option<i64>, _>("transaction_id")?.map(TransactionId),
        };
        Ok((OrderId(row.try_get("id")?), order))
    };
    rows.iter().map(order).collect()
}

const ALLOW_DRAFTS: Statement = Statement {
    sqlite: "-- allow_drafts
        update orders set status = 'confirming', allowed_transaction_id = asked.allowed_transaction_id,
            last_allowed_at_ms = $2, allowed_until_ms = asked.allowed_until_ms,
            last_hint_at_ms = case when orders.status = 'pending' then $2 else orders.last_hint_at_ms end
        from (
            select value ->> 'id' as id, value ->> 'allowed_transaction_id' as allowed_transaction_id,
                value ->> 'allowed_until_ms' as allowed_until_ms
            from json_each($1)
        ) as asked
        where orders.id in (select value ->> 'id' from json_each($1)) and orders.id = asked.id
            and orders.status in ('pending', 'confirming') and orders.expires_at_ms > $2
            and (orders.allowed_transaction_id is null or orders.allowed_transaction_id = asked.allowed_transaction_id)
        returning id, (select state from transactions where transactions.gateway = orders.gateway
            and transactions.transaction_id = orders.allowed_transaction_id) as draft_state",
    postgres: "-- allow_drafts
        update orders set status = 'confirming', allowed_transaction_id = asked.allowed_transaction_id,
            last_allowed_at_ms = $2, allowed_until_ms = asked.allowed_until_ms,
            last_hint_at_ms = case when orders.status = 'pending' then $2 else orders.last_hint_at_ms end
        from json_populate_recordset(cast(null as orders), cast($1 as json)) as asked
        where orders.id = any(array(select id from json_populate_recordset(cast(null as orders), cast($1 as json))))
            and orders.id = asked.id
            and coalesce(orders.status, '') in ('pending', 'confirming') and orders.expires_at_ms > $2
            and (orders.allowed_transaction_id is null or orders.allowed_transaction_id = asked.allowed_transaction_id)
        returning orders.id, (select state from transactions where transactions.gateway = orders.gateway
            and transactions.transaction_id = orders.allowed_transaction_id) as draft_state",
};

const REOPEN_ALLOWED_DRAFTS: Statement = Statement {
    sqlite: "-- reopen_allowed_drafts
        update transactions set state = 'open'
        where order_id in (select value from json_each($1)) and transaction_id in (select value from json_each($2))
            and state = 'closed'
            -- one of an account that was chosen before may have the same number
            and gateway = (select orders.gateway from orders where orders.id = transactions.order_id)",
    postgres: "-- reopen_allowed_drafts
        update transactions set state = 'open'
        where order_id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
            and transaction_id = any(array(
                select cast(value as bigint) from json_array_elements_text(cast($2 as json))))
            and state = 'closed'
            -- one of an account that was chosen before may have the same number
            and gateway = (select orders.gateway from orders where orders.id = transactions.order_id)",
};

/// A transaction that is to be allowed to debit. Its order's row is locked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowing {
    pub(crate) order_id: OrderId,
    pub(crate) transaction_id: TransactionId,
    /// The order's status before.
    pub(crate) was: OrderStatus,
    /// Until when its debit may come, epoch milliseconds.
    pub(crate) until_ms: i64,
}

/// Allows those of these transactions to debit whose order can still be paid, and by no other transaction. Returns
/// their orders.
pub(crate) async fn allow(
    write: &mut Write,
    transactions: &[Allowing],
    now_ms: i64,
) -> Result<HashSet<OrderId>, StoreError> {
    #[derive(Serialize)]
    struct AskedDraft {
        id: OrderId,
        allowed_transaction_id: TransactionId,
        allowed_until_ms: i64,
    }
    if transactions.is_empty() {
        return Ok(HashSet::new());
    }
    let asked = |Allowing { order_id, transaction_id, until_ms, .. }: &Allowing| AskedDraft {
        id: *order_id,
        allowed_transaction_id: *transaction_id,
        allowed_until_ms: *until_ms,
    };
    let asked: Vec<AskedDraft> = transactions.iter().map(asked).collect();
    let text = ALLOW_DRAFTS.on(write.store.database());
    let done = sqlx::query(text).bind(json(&asked)?).bind(now_ms).fetch_all(write.transaction()).await?;
    let (mut allowed, mut not_open) = (HashSet::with_capacity(done.len()), HashSet::new());
    for row in done {
        let order_id = OrderId(row.try_get("id")?);
        allowed.insert(order_id);
        // Its order is locked, so no inquiry can close it from now on. A transaction that begins just now has no row yet.
        let state = row.try_get::<Option<String>, _>("draft_state")?;
        if state.is_some_and(|state| state != StoredState::Open.as_str()) {
            not_open.insert(order_id);
        }
    }
    let mut lines = Vec::new();
    for asked in transactions {
        if allowed.contains(&asked.order_id) && asked.was == OrderStatus::Pending {
            lines.push(Told {
                id: asked.order_id,
                from: Some(OrderStatus::Pending),
                to: OrderStatus::Confirming,
                cause: format!("the gateway asked for transaction {} and was allowed", asked.transaction_id),
            });
        }
    }
    if !lines.is_empty() {
        orders::tell_all(write, &lines).await?;
    }
    if !not_open.is_empty() {
        // An inquiry's earlier result about them no longer holds: from now on they are asked about again.
        let (orders, drafts): (Vec<OrderId>, Vec<TransactionId>) = transactions
            .iter()
            .filter(|asked| not_open.contains(&asked.order_id))
            .map(|asked| (asked.order_id, asked.transaction_id))
            .unzip();
        let text = REOPEN_ALLOWED_DRAFTS.on(write.store.database());
        sqlx::query(text).bind(json(&orders)?).bind(json(&drafts)?).execute(write.transaction()).await?;
    }
    Ok(allowed)
}
