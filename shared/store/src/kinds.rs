//! The meaning of a job's end for its order, refund or callback, by the table of kinds. The engine, `jobs`, knows none of
//! these: it reports which job has ended, and this module writes the meaning in the same transaction.

use super::jobs::{self, Crashed, Dead, DeadLetteredBy, Lapsed, job_columns, job_row};
use super::statement::{Statement, json};
use super::{Store, StoreError, Write, anew_after_conflict, callbacks, orders, refunds};
use domain::id::{JobId, OrderId, RefundId};
use domain::job::{Death, Job, JobKind, JobRow, JobState, QueueName, Subject};
use domain::review::NewFinding;
use failpoint::{Point, reach};

mod nearing;

pub use nearing::{LongestWaits, cap_due_times, run_held_back_soon};

/// How an operator's command about one job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobCommandOutcome {
    /// Done.
    Done,
    /// There is no such job.
    Unknown,
    /// The job's state or kind does not allow it; the sentence says why.
    Refused(String),
}

/// Dead-letters a running job and writes what this means, in one transaction.
///
/// `refused` stands for a final no of the gateway, which makes a pending order `failed`; everything else is for a
/// person. If the gateway finally refuses another link of an order that needs none any more, nothing is lost: the job
/// is complete. Returns which of the two states the job has.
///
/// # Errors
/// [`StoreError::LeaseLost`] when the caller no longer holds the job: another lease was taken, or the lease was renewed
/// in time.
pub async fn dead_letter(
    store: &Store,
    by: DeadLetteredBy<'_>,
    reason: &str,
    refused: bool,
) -> Result<JobState, StoreError> {
    let mut write = store.begin(0).await?;
    let dead = jobs::dead_letter(&mut write, by, reason).await?;
    let is_dead = answer_for_death(&mut write, &dead, reason, refused).await?;
    if !is_dead {
        jobs::complete_instead(&mut write, &dead).await?;
    }
    reach(Point::DeadLetterBeforeCommit);
    write.commit().await?;
    Ok(if is_dead { JobState::Dead } else { JobState::Completed })
}

/// Moves the order or the refund, or tells a person. Returns whether a person has to see the dead letter.
async fn answer_for_death(write: &mut Write, dead: &Dead, reason: &str, refused: bool) -> Result<bool, StoreError> {
    let Some(kind) = JobKind::parse(&dead.kind) else { return Ok(true) };
    match (kind.death(), kind.subject()) {
        (Death::ReviewsRefund, _) => {
            let reason = format!("its job is a dead letter: {reason}");
            return refunds::dead_letter(write, RefundId(dead.subject_id), &reason).await;
        }
        (Death::FailsOrder, Subject::Order) if refused => {
            return orders::fail(write, OrderId(dead.subject_id), reason).await;
        }
        (Death::FailsOrder | Death::NeedsPerson | Death::Never, _) => (),
    }
    let order_id = match kind.subject() {
        Subject::Order => Some(OrderId(dead.subject_id)),
        Subject::Callback => callbacks::order_of(write, dead.subject_id).await?,
        Subject::Refund | Subject::Nothing => None,
    };
    if let Some(order_id) = order_id {
        let finding = NewFinding::of_job(dead.id, format!("job {kind} is a dead letter: {reason}"));
        orders::put_before_a_person(write, order_id, &finding).await?;
    }
    Ok(true)
}

/// Counts a crash for the jobs of a queue whose lease ran out.
///
/// # Errors
/// As [`jobs::lapsed`] and [`recover`].
pub async fn recover_crashed(store: &Store, queue: QueueName) -> Result<Vec<Crashed>, StoreError> {
    let now_ms = store.now_ms();
    let mut crashed = Vec::new();
    for lapsed in jobs::lapsed(store, queue, now_ms).await?.iter().filter(|lapsed| !lapsed.is_locked) {
        crashed.extend(recover(store, lapsed, now_ms).await?);
    }
    Ok(crashed)
}

