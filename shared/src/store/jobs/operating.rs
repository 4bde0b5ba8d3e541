//! What operators see of jobs and do to them.

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::{OPEN, quoted_kinds, stage};
use crate::id::{JobId, OrderId, RefundId};
use crate::job::{Job, JobKind, JobRow, JobState, QueueName, Subject};
use crate::store::{Store, StoreError, anew_after_conflict, orders, refunds};

/// How an operator's command about one job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Done.
    Done,
    /// There is no such job.
    Unknown,
    /// The job's state or kind does not allow it; the sentence says why.
    Refused(String),
}

const ROW: &str =
    "id, queue, kind, subject_id, state, attempt, crashes, due_at_ms, last_error, created_at_ms, finished_at_ms";

/// One job as operators see it.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn show(store: &Store, id: JobId) -> Result<Option<JobRow>, StoreError> {
    sqlx::query(AssertSqlSafe(format!("-- show_job\nselect {ROW} from jobs where id = $1")))
        .bind(id.0)
        .fetch_optional(store.readers())
        .await?
        .map(|row| job_row(&row))
        .transpose()
}

/// The newest jobs, of one state or kind if asked.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn list(
    store: &Store,
    state: Option<JobState>,
    kind: Option<JobKind>,
    limit: i64,
) -> Result<Vec<JobRow>, StoreError> {
    // Only what is asked for stands in the text, so that the index of open or dead rows can serve.
    let mut conditions = Vec::new();
    if let Some(state) = state {
        conditions.push(format!("state = '{state}'"));
        if state.is_open() {
            conditions.push(OPEN.to_owned());
        }
    }
    if let Some(kind) = kind {
        conditions.push(format!("kind = '{kind}'"));
    }
    let condition = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" and ") };
    let rows = sqlx::query(AssertSqlSafe(format!(
        "-- list_jobs\nselect {ROW} from jobs where {condition} order by id desc limit $1"
    )))
    .bind(limit)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(job_row).collect()
}

/// The jobs about one order, newest first, at most 100.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn of_order(store: &Store, order_id: OrderId) -> Result<Vec<JobRow>, StoreError> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "-- jobs_of_order
        select {ROW} from jobs where subject_id = $1 and kind in ({})
        union all
        select {ROW} from jobs where kind in ({}) and subject_id in (select r.id from refunds r where r.order_id = $1)
        order by id desc limit 100",
        quoted_kinds(JobKind::about(Subject::Order)),
        quoted_kinds(JobKind::about(Subject::Refund))
    )))
    .bind(order_id.0)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(job_row).collect()
}

/// An operator's retry: a dead letter becomes available, with its attempts and crashes counted from the start.
///
/// The order of a dead `create_payment_link` returns from `failed` to `pending` in the same transaction.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn retry(store: &Store, id: JobId) -> Result<Command, StoreError> {
    anew_after_conflict(|| retry_once(store, id)).await
}

async fn retry_once(store: &Store, id: JobId) -> Result<Command, StoreError> {
    let Some(job) = show(store, id).await? else { return Ok(Command::Unknown) };
    if job.state == JobState::Available {
        return run_now(store, id).await;
    }
    if job.state != JobState::Dead {
        return Ok(Command::Refused(format!(
            "the job is {}; only a dead letter or a waiting job is retried",
            job.state
        )));
    }
    let mut write = store.begin(0).await?;
    let now_ms = write.now_ms();
    let done = sqlx::query(AssertSqlSafe(format!(
        "-- retry_job
        update jobs set state = 'available', queue = $3, attempt = 0, crashes = 0, due_at_ms = $2, finished_at_ms = null
        where id = $1 and state = 'dead' and not exists (
            select 1 from jobs other where other.kind = jobs.kind and other.subject_id = jobs.subject_id and other.{OPEN})"
    )))
    .bind(id.0)
    .bind(now_ms)
    .bind(JobKind::parse(&job.kind).map_or(QueueName::Background, JobKind::queue).as_str())
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Command::Refused("another job of this kind for the same order is open already".into()));
    }
    if job.kind == JobKind::CreatePaymentLink.as_str() {
        let order_id = OrderId(job.subject_id);
        if !orders::unfail(&mut write, order_id, "an operator retried the payment link").await? {
            return Ok(Command::Refused(format!("order {order_id} is no longer failed; see `orders show {order_id}`")));
        }
    }
    if job.kind == JobKind::RefundOrder.as_str() {
        let id = RefundId(job.subject_id);
        if !refunds::reopen(&mut write, id).await? {
            return Ok(Command::Refused(format!("refund {id} is no longer in review, so there is nothing left to do")));
        }
    }
    write.fresh.due(now_ms);
    write.commit().await?;
    Ok(Command::Done)
}

