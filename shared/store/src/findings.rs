//! Findings: rows of `review_findings`, which a person must read. An order waits for a person while it has an open one.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::statement::{Statement, json};
use super::{Store, StoreError, Write};
use domain::id::{OrderId, TransactionId};
use domain::order::{Order, OrderStatus, SuggestedAct};
use domain::review::{FindingKind, NewFinding, ReviewFinding};

pub(super) mod older;

use older::{Mirror, OlderChange, made_up};

/// The columns of a [`ReviewFinding`] and its order's number, for a statement that reads it whole.
macro_rules! finding_columns {
    () => {
        "order_id, number, kind, transaction_id, subject_id, text, act, found_at_ms"
    };
}
pub(super) use finding_columns;

/// Orders whose columns are compared with their findings per statement.
const PAGE: i64 = 500;

/// The open findings of an order, oldest first; none if it does not wait for a person.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn of_order(store: &Store, order: &Order) -> Result<Vec<ReviewFinding>, StoreError> {
    if !order.is_before_a_person() {
        return Ok(Vec::new());
    }
    let open = open_of(store, &[order.id]).await?.remove(&order.id).unwrap_or_default();
    let columns = Mirror::from(order);
    let change = OlderChange::between(&columns, &open);
    if change.is_none() {
        return Ok(open);
    }
    let told = sqlx::query(TOLD).bind(order.id.0).fetch_all(store.readers()).await?;
    Ok(made_up(open, change, &columns, &lines(&told)?))
}

const OPEN_FINDINGS_OF_ORDERS: Statement = Statement {
    sqlite: concat!(
        "-- open_findings_of_orders
        select ",
        finding_columns!(),
        " from review_findings
        where order_id in (select value from json_each($1)) and accepted_at_ms is null
        order by order_id, found_at_ms, number"
    ),
    postgres: concat!(
        "-- open_findings_of_orders
        select ",
        finding_columns!(),
        " from review_findings
        where order_id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
            and accepted_at_ms is null
        order by order_id, found_at_ms, number"
    ),
};

/// The open findings of these orders, as their rows have them, oldest first.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub(super) async fn open_of(
    store: &Store,
    ids: &[OrderId],
) -> Result<HashMap<OrderId, Vec<ReviewFinding>>, StoreError> {
    let text = OPEN_FINDINGS_OF_ORDERS.on(store.database());
    let rows = sqlx::query(text).bind(json(ids)?).fetch_all(store.readers()).await?;
    let mut findings: HashMap<OrderId, Vec<ReviewFinding>> = HashMap::new();
    for row in &rows {
        findings.entry(OrderId(row.try_get("order_id")?)).or_default().push(from_row(row)?);
    }
    Ok(findings)
}

/// The open findings of an order whose row this transaction has locked, oldest first. Changes of an older release are
/// adopted first.
pub(super) async fn of_locked(write: &mut Write, id: OrderId) -> Result<Vec<ReviewFinding>, StoreError> {
    let row =
        sqlx::query("-- marks_of_order\nselect status, needs_review, reason, suggested_act from orders where id = $1")
            .bind(id.0)
            .fetch_one(write.transaction())
            .await?;
    let columns = columns(&row)?;
    let open = sqlx::query(concat!(
        "-- open_findings
        select ",
        finding_columns!(),
        " from review_findings where order_id = $1 and accepted_at_ms is null order by found_at_ms, number"
    ))
    .bind(id.0)
    .fetch_all(write.transaction())
    .await?;
    let open = open.iter().map(from_row).collect::<Result<Vec<_>, _>>()?;
    let change = OlderChange::between(&columns, &open);
    if change.is_none() {
        return Ok(open);
    }
    let told = sqlx::query(TOLD).bind(id.0).fetch_all(write.transaction()).await?;
    for number in &change.settled {
        accept(write, id, *number).await?;
    }
    let mut now = made_up(open, change, &columns, &lines(&told)?);
    for finding in now.iter_mut().filter(|finding| finding.number == 0) {
        *finding = insert(write, id, finding.clone()).await?;
    }
    ReviewFinding::sort(&mut now);
    // Otherwise the next comparison would find the settled finding again in the older release's sentence.
    if !now.is_empty() {
        keep_marks(write, id, &now).await?;
    }
    Ok(now)
}

