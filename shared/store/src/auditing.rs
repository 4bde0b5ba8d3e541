//! Rows for an audit: everything about some orders at a time, with an index for each statement.

use domain::callback_verdict::CallbackVerdict;
use domain::transaction::StoredTransaction;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::findings::older::{Mirror, OlderChange, made_up};
use super::jobs::job_row;
use super::orders::{FIND_ORDERS, from_row, history_line, order_columns, parse_status};
use super::refunds::from_row as refund_from_row;
use super::statement::json;
use super::transactions::from_row as transaction_from_row;
use super::{Store, StoreError, Unreadable, findings};
use domain::id::{CallbackId, OrderId, TransactionId};
use domain::job::{JobKind, JobRow, Subject};
use domain::order::{GatewayIdentity, HistoryLine, Order, OrderStatus};
use domain::refund::Refund;
use domain::review::ReviewFinding;

/// The most orders or ids in one statement.
pub const BATCH: usize = 512;

mod statements;

use statements::{
    CALLBACKS, FINDINGS, HISTORY, JOBS, KNOWN_TRANSACTIONS, OPEN_SWEEP, REFUND_JOBS, REFUNDS, TRANSACTIONS,
};

/// All rows about one order.
#[derive(Clone, Debug)]
pub struct OrderRecord {
    /// The order's row.
    pub order: Order,
    /// Its history, oldest line first, with the lines' numbers.
    pub history: Vec<(i64, HistoryLine)>,
    /// Its transactions.
    pub transactions: Vec<StoredTransaction>,
    /// Its refunds, the oldest first.
    pub refunds: Vec<Refund>,
    /// Its jobs of a payment link, a settlement or a refund that are open or dead letters.
    pub jobs: Vec<JobRow>,
    /// The callbacks that were answered with 1.
    pub callbacks: Vec<CallbackRecord>,
    /// Its open findings, oldest first.
    pub findings: Vec<ReviewFinding>,
}

/// A callback that was answered with 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackRecord {
    /// Its number.
    pub id: CallbackId,
    /// The order its transaction belonged to.
    pub order_id: OrderId,
    /// The transaction it asked about.
    pub transaction_id: Option<TransactionId>,
    /// Our verdict.
    pub verdict: CallbackVerdict,
}

/// Some orders, with rows that belong to orders that do not exist.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The orders, ascending.
    pub orders: Vec<OrderRecord>,
    /// Jobs whose order does not exist.
    pub jobs_without_order: Vec<JobRow>,
    /// Callbacks whose order does not exist.
    pub callbacks_without_order: Vec<CallbackRecord>,
    /// Orders that cannot be read completely. Their readable parts are among the orders.
    pub unreadable: Vec<Unreadable>,
    /// The last order number that was read, or `None` if there are no further orders.
    pub last: Option<OrderId>,
}

/// A `process_callback` job, with the order of its callback if both exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackJobRecord {
    /// The job.
    pub job: JobRow,
    /// The order, its status, and whether it is marked for a person.
    pub order: Option<(OrderId, OrderStatus, bool)>,
}

/// The highest order number; 0 without any order.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn highest_order(store: &Store) -> Result<OrderId, StoreError> {
    let row = sqlx::query("-- highest_order\nselect cast(coalesce(max(id), 0) as bigint) as highest from orders")
        .fetch_one(store.readers())
        .await?;
    Ok(OrderId(row.try_get("highest")?))
}

/// The next orders after `after`, at most `limit` and [`BATCH`]. With `since_ms` only orders that were made or ended
/// since then, or have not ended; the others are skipped.
///
/// The statements read at different moments: a change in between may look like a difference, so differing orders must
/// be read again.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn next(store: &Store, after: OrderId, limit: usize, since_ms: Option<i64>) -> Result<Batch, StoreError> {
    let limit = limit.min(BATCH);
    let rows = sqlx::query(concat!(
        "-- audit_next_orders\nselect ",
        order_columns!(),
        " from orders where id > $1 order by id limit $2"
    ))
    .bind(after.0)
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .fetch_all(store.readers())
    .await?;
    let (orders, unreadable) = readable(&rows)?;
    let last = rows.last().map(|row| row.try_get("id").map(OrderId)).transpose()?.filter(|_| rows.len() == limit);
    let is_within = |order: &Order| match since_ms {
        Some(since_ms) => order.created_at_ms >= since_ms || order.final_at_ms.is_none_or(|at_ms| at_ms >= since_ms),
        None => true,
    };
    if last.is_some() && unreadable.is_empty() && !orders.iter().any(is_within) {
        return Ok(Batch { last, ..Batch::default() });
    }
    let upto = last.unwrap_or(OrderId(i64::MAX));
    let mut batch = with_what_belongs(store, orders, unreadable, &[Span { after, upto }]).await?;
    batch.orders.retain(|record| is_within(&record.order));
    Ok(Batch { last, ..batch })
}

