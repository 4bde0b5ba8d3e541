//! One run of a job: keeps its lease, watches its deadline, writes its end.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

#[cfg(feature = "failpoints")]
use domain::job::Subject;
use domain::job::{ClaimedJob, Job, JobKind, JobState, Lease, QueueName};
use domain::time::millis;
use failpoint::{Point, reach};
use futures_util::FutureExt;
use gateway::coordination::Urgency;
use store::jobs::{self, DeadLetteredBy, Finish};
use store::kinds;
use store::{Store, StoreError};
use telemetry::causes;
use tracing::{Instrument, debug, error, info, info_span, warn};

use crate::account_places::{AccountPlaces, SlotOfRun};
use crate::failure::{Done, Failure, NextStep};
use crate::handler::Attempt;
use crate::lease::{HeldLease, LeaseKeeper};
use crate::source::Claimed;
use crate::{WorkerContext, metrics};

/// A newer release's job is enqueued again after this long: a worker of that release may come.
const UNKNOWN_KIND_MS: i64 = 30_000;

/// The shortest wait of a suspect that the gateway or our breaker told to wait. A suspect runs in a process of its own:
/// in an outage, waits of a second or two would start such processes again and again for nothing.
const SUSPECT_WAIT_MS: i64 = 15_000;

/// The things that every attempt needs.
pub(crate) struct Attempts {
    pub(crate) context: WorkerContext,
    pub(crate) keeper: LeaseKeeper,
    pub(crate) places: AccountPlaces,
}

/// Runs a claimed job to its end; its slot is free afterwards.
pub(crate) async fn run(attempts: &Attempts, claimed: Claimed) {
    let Claimed { job, slot } = claimed;
    run_in(attempts, job, &SlotOfRun::new(slot)).await;
}

/// Runs a job to its end, outside the worker's slots.
pub(crate) async fn run_once(attempts: &Attempts, job: ClaimedJob) {
    run_in(attempts, job, &SlotOfRun::default()).await;
}

async fn run_in(attempts: &Attempts, job: ClaimedJob, slot: &SlotOfRun) {
    let span = info_span!("job", job.id = %job.lease.job_id, job.kind = %job.kind, attempt = job.attempt);
    run_held(attempts, job, slot).instrument(span).await;
}

async fn run_held(attempts: &Attempts, claimed: ClaimedJob, slot: &SlotOfRun) {
    let store = &attempts.context.store;
    let held = attempts.keeper.hold(claimed.lease);
    let job = match &claimed.job {
        Ok(job) => *job,
        Err(_) => {
            warn!(
                job.kind = claimed.kind,
                "a job of kind {} is not known to this release; it is left to a newer one", claimed.kind
            );
            let release = Finish::Release { not_before_ms: store.now_ms() + UNKNOWN_KIND_MS, reason: None };
            let end = || jobs::finish_alone(store, &claimed.lease, &release);
            let written = write_end(&held, store, &claimed.lease, end).await;
            metrics::count_job("unknown", written.map_or_else(Unwritten::outcome, |()| "unknown_kind"));
            return;
        }
    };
    let began = Instant::now();
    let deadline = job.kind().deadline();
    let handled = AssertUnwindSafe(handle(attempts, &claimed, job, slot)).catch_unwind();
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
        Err(failure) => end_badly(&held, &attempts.context, &claimed, job.kind(), failure).await,
    }
}