/// Adds a finding to the open ones of an order whose row is locked, unless a person has to read the same already. Of a
/// known finding it keeps the first time and writes the newest words, under a new number, because a decision about the
/// old words must not settle it. Returns whether there is anything new to read.
pub(super) async fn add(
    write: &mut Write,
    id: OrderId,
    open: &mut Vec<ReviewFinding>,
    new: &NewFinding,
) -> Result<bool, StoreError> {
    if open.iter().any(|finding| finding.text == new.text && finding.act == new.kind.act()) {
        return Ok(false);
    }
    if let Some(known) = open.iter_mut().find(|finding| finding.is_same(new)) {
        known.text.clone_from(&new.text);
        let row = sqlx::query(
            "-- reword_finding
            update review_findings
            set text = $3, number = (select max(number) + 1 from review_findings others where others.order_id = $1)
            where order_id = $1 and number = $2 returning number",
        )
        .bind(id.0)
        .bind(known.number)
        .bind(new.text.clone())
        .fetch_one(write.transaction())
        .await?;
        known.number = row.try_get("number")?;
        ReviewFinding::sort(open);
        return Ok(true);
    }
    let finding = ReviewFinding {
        number: 0,
        kind: new.kind,
        transaction_id: new.transaction_id,
        subject_id: new.subject_id,
        text: new.text.clone(),
        act: new.kind.act(),
        found_at_ms: write.now_ms(),
    };
    open.push(insert(write, id, finding).await?);
    Ok(true)
}

/// Inserts it with the order's next number.
async fn insert(write: &mut Write, id: OrderId, finding: ReviewFinding) -> Result<ReviewFinding, StoreError> {
    let row = sqlx::query(
        "-- add_finding
        insert into review_findings (order_id, number, kind, transaction_id, subject_id, text, act, found_at_ms)
        select $1, coalesce(max(number), 0) + 1, $2, $3, $4, $5, $6, $7 from review_findings where order_id = $1
        returning number",
    )
    .bind(id.0)
    .bind(finding.kind.as_str())
    .bind(finding.transaction_id.map(|id| id.0))
    .bind(finding.subject_id)
    .bind(finding.text.clone())
    .bind(finding.act.as_str())
    .bind(finding.found_at_ms)
    .fetch_one(write.transaction())
    .await?;
    Ok(ReviewFinding { number: row.try_get("number")?, ..finding })
}

async fn accept(write: &mut Write, id: OrderId, number: i64) -> Result<(), StoreError> {
    let now_ms = write.now_ms();
    sqlx::query(
        "-- accept_finding\nupdate review_findings set accepted_at_ms = $3 where order_id = $1 and number = $2",
    )
    .bind(id.0)
    .bind(number)
    .bind(now_ms)
    .execute(write.transaction())
    .await?;
    Ok(())
}

/// Settles all findings of an order, which waits for no person any more.
pub(super) async fn accept_all(write: &mut Write, id: OrderId) -> Result<(), StoreError> {
    let now_ms = write.now_ms();
    sqlx::query(
        "-- accept_findings
        update review_findings set accepted_at_ms = $2 where order_id = $1 and accepted_at_ms is null",
    )
    .bind(id.0)
    .bind(now_ms)
    .execute(write.transaction())
    .await?;
    Ok(())
}

/// Settles the findings about a refund, whose outcome is known now. For its other findings the order still waits. Its
/// row is locked.
pub(super) async fn refund_is_known(write: &mut Write, id: OrderId) -> Result<(), StoreError> {
    let open = of_locked(write, id).await?;
    let (settled, left): (Vec<_>, Vec<_>) = open.into_iter().partition(ReviewFinding::is_about_refund);
    if settled.is_empty() {
        return Ok(());
    }
    for finding in &settled {
        accept(write, id, finding.number).await?;
    }
    keep_marks(write, id, &left).await
}

/// Writes the columns that an older release reads, from these open findings, oldest first. An order in review waits by
/// its status.
async fn keep_marks(write: &mut Write, id: OrderId, open: &[ReviewFinding]) -> Result<(), StoreError> {
    let mirror = Mirror::of(open);
    sqlx::query(
        "-- keep_marks
        update orders set needs_review = case when status = 'review' then needs_review else $2 end, reason = $3,
            suggested_act = $4
        where id = $1",
    )
    .bind(id.0)
    .bind(i64::from(mirror.is_before_a_person))
    .bind(mirror.reason)
    .bind(mirror.act.map(SuggestedAct::as_str))
    .execute(write.transaction())
    .await?;
    Ok(())
}

