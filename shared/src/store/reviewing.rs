//! Orders that wait for a person, and what a person decides about them.

use sqlx::AssertSqlSafe;
use sqlx::Row;

use super::orders::{self, COLUMNS, from_row, tell};
use super::transactions::{self, StoredState, StoredTransaction};
use super::{Store, StoreError, Write, jobs};
use crate::id::{OrderId, TransactionId};
use crate::job::{Job, QueueName};
use crate::order::{Order, OrderStatus};

/// Money that is given back in the gateway's cabinet takes its time; so long after a person ended an order it is looked
/// whether the gateway agrees.
const LOOK_BACK_AFTER_MS: i64 = 24 * 3_600_000;

/// A statement that met another one is begun anew so often.
const TRIES: u32 = 3;

/// An order that waits for a person.
#[derive(Clone, Debug)]
pub struct WaitingOrder {
    /// The order, with its reason and the suggested act.
    pub order: Order,
    /// Since when, epoch milliseconds.
    pub since_ms: i64,
    /// Its transactions as last seen, oldest first.
    pub transactions: Vec<StoredTransaction>,
}

/// Orders in `review` or marked for a person, those that have waited longest first.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn waiting(store: &Store, limit: i64) -> Result<Vec<WaitingOrder>, StoreError> {
    // In the words of the partial indexes: what waits is few, whatever has been.
    let rows = sqlx::query(AssertSqlSafe(format!(
        "-- orders_before_a_person
        select {COLUMNS}, coalesce((select max(h.at_ms) from order_history h where h.order_id = o.id and h.cause = o.reason),
            o.created_at_ms) as since_ms
        from orders o where o.id in (
            select id from orders where status in ('pending', 'confirming', 'review') and status = 'review'
            union select id from orders where needs_review = 1)
        order by since_ms, o.id limit $1"
    )))
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    let mut waiting = Vec::with_capacity(rows.len());
    for row in rows {
        let order = from_row(&row)?;
        let transactions = transactions::of_order(store, order.id).await?;
        waiting.push(WaitingOrder { order, since_ms: row.try_get("since_ms")?, transactions });
    }
    Ok(waiting)
}

/// What a person decides about an order.
#[derive(Clone, Debug)]
pub struct Decision {
    /// What the order shall be: where it is in review, `paid`, `refunded` or `canceled`, and `review` to take a decision
    /// back that is being carried out; else the status it has, or, where a refund of it is in review, `refunded`.
    pub status: OrderStatus,
    /// The person's name.
    pub by: String,
    /// Why.
    pub reason: String,
    /// By which transaction it was paid.
    pub transaction_id: Option<TransactionId>,
}

/// How a decision ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The gateway is asked about this transaction; `paid` is written if it shows the debit.
    Asked(TransactionId),
    /// The order has this status, and waits for nobody.
    Settled(OrderStatus),
    /// The decision that was being carried out is none any more; the order waits as before.
    TakenBack,
    /// There is no such order.
    Unknown,
    /// It cannot be decided so; the sentence says why. Nothing was written.
    Refused(String),
}

/// Carries a person's decision out: one transaction, guarded by how the order stood, with name and reason in its history.
///
/// *Paid* is not written here: the look that is staged writes it, if the gateway shows the debit.
///
/// # Errors
/// [`StoreError`] when the database did not do it; then nothing is written.
pub async fn resolve(store: &Store, id: OrderId, decision: &Decision) -> Result<Resolved, StoreError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match resolve_once(store, id, decision).await {
            // A job of the same order was in the way.
            Err(StoreError::Conflict(_)) if tries < TRIES => (),
            result => return result,
        }
    }
}

/// A refund whose outcome is for a person to say.
#[derive(Clone, Copy, Debug)]
struct RefundInReview {
    id: i64,
    amount: i64,
}

/// What a decision comes to.
#[derive(Clone, Copy, Debug)]
enum Plan {
    /// The gateway is asked whether this transaction was debited.
    Ask(TransactionId),
    /// The order in review ends; if it was paid, by this transaction.
    End { status: OrderStatus, transaction_id: Option<TransactionId> },
    /// The decision that is being carried out is taken back.
    TakeBack(TransactionId),
    /// The mark goes, the status stays.
    Unmark(OrderStatus),
    /// The refund was made.
    RefundMade(RefundInReview),
    /// The refund was not made.
    RefundNotMade(RefundInReview),
}

