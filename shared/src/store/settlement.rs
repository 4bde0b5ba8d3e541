//! What a look leads to: the one place where an order is settled, and the only one that writes *paid*.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use sqlx::Row;

use super::jobs::{Finish, WokenBy};
use super::orders::{self, Told, Transition, lock_all, missing, tell, tell_all};
use super::statement::{Statement, json};
use super::together::{Group, Locked, Share, Together, Written, together};
use super::transactions::{Seen, keep_seen};
use super::{Store, StoreError, Write, findings, jobs, kinds, refunds};
use crate::failpoint::{Point, reach};
use crate::id::{OrderId, TransactionId};
use crate::job::{Job, Lease, QueueName};
use crate::order::{GatewayIdentity, Order, OrderStatus};
use crate::review::NewFinding;

/// An apply may take 120 s; ten minutes after it was allowed, no debit of it is still under way.
pub const CONFIRMING_GRACE_MS: i64 = 600_000;

/// A closed and unpaid answer is believed for an allowed draft only from this long after it was allowed.
pub const CLOSED_BELIEVED_MS: i64 = 180_000;

/// So many payment links an order may have; then it just runs to its TTL.
pub const MAX_LINKS: i64 = 3;

/// What a look leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Nothing to write but what was seen.
    Unchanged,
    /// No money has moved so far, some seconds after the last sign of a payment. The customer may be told so.
    Unpaid {
        /// Whether the draft behind the link is closed, so that nothing can be paid on its page any more.
        page_is_closed: bool,
    },
    /// The gateway confirmed the debit, with our store, account and amount, or of whatever amount where a person said
    /// that it is the payment: `paid`.
    Paid {
        /// By this transaction.
        transaction_id: TransactionId,
    },
    /// The allowed draft is closed and unpaid: back to `pending`.
    Reopened {
        /// That draft.
        transaction_id: TransactionId,
        /// Whether the linked draft is closed too, so that a new link is needed.
        link_is_closed: bool,
    },
    /// The linked draft is closed and unpaid and was never allowed: a new link is needed.
    LinkClosed {
        /// That draft.
        transaction_id: TransactionId,
    },
    /// The last look after the TTL showed no money.
    Expired,
    /// Money that does not fit, or an answer nobody can act on: a person must look.
    Review(NewFinding),
    /// A person said that the order was paid by this transaction, and the gateway does not show its debit.
    NotResolved {
        /// The transaction.
        transaction_id: TransactionId,
        /// What the gateway shows instead.
        what: String,
    },
    /// Something a person who has the order already must know; moves nothing.
    Noted {
        /// What was found.
        what: String,
    },
    /// The payment was reversed at the gateway.
    Refunded {
        /// The transaction.
        transaction_id: TransactionId,
    },
}

/// Keeps what a look saw, ends the job's run, and settles the order: one transaction, fenced by the lease.
///
/// `asked_at_ms` is when the look began; only what was asked after a deadline may decide about it.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the job belongs to somebody else. With [`Transition::Refused`], too, nothing
/// is written and the job still runs.
pub async fn settle(
    store: &Store,
    lease: &Lease,
    order: &Order,
    asked_at_ms: i64,
    seen: &[Seen],
    settlement: &Settlement,
    finish: &Finish,
) -> Result<Transition, StoreError> {
    let settling = Settling {
        run: (*lease, finish.clone()),
        order_id: order.id,
        gateway: order.gateway.clone(),
        asked_at_ms,
        seen: seen.to_vec(),
        settlement: settlement.clone(),
    };
    together(store, settling).await
}

/// An order to be settled.
#[derive(Debug)]
pub(super) struct Settling {
    run: (Lease, Finish),
    order_id: OrderId,
    gateway: GatewayIdentity,
    asked_at_ms: i64,
    seen: Vec<Seen>,
    settlement: Settlement,
}

impl Together for Settling {
    type Answer = Transition;

    fn group(store: &Store) -> &Group<Self> {
        &store.0.groups.settlings
    }

    fn subject(&self) -> Option<i64> {
        Some(self.order_id.0)
    }

