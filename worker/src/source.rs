//! Turns ids from the queue into claimed jobs for apalis. A claimer does the input and output; the apalis `Backend` is
//! the receiving end of its channel. (apalis-redis 1.0.0 loses and doubles jobs:
//! `docs/decisions/0001-not-apalis-redis.md`.)

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::RandomId;
use apalis_core::worker::context::WorkerContext as ApalisContext;
use domain::id::JobId;
use domain::job::{ClaimedJob, QueueName};
use failpoint::{Point, reach};
use process::consumption_check::{ConsumptionCheck, Slot};
use queue::{Queue, QueueError, Taker};
use store::jobs;
use store::{Store, StoreError};
use telemetry::causes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_layer::Identity;
use tracing::{info, warn};

use crate::WorkerOptions;

/// How long one take waits for an id. Short: a queue that vanished during a take is noticed only when its answer is
/// overdue.
pub(crate) const TAKE_WAIT: Duration = Duration::from_secs(2);

/// The longest pause while nothing can be taken.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The most ids that are claimed in one statement.
pub(crate) const MAX_CLAIM: usize = 64;

/// One take in this many begins with another queue, so that no queue starves.
const ROTATE_EVERY: usize = 8;

/// A job with its lease and the slot it runs in.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) job: ClaimedJob,
    pub(crate) slot: Slot,
}

/// The apalis backend: claimed jobs as they come.
pub(crate) struct JobSource(UnboundedReceiver<Claimed>);

impl JobSource {
    /// Takes ids until `stop`, in a task of `beside`. If that task ends earlier, no job is taken any more.
    pub(crate) fn start(
        store: &Store,
        queue: &Queue,
        options: &WorkerOptions,
        consumption_check: &ConsumptionCheck,
        stop: &CancellationToken,
        beside: &mut JoinSet<()>,
    ) -> Self {
        let (claimed, receiver) = unbounded_channel();
        let slots = Arc::clone(consumption_check.slots());
        let claimer = Claimer {
            store: store.clone(),
            slots,
            claimed,
            consumption_check: consumption_check.clone(),
            stop: stop.clone(),
        };
        let taker = SlotTaker { claimer, taker: queue.taker(), queues: options.queues.clone(), takes: 0 };
        beside.spawn(keep_taking(taker, store.clone(), stop.clone()));
        JobSource(receiver)
    }
}