async fn resolve_once(store: &Store, id: OrderId, decision: &Decision) -> Result<Resolved, StoreError> {
    let Some(order) = orders::find(store, id).await? else { return Ok(Resolved::Unknown) };
    let transactions = transactions::of_order(store, id).await?;
    let refund = refund_in_review(store, id).await?;
    let plan = match plan(&order, &transactions, refund, decision) {
        Ok(plan) => plan,
        Err(why) => return Ok(Resolved::Refused(why)),
    };
    let mut write = store.begin(1).await?;
    // Jobs before the order's row, as in every settlement: one order of locks.
    stage_look(&mut write, id, plan).await?;
    let done = match plan {
        Plan::Ask(transaction_id) => ask(&mut write, id, transaction_id, decision).await?,
        Plan::End { status, transaction_id } => end(&mut write, &order, status, transaction_id, decision).await?,
        Plan::TakeBack(transaction_id) => take_back(&mut write, id, transaction_id, decision).await?,
        Plan::Unmark(status) => unmark(&mut write, id, status, decision).await?,
        Plan::RefundMade(refund) => refund_made(&mut write, &order, refund, decision).await?,
        Plan::RefundNotMade(refund) => refund_not_made(&mut write, id, refund, decision).await?,
    };
    let Some(resolved) = done else {
        drop(write);
        return Ok(Resolved::Refused(overtaken(store, id).await?));
    };
    if let Resolved::Settled(status) = resolved {
        // The dead letter of a link that was refused is how a failed order is retried.
        jobs::cancel_dead_letters(&mut write, id, status != OrderStatus::Failed).await?;
    }
    write.commit().await?;
    Ok(resolved)
}

/// Why the guard refused what the plan allowed.
async fn overtaken(store: &Store, id: OrderId) -> Result<String, StoreError> {
    let now = orders::find(store, id).await?.map(|order| match (order.is_before_a_person(), order.resolution) {
        (true, Some(resolution)) if order.status == OrderStatus::Review => being_asked(&resolution.by),
        (true, _) => format!("it is {} now, and waits for a person still", order.status),
        (false, Some(resolution)) => format!("it is {} now, as {} resolved", order.status, resolution.by),
        (false, None) => format!("it is {} now", order.status),
    });
    Ok(format!("somebody was faster: {}", now.unwrap_or_else(|| "it is gone".into())))
}

fn being_asked(by: &str) -> String {
    format!("{by} resolved it as paid, and the gateway is being asked; resolving it as `review` takes that back")
}

fn plan(
    order: &Order,
    transactions: &[StoredTransaction],
    refund: Option<RefundInReview>,
    decision: &Decision,
) -> Result<Plan, String> {
    use OrderStatus::*;
    if let Some(id) = decision.transaction_id
        && transactions.iter().all(|transaction| transaction.transaction_id != id)
    {
        return Err(format!("transaction {id} is none of its transactions; see `tasdiq orders show {}`", order.id));
    }
    let names_payment = decision.transaction_id.is_some();
    match (order.status, decision.status) {
        (Review, Review) => match order.claimed_payment() {
            Some(transaction_id) => Ok(Plan::TakeBack(transaction_id)),
            None => Err("it is in review, and no decision about it is being carried out".into()),
        },
        (Review, _) if order.claimed_payment().is_some() => {
            Err(being_asked(order.resolution.as_ref().map_or("somebody", |resolution| &resolution.by)))
        }
        (Review, Paid) => Ok(Plan::Ask(payment(decision, transactions)?)),
        (Review, Refunded) => {
            let transaction_id = Some(refunded_payment(order, decision, transactions)?);
            Ok(Plan::End { status: Refunded, transaction_id })
        }
        (Review, Canceled) if names_payment => Err("an order that is resolved as canceled was paid by none".into()),
        (Review, Canceled) => Ok(Plan::End { status: Canceled, transaction_id: order.transaction_id }),
        (Review, Pending | Confirming | Expired | Failed) => {
            Err("an order in review is resolved as paid, refunded or canceled".into())
        }
        (status, _) if !order.needs_review => Err(format!("it is {status}, and nobody has to look at it")),
        (_, _) if names_payment => Err("a transaction is named only for an order in review".into()),
        (Paid, Refunded) => match refund {
            Some(refund) => Ok(Plan::RefundMade(refund)),
            None => Err(format!(
                "no refund of it waits for a person; if its payment was given back, `tasdiq orders reconcile {}` sees it",
                order.id
            )),
        },
        (Paid, Paid) => Ok(refund.map_or(Plan::Unmark(Paid), Plan::RefundNotMade)),
        (status, wanted) if status == wanted => Ok(Plan::Unmark(status)),
        (status, _) => Err(format!("it is {status} and stays so; resolving it as {status} says that it was looked at")),
    }
}

