//! One run of a job: its lease kept, its deadline watched, its end written.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use shared::clock::millis;
use shared::coordination::Urgency;
#[cfg(feature = "failpoints")]
use shared::failpoint;
use shared::failpoint::{Point, reach};
use shared::job::{ClaimedJob, Job, JobKind, Lease, QueueName};
use shared::store::jobs::{self, BuriedBy, Finish, InHand};
use shared::store::{Store, StoreError};
use shared::telemetry::causes;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::failure::{Done, Failure, Verdict};
use crate::lease::{HeldLease, LeaseKeeper};
use crate::source::Claimed;
use crate::{WorkerContext, create_payment_link, metrics, process_callback, refund_order, settle_order, sweep};

/// A newer release's job is offered again after this long: a worker of that release may come.
const UNKNOWN_KIND_MS: i64 = 30_000;

/// What every attempt needs.
pub(crate) struct Attempts {
    pub(crate) context: WorkerContext,
    pub(crate) keeper: LeaseKeeper,
    pub(crate) stop: CancellationToken,
}

/// Runs a claimed job to its end, and what follows from it; its slot is free afterwards.
pub(crate) async fn run(attempts: &Attempts, claimed: Claimed) {
    let Claimed { job, slot } = claimed;
    let mut next = Some(job);
    while let Some(job) = next {
        let is_suspect = job.queue == QueueName::Suspect;
        let span = info_span!("job", job.id = %job.lease.job_id, job.kind = %job.kind, attempt = job.attempt);
        let follows = run_held(attempts, job).instrument(span).await;
        next = follows.and_then(InHand::take);
        if let Some(job) = next.take_if(|_| is_suspect || attempts.stop.is_cancelled()) {
            // A suspect keeps all slots, which what follows from it does not need; a stop lets nothing new begin. The slot
            // is kept meanwhile, or the process might end before this is written.
            jobs::hand_back(&attempts.context.store, &job).await;
        }
    }
    drop(slot);
}

/// Returns the job that follows from this one, if there is one.
async fn run_held(attempts: &Attempts, claimed: ClaimedJob) -> Option<InHand> {
    let store = &attempts.context.store;
    let held = attempts.keeper.hold(claimed.lease);
    let job = match &claimed.job {
        Ok(job) => *job,
        Err(_) => {
            warn!(
                job.kind = claimed.kind,
                "a job of kind {} is not known to this release; it is left to a newer one", claimed.kind
            );
            metrics::count_job("unknown", "unknown_kind");
            let release = Finish::Release { not_before_ms: store.now_ms() + UNKNOWN_KIND_MS };
            write_end(&held, store, &claimed.lease, || jobs::finish_alone(store, &claimed.lease, &release)).await;
            return None;
        }
    };
    let began = Instant::now();
    let deadline = job.kind().deadline();
    let handled = AssertUnwindSafe(handle(&attempts.context, &claimed.lease, job, claimed.queue)).catch_unwind();
    let result = tokio::select! {
        result = tokio::time::timeout(deadline, handled) => match result {
            Ok(Ok(result)) => result,
            Ok(Err(_panic)) => Err(Failure::Panicked),
            Err(_elapsed) => Err(Failure::Deadline(deadline)),
        },
        () = held.lost() => Err(Failure::Store(StoreError::LeaseLost)),
    };
    metrics::observe_job(job.kind(), began.elapsed());
    match result {
        Ok(done) => end_well(&held, store, &claimed, job.kind(), done).await,
        Err(failure) => {
            end_badly(&held, &attempts.context, &claimed, job.kind(), failure).await;
            None
        }
    }
}

async fn handle(context: &WorkerContext, lease: &Lease, job: Job, queue: QueueName) -> Result<Done, Failure> {
    reach(Point::AttemptBefore);
    #[cfg(feature = "failpoints")]
    poison(job)?;
    match job {
        Job::CreatePaymentLink { order_id } => create_payment_link::create_payment_link(context, lease, order_id).await,
        Job::ProcessCallback { callback_id } => process_callback::process_callback(context, lease, callback_id).await,
        Job::SettleOrder { order_id } => settle_order::settle_order(context, lease, order_id, urgency(queue)).await,
        Job::RefundOrder { refund_id } => refund_order::refund_order(context, lease, refund_id).await,
        Job::Sweep => sweep::sweep(context).await,
    }
}

/// What somebody waits for stands on the queues that are taken first.
fn urgency(queue: QueueName) -> Urgency {
    match queue {
        QueueName::Settle | QueueName::Links | QueueName::Suspect => Urgency::Now,
        QueueName::Background => Urgency::Later,
    }
}

