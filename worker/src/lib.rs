//! The jobs, and the apalis worker that runs them.
//!
//! apalis gives the slots, the drain and the tower stack. The ids come from our own `source`: the job row in the
//! database is the truth, and the queue only carries its number.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::*;
use domain::job::{Job, QueueName};
use futures_util::future::BoxFuture;
use gateway::Gateways;
use process::consumption_check::ConsumptionCheck;
use process::public_address::PublicUrl;
use queue::Queue;
use store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

mod account_places;
mod attempt;
mod elsewhere;
mod failure;
mod handler;
pub mod health;
mod inquiry_schedule;
mod jobs;
mod lease;
mod metrics;
mod nearing;
mod place_turns;
mod settings;
mod source;
mod suspects;

pub use failure::delay_ms;
pub use inquiry_schedule::InquirySchedule;
pub use settings::WorkerSettings;
pub use suspects::{SuspectProgram, run_suspects};

use account_places::AccountPlaces;
use attempt::Attempts;
use lease::LeaseKeeper;
use source::{Claimed, JobSource, keep_taking};
use suspects::SuspectTaker;

/// The things that the jobs work with.
#[derive(Clone, Debug)]
pub struct WorkerContext {
    /// The database.
    pub store: Store,
    /// The gateway accounts, which move the money.
    pub gateways: Gateways,
    /// The address to which customers return.
    pub public_url: PublicUrl,
    /// How jobs are run.
    pub settings: WorkerSettings,
    /// How long an order can be paid, from its first link on.
    pub payment_ttl: Duration,
    /// How long an order lives without a link.
    pub link_ttl: Duration,
}

/// How much a worker takes on.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Jobs that run at once.
    pub slots: usize,
    /// The queues it takes from, most urgent first; `suspect` is always taken.
    pub queues: Vec<QueueName>,
    /// How long a stop waits for running jobs.
    pub stop_grace: Duration,
}

impl WorkerOptions {
    /// All queues: what decides about money first.
    pub const ALL_QUEUES: [QueueName; 3] = [QueueName::Settle, QueueName::Links, QueueName::Background];
}

/// A worker that is about to run. Its [`ConsumptionCheck`] is for `/readyz`.
#[derive(Debug)]
pub struct JobWorker {
    context: WorkerContext,
    queue: Queue,
    options: WorkerOptions,
    suspects: SuspectProgram,
    consumption_check: ConsumptionCheck,
}

impl JobWorker {
    /// A worker on this queue. Its suspects run in `suspects`.
    pub fn new(context: WorkerContext, queue: Queue, options: WorkerOptions, suspects: SuspectProgram) -> Self {
        let consumption_check = ConsumptionCheck::new(options.slots, &options.queues);
        JobWorker { context, queue, options, suspects, consumption_check }
    }

    /// The check whether this worker takes jobs.
    pub fn consumption_check(&self) -> ConsumptionCheck {
        self.consumption_check.clone()
    }

    /// Runs jobs until `stop`. Then it takes no new jobs, hands back jobs that have not started, and waits up to the
    /// grace time for the rest. Returns whether all jobs ended in time. The other jobs are run again elsewhere once
    /// their leases end, so the process should exit.
    pub async fn run(self, stop: CancellationToken) -> bool {
        let keeper = LeaseKeeper::default();
        let ended = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(seed_sweep(self.context.store.clone())));

        let slots = self.options.slots;
        let mut beside = JoinSet::new();
        beside.spawn(keeper.clone().run(self.context.store.clone(), ended.clone()));
        let store = self.context.store.clone();
        let source = JobSource::start(&store, &self.queue, &self.options, &self.consumption_check, &stop, &mut beside);
        let children = TaskTracker::new();
        let suspects = SuspectTaker::new(&store, &self.queue, self.suspects, &children, &stop);
        beside.spawn(keep_taking(suspects, store, stop.clone()));
        tokio::spawn(stop.clone().run_until_cancelled_owned(nearing::keep_near(self.context.clone())));
        let places = AccountPlaces::new(&self.context.gateways, slots);
        let runs = slots + places.runs_without_slot();
        let attempts = Arc::new(Attempts { context: self.context, keeper, places });
        let mut working = pin!(async {
            let ended = work(source, attempts, runs).await;
            children.close();
            children.wait().await;
            ended
        });
        let mut grace_over = pin!(async {
            stop.cancelled().await;
            tokio::time::sleep(self.options.stop_grace).await;
        });
        let drained = loop {
            tokio::select! {
                result = &mut working => {
                    break result.inspect_err(|error| warn!(error = %error, "the worker ended with an error")).is_ok();
                }
                () = &mut grace_over => {
                    warn!("jobs still run after the grace time of a stop; they are run again once their leases end");
                    break false;
                }
                Some(part) = beside.join_next() => {
                    if part.is_err() || !stop.is_cancelled() {
                        // Without this part jobs would wait, or other workers would take them while they run.
                        error!("a part of the worker ended by itself; the process must be started again");
                        break false;
                    }
                }
            }
        };
        ended.cancel();
        // A renewal may hang in a database call, and its result no longer matters.
        let _ =
            tokio::time::timeout(Duration::from_secs(1), async { while beside.join_next().await.is_some() {} }).await;
        info!("the worker has stopped");
        drained
    }
}

/// Runs apalis until its source ends. Boxed, because the compiler cannot see through apalis' types that a task may be
/// moved between threads.
fn work(source: JobSource, attempts: Arc<Attempts>, runs: usize) -> BoxFuture<'static, Result<(), WorkerError>> {
    let worker = WorkerBuilder::new("tasdiq")
        .backend(source)
        .concurrency(runs)
        .parallelize(tokio::spawn)
        .catch_panic()
        .data(attempts)
        .build(run_claimed);
    Box::pin(worker.run())
}

async fn run_claimed(claimed: Claimed, attempts: Data<Arc<Attempts>>) -> Result<(), BoxDynError> {
    attempt::run(&attempts, claimed).await;
    // The job's row holds the result; for apalis every run succeeds.
    Ok(())
}

/// Makes the `sweep` job, which must always exist. Every worker does so at its start.
async fn seed_sweep(store: Store) {
    let mut pause = Duration::from_millis(100);
    while let Err(trouble) = store::jobs::seed(&store, Job::Sweep).await {
        if !trouble.is_passing() {
            warn!(error = %trouble, "sweep could not be seeded");
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

#[cfg(test)]
mod tests {
    use domain::job::JobKind;

    use super::*;

    #[test]
    fn every_kind_is_taken_from_one_queue() {
        for kind in JobKind::ALL {
            let taken = WorkerOptions::ALL_QUEUES.iter().filter(|queue| **queue == kind.queue()).count();
            assert_eq!(taken, 1, "{kind}");
        }
    }
}