/// The transaction that is said to be the payment: the one that is named, or the only one known as debited.
fn payment(decision: &Decision, transactions: &[StoredTransaction]) -> Result<TransactionId, String> {
    if let Some(id) = decision.transaction_id {
        return Ok(id);
    }
    let debited = transactions.iter().filter(|transaction| transaction.state == StoredState::Debited);
    match debited.map(|transaction| transaction.transaction_id).collect::<Vec<_>>().as_slice() {
        [id] => Ok(*id),
        [] => Err("no transaction of it is known as debited; name the one that paid with --transaction-id".into()),
        several => {
            let ids = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(format!("transactions {ids} were debited; name the one that paid with --transaction-id"))
        }
    }
}

/// The transaction whose money went back.
fn refunded_payment(
    order: &Order,
    decision: &Decision,
    transactions: &[StoredTransaction],
) -> Result<TransactionId, String> {
    let moved = |row: &&StoredTransaction| matches!(row.state, StoredState::Debited | StoredState::Reversed);
    let with_money: Vec<_> = transactions.iter().filter(moved).map(|row| row.transaction_id).collect();
    let named = match with_money.as_slice() {
        [only] => Some(*only),
        _ => order.transaction_id,
    };
    let only = (transactions.len() == 1).then(|| transactions.first().map(|row| row.transaction_id)).flatten();
    decision.transaction_id.or(named).or(only).ok_or_else(|| {
        if transactions.is_empty() {
            "it has no transaction, so no money can have gone back; resolve it as canceled".into()
        } else {
            "name the transaction whose money went back with --transaction-id".into()
        }
    })
}

async fn refund_in_review(store: &Store, id: OrderId) -> Result<Option<RefundInReview>, StoreError> {
    let row =
        sqlx::query("-- refund_in_review\nselect id, amount from refunds where order_id = $1 and state = 'review'")
            .bind(id.0)
            .fetch_optional(store.readers())
            .await?;
    row.map(|row| Ok(RefundInReview { id: row.try_get("id")?, amount: row.try_get("amount")? })).transpose()
}

async fn stage_look(write: &mut Write, order_id: OrderId, plan: Plan) -> Result<(), StoreError> {
    let now_ms = write.now_ms();
    let (queue, due_at_ms) = match plan {
        Plan::TakeBack(_) | Plan::Unmark(OrderStatus::Failed) => return Ok(()),
        Plan::Ask(_) => (QueueName::Settle, now_ms),
        Plan::Unmark(_) | Plan::RefundNotMade(_) => (QueueName::Background, now_ms),
        Plan::End { .. } | Plan::RefundMade(_) => (QueueName::Background, now_ms + LOOK_BACK_AFTER_MS),
    };
    jobs::stage(write, Job::SettleOrder { order_id }, queue, due_at_ms).await
}

async fn ask(
    write: &mut Write,
    id: OrderId,
    transaction_id: TransactionId,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let done = sqlx::query(
        "-- ask_about_resolution
        update orders set resolution_by = $2, resolution_reason = $3, resolution_transaction_id = $4
        where id = $1 and status = 'review' and resolution_transaction_id is null",
    )
    .bind(id.0)
    .bind(decision.by.clone())
    .bind(decision.reason.clone())
    .bind(transaction_id.0)
    .execute(write.connection())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    let cause = format!(
        "{} resolved it as paid by transaction {transaction_id}, which the gateway is asked about: {}",
        decision.by, decision.reason
    );
    tell(write, id, Some(OrderStatus::Review), OrderStatus::Review, &cause).await?;
    Ok(Some(Resolved::Asked(transaction_id)))
}

async fn end(
    write: &mut Write,
    order: &Order,
    status: OrderStatus,
    transaction_id: Option<TransactionId>,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let now_ms = write.now_ms();
    let done = sqlx::query(
        "-- end_reviewed_order
        update orders set status = $2, final_at_ms = $3, transaction_id = $4, allowed_transaction_id = null,
            refunded_amount = case when $2 = 'refunded' then amount else refunded_amount end,
            refund_reserved = case when $2 = 'refunded' then amount else refund_reserved end,
            needs_review = 0, reason = null, suggested_act = null, resolution_by = $5, resolution_reason = $6
        where id = $1 and status = 'review' and resolution_transaction_id is null",
    )
    .bind(order.id.0)
    .bind(status.as_str())
    .bind(now_ms)
    .bind(transaction_id.map(|id| id.0))
    .bind(decision.by.clone())
    .bind(decision.reason.clone())
    .execute(write.connection())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    if order.resolution.is_some() {
        // A look contradicted the first decision; whoever says it again is believed.
        transactions::accept(write, order.id).await?;
    }
    told(write, order.id, OrderStatus::Review, status, decision).await
}