/// These orders, at most [`BATCH`], as they are now.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn these(store: &Store, ids: &[OrderId]) -> Result<Batch, StoreError> {
    if ids.is_empty() {
        return Ok(Batch::default());
    }
    // An order in the list twice would get its rows twice.
    let ids: BTreeSet<OrderId> = ids.iter().copied().collect();
    let ids: Vec<OrderId> = ids.into_iter().collect();
    let rows = sqlx::query(FIND_ORDERS.on(store.database())).bind(json(&ids)?).fetch_all(store.readers()).await?;
    let (orders, unreadable) = readable(&rows)?;
    let spans: Vec<Span> = ids.iter().map(|id| Span { after: OrderId(id.0 - 1), upto: *id }).collect();
    with_what_belongs(store, orders, unreadable, &spans).await
}

/// The orders of these rows, and the orders that cannot be read.
fn readable(rows: &[AnyRow]) -> Result<(Vec<Order>, Vec<Unreadable>), StoreError> {
    let (mut orders, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        orders.extend(Unreadable::sort(from_row(row), OrderId(row.try_get("id")?), &mut unreadable)?);
    }
    Ok((orders, unreadable))
}

/// The orders of one statement: numbers above `after`, up to `upto`.
#[derive(Clone, Copy, Debug, Serialize)]
struct Span {
    after: OrderId,
    upto: OrderId,
}

async fn with_what_belongs(
    store: &Store,
    orders: Vec<Order>,
    unreadable: Vec<Unreadable>,
    spans: &[Span],
) -> Result<Batch, StoreError> {
    let (database, spans) = (store.database(), json(spans)?);
    let kinds = |subject| json(&JobKind::about(subject).map(JobKind::as_str).collect::<Vec<_>>());
    let (of_orders, of_refunds) = (kinds(Subject::Order)?, kinds(Subject::Refund)?);
    let rows = async |text| sqlx::query(text).bind(spans.clone()).fetch_all(store.readers()).await;
    let job_rows =
        async |text, kinds| sqlx::query(text).bind(spans.clone()).bind(kinds).fetch_all(store.readers()).await;
    let (history, transactions, refunds, jobs, refund_jobs, callbacks, findings) = tokio::try_join!(
        rows(HISTORY.on(database)),
        rows(TRANSACTIONS.on(database)),
        rows(REFUNDS.on(database)),
        job_rows(JOBS.on(database), of_orders),
        job_rows(REFUND_JOBS.on(database), of_refunds),
        rows(CALLBACKS.on(database)),
        rows(FINDINGS.on(database)),
    )?;

    let is_there: HashSet<OrderId> = unreadable.iter().map(|unreadable| unreadable.order_id).collect();
    let mut batch = Batch { unreadable, ..Batch::default() };
    let unreadable = &mut batch.unreadable;
    let mut records: BTreeMap<OrderId, OrderRecord> =
        orders.into_iter().map(|order| (order.id, order.into())).collect();
    for row in history {
        let id = order_of(&row)?;
        if let Some(record) = records.get_mut(&id)
            && let Some(line) = Unreadable::sort(history_line(&row), id, unreadable)?
        {
            record.history.push((row.try_get("number")?, line));
        }
    }
    for row in transactions {
        let id = order_of(&row)?;
        if let Some(record) = records.get_mut(&id) {
            record.transactions.extend(Unreadable::sort(transaction_from_row(&row), id, unreadable)?);
        }
    }
    for row in refunds {
        let id = order_of(&row)?;
        if let Some(record) = records.get_mut(&id) {
            record.refunds.extend(Unreadable::sort(refund_from_row(&row), id, unreadable)?);
        }
    }
    for row in refund_jobs {
        let id = order_of(&row)?;
        if let Some(record) = records.get_mut(&id) {
            record.jobs.extend(Unreadable::sort(job_row(&row), id, unreadable)?);
        }
    }
    for row in jobs {
        let id = OrderId(row.try_get("subject_id")?);
        let Some(job) = Unreadable::sort(job_row(&row), id, unreadable)? else { continue };
        match records.get_mut(&id) {
            Some(record) => record.jobs.push(job),
            None if is_there.contains(&id) => (),
            None => batch.jobs_without_order.push(job),
        }
    }
    for row in callbacks {
        let id = order_of(&row)?;
        let Some(callback) = Unreadable::sort(callback(&row), id, unreadable)? else { continue };
        match records.get_mut(&id) {
            Some(record) => record.callbacks.push(callback),
            None if is_there.contains(&id) => (),
            None => batch.callbacks_without_order.push(callback),
        }
    }
    for row in findings {
        let id = order_of(&row)?;
        if let Some(record) = records.get_mut(&id) {
            record.findings.push(findings::from_row(&row)?);
        }
    }
    batch.orders = records.into_values().map(with_findings_of_older_releases).collect();
    Ok(batch)
}