/// Counts a crash for a job whose lease had ended by `now_ms`, epoch milliseconds; `None` if a renewal or another relay
/// came first.
///
/// After its first crash a job runs again like any other; from the second on it is a suspect ([`jobs::SuspectGroup`]).
/// A job that crashes alone waits 10 s, then 60 s; after three crashes alone it is a dead letter and its order moves. A
/// kind that never dies waits 15 min.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn recover(store: &Store, lapsed: &Lapsed, now_ms: i64) -> Result<Option<Crashed>, StoreError> {
    let death = lapsed.death();
    let done = match &death {
        Some(reason) => {
            let by = DeadLetteredBy::Relay { id: lapsed.job_id, crashes: lapsed.crashes };
            dead_letter(store, by, reason, false).await.map(drop)
        }
        None => jobs::count_crash(store, lapsed, now_ms).await,
    };
    match done {
        Ok(()) => Ok(Some(Crashed {
            job_id: lapsed.job_id,
            kind: lapsed.kind.clone(),
            crashes: lapsed.crashes + 1,
            is_dead: death.is_some(),
        })),
        Err(StoreError::LeaseLost) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

const JOBS_OF_ORDER: Statement = Statement {
    sqlite: concat!(
        "-- jobs_of_order
        select ",
        job_columns!(),
        " from jobs where subject_id = $1 and kind in (select value from json_each($2))
        union all
        select ",
        job_columns!(),
        " from jobs where subject_id in (select id from refunds where order_id = $1)
            and kind in (select value from json_each($3))
        order by id desc limit 100"
    ),
    postgres: concat!(
        "-- jobs_of_order
        select ",
        job_columns!(),
        " from jobs where subject_id = $1 and kind = any(array(select json_array_elements_text(cast($2 as json))))
        union all
        select ",
        job_columns!(),
        " from jobs where subject_id = any(array(select id from refunds where order_id = $1))
            and kind = any(array(select json_array_elements_text(cast($3 as json))))
        order by id desc limit 100"
    ),
};

/// The kinds of jobs about this subject, as a parameter.
fn kinds_about(subject: Subject) -> Result<String, StoreError> {
    json(&JobKind::about(subject).map(JobKind::as_str).collect::<Vec<_>>())
}

/// The jobs about one order, newest first, at most 100.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn jobs_of_order(store: &Store, order_id: OrderId) -> Result<Vec<JobRow>, StoreError> {
    let rows = sqlx::query(JOBS_OF_ORDER.on(store.database()))
        .bind(order_id.0)
        .bind(kinds_about(Subject::Order)?)
        .bind(kinds_about(Subject::Refund)?)
        .fetch_all(store.readers())
        .await?;
    rows.iter().map(job_row).collect()
}

/// Cancels the dead letters of an order that a person has settled: no person has to look at them any more. The dead
/// letter of its payment link stays if the order may be retried by it.
pub(super) async fn cancel_dead_letters(
    write: &mut Write,
    order_id: OrderId,
    with_link: bool,
) -> Result<(), StoreError> {
    for kind in JobKind::ALL.iter().copied() {
        if kind.death() == Death::FailsOrder && !with_link {
            continue;
        }
        match kind.subject() {
            Subject::Order => jobs::cancel_dead(write, kind, order_id.0).await?,
            Subject::Callback => callbacks::cancel_dead_jobs(write, kind, order_id).await?,
            Subject::Refund => refunds::cancel_dead_jobs(write, kind, order_id).await?,
            Subject::Nothing => (),
        }
    }
    Ok(())
}

/// An operator's retry: makes a dead letter available, with attempts and crashes reset.
///
/// In the same transaction an order that the dead letter made `failed` returns to `pending`, or its refund from
/// `review` to `open`.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn retry(store: &Store, id: JobId) -> Result<JobCommandOutcome, StoreError> {
    anew_after_conflict(|| retry_once(store, id)).await
}