/// Poison, that is a defect that only some orders meet: their jobs end the process, panic or fail, where `FAILPOINTS` says
/// so. (A suspect is what such a job becomes.)
#[cfg(feature = "failpoints")]
fn poison(job: Job) -> Result<(), Failure> {
    let order_id = match job {
        Job::CreatePaymentLink { order_id } | Job::SettleOrder { order_id } => order_id,
        Job::ProcessCallback { .. } | Job::RefundOrder { .. } | Job::Sweep => return Ok(()),
    };
    match failpoint::poison_of(order_id.0) {
        Some(point) if failpoint::strikes(point) => {
            Err(StoreError::UnknownValue { column: "poison", value: "given by a test".into() }.into())
        }
        _ => Ok(()),
    }
}

async fn end_well(held: &HeldLease, store: &Store, claimed: &ClaimedJob, kind: JobKind, done: Done) -> Option<InHand> {
    let (finish, outcome) = match done {
        Done::Changed => {
            metrics::count_job(kind.as_str(), "changed");
            return None;
        }
        Done::Then(follows) => {
            metrics::count_job(kind.as_str(), "changed");
            return Some(follows);
        }
        Done::NothingToDo => (Finish::Complete, "nothing_to_do"),
        Done::Snooze { until_ms, queue } => (Finish::Snooze { until_ms, queue }, "snoozed"),
    };
    metrics::count_job(kind.as_str(), outcome);
    write_end(held, store, &claimed.lease, || jobs::finish_alone(store, &claimed.lease, &finish)).await;
    None
}

async fn end_badly(held: &HeldLease, context: &WorkerContext, claimed: &ClaimedJob, kind: JobKind, failure: Failure) {
    let store = &context.store;
    let (id, attempt) = (claimed.lease.job_id, claimed.attempt);
    let now_ms = store.now_ms();
    let reason = reason_of(&failure);
    // While the breaker is open its wait is the one that counts: nobody must still sit out a backoff of minutes when the
    // gateway is back.
    let breaker = context.gateway.coordination();
    let breaker_wait = failure.is_gateways().then(|| breaker.breaker_wait(urgency(claimed.queue))).flatten();
    let verdict = match breaker_wait {
        Some(wait) => Verdict::Release { wait_ms: millis(wait) },
        None => failure.verdict(Some(kind), attempt, rand::random_range(0..1_000)),
    };
    match verdict {
        Verdict::Retry { wait_ms } => {
            warn!(retry_in_ms = wait_ms, error = reason, "attempt {attempt} of job {id} failed, next in {wait_ms} ms");
            metrics::count_job(kind.as_str(), "failed");
            let retry = Finish::Retry { not_before_ms: now_ms + wait_ms, error: reason };
            write_end(held, store, &claimed.lease, || jobs::finish_alone(store, &claimed.lease, &retry)).await;
        }
        Verdict::Release { wait_ms } => {
            info!(error = reason, "job {id} is handed back, next in {wait_ms} ms: {reason}");
            metrics::count_job(kind.as_str(), "released");
            let release = Finish::Release { not_before_ms: now_ms + wait_ms };
            write_end(held, store, &claimed.lease, || jobs::finish_alone(store, &claimed.lease, &release)).await;
        }
        Verdict::Bury { refused } => {
            error!(error = reason, "job {id} ({kind}) is a dead letter: {reason}");
            metrics::count_job(kind.as_str(), "dead");
            let by = BuriedBy::Worker(&claimed.lease);
            write_end(held, store, &claimed.lease, || jobs::bury(store, by, &reason, refused)).await;
        }
        Verdict::Forget => {
            debug!("job {id} belongs to somebody else by now");
            metrics::count_job(kind.as_str(), "lease_lost");
        }
    }
}

/// Writes a run's end until the database answers; the lease is renewed meanwhile.
async fn write_end<F>(held: &HeldLease, store: &Store, lease: &Lease, write: impl Fn() -> F)
where
    F: Future<Output = Result<(), StoreError>>,
{
    let id = lease.job_id;
    let mut pause = Duration::from_millis(50);
    loop {
        match write().await {
            Ok(()) => return,
            Err(StoreError::LeaseLost) => {
                debug!("job {id} belongs to somebody else by now");
                return;
            }
            Err(trouble) if trouble.is_passing() => {
                let waited = tokio::select! {
                    () = tokio::time::sleep(pause) => true,
                    () = held.lost() => false,
                };
                if !waited {
                    return;
                }
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            Err(trouble) => {
                error!(
                    error = reason_of(&trouble),
                    now_ms = store.now_ms(),
                    "the end of job {id} could not be written; it runs again when its lease ends"
                );
                return;
            }
        }
    }
}

/// An error with its causes, short enough for a row; no error of ours carries a secret.
fn reason_of(error: &dyn std::error::Error) -> String {
    causes(error).chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_may_wait_stand_behind_links_and_fresh_looks() {
        for queue in QueueName::ALL {
            let expected = if *queue == QueueName::Background { Urgency::Later } else { Urgency::Now };
            assert_eq!(urgency(*queue), expected, "{queue}");
        }
    }
}
