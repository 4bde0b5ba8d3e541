//! Settlement: the only place that writes an inquiry's result to its order, and the only one that writes *paid*.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sqlx::Row;

use super::group_commit::{BatchOutcome, BatchQueue, Batched, LockedRows, MemberOutcome, run_in_batch};
use super::jobs::{Finish, WokenBy};
use super::orders::{self, LockedStatus, Told, Transition, lock_all, missing, tell, tell_all};
use super::statement::{Statement, json};
use super::transactions::{SeenTransaction, keep_seen};
use super::{Store, StoreError, Write, findings, jobs, kinds};
use domain::id::{OrderId, TransactionId};
use domain::job::Lease;
use domain::order::{GatewayIdentity, Order, OrderStatus};
use domain::review::NewFinding;
use domain::time::millis;
use failpoint::{Point, reach};

mod unpaid;

pub use unpaid::{CONFIRMING_GRACE_MS, MAX_LINKS};
use unpaid::{drop_closed_link, expire, forget_resolution, keep_unpaid, mark_refunded, reopen};

/// The result of an inquiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Nothing to write but the transactions' states.
    Unchanged,
    /// No money has moved, some seconds after the last sign of a payment. The customer may be told so.
    Unpaid {
        /// Whether the linked draft is closed, so that its page takes no payment any more.
        page_is_closed: bool,
    },
    /// The gateway confirmed the debit, with our store, account and amount: `paid`. If a person said that this
    /// transaction is the payment, the amount may differ.
    Paid {
        /// The transaction that paid.
        transaction_id: TransactionId,
    },
    /// The allowed draft is closed and unpaid: back to `pending`.
    Reopened {
        /// That draft.
        transaction_id: TransactionId,
        /// Whether the linked draft is closed too, so that a new link is needed.
        link_is_closed: bool,
        /// How long after its last permission the gateway's answer is believed; at once if it told the end itself.
        believed_after: Duration,
    },
    /// The linked draft is closed and unpaid, and was never allowed: a new link is needed.
    LinkClosed {
        /// That draft.
        transaction_id: TransactionId,
    },
    /// The last inquiry after the TTL showed no money.
    Expired,
    /// Money that does not fit, or an answer that no rule can handle: a person must decide.
    Review(NewFinding),
    /// A person said that this transaction paid the order, and the gateway does not show its debit.
    NotResolved {
        /// The transaction.
        transaction_id: TransactionId,
        /// The state that the gateway shows instead.
        what: String,
    },
    /// A fact for the person who already has the order. The order stays as it is.
    Noted {
        /// The fact.
        what: String,
    },
    /// The payment was reversed at the gateway. An order that is being confirmed is refunded, too, where the transaction
    /// that holds it was debited and reversed before any inquiry.
    Refunded {
        /// The transaction.
        transaction_id: TransactionId,
    },
}

/// Writes the states that an inquiry saw, ends the job's run, and settles the order, in one transaction that is fenced
/// by the lease.
///
/// `asked_at_ms` is when the inquiry began: only an inquiry begun after a deadline may decide about it. The order's customer
/// must not have chosen another account since it was read.
///
/// # Errors
/// [`StoreError::LeaseLost`] when another worker holds the lease. Also with [`Transition::Refused`] nothing is written
/// and the job still runs.
pub async fn settle(
    store: &Store,
    lease: &Lease,
    order: &Order,
    asked_at_ms: i64,
    seen: &[SeenTransaction],
    settlement: &Settlement,
    finish: &Finish,
) -> Result<Transition, StoreError> {
    let own = order.gateway().map(|own| seen.iter().map(|seen| (own.clone(), *seen)).collect::<Vec<_>>());
    settle_beside(store, lease, order, asked_at_ms, &own.unwrap_or_default(), settlement, finish).await
}

/// As [`settle`], for an order whose customer has changed the account: each transaction is of the account beside it.
///
/// # Errors
/// As [`settle`].
pub async fn settle_beside(
    store: &Store,
    lease: &Lease,
    order: &Order,
    asked_at_ms: i64,
    seen: &[(GatewayIdentity, SeenTransaction)],
    settlement: &Settlement,
    finish: &Finish,
) -> Result<Transition, StoreError> {
    let settling = Settling {
        run: (*lease, finish.clone()),
        order_id: order.id,
        gateway: order.gateway().cloned(),
        asked_at_ms,
        seen: seen.to_vec(),
        settlement: settlement.clone(),
    };
    run_in_batch(store, settling).await
}

