//! Recovery of lost ids, and of the jobs of workers that died.

use std::time::Instant;

use domain::job::{JobKind, QueueName};
use store::clock::MEASURED_EVERY;
use store::jobs::{self, Crashed};
use store::kinds;
use tracing::{debug, error, warn};

use super::{Relay, RelayError, lease, metrics};

impl Relay {
    /// Enqueues again what was lost on the way, and hands back the jobs of workers that died.
    pub(super) async fn find_lost(&mut self, queue: QueueName) -> Result<(), RelayError> {
        let store = self.store.clone();
        let waiting = self.queue.len(queue).await?;
        let overdue = self.ask(jobs::enqueue_again(&store, queue, self.batch)).await?;
        if !overdue.is_empty() {
            // Ids that still wait in the list need no second copy.
            let enqueued = self.ask(jobs::count_enqueued(&store, queue)).await?;
            let missing = usize::try_from(enqueued - i64::try_from(waiting).unwrap_or(i64::MAX)).unwrap_or(0);
            let again = &overdue[..missing.min(overdue.len())];
            if !again.is_empty() {
                debug!(queue = %queue, jobs = again.len(), "ids that were lost on the way are enqueued again");
                self.push(queue, again).await?;
            }
        }
        self.find_crashed(queue).await
    }

    /// Hands back the jobs of workers that died. A row that another transaction has locked could not be renewed either,
    /// so its lease is spared until its worker has had the time to renew.
    async fn find_crashed(&mut self, queue: QueueName) -> Result<(), RelayError> {
        let store = self.store.clone();
        // The time is read first: `may_recover` then knows of every step of the clock before it.
        let now_ms = store.now_ms();
        if !self.may_recover() {
            return Ok(());
        }
        self.seen_locked.retain(|_, seen| seen.elapsed() < lease());
        for lapsed in jobs::lapsed(&store, queue, now_ms).await? {
            if lapsed.is_locked {
                self.seen_locked.insert(lapsed.job_id, Instant::now());
            } else if !self.seen_locked.contains_key(&lapsed.job_id)
                && let Some(crashed) = kinds::recover(&store, &lapsed, now_ms).await?
            {
                tell(&crashed);
            }
        }
        Ok(())
    }

    /// Lets no lease count as ended for the length of a lease: its holder must be able to renew it first.
    pub(super) fn spare_leases(&mut self) {
        self.recover_from = self.recover_from.max(Instant::now() + lease());
    }

    /// Whether leases may count as ended. After a step of the database's clock their ends mean nothing until each
    /// process has noticed the step and renewed its leases by the new time.
    fn may_recover(&mut self) -> bool {
        if self.clock_steps.has_changed().unwrap_or(false) {
            self.clock_steps.mark_unchanged();
            self.recover_from = Instant::now() + MEASURED_EVERY + lease();
        }
        Instant::now() >= self.recover_from
    }
}

fn tell(crashed: &Crashed) {
    let (id, kind, crashes) = (crashed.job_id, &crashed.kind, crashed.crashes);
    metrics::job_crashes().with_label_values(&[kind]).inc();
    if crashed.is_dead {
        error!(job.id = %id, job.kind = kind, crashes, "job {id} ({kind}) crashed its worker {crashes} times and is a dead letter");
    } else if kind == JobKind::Sweep.as_str() {
        error!(job.id = %id, crashes, "sweep crashed its worker, crash {crashes}; until it runs no missing job is restored");
    } else {
        warn!(job.id = %id, job.kind = kind, crashes, "the lease of job {id} ({kind}) ran out, crash {crashes}");
    }
}