/// An audit writes nothing, so changes of an older release are turned into findings only in memory.
fn with_findings_of_older_releases(mut record: OrderRecord) -> OrderRecord {
    let columns = Mirror::from(&record.order);
    let change = OlderChange::between(&columns, &record.findings);
    if !change.is_none() {
        let told: Vec<_> = record.history.iter().map(|(_, line)| (line.at_ms, line.cause.clone())).collect();
        record.findings = made_up(record.findings, change, &columns, &told);
    }
    record
}

impl From<Order> for OrderRecord {
    fn from(order: Order) -> Self {
        OrderRecord {
            order,
            history: Vec::new(),
            transactions: Vec::new(),
            refunds: Vec::new(),
            jobs: Vec::new(),
            callbacks: Vec::new(),
            findings: Vec::new(),
        }
    }
}

/// Those of these transactions, at most [`BATCH`], that have a row.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn known_transactions(
    store: &Store,
    gateway: &GatewayIdentity,
    ids: &[TransactionId],
) -> Result<Vec<TransactionId>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let query = sqlx::query(KNOWN_TRANSACTIONS.on(store.database())).bind(gateway.0.clone()).bind(json(ids)?);
    let rows = query.fetch_all(store.readers()).await?;
    rows.iter().map(|row| Ok(TransactionId(row.try_get("transaction_id")?))).collect()
}

/// Passes every `process_callback` job that is open or a dead letter to `show`, [`BATCH`] per statement.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn each_callback_job(store: &Store, mut show: impl FnMut(&CallbackJobRecord)) -> Result<(), StoreError> {
    let open = "-- audit_open_callback_jobs
        select j.id, j.queue, j.kind, j.subject_id, j.state, j.attempt, j.crashes, j.due_at_ms, j.waiting_since_ms, j.last_error,
            j.created_at_ms, j.finished_at_ms, j.woken_by, c.order_id, o.status, o.needs_review
        from jobs j left join callbacks c on c.id = j.subject_id left join orders o on o.id = c.order_id
        where j.kind = $4 and j.state in ('available', 'enqueued', 'running')
            and j.subject_id >= $1 and (j.subject_id > $1 or j.id > $2)
        order by j.subject_id, j.id limit $3";
    let dead = "-- audit_dead_callback_jobs
        select j.id, j.queue, j.kind, j.subject_id, j.state, j.attempt, j.crashes, j.due_at_ms, j.waiting_since_ms, j.last_error,
            j.created_at_ms, j.finished_at_ms, j.woken_by, c.order_id, o.status, o.needs_review
        from jobs j left join callbacks c on c.id = j.subject_id left join orders o on o.id = c.order_id
        where j.state = 'dead' and j.finished_at_ms >= $1 and (j.finished_at_ms > $1 or j.id > $2) and j.kind = $4
        order by j.finished_at_ms, j.id limit $3";
    for (text, place) in [(open, "subject_id"), (dead, "finished_at_ms")] {
        let (mut last_place, mut last_id) = (i64::MIN, i64::MIN);
        loop {
            let query = sqlx::query(text).bind(last_place).bind(last_id);
            let query = query.bind(i64::try_from(BATCH).unwrap_or(i64::MAX)).bind(JobKind::ProcessCallback.as_str());
            let rows = query.fetch_all(store.readers()).await?;
            let Some(row) = rows.last() else { break };
            (last_place, last_id) = (row.try_get(place)?, row.try_get("id")?);
            for row in &rows {
                show(&callback_job(row)?);
            }
        }
    }
    Ok(())
}

/// The one open `sweep`.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn open_sweep(store: &Store) -> Result<Option<JobRow>, StoreError> {
    let row = sqlx::query(OPEN_SWEEP).bind(JobKind::Sweep.as_str()).fetch_optional(store.readers()).await?;
    row.map(|row| job_row(&row)).transpose()
}

fn order_of(row: &AnyRow) -> Result<OrderId, StoreError> {
    Ok(OrderId(row.try_get("order_id")?))
}

fn callback(row: &AnyRow) -> Result<CallbackRecord, StoreError> {
    let verdict: String = row.try_get("verdict")?;
    Ok(CallbackRecord {
        id: CallbackId(row.try_get("id")?),
        order_id: order_of(row)?,
        transaction_id: row.try_get::<Option<i64>, _>("transaction_id")?.map(TransactionId),
        verdict: CallbackVerdict::parse(&verdict)
            .ok_or(StoreError::UnknownValue { column: "callbacks.verdict", value: verdict })?,
    })
}

fn callback_job(row: &AnyRow) -> Result<CallbackJobRecord, StoreError> {
    let order = match (row.try_get::<Option<i64>, _>("order_id")?, row.try_get::<Option<String>, _>("status")?) {
        (Some(id), Some(status)) => {
            Some((OrderId(id), parse_status(status)?, row.try_get::<i64, _>("needs_review")? != 0))
        }
        _ => None,
    };
    Ok(CallbackJobRecord { job: job_row(row)?, order })
}