/// An order to settle.
#[derive(Debug)]
pub(super) struct Settling {
    run: (Lease, Finish),
    order_id: OrderId,
    /// The account that the order had when it was read. What is decided holds for no other one.
    gateway: Option<GatewayIdentity>,
    asked_at_ms: i64,
    seen: Vec<(GatewayIdentity, SeenTransaction)>,
    settlement: Settlement,
}

impl Batched for Settling {
    type Answer = Transition;

    fn batch_queue(store: &Store) -> &BatchQueue<Self> {
        &store.0.batch_queues.settlings
    }

    fn subject(&self) -> Option<i64> {
        Some(self.order_id.0)
    }

    async fn write_all(
        store: &Store,
        items: &[Arc<Self>],
        locked: LockedRows,
    ) -> Result<BatchOutcome<Transition>, StoreError> {
        let mut write = store.begin(items.len()).await?;
        let runs: Vec<(Lease, Finish)> = items.iter().map(|item| item.run.clone()).collect();
        let ended = jobs::finish_all(&mut write, &runs, WokenBy::TakenUp, locked).await?;
        if let Some(unwritten) = BatchOutcome::without(jobs::not_ended(&runs, &ended), locked, MemberOutcome::LeaseLost)
        {
            return Ok(unwritten);
        }
        // Locked first. A callback that is allowed at this moment must read what this transaction writes, or this one
        // must read the callback's result.
        let ids: Vec<OrderId> = items.iter().map(|item| item.order_id).collect();
        let orders = lock_all(&mut write, &ids, locked).await?;
        if orders.len() < ids.len() && locked == LockedRows::Skip {
            return Ok(BatchOutcome::FailedMembers(missing(&ids, &orders)));
        }
        let paid = mark_paid(&mut write, items, &orders).await?;
        let mut refused = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let Some(order) = orders.get(&item.order_id) else { return Err(sqlx::Error::RowNotFound.into()) };
            let made = match item.settlement {
                _ if order.gateway != item.gateway => Transition::Refused,
                Settlement::Paid { .. } if paid.contains(&item.order_id) => Transition::Made,
                Settlement::Paid { .. } => Transition::Refused,
                _ => settle_one(&mut write, item, order.status).await?,
            };
            if made == Transition::Refused {
                refused.push(place);
            }
        }
        if let Some(unwritten) = BatchOutcome::without(refused, locked, MemberOutcome::Done(Transition::Refused)) {
            return Ok(unwritten);
        }
        let mut inquiries = Vec::new();
        for item in items {
            inquiries.extend(item.seen.iter().map(|(gateway, seen)| (item.order_id, gateway, *seen)));
        }
        keep_seen(&mut write, &inquiries).await?;
        reach(Point::SettleBeforeCommit);
        if !paid.is_empty() {
            reach(Point::PaidBeforeCommit);
        }
        write.commit().await?;
        if !paid.is_empty() {
            reach(Point::PaidAfterCommit);
        }
        Ok(BatchOutcome::Committed(items.iter().map(|_| MemberOutcome::Done(Transition::Made)).collect()))
    }
}

/// Every result of an inquiry except a payment.
async fn settle_one(write: &mut Write, item: &Settling, status: OrderStatus) -> Result<Transition, StoreError> {
    let id = item.order_id;
    match &item.settlement {
        Settlement::Unchanged | Settlement::Paid { .. } => Ok(Transition::Made),
        Settlement::Unpaid { page_is_closed } => {
            keep_unpaid(write, id, item.asked_at_ms, *page_is_closed).await?;
            Ok(Transition::Made)
        }
        Settlement::Noted { what } => {
            tell(write, id, Some(status), status, what).await?;
            Ok(Transition::Made)
        }
        Settlement::Reopened { transaction_id, link_is_closed, believed_after } => {
            let believed_ms = item.asked_at_ms - millis(*believed_after);
            reopen(write, id, item.asked_at_ms, believed_ms, *transaction_id, *link_is_closed).await
        }
        Settlement::LinkClosed { transaction_id } => {
            drop_closed_link(write, id, item.asked_at_ms, *transaction_id).await
        }
        Settlement::Expired => expire(write, id, status, item.asked_at_ms).await,
        Settlement::Review(finding) => {
            orders::put_before_a_person(write, id, finding).await?;
            Ok(Transition::Made)
        }
        Settlement::NotResolved { transaction_id, what } => forget_resolution(write, id, *transaction_id, what).await,
        Settlement::Refunded { transaction_id } => mark_refunded(write, id, status, *transaction_id).await,
    }
}

