//! Checks that every order has its jobs, and that no job is stuck.

use domain::id::OrderId;
use domain::job::{Death, JobKind, JobRow, JobState};
use domain::order::{Order, OrderStatus};
use domain::time::rfc3339;
use store::auditing::CallbackJobRecord;
use store::sweeping::{LATE_INQUIRIES_MARGIN_MS, LATE_INQUIRIES_MS};

use super::{Case, Difference, Kind};

/// A lease that ended longer ago than this shows that no relay works.
const LEASE_ENDED_MS: i64 = 60_000;

/// A job that waits longer than this after its time shows that no worker works, or far too few.
const OVERDUE_MS: i64 = 300_000;

pub(super) fn check(case: &mut Case<'_>) {
    let (order, now_ms) = (case.order(), case.against.now_ms);
    for kind in JobKind::ALL.iter().copied() {
        if let Some(says) = why_needed(kind, order, now_ms)
            && case.open_job_due_ms(kind).is_none()
        {
            case.find(Kind::OrderWithoutJob, None, format!("{} {says}", order.status));
        }
        let open = case.record.jobs.iter().filter(|job| job.kind == kind.as_str() && job.state.is_open()).count();
        if open > 1 {
            case.find(Kind::JobDoubled, None, format!("{open} open jobs {kind}"));
        }
    }
    for job in &case.record.jobs {
        let is_end_of_order = JobKind::parse(&job.kind).is_some_and(|kind| kind.death() == Death::FailsOrder);
        let is_seen = case.is_before_a_person() || (order.status == OrderStatus::Failed && is_end_of_order);
        case.differences.extend(dead_letter(job, Some((order.id, order.status)), is_seen));
        case.differences.extend(stuck(job, Some(order.id), now_ms));
    }
}

/// The message about an order that must have an open job of this kind and has none; `None` if it need not have one. A
/// refund without its job is reported by itself.
fn why_needed(kind: JobKind, order: &Order, now_ms: i64) -> Option<&'static str> {
    match kind {
        JobKind::CreatePaymentLink if needs_link_job(order, now_ms) => {
            Some("without a link, and no job is to make one")
        }
        JobKind::SettleOrder if needs_inquiry(order, now_ms) => Some("and no inquiry is to come"),
        _ => None,
    }
}

/// The same rule by which `sweep` restores it.
fn needs_link_job(order: &Order, now_ms: i64) -> bool {
    order.status == OrderStatus::Pending
        && order.account.is_some()
        && order.payment_url.is_none()
        && order.expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > now_ms)
}

/// From its first link until its last late inquiry, unless it is in review.
fn needs_inquiry(order: &Order, now_ms: i64) -> bool {
    match order.status {
        OrderStatus::Pending | OrderStatus::Confirming => order.expires_at_ms.is_some(),
        OrderStatus::Paid | OrderStatus::Refunded | OrderStatus::Expired | OrderStatus::Canceled => {
            let after_ms = now_ms - LATE_INQUIRIES_MS + LATE_INQUIRIES_MARGIN_MS;
            !order.needs_review && order.final_at_ms.is_some_and(|final_at_ms| final_at_ms > after_ms)
        }
        // The gateway is asked about the person's decision.
        OrderStatus::Review => order.claimed_payment().is_some(),
        OrderStatus::Failed => false,
    }
}

fn dead_letter(job: &JobRow, order: Option<(OrderId, OrderStatus)>, is_seen: bool) -> Option<Difference> {
    if job.state != JobState::Dead {
        return None;
    }
    let why = job.last_error.as_deref().unwrap_or("the reason was not recorded");
    let (kind, says) = match order {
        Some((_, status)) if !is_seen => {
            (Kind::DeadLetterUnseen, format!("{} died, and its order is {status}: {why}", job.kind))
        }
        _ => (Kind::DeadLetter, format!("{} died: {why}", job.kind)),
    };
    Some(about(job, kind, order.map(|(id, _)| id), says))
}

fn stuck(job: &JobRow, order_id: Option<OrderId>, now_ms: i64) -> Option<Difference> {
    let says = match job.state {
        JobState::Running if now_ms - job.due_at_ms > LEASE_ENDED_MS => {
            format!("{} runs, and its lease ended at {}", job.kind, rfc3339(job.due_at_ms))
        }
        JobState::Available | JobState::Enqueued => {
            // An enqueued row becomes due again and again, whenever its grace ends.
            let since_ms = match job.state {
                JobState::Enqueued => job.waiting_since_ms.unwrap_or(job.due_at_ms),
                _ => job.due_at_ms,
            };
            if now_ms - since_ms <= OVERDUE_MS {
                return None;
            }
            format!("{} has waited for a worker since {}", job.kind, rfc3339(since_ms))
        }
        JobState::Running | JobState::Completed | JobState::Canceled | JobState::Dead => return None,
    };
    Some(about(job, Kind::JobStuck, order_id, says))
}

fn about(job: &JobRow, kind: Kind, order_id: Option<OrderId>, says: String) -> Difference {
    Difference { kind, order_id, transaction_id: None, job_id: Some(job.id), says }
}

/// A job about an order that does not exist.
pub fn job_without_order(job: &JobRow) -> Difference {
    let says = format!("{} of order {}, which does not exist", job.kind, job.subject_id);
    about(job, Kind::JobWithoutOrder, Some(OrderId(job.subject_id)), says)
}

/// A difference about a `process_callback` job. Its callback may be deleted, because it is kept no longer than the dead
/// letter; its order is then unknown.
pub fn callback_job(record: &CallbackJobRecord, now_ms: i64) -> Option<Difference> {
    let order = record.order.map(|(id, status, _)| (id, status));
    let is_seen = record.order.is_some_and(|(_, status, needs_review)| status == OrderStatus::Review || needs_review);
    dead_letter(&record.job, order, is_seen).or_else(|| stuck(&record.job, order.map(|(id, _)| id), now_ms))
}

/// A difference about `sweep`, the one job that restores all others.
pub fn sweep(open: Option<&JobRow>, now_ms: i64) -> Option<Difference> {
    match open {
        Some(job) => stuck(job, None, now_ms),
        None => Some(Difference {
            kind: Kind::SweepMissing,
            order_id: None,
            transaction_id: None,
            job_id: None,
            says: "no sweep is to come, so nothing restores jobs that are missing".into(),
        }),
    }
}