    async fn write_all(store: &Store, items: &[Arc<Self>], locked: Locked) -> Result<Written<Transition>, StoreError> {
        let mut write = store.begin(items.len()).await?;
        let runs: Vec<(Lease, Finish)> = items.iter().map(|item| item.run.clone()).collect();
        let ended = jobs::finish_all(&mut write, &runs, WokenBy::TakenUp, locked).await?;
        if let Some(unwritten) = Written::without(jobs::not_ended(&runs, &ended), locked, Share::LeaseLost) {
            return Ok(unwritten);
        }
        // A callback that is allowed in this very moment must see what is kept below, or be seen by it.
        let ids: Vec<OrderId> = items.iter().map(|item| item.order_id).collect();
        let statuses = lock_all(&mut write, &ids, locked).await?;
        if statuses.len() < ids.len() && locked == Locked::PassedOver {
            return Ok(Written::SpoiltBy(missing(&ids, &statuses)));
        }
        let paid = mark_paid(&mut write, items, &statuses).await?;
        let mut refused = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let Some(status) = statuses.get(&item.order_id) else { return Err(sqlx::Error::RowNotFound.into()) };
            let made = match item.settlement {
                Settlement::Paid { .. } if paid.contains(&item.order_id) => Transition::Made,
                Settlement::Paid { .. } => Transition::Refused,
                _ => settle_one(&mut write, item, *status).await?,
            };
            if made == Transition::Refused {
                refused.push(place);
            }
        }
        if let Some(unwritten) = Written::without(refused, locked, Share::Done(Transition::Refused)) {
            return Ok(unwritten);
        }
        let mut looks = Vec::new();
        for item in items {
            looks.extend(item.seen.iter().map(|seen| (item.order_id, &item.gateway, *seen)));
        }
        keep_seen(&mut write, &looks).await?;
        reach(Point::SettleBeforeCommit);
        if !paid.is_empty() {
            reach(Point::PaidBeforeCommit);
        }
        write.commit().await?;
        if !paid.is_empty() {
            reach(Point::PaidAfterCommit);
        }
        Ok(Written::Committed(items.iter().map(|_| Share::Done(Transition::Made)).collect()))
    }
}

/// Whatever a look leads to but a payment.
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
        Settlement::Reopened { transaction_id, link_is_closed } => {
            reopen(write, id, item.asked_at_ms, *transaction_id, *link_is_closed).await
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
        Settlement::Refunded { transaction_id } => mark_refunded(write, id, *transaction_id).await,
    }
}

const MARK_PAID: Statement = Statement {
    sqlite: "-- mark_paid
        update orders set status = 'paid', transaction_id = payment.transaction_id, final_at_ms = $2, reason = null,
            suggested_act = null,
            -- another draft that may still debit is watched on
            allowed_transaction_id = nullif(orders.allowed_transaction_id, payment.transaction_id)
        from (select value ->> 'id' as id, value ->> 'transaction_id' as transaction_id from json_each($1)) as payment
        where orders.id in (select value ->> 'id' from json_each($1)) and orders.id = payment.id
            and (orders.status in ('pending', 'confirming')
                or (orders.status = 'review' and orders.resolution_transaction_id = payment.transaction_id))
        returning id, transaction_id, resolution_by",
    postgres: "-- mark_paid
        update orders set status = 'paid', transaction_id = payment.transaction_id, final_at_ms = $2, reason = null,
            suggested_act = null,
            -- another draft that may still debit is watched on
            allowed_transaction_id = nullif(orders.allowed_transaction_id, payment.transaction_id)
        from json_populate_recordset(cast(null as orders), cast($1 as json)) as payment
        where orders.id = any(array(select id from json_populate_recordset(cast(null as orders), cast($1 as json))))
            and orders.id = payment.id
            and (coalesce(orders.status, '') in ('pending', 'confirming')
                or (coalesce(orders.status, '') = 'review'
                    and orders.resolution_transaction_id = payment.transaction_id))
        returning orders.id, orders.transaction_id, orders.resolution_by",
};