impl Backend for JobSource {
    type Task = Task<Claimed>;
    // An error would end the worker and with it every running job; the claimer deals with trouble itself.
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &ApalisContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        _: &ApalisContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        self.0.poll_recv(context).map(|claimed| claimed.map(|claimed| Ok(TaskBuilder::new(claimed).build())))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, worker: &ApalisContext) -> Poll<Result<(), Infallible>> {
        // The end of the source does not end the worker: without this call it would wait for ever.
        if !worker.is_shutting_down() {
            let _ = worker.stop();
        }
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for JobSource {
    type Args = Claimed;
    type Id = RandomId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut ApalisContext) -> Identity {
        Identity::new()
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A way to take ids and to see to their jobs.
pub(crate) trait Take: Send + 'static {
    fn take(&mut self) -> impl Future<Output = Result<(), TakeError>> + Send;
}

/// Takes until `stop`. Trouble is waited out with a growing pause and never reaches apalis. It is logged once, and
/// again when its text changes.
pub(crate) async fn keep_taking(mut taking: impl Take, store: Store, stop: CancellationToken) {
    let mut pause = Duration::ZERO;
    let mut store_failed = false;
    let mut told = String::new();
    loop {
        let round = async {
            tokio::time::sleep(pause).await;
            if store_failed {
                // Ids that are taken while the database is away cannot be claimed, and are lost until their grace ends.
                store.ping().await?;
            }
            taking.take().await
        };
        match stop.run_until_cancelled(round).await {
            None => return,
            Some(Ok(())) => {
                if pause > Duration::ZERO {
                    info!("jobs are taken again");
                }
                pause = Duration::ZERO;
                store_failed = false;
            }
            Some(Err(trouble)) => {
                if pause.is_zero() || told != trouble.to_string() {
                    warn!(error = causes(&trouble), "no jobs can be taken: {trouble}");
                }
                told = trouble.to_string();
                pause = (pause * 2).clamp(Duration::from_millis(50), LONGEST_PAUSE);
                store_failed = matches!(trouble, TakeError::Store(_));
            }
        }
    }
}

#[derive(Clone)]
struct Claimer {
    store: Store,
    slots: Arc<Semaphore>,
    claimed: UnboundedSender<Claimed>,
    consumption_check: ConsumptionCheck,
    stop: CancellationToken,
}

impl Claimer {
    /// Claims the jobs of these ids and hands each on with a slot.
    ///
    /// In a task of its own: a stop during the claim must not forget rows that the database has already given to us.
    async fn claim(&self, ids: Vec<JobId>, mut free: OwnedSemaphorePermit) -> Result<(), TakeError> {
        let claimer = self.clone();
        let claiming = tokio::spawn(async move {
            reach(Point::ClaimBefore);
            let jobs = jobs::claim(&claimer.store, &ids).await?;
            reach(Point::ClaimAfter);
            claimer.consumption_check.took();
            for job in jobs {
                if claimer.stop.is_cancelled() {
                    jobs::hand_back(&claimer.store, &job).await;
                    continue;
                }
                let Some(slot) = free.split(1) else {
                    jobs::hand_back(&claimer.store, &job).await;
                    continue;
                };
                let claimed = Claimed { job, slot: claimer.consumption_check.occupy(slot) };
                if let Err(refused) = claimer.claimed.send(claimed) {
                    jobs::hand_back(&claimer.store, &refused.0.job).await;
                }
            }
            Ok(())
        });
        match claiming.await {
            Ok(result) => result,
            Err(_) => Ok(()), // A panic: the rows come back when their leases end.
        }
    }
}

/// Takes as many ids as slots are free.
struct SlotTaker {
    claimer: Claimer,
    taker: Taker,
    queues: Vec<QueueName>,
    takes: usize,
}

impl Take for SlotTaker {
    async fn take(&mut self) -> Result<(), TakeError> {
        let Ok(mut free) = Arc::clone(&self.claimer.slots).acquire_owned().await else { return Ok(()) };
        let more = self.claimer.slots.available_permits().min(MAX_CLAIM - 1);
        if let Ok(more) = Arc::clone(&self.claimer.slots).try_acquire_many_owned(u32::try_from(more).unwrap_or(0)) {
            free.merge(more);
        }
        self.takes = self.takes.wrapping_add(1);
        let ids = self.taker.take(&rotated(&self.queues, self.takes), free.num_permits(), TAKE_WAIT).await?;
        if ids.is_empty() {
            return Ok(());
        }
        self.claimer.claim(ids, free).await
    }
}

/// The order of the queues for this take: mostly the most urgent first, now and then another one.
fn rotated(queues: &[QueueName], take: usize) -> Vec<QueueName> {
    let mut queues = queues.to_vec();
    if take.is_multiple_of(ROTATE_EVERY) && !queues.is_empty() {
        let places = (take / ROTATE_EVERY) % queues.len();
        queues.rotate_left(places);
    }
    queues
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: JOB-37
    #[test]
    fn settlements_come_first_and_each_queue_is_first_now_and_then() {
        use QueueName::{Background, Links, Settle};
        let queues = WorkerOptions::ALL_QUEUES;

        let first: Vec<QueueName> = (1..=24).map(|take| rotated(&queues, take)[0]).collect();

        assert_eq!(rotated(&queues, 1), [Settle, Links, Background]);
        assert_eq!(first.iter().filter(|queue| **queue == Settle).count(), 22);
        assert_eq!((first[7], first[15], first[23]), (Links, Background, Settle));
        assert!((1..=24).all(|take| rotated(&queues, take).len() == 3));
        assert_eq!(rotated(&[], 8), []);
    }
}