async fn run_now(store: &Store, id: JobId) -> Result<Command, StoreError> {
    let mut write = store.begin(0).await?;
    let now_ms = write.now_ms();
    sqlx::query(
        "-- run_job_now\nupdate jobs set due_at_ms = $2 where id = $1 and state = 'available' and due_at_ms > $2",
    )
    .bind(id.0)
    .bind(now_ms)
    .execute(write.transaction())
    .await?;
    write.fresh.due(now_ms);
    write.commit().await?;
    Ok(Command::Done)
}

/// An operator's cancel. Jobs that money depends on are refused; canceling `create_payment_link` cancels its order, and
/// canceling `refund_order` its refund, unless that may have been sent.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn cancel(store: &Store, id: JobId) -> Result<Command, StoreError> {
    anew_after_conflict(|| cancel_once(store, id)).await
}

async fn cancel_once(store: &Store, id: JobId) -> Result<Command, StoreError> {
    let Some(job) = show(store, id).await? else { return Ok(Command::Unknown) };
    match JobKind::parse(&job.kind) {
        Some(kind @ (JobKind::SettleOrder | JobKind::Sweep | JobKind::ProcessCallback)) => {
            return Ok(Command::Refused(format!(
                "{kind} is never canceled: money may have moved that only it will notice"
            )));
        }
        Some(JobKind::CreatePaymentLink | JobKind::RefundOrder) | None => (),
    }
    let mut write = store.begin(1).await?;
    let done = sqlx::query(
        "-- cancel_job
        update jobs set state = 'canceled', lease_token = null, finished_at_ms = $2
        where id = $1 and state in ('available', 'enqueued', 'dead')",
    )
    .bind(id.0)
    .bind(store.now_ms())
    .execute(write.transaction())
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Command::Refused(format!(
            "the job is {}; it can be canceled only while it waits or is dead",
            job.state
        )));
    }
    if job.kind == JobKind::CreatePaymentLink.as_str() {
        let order_id = OrderId(job.subject_id);
        // A draft may exist that nobody here knows to be unpaid. Staged first: jobs before the order's row.
        let now_ms = write.now_ms();
        stage(&mut write, Job::SettleOrder { order_id }, QueueName::Background, now_ms).await?;
        orders::cancel(&mut write, order_id, "an operator canceled the payment link").await?;
    }
    if job.kind == JobKind::RefundOrder.as_str() {
        let id = RefundId(job.subject_id);
        if !refunds::call_off(&mut write, id).await? {
            return Ok(Command::Refused(format!(
                "refund {id} may have been sent, or has ended: whether its money went back must be seen"
            )));
        }
    }
    write.commit().await?;
    Ok(Command::Done)
}

/// How many dead letters there are.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn count_dead(store: &Store) -> Result<i64, StoreError> {
    let row = sqlx::query("-- count_dead\nselect count(*) as dead from jobs where state = 'dead'")
        .fetch_one(store.readers())
        .await?;
    Ok(row.try_get("dead")?)
}

fn job_row(row: &AnyRow) -> Result<JobRow, StoreError> {
    let state: String = row.try_get("state")?;
    Ok(JobRow {
        id: JobId(row.try_get("id")?),
        queue: row.try_get("queue")?,
        kind: row.try_get("kind")?,
        subject_id: row.try_get("subject_id")?,
        state: JobState::parse(&state).ok_or(StoreError::UnknownValue { column: "jobs.state", value: state })?,
        attempt: row.try_get("attempt")?,
        crashes: row.try_get("crashes")?,
        due_at_ms: row.try_get("due_at_ms")?,
        last_error: row.try_get("last_error")?,
        created_at_ms: row.try_get("created_at_ms")?,
        finished_at_ms: row.try_get("finished_at_ms")?,
    })
}