async fn retry_once(store: &Store, id: JobId) -> Result<JobCommandOutcome, StoreError> {
    let Some(job) = jobs::show(store, id).await? else { return Ok(JobCommandOutcome::Unknown) };
    if job.state == JobState::Available {
        jobs::run_now(store, id).await?;
        return Ok(JobCommandOutcome::Done);
    }
    if job.state != JobState::Dead {
        return Ok(JobCommandOutcome::Refused(format!(
            "the job is {}; only a dead letter or a waiting job is retried",
            job.state
        )));
    }
    let mut write = store.begin(0).await?;
    if !jobs::revive(&mut write, &job).await? {
        return Ok(JobCommandOutcome::Refused("another job of this kind for the same order is open already".into()));
    }
    match JobKind::parse(&job.kind).map(JobKind::death) {
        Some(Death::FailsOrder) => {
            let order_id = OrderId(job.subject_id);
            if !orders::unfail(&mut write, order_id, "an operator retried the payment link").await? {
                return Ok(JobCommandOutcome::Refused(format!(
                    "order {order_id} is no longer failed; see `orders show {order_id}`"
                )));
            }
        }
        Some(Death::ReviewsRefund) => {
            let id = RefundId(job.subject_id);
            if !refunds::reopen(&mut write, id).await? {
                return Ok(JobCommandOutcome::Refused(format!(
                    "refund {id} is no longer in review, so there is nothing left to do"
                )));
            }
        }
        Some(Death::NeedsPerson | Death::Never) | None => (),
    }
    write.commit().await?;
    Ok(JobCommandOutcome::Done)
}

/// An operator's cancel. Jobs that money depends on are refused. Canceling the job of a payment link cancels its order;
/// canceling the job of a refund cancels the refund, unless it may have been sent.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn cancel(store: &Store, id: JobId) -> Result<JobCommandOutcome, StoreError> {
    anew_after_conflict(|| cancel_once(store, id)).await
}

async fn cancel_once(store: &Store, id: JobId) -> Result<JobCommandOutcome, StoreError> {
    let Some(job) = jobs::show(store, id).await? else { return Ok(JobCommandOutcome::Unknown) };
    let death = JobKind::parse(&job.kind).map(JobKind::death);
    if let Some(Death::NeedsPerson | Death::Never) = death {
        return Ok(JobCommandOutcome::Refused(format!(
            "{} is never canceled: money may have moved that only it will notice",
            job.kind
        )));
    }
    let mut write = store.begin(1).await?;
    if !jobs::cancel(&mut write, &job).await? {
        return Ok(JobCommandOutcome::Refused(match job.state {
            JobState::Available | JobState::Enqueued | JobState::Dead => {
                format!("the job has changed in this moment; see `jobs show {id}`")
            }
            state @ (JobState::Running | JobState::Completed | JobState::Canceled) => {
                format!("the job is {state}; it can be canceled only while it waits or is dead")
            }
        }));
    }
    match death {
        Some(Death::FailsOrder) => {
            let order_id = OrderId(job.subject_id);
            // A draft may exist, and it may be paid. Staged first, because jobs are locked before the order's row.
            let now_ms = write.now_ms();
            jobs::stage(&mut write, Job::SettleOrder { order_id }, QueueName::Background, now_ms).await?;
            orders::cancel(&mut write, order_id, "an operator canceled the payment link").await?;
        }
        Some(Death::ReviewsRefund) => {
            let id = RefundId(job.subject_id);
            if !refunds::call_off(&mut write, id).await? {
                return Ok(JobCommandOutcome::Refused(format!(
                    "refund {id} may have been sent, or has ended: whether its money went back must be seen"
                )));
            }
        }
        Some(Death::NeedsPerson | Death::Never) | None => (),
    }
    write.commit().await?;
    Ok(JobCommandOutcome::Done)
}
