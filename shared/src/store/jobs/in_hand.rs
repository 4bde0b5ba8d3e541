//! A job that was staged and claimed in one transaction, for the worker that staged it.

use std::time::Duration;

use tokio::runtime::Handle;
use tracing::{Instrument, warn};

use super::{Finish, finish_alone};
use crate::job::ClaimedJob;
use crate::store::Store;

/// The pauses between attempts to hand a job back.
const HAND_BACK_PAUSES_MS: [u64; 6] = [50, 200, 800, 2_000, 2_000, 0];

/// A claimed job for whoever takes it. One that nobody takes is handed back, for whoever was to take it has been aborted
/// or is to stop, and that is no crash.
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
        let (Some(job), Ok(runtime)) = (self.job.take(), Handle::try_current()) else { return };
        let store = self.store.clone();
        runtime.spawn(async move { hand_back(&store, &job).await }.in_current_span());
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
