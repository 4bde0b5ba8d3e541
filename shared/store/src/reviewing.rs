//! Orders in review, and the decisions of persons about them.

use domain::transaction::StoredTransaction;
use sqlx::{Any, Executor, Row};

use super::orders::{self, from_row, order_columns};
use super::transactions;
use super::{Store, StoreError, Unreadable, Write, anew_after_conflict, findings, jobs, kinds};
use domain::id::{OrderId, TransactionId};
use domain::job::{Job, QueueName};
use domain::order::{Order, OrderStatus};
use domain::review::ReviewFinding;

mod effects;
mod plan;

use effects::{ask, end, refund_made, refund_not_made, take_back, unmark};
use plan::{Plan, RefundInReview, being_asked, plan};

/// Money that is given back in the gateway's cabinet takes time. This long after a person ended an order, an inquiry
/// checks that the gateway agrees.
const LATE_INQUIRY_AFTER_MS: i64 = 24 * 3_600_000;

/// An order that waits for a person.
#[derive(Clone, Debug)]
pub struct WaitingOrder {
    /// The order.
    pub order: Order,
    /// The findings that a person must read, oldest first.
    pub findings: Vec<ReviewFinding>,
    /// When the first of them was found, epoch milliseconds.
    pub since_ms: i64,
    /// Its transactions as last seen, oldest first.
    pub transactions: Vec<StoredTransaction>,
}

/// The orders that wait for a person.
#[derive(Clone, Debug, Default)]
pub struct ReviewList {
    /// Longest waiting first.
    pub orders: Vec<WaitingOrder>,
    /// Waiting orders that this release cannot read.
    pub unreadable: Vec<Unreadable>,
}

/// Orders in `review` or marked for a person, longest waiting first.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn waiting(store: &Store, limit: i64) -> Result<ReviewList, StoreError> {
    findings::adopt(store).await?;
    // The conditions are those of the partial indexes: few orders wait, however many there are.
    let rows = sqlx::query(concat!(
        "-- orders_before_a_person
        select ",
        order_columns!(),
        ", coalesce((select min(f.found_at_ms) from review_findings f
                where f.order_id = o.id and f.accepted_at_ms is null), o.created_at_ms) as since_ms
        from orders o where o.status in ('pending', 'confirming', 'review') and o.status = 'review'
        union all
        select ",
        order_columns!(),
        ", coalesce((select min(f.found_at_ms) from review_findings f
                where f.order_id = o.id and f.accepted_at_ms is null), o.created_at_ms) as since_ms
        from orders o where o.needs_review = 1 and o.status <> 'review'
        order by since_ms, id limit $1"
    ))
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    let ids = rows.iter().map(|row| Ok(OrderId(row.try_get("id")?))).collect::<Result<Vec<_>, StoreError>>()?;
    let mut open = findings::open_of(store, &ids).await?;
    let mut waiting = ReviewList::default();
    for row in rows {
        let order_id = OrderId(row.try_get("id")?);
        let read = async {
            let order = from_row(&row)?;
            let transactions = transactions::of_order(store, order_id).await?;
            let findings = open.remove(&order_id).unwrap_or_default();
            Ok(WaitingOrder { order, findings, since_ms: row.try_get("since_ms")?, transactions })
        };
        waiting.orders.extend(Unreadable::sort(read.await, order_id, &mut waiting.unreadable)?);
    }
    Ok(waiting)
}

/// A person's decision about an order.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The status that the order shall have. From review: `paid`, `refunded` or `canceled`, or `review` to take back a
    /// decision that is being carried out. Otherwise its present status, or `refunded` if a refund of it is in review.
    pub status: OrderStatus,
    /// The person's name.
    pub by: String,
    /// The reason.
    pub reason: String,
    /// The transaction that paid it.
    pub transaction_id: Option<TransactionId>,
    /// The numbers of the findings that the person has read, see [`ReviewFinding::number`]; the decision is refused if
    /// there are others by now. `None` stands for those that are open when the decision arrives.
    pub findings: Option<Vec<i64>>,
}

/// How a decision ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The gateway is asked about this transaction; `paid` is written if it shows the debit.
    Asked(TransactionId),
    /// The order has this status, and waits for no person any more.
    Settled(OrderStatus),
    /// The decision is no longer being carried out; the order waits as before.
    TakenBack,
    /// There is no such order.
    Unknown,
    /// The decision is not possible; the sentence says why. Nothing was written.
    Refused(String),
}

/// Carries out a person's decision in one transaction, guarded by the order's row, with name and reason in its history.
///
/// *Paid* is not written here: the inquiry that is staged writes it, if the gateway shows the debit.
///
/// # Errors
/// [`StoreError`] when the database did not do it; then nothing is written.
pub async fn resolve(store: &Store, id: OrderId, decision: &Decision) -> Result<Resolved, StoreError> {
    let Some(order) = orders::find(store, id).await? else { return Ok(Resolved::Unknown) };
    // Read once: the person has not decided about findings that arrive while this is tried again.
    let known = findings::of_order(store, &order).await?;
    // If the order no longer waits for a person, its status explains more than the settled findings.
    let read = decision.findings.as_deref().filter(|_| order.is_before_a_person());
    if let Some(why) = read.and_then(|read| unread(id, read, &known)) {
        return Ok(Resolved::Refused(why));
    }
    anew_after_conflict(|| resolve_once(store, id, &known, decision)).await
}

