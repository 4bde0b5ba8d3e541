//! Renewal of leases: one statement renews all leases of the process, which may be some hundred.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::id::JobId;
use domain::job::Lease;
use failpoint::{self, Point};
use parking_lot::{Mutex, MutexGuard};
use store::{Store, jobs};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// A quarter of a lease.
const RENEW_EVERY: Duration = Duration::from_secs(2);

/// The leases of the jobs that run in this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseKeeper(Arc<Mutex<HashMap<JobId, RunningLease>>>);

#[derive(Clone, Debug)]
struct RunningLease {
    lease: Lease,
    lost: CancellationToken,
}

/// A lease while its job runs; it is no longer renewed once this is dropped.
#[derive(Debug)]
pub(crate) struct HeldLease {
    keeper: LeaseKeeper,
    held: RunningLease,
}

impl HeldLease {
    /// Returns when another worker has taken the job over.
    pub(crate) async fn lost(&self) {
        self.held.lost.cancelled().await;
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        let mut all = self.keeper.all();
        let id = self.held.lease.job_id;
        // This process may hold a newer lease of the same job.
        if all.get(&id).is_some_and(|held| held.lease.token == self.held.lease.token) {
            all.remove(&id);
        }
    }
}

impl LeaseKeeper {
    /// Renews this lease from now on.
    pub(crate) fn hold(&self, lease: Lease) -> HeldLease {
        let held = RunningLease { lease, lost: CancellationToken::new() };
        if let Some(earlier) = self.all().insert(lease.job_id, held.clone()) {
            earlier.lost.cancel();
        }
        HeldLease { keeper: self.clone(), held }
    }

    /// Renews every two seconds until `ended`.
    ///
    /// A job that a *successful* renewal did not return is aborted. A failed renewal proves nothing and aborts no job.
    pub(crate) async fn run(self, store: Store, ended: CancellationToken) {
        let mut is_well = true;
        while ended.run_until_cancelled(tokio::time::sleep(RENEW_EVERY)).await.is_some() {
            if failpoint::strikes(Point::SkipRenewal) {
                continue;
            }
            let held: Vec<RunningLease> = self.all().values().cloned().collect();
            if held.is_empty() {
                continue;
            }
            let leases: Vec<Lease> = held.iter().map(|held| held.lease).collect();
            match jobs::renew(&store, &leases).await {
                Ok(renewed) => {
                    is_well = true;
                    let renewed: HashSet<JobId> = renewed.into_iter().collect();
                    for lost in held.iter().filter(|held| !renewed.contains(&held.lease.job_id)) {
                        // The usual reason is that the job has just ended.
                        lost.lost.cancel();
                    }
                }
                Err(trouble) => {
                    if is_well {
                        warn!(error = %trouble, leases = held.len(), "leases could not be renewed: {trouble}");
                    }
                    is_well = false;
                }
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<JobId, RunningLease>> {
        self.0.lock()
    }
}