macro_rules! handlers {
    ($($(#[$doc:meta])* $name:ident $kind:ident $({ $field:ident: $Id:ident })? ($($line:tt)*))+) => {
        /// Each kind's handler is `run` in the module of its name.
        async fn call(job: Job, attempt: Attempt<'_>) -> Result<Done, Failure> {
            match job { $(Job::$kind $({ $field })? => crate::jobs::$name::run(attempt $(, $field)?).await,)+ }
        }
    };
}
domain::each_kind!(handlers);

async fn handle(attempts: &Attempts, claimed: &ClaimedJob, job: Job, slot: &SlotOfRun) -> Result<Done, Failure> {
    reach(Point::AttemptBefore);
    #[cfg(feature = "failpoints")]
    inject_defect(job)?;
    let (lease, woken_by, urgency) = (&claimed.lease, &claimed.woken_by[..], urgency(claimed.queue));
    let Attempts { context, places, .. } = attempts;
    call(job, Attempt { context, places, slot, lease, urgency, woken_by }).await
}

/// The urgency of a queue: jobs for which a customer waits stand on the queues that are taken first.
fn urgency(queue: QueueName) -> Urgency {
    match queue {
        QueueName::Links | QueueName::Suspect => Urgency::Now,
        QueueName::Settle => Urgency::Soon,
        QueueName::Background => Urgency::Later,
    }
}

/// Injects a defect that only some orders meet: their jobs end the process, panic or fail, where `FAILPOINTS` says so.
/// Such a job becomes a suspect.
#[cfg(feature = "failpoints")]
fn inject_defect(job: Job) -> Result<(), Failure> {
    if job.kind().subject() != Subject::Order {
        return Ok(());
    }
    match failpoint::defect_of(job.subject_id()) {
        Some(point) if failpoint::strikes(point) => {
            Err(StoreError::UnknownValue { column: "defect", value: "given by a test".into() }.into())
        }
        _ => Ok(()),
    }
}

async fn end_well(held: &HeldLease, store: &Store, claimed: &ClaimedJob, kind: JobKind, done: Done) {
    let (finish, outcome) = match done {
        Done::Changed => {
            metrics::count_job(kind.as_str(), "changed");
            return;
        }
        Done::NothingToDo => (Finish::Complete, "nothing_to_do"),
        Done::Snooze { until_ms, queue } => (Finish::Snooze { until_ms, queue }, "snoozed"),
    };
    let written = write_end(held, store, &claimed.lease, || jobs::finish_alone(store, &claimed.lease, &finish)).await;
    metrics::count_job(kind.as_str(), written.map_or_else(Unwritten::outcome, |()| outcome));
}

async fn end_badly(held: &HeldLease, context: &WorkerContext, claimed: &ClaimedJob, kind: JobKind, failure: Failure) {
    let store = &context.store;
    let (id, attempt) = (claimed.lease.job_id, claimed.attempt);
    let now_ms = store.now_ms();
    let reason = reason_of(&failure);
    // While the breaker is open its wait counts: a job must not still be in a backoff of minutes when the gateway is
    // back.
    let failed = failure.failed_account().and_then(|account| context.gateways.get(account));
    let breaker_wait = failed.and_then(|gateway| gateway.coordination().breaker_wait(urgency(claimed.queue)));
    let next_step = match breaker_wait {
        Some(wait) => NextStep::Release { wait_ms: millis(wait) },
        None => failure.next_step(kind, attempt, rand::random_range(0..1_000)),
    };
    let next_step = match (next_step, &failure) {
        (NextStep::Release { wait_ms }, Failure::Gateway { .. }) => {
            NextStep::Release { wait_ms: release_ms(claimed.queue, wait_ms) }
        }
        (next_step, _) => next_step,
    };
    let written = match next_step {
        NextStep::Retry { wait_ms } => {
            warn!(retry_in_ms = wait_ms, error = reason, "attempt {attempt} of job {id} failed, next in {wait_ms} ms");
            let retry = Finish::Retry { not_before_ms: now_ms + wait_ms, error: reason, outcome: failure.outcome() };
            let end = || jobs::finish_alone(store, &claimed.lease, &retry);
            write_end(held, store, &claimed.lease, end).await.map(|()| "failed")
        }
        NextStep::Release { wait_ms } => {
            info!(error = reason, "job {id} is handed back, next in {wait_ms} ms: {reason}");
            let release = Finish::Release { not_before_ms: now_ms + wait_ms, reason: Some(reason) };
            let end = || jobs::finish_alone(store, &claimed.lease, &release);
            write_end(held, store, &claimed.lease, end).await.map(|()| "released")
        }
        NextStep::DeadLetter { refused } => {
            let by = DeadLetteredBy::Worker(&claimed.lease);
            let end = || kinds::dead_letter(store, by, &reason, refused);
            match write_end(held, store, &claimed.lease, end).await {
                Ok(JobState::Dead) => {
                    error!(error = reason, "job {id} ({kind}) is a dead letter: {reason}");
                    Ok("dead")
                }
                Ok(_) => {
                    info!(error = reason, "job {id} ({kind}) has nothing left to do: {reason}");
                    Ok("nothing_to_do")
                }
                Err(unwritten) => Err(unwritten),
            }
        }
        NextStep::Forget => {
            debug!("job {id} belongs to another worker by now");
            Err(Unwritten::LeaseLost)
        }
    };
    metrics::count_job(kind.as_str(), written.unwrap_or_else(Unwritten::outcome));
}

/// How long a job waits after it was told to wait for `wait_ms`. Pure.
fn release_ms(queue: QueueName, wait_ms: i64) -> i64 {
    match queue {
        QueueName::Suspect => wait_ms.max(SUSPECT_WAIT_MS),
        QueueName::Settle | QueueName::Links | QueueName::Background => wait_ms,
    }
}

/// Why the end of a run is not in its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unwritten {
    /// The job belongs to another worker.
    LeaseLost,
    /// The database refused it; the job runs again when its lease ends.
    Refused,
}

impl Unwritten {
    /// The outcome under which such a run is counted.
    fn outcome(self) -> &'static str {
        match self {
            Unwritten::LeaseLost => "lease_lost",
            Unwritten::Refused => "unwritten",
        }
    }
}

/// Writes a run's end, again and again until the database answers. The lease is renewed meanwhile.
async fn write_end<T, F>(held: &HeldLease, store: &Store, lease: &Lease, write: impl Fn() -> F) -> Result<T, Unwritten>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let id = lease.job_id;
    let mut pause = Duration::from_millis(50);
    loop {
        match write().await {
            Ok(written) => return Ok(written),
            Err(StoreError::LeaseLost) => {
                debug!("job {id} belongs to another worker by now");
                return Err(Unwritten::LeaseLost);
            }
            Err(trouble) if trouble.is_passing() => {
                let waited = tokio::select! {
                    () = tokio::time::sleep(pause) => true,
                    () = held.lost() => false,
                };
                if !waited {
                    return Err(Unwritten::LeaseLost);
                }
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            Err(trouble) => {
                error!(
                    error = reason_of(&trouble),
                    now_ms = store.now_ms(),
                    "the end of job {id} could not be written; it runs again when its lease ends"
                );
                return Err(Unwritten::Refused);
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
    fn inquiries_that_may_wait_stand_behind_links_and_recent_inquiries() {
        for queue in QueueName::ALL {
            let expected = match queue {
                QueueName::Background => Urgency::Later,
                QueueName::Settle => Urgency::Soon,
                _ => Urgency::Now,
            };
            assert_eq!(urgency(*queue), expected, "{queue}");
        }
    }

    #[test]
    fn a_suspect_that_is_told_to_wait_starts_no_process_every_second() {
        assert_eq!(release_ms(QueueName::Suspect, 1_000), SUSPECT_WAIT_MS);
        assert_eq!(release_ms(QueueName::Suspect, 60_000), 60_000);
        assert_eq!(release_ms(QueueName::Links, 1_000), 1_000);
    }
}