async fn resolve_once(
    store: &Store,
    id: OrderId,
    known: &[ReviewFinding],
    decision: &Decision,
) -> Result<Resolved, StoreError> {
    let Some(order) = orders::find(store, id).await? else { return Ok(Resolved::Unknown) };
    let transactions = transactions::of_order(store, id).await?;
    let refund = refund_in_review(store.readers(), id).await?;
    let plan = match plan(&order, known, &transactions, refund, decision) {
        Ok(plan) => plan,
        Err(why) => return Ok(Resolved::Refused(why)),
    };
    let mut write = store.begin(1).await?;
    // Jobs before the order's row, as in every settlement: all transactions take locks in the same order.
    stage_inquiry(&mut write, id, plan).await?;
    orders::lock(&mut write, id).await?;
    // A refund whose job died again has the same words, and counts as the same finding.
    if !are_same(known, &findings::of_locked(&mut write, id).await?)
        || refund_in_review(write.transaction(), id).await? != refund
    {
        drop(write);
        return Ok(Resolved::Refused(overtaken(store, id).await?));
    }
    let done = match plan {
        Plan::Ask(transaction_id) => ask(&mut write, id, transaction_id, decision).await?,
        Plan::End { status, transaction_id } => end(&mut write, &order, status, transaction_id, decision).await?,
        Plan::TakeBack(transaction_id) => take_back(&mut write, id, transaction_id, decision).await?,
        Plan::Unmark(status) => unmark(&mut write, &order, status, decision).await?,
        Plan::RefundMade(refund) => refund_made(&mut write, &order, refund, decision).await?,
        Plan::RefundNotMade(refund) => refund_not_made(&mut write, &order, refund, decision).await?,
    };
    let Some(resolved) = done else {
        drop(write);
        return Ok(Resolved::Refused(overtaken(store, id).await?));
    };
    if let Resolved::Settled(status) = resolved {
        findings::accept_all(&mut write, id).await?;
        // A failed order is retried by the dead letter of its link.
        kinds::cancel_dead_letters(&mut write, id, status != OrderStatus::Failed).await?;
    }
    write.commit().await?;
    Ok(resolved)
}

/// Whether the findings are still those that the decision is about; new ones must be read first. A finding of an older
/// release, which had no number, has one now.
fn are_same(decided_about: &[ReviewFinding], now: &[ReviewFinding]) -> bool {
    decided_about.len() == now.len()
        && decided_about.iter().zip(now).all(|(then, now)| match then.number {
            0 => (then.kind, then.found_at_ms) == (now.kind, now.found_at_ms),
            number => number == now.number,
        })
}

/// Why a person who has read these findings cannot decide about the present ones; `None` if they are the same. A
/// finding whose words change gets a new number.
fn unread(id: OrderId, read: &[i64], now: &[ReviewFinding]) -> Option<String> {
    let new: Vec<&str> =
        now.iter().filter(|finding| !read.contains(&finding.number)).map(|finding| finding.text.as_str()).collect();
    let is_gone = |number: &&i64| now.iter().all(|finding| finding.number != **number);
    let gone: Vec<String> = read.iter().filter(is_gone).map(ToString::to_string).collect();
    let what = match (new.as_slice(), gone.as_slice()) {
        ([], []) => return None,
        ([], gone) => format!("finding {} is settled, or was never found", gone.join(", ")),
        (new, _) => format!("this was found besides: {}", new.join("; ")),
    };
    Some(format!("{what}; see order {id} in `tasdiq orders review`, and decide again"))
}

/// Why the guard refused what the plan allowed.
async fn overtaken(store: &Store, id: OrderId) -> Result<String, StoreError> {
    let now = orders::find(store, id).await?.map(|order| match (order.is_before_a_person(), order.resolution) {
        (true, Some(resolution)) if order.status == OrderStatus::Review => being_asked(&resolution.by),
        (true, _) => format!("it is {} now, and waits for a person still", order.status),
        (false, Some(resolution)) => format!("it is {} now, as {} resolved", order.status, resolution.by),
        (false, None) => format!("it is {} now", order.status),
    });
    Ok(format!("another person or process was faster: {}", now.unwrap_or_else(|| "it is gone".into())))
}

async fn refund_in_review<'c>(
    executor: impl Executor<'c, Database = Any>,
    id: OrderId,
) -> Result<Option<RefundInReview>, StoreError> {
    let row =
        sqlx::query("-- refund_in_review\nselect id, amount from refunds where order_id = $1 and state = 'review'")
            .bind(id.0)
            .fetch_optional(executor)
            .await?;
    row.map(|row| Ok(RefundInReview { id: row.try_get("id")?, amount: row.try_get("amount")? })).transpose()
}

async fn stage_inquiry(write: &mut Write, order_id: OrderId, plan: Plan) -> Result<(), StoreError> {
    let now_ms = write.now_ms();
    let (queue, due_at_ms) = match plan {
        Plan::TakeBack(_) | Plan::Unmark(OrderStatus::Failed) => return Ok(()),
        Plan::Ask(_) => (QueueName::Settle, now_ms),
        Plan::Unmark(_) | Plan::RefundNotMade(_) => (QueueName::Background, now_ms),
        Plan::End { .. } | Plan::RefundMade(_) => (QueueName::Background, now_ms + LATE_INQUIRY_AFTER_MS),
    };
    jobs::stage(write, Job::SettleOrder { order_id }, queue, due_at_ms).await
}