/// Turns what older releases have written about orders into findings, and settles findings that they have settled.
/// Returns the number of changed orders. It may run beside anything, and without changes of an older release it only
/// reads.
///
/// # Errors
/// [`StoreError`] when the database did not do it; what was done stays.
pub async fn adopt(store: &Store) -> Result<u64, StoreError> {
    let (mut adopted, mut after) = (0, OrderId(0));
    loop {
        // The conditions are those of the partial indexes.
        let rows = sqlx::query(
            "-- orders_to_compare
            select id, status, needs_review, reason, suggested_act from orders
            where status in ('pending', 'confirming', 'review') and status = 'review' and id > $1
            union select id, status, needs_review, reason, suggested_act from orders where needs_review = 1 and id > $1
            union select o.id, o.status, o.needs_review, o.reason, o.suggested_act
            from review_findings f join orders o on o.id = f.order_id where f.accepted_at_ms is null and f.order_id > $1
            order by id limit $2",
        )
        .bind(after.0)
        .bind(PAGE)
        .fetch_all(store.readers())
        .await?;
        let Some(last) = rows.last() else { return Ok(adopted) };
        after = OrderId(last.try_get("id")?);
        let ids = rows.iter().map(|row| Ok(OrderId(row.try_get("id")?))).collect::<Result<Vec<_>, StoreError>>()?;
        let open = open_of(store, &ids).await?;
        for (row, id) in rows.iter().zip(ids) {
            let open = open.get(&id).map(Vec::as_slice).unwrap_or_default();
            if !OlderChange::between(&columns(row)?, open).is_none() {
                match adopt_one(store, id).await {
                    Ok(()) => adopted += 1,
                    // Another transaction holds its row; the next sweep compares it again.
                    Err(StoreError::Conflict(_)) => (),
                    Err(trouble) => return Err(trouble),
                }
            }
        }
    }
}

const LOCK_ORDER_TO_COMPARE: Statement = Statement {
    sqlite: "-- lock_order_to_compare
        select id from orders where id = $1",
    postgres: "-- lock_order_to_compare
        select id from orders where id = $1 for update",
};

async fn adopt_one(store: &Store, id: OrderId) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    let text = LOCK_ORDER_TO_COMPARE.on(write.store.database());
    sqlx::query(text).bind(id.0).fetch_optional(write.transaction()).await?;
    of_locked(&mut write, id).await?;
    write.commit().await
}

/// The times and causes of an order's history.
const TOLD: &str = "-- history_of_findings\nselect at_ms, cause from order_history where order_id = $1 order by number";

fn lines(rows: &[AnyRow]) -> Result<Vec<(i64, String)>, StoreError> {
    rows.iter().map(|row| Ok((row.try_get("at_ms")?, row.try_get("cause")?))).collect()
}

impl From<&Order> for Mirror {
    fn from(order: &Order) -> Self {
        Mirror {
            is_before_a_person: order.is_before_a_person(),
            reason: order.reason.clone(),
            act: order.suggested_act,
        }
    }
}

fn columns(row: &AnyRow) -> Result<Mirror, StoreError> {
    let status: String = row.try_get("status")?;
    let act: Option<String> = row.try_get("suggested_act")?;
    Ok(Mirror {
        is_before_a_person: status == OrderStatus::Review.as_str() || row.try_get::<i64, _>("needs_review")? != 0,
        reason: row.try_get("reason")?,
        act: act.and_then(|act| SuggestedAct::parse(&act)),
    })
}

pub(super) fn from_row(row: &AnyRow) -> Result<ReviewFinding, StoreError> {
    let (kind, act): (String, String) = (row.try_get("kind")?, row.try_get("act")?);
    // A newer release may have kinds without a name in this one.
    let kind = FindingKind::parse(&kind).unwrap_or(FindingKind::Other);
    Ok(ReviewFinding {
        number: row.try_get("number")?,
        kind,
        transaction_id: row.try_get::<Option<i64>, _>("transaction_id")?.map(TransactionId),
        subject_id: row.try_get("subject_id")?,
        text: row.try_get("text")?,
        act: SuggestedAct::parse(&act).unwrap_or(kind.act()),
        found_at_ms: row.try_get("found_at_ms")?,
    })
}