const MARK_PAID: Statement = Statement {
    sqlite: "-- mark_paid
        update orders set status = 'paid', transaction_id = payment.transaction_id, final_at_ms = $2, reason = null,
            suggested_act = null,
            -- another draft that may still debit is watched on
            allowed_transaction_id = nullif(orders.allowed_transaction_id, payment.transaction_id)
        from (
            select value ->> 'id' as id, value ->> 'gateway' as gateway, value ->> 'transaction_id' as transaction_id
            from json_each($1)
        ) as payment
        where orders.id in (select value ->> 'id' from json_each($1)) and orders.id = payment.id
            and coalesce(orders.gateway, '') = payment.gateway
            and (orders.status in ('pending', 'confirming')
                or (orders.status = 'review' and orders.resolution_transaction_id = payment.transaction_id))
            -- its gateway has told meanwhile that the money goes back
            and not exists (select 1 from transactions as told where told.gateway = payment.gateway
                and told.transaction_id = payment.transaction_id and told.state = 'reversed'
                and told.closed_at_ms is not null)
        returning id, transaction_id, resolution_by",
    postgres: "-- mark_paid
        update orders set status = 'paid', transaction_id = payment.transaction_id, final_at_ms = $2, reason = null,
            suggested_act = null,
            -- another draft that may still debit is watched on
            allowed_transaction_id = nullif(orders.allowed_transaction_id, payment.transaction_id)
        from json_populate_recordset(cast(null as orders), cast($1 as json)) as payment
        where orders.id = any(array(select id from json_populate_recordset(cast(null as orders), cast($1 as json))))
            and orders.id = payment.id and coalesce(orders.gateway, '') = payment.gateway
            and (coalesce(orders.status, '') in ('pending', 'confirming')
                or (coalesce(orders.status, '') = 'review'
                    and orders.resolution_transaction_id = payment.transaction_id))
            -- its gateway has told meanwhile that the money goes back
            and not exists (select 1 from transactions as told where told.gateway = payment.gateway
                and told.transaction_id = payment.transaction_id and told.state = 'reversed'
                and told.closed_at_ms is not null)
        returning orders.id, orders.transaction_id, orders.resolution_by",
};

/// Writes *paid* if the order's row allows it; no other statement does. Returns the orders that are paid now.
///
/// The row of a gateway that only tells (Payme) is read before the other accounts are asked, and its Cancel may come meanwhile.
/// The order's row is locked, as it is in that call, so the statement sees it.
async fn mark_paid(
    write: &mut Write,
    items: &[Arc<Settling>],
    orders: &HashMap<OrderId, LockedStatus>,
) -> Result<HashSet<OrderId>, StoreError> {
    #[derive(Serialize)]
    struct Payment<'a> {
        id: OrderId,
        gateway: &'a str,
        transaction_id: TransactionId,
    }
    let mut payments = Vec::new();
    for item in items {
        if let (Settlement::Paid { transaction_id }, Some(gateway)) = (&item.settlement, &item.gateway) {
            payments.push(Payment { id: item.order_id, gateway: &gateway.0, transaction_id: *transaction_id });
        }
    }
    if payments.is_empty() {
        return Ok(HashSet::new());
    }
    let (text, now_ms) = (MARK_PAID.on(write.store.database()), write.now_ms());
    let done = sqlx::query(text).bind(json(&payments)?).bind(now_ms).fetch_all(write.transaction()).await?;
    let (mut paid, mut lines) = (HashSet::new(), Vec::new());
    for row in done {
        let id = OrderId(row.try_get("id")?);
        let transaction_id = TransactionId(row.try_get("transaction_id")?);
        let from = orders.get(&id).map(|order| order.status);
        let mut cause = format!("the gateway confirmed the debit, transaction {transaction_id}");
        if from == Some(OrderStatus::Review)
            && let Some(by) = row.try_get::<Option<String>, _>("resolution_by")?
        {
            findings::accept_all(write, id).await?;
            cause.push_str(&format!(", by which {by} resolved the order as paid"));
            kinds::cancel_dead_letters(write, id, true).await?;
        }
        lines.push(Told { id, from, to: OrderStatus::Paid, cause });
        paid.insert(id);
    }
    if !lines.is_empty() {
        tell_all(write, &lines).await?;
    }
    Ok(paid)
}