async fn take_back(
    write: &mut Write,
    id: OrderId,
    transaction_id: TransactionId,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let done = sqlx::query(
        "-- take_resolution_back
        update orders set resolution_by = null, resolution_reason = null, resolution_transaction_id = null
        where id = $1 and status = 'review' and resolution_transaction_id = $2",
    )
    .bind(id.0)
    .bind(transaction_id.0)
    .execute(write.connection())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    let cause = format!("{} took back that transaction {transaction_id} paid it: {}", decision.by, decision.reason);
    tell(write, id, Some(OrderStatus::Review), OrderStatus::Review, &cause).await?;
    Ok(Some(Resolved::TakenBack))
}

async fn unmark(
    write: &mut Write,
    id: OrderId,
    status: OrderStatus,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let done = sqlx::query(
        "-- unmark_order
        update orders set needs_review = 0, reason = case when status = 'failed' then reason else null end,
            suggested_act = null, resolution_by = $3, resolution_reason = $4
        where id = $1 and status = $2 and needs_review = 1",
    )
    .bind(id.0)
    .bind(status.as_str())
    .bind(decision.by.clone())
    .bind(decision.reason.clone())
    .execute(write.connection())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    // Or the next look would bring the same before a person again.
    transactions::accept(write, id).await?;
    told(write, id, status, status, decision).await
}

async fn refund_made(
    write: &mut Write,
    order: &Order,
    refund: RefundInReview,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let is_whole = order.refunded_amount + refund.amount >= order.amount.get();
    let status = if is_whole { OrderStatus::Refunded } else { OrderStatus::Paid };
    let done = sqlx::query(
        "-- refund_was_made
        update orders set status = $2, refunded_amount = refunded_amount + $3, needs_review = 0, reason = null,
            suggested_act = null, resolution_by = $4, resolution_reason = $5
        where id = $1 and status = 'paid' and needs_review = 1 and refunded_amount = $6",
    )
    .bind(order.id.0)
    .bind(status.as_str())
    .bind(refund.amount)
    .bind(decision.by.clone())
    .bind(decision.reason.clone())
    .bind(order.refunded_amount)
    .execute(write.connection())
    .await?;
    if done.rows_affected() == 0 || !end_refund(write, refund, "done", decision).await? {
        return Ok(None);
    }
    told(write, order.id, OrderStatus::Paid, status, decision).await
}

async fn refund_not_made(
    write: &mut Write,
    id: OrderId,
    refund: RefundInReview,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let done = sqlx::query(
        "-- refund_was_not_made
        update orders set refund_reserved = refund_reserved - $2, needs_review = 0, reason = null, suggested_act = null,
            resolution_by = $3, resolution_reason = $4
        where id = $1 and status = 'paid' and needs_review = 1",
    )
    .bind(id.0)
    .bind(refund.amount)
    .bind(decision.by.clone())
    .bind(decision.reason.clone())
    .execute(write.connection())
    .await?;
    if done.rows_affected() == 0 || !end_refund(write, refund, "refused", decision).await? {
        return Ok(None);
    }
    told(write, id, OrderStatus::Paid, OrderStatus::Paid, decision).await
}

async fn end_refund(
    write: &mut Write,
    refund: RefundInReview,
    state: &'static str,
    decision: &Decision,
) -> Result<bool, StoreError> {
    let now_ms = write.now_ms();
    let done = sqlx::query(
        "-- end_reviewed_refund
        update refunds set state = $2, outcome = $3, finished_at_ms = $4 where id = $1 and state = 'review'",
    )
    .bind(refund.id)
    .bind(state)
    .bind(format!("{} said so: {}", decision.by, decision.reason))
    .bind(now_ms)
    .execute(write.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn told(
    write: &mut Write,
    id: OrderId,
    from: OrderStatus,
    to: OrderStatus,
    decision: &Decision,
) -> Result<Option<Resolved>, StoreError> {
    let cause = format!("{} resolved it as {}: {}", decision.by, decision.status, decision.reason);
    tell(write, id, Some(from), to, &cause).await?;
    Ok(Some(Resolved::Settled(to)))
}