/// Writes *paid* where the order can be: the one statement that does. Returns which are paid now.
async fn mark_paid(
    write: &mut Write,
    items: &[Arc<Settling>],
    statuses: &HashMap<OrderId, OrderStatus>,
) -> Result<HashSet<OrderId>, StoreError> {
    #[derive(Serialize)]
    struct Payment {
        id: OrderId,
        transaction_id: TransactionId,
    }
    let payment = |item: &Arc<Settling>| match item.settlement {
        Settlement::Paid { transaction_id } => Some(Payment { id: item.order_id, transaction_id }),
        _ => None,
    };
    let payments: Vec<Payment> = items.iter().filter_map(payment).collect();
    if payments.is_empty() {
        return Ok(HashSet::new());
    }
    let (text, now_ms) = (MARK_PAID.on(write.store.database()), write.now_ms());
    let done = sqlx::query(text).bind(json(&payments)?).bind(now_ms).fetch_all(write.transaction()).await?;
    let (mut paid, mut lines) = (HashSet::new(), Vec::new());
    for row in done {
        let id = OrderId(row.try_get("id")?);
        let transaction_id = TransactionId(row.try_get("transaction_id")?);
        let from = statuses.get(&id).copied();
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

/// The order stays with a person, who is told; the resolution is forgotten. One that was taken back meanwhile is nobody's.
async fn forget_resolution(
    write: &mut Write,
    id: OrderId,
    transaction_id: TransactionId,
    what: &str,
) -> Result<Transition, StoreError> {
    let row = sqlx::query("-- resolution_of\nselect status, resolution_transaction_id from orders where id = $1")
        .bind(id.0)
        .fetch_one(write.transaction())
        .await?;
    let is_asked = row.try_get::<Option<i64>, _>("resolution_transaction_id")? == Some(transaction_id.0);
    if !is_asked || orders::parse_status(row.try_get("status")?)? != OrderStatus::Review {
        return Ok(Transition::Refused);
    }
    orders::clear_resolution(write, id).await?;
    tell(write, id, Some(OrderStatus::Review), OrderStatus::Review, what).await?;
    Ok(Transition::Made)
}

/// Keeps that no money had moved when the look began. Moves nothing; those who follow the order are told.
async fn keep_unpaid(write: &mut Write, id: OrderId, asked_at_ms: i64, page_is_closed: bool) -> Result<(), StoreError> {
    sqlx::query(
        "-- keep_unpaid
        update orders set seen_unpaid_at_ms = $2, seen_closed_at_ms = coalesce($3, seen_closed_at_ms)
        where id = $1 and status in ('pending', 'confirming')",
    )
    .bind(id.0)
    .bind(asked_at_ms)
    .bind(page_is_closed.then_some(asked_at_ms))
    .execute(write.transaction())
    .await?;
    if !write.changed.contains(&id) {
        write.changed.push(id);
    }
    Ok(())
}

async fn reopen(
    write: &mut Write,
    id: OrderId,
    asked_at_ms: i64,
    transaction_id: TransactionId,
    link_is_closed: bool,
) -> Result<Transition, StoreError> {
    let done = sqlx::query(
        "-- reopen_order
        update orders set status = 'pending', allowed_transaction_id = null, seen_unpaid_at_ms = $4
        where id = $1 and status = 'confirming' and allowed_transaction_id = $2 and last_allowed_at_ms <= $3",
    )
    .bind(id.0)
    .bind(transaction_id.0)
    .bind(asked_at_ms - CLOSED_BELIEVED_MS)
    .bind(asked_at_ms)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Transition::Refused);
    }
    let cause = format!("the gateway closed transaction {transaction_id} unpaid");
    tell(write, id, Some(OrderStatus::Confirming), OrderStatus::Pending, &cause).await?;
    if link_is_closed {
        // Refused only where no further link is due.
        let _ = drop_closed_link(write, id, asked_at_ms, transaction_id).await?;
    }
    Ok(Transition::Made)
}

async fn drop_closed_link(
    write: &mut Write,
    id: OrderId,
    asked_at_ms: i64,
    transaction_id: TransactionId,
) -> Result<Transition, StoreError> {
    let now_ms = write.now_ms();
    let done = sqlx::query(
        "-- drop_closed_link
        update orders set transaction_id = null, payment_url = null, seen_unpaid_at_ms = $5, seen_closed_at_ms = null
        where id = $1 and status = 'pending' and transaction_id = $2 and expires_at_ms > $3 and links_made < $4
            and allowed_transaction_id is null",
    )
    .bind(id.0)
    .bind(transaction_id.0)
    .bind(now_ms)
    .bind(MAX_LINKS)
    .bind(asked_at_ms)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Transition::Refused);
    }
    let cause =
        format!("transaction {transaction_id} was closed unpaid at the gateway; a new payment link is being made");
    tell(write, id, Some(OrderStatus::Pending), OrderStatus::Pending, &cause).await?;
    jobs::stage(write, Job::CreatePaymentLink { order_id: id }, QueueName::Links, now_ms).await?;
    Ok(Transition::Made)
}

async fn expire(write: &mut Write, id: OrderId, from: OrderStatus, asked_at_ms: i64) -> Result<Transition, StoreError> {
    let done = sqlx::query(
        "-- expire_order
        update orders set status = 'expired', allowed_transaction_id = null, final_at_ms = $2
        where id = $1 and (
            (status = 'pending' and expires_at_ms <= $3)
            or (status = 'confirming' and expires_at_ms <= $4 and last_allowed_at_ms <= $4))",
    )
    .bind(id.0)
    .bind(write.now_ms())
    .bind(asked_at_ms)
    .bind(asked_at_ms - CONFIRMING_GRACE_MS)
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Transition::Refused);
    }
    let cause = "its time was over, and the gateway showed no money";
    tell(write, id, Some(from), OrderStatus::Expired, cause).await?;
    Ok(Transition::Made)
}

async fn mark_refunded(
    write: &mut Write,
    id: OrderId,
    transaction_id: TransactionId,
) -> Result<Transition, StoreError> {
    let done = sqlx::query(
        "-- mark_refunded
        update orders set status = 'refunded', refunded_amount = amount, refund_reserved = amount
        where id = $1 and status = 'paid' and transaction_id = $2 returning needs_review",
    )
    .bind(id.0)
    .bind(transaction_id.0)
    .fetch_optional(write.transaction())
    .await?;
    let Some(order) = done else { return Ok(Transition::Refused) };
    refunds::outcome_is_known(write, id, &order).await?;
    refunds::close_as_seen(write, id).await?;
    let cause = format!("the gateway shows transaction {transaction_id} as reversed");
    tell(write, id, Some(OrderStatus::Paid), OrderStatus::Refunded, &cause).await?;
    Ok(Transition::Made)
}
