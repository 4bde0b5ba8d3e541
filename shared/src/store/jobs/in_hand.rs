//! A job that was staged and claimed in one transaction, for the worker that staged it.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Finish, finish_alone};
use crate::job::ClaimedJob;
use crate::store::Store;

/// The pauses between attempts to hand a job back.
const HAND_BACK_PAUSES_MS: [u64; 6] = [50, 200, 800, 2_000, 2_000, 0];

/// A claimed job for the caller that takes it.
///
/// A caller may be aborted between the commit and its answer: at its deadline, or when its own lease is lost. Then only
/// `Drop` sees that the job was not taken. It writes nothing: it puts the job where [`hand_back_untaken`] finds it. If that
/// does not run, the job's lease ends, which counts as a crash and delays the job, and loses nothing.
#[derive(Debug)]
pub struct InHand {
    store: Store,
    job: Option<ClaimedJob>,
}

impl InHand {
    pub(in crate::store) fn new(store: &Store, job: ClaimedJob) -> Self {
        InHand { store: store.clone(), job: Some(job) }
    }

    /// The job, which is the caller's to run.
    pub fn take(mut self) -> Option<ClaimedJob> {
        self.job.take()
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            self.store.0.untaken.put(job);
        }
    }
}

/// Jobs in hand that were dropped, until they are handed back.
#[derive(Debug, Default)]
pub(in crate::store) struct Untaken {
    jobs: Mutex<Vec<ClaimedJob>>,
    put: Notify,
}

impl Untaken {
    fn put(&self, job: ClaimedJob) {
        self.jobs().push(job);
        self.put.notify_one();
    }

    fn all(&self) -> Vec<ClaimedJob> {
        std::mem::take(&mut *self.jobs())
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<ClaimedJob>> {
        self.jobs.lock()
    }
}

/// Hands back the jobs in hand that were not taken, each as soon as it was dropped, until `stop`; then those that are left.
/// Every process that runs jobs needs it, once.
pub async fn hand_back_untaken(store: &Store, stop: &CancellationToken) {
    let untaken = &store.0.untaken;
    loop {
        for job in untaken.all() {
            hand_back(store, &job).await;
        }
        if stop.run_until_cancelled(untaken.put.notified()).await.is_none() {
            break;
        }
    }
    for job in untaken.all() {
        hand_back(store, &job).await;
    }
}

/// A claimed job that was never started goes back without burning an attempt, as soon as the database takes it.
pub async fn hand_back(store: &Store, job: &ClaimedJob) {
    let id = job.lease.job_id;
    for pause_ms in HAND_BACK_PAUSES_MS {
        let released = Finish::Release { not_before_ms: store.now_ms(), reason: None };
        match finish_alone(store, &job.lease, &released).await {
            Err(trouble) if trouble.is_passing() && pause_ms > 0 => {
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
            Err(trouble) => {
                warn!(job.id = %id, error = %trouble, "job {id} is not handed back; it is run when its lease ends");
                return;
            }
            Ok(()) => return,
        }
    }
}
