//! Whether a worker takes the jobs that are due. `/readyz` of `worker` and `up` answers with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use domain::job::QueueName;
use domain::time::millis;
use queue::Queue;
use store::processes::SILENT_MS;
use store::{Store, jobs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Work that is due this long while a slot is free means that this worker takes nothing.
const STUCK: Duration = Duration::from_secs(15);

/// Checks that a worker takes jobs, and hands out its slots; cheap to clone.
#[derive(Clone, Debug)]
pub struct ConsumptionCheck(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    slots: Arc<Semaphore>,
    all_slots: usize,
    queues: Vec<QueueName>,
    started: Instant,
    running: AtomicUsize,
    took_ms: AtomicI64,
}

/// A slot while a job runs in it, free again when dropped.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
    consumption_check: ConsumptionCheck,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.consumption_check.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConsumptionCheck {
    /// For a worker with this many slots that takes from these queues.
    pub fn new(slots: usize, queues: &[QueueName]) -> Self {
        ConsumptionCheck(Arc::new(Inner {
            slots: Arc::new(Semaphore::new(slots)),
            all_slots: slots,
            queues: queues.to_vec(),
            started: Instant::now(),
            running: AtomicUsize::new(0),
            took_ms: AtomicI64::new(0),
        }))
    }

    /// The slots: the holder of a permit may run a job.
    pub fn slots(&self) -> &Arc<Semaphore> {
        &self.0.slots
    }

    /// Notes that jobs were claimed now.
    pub fn took(&self) {
        self.0.took_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// Turns a permit into the slot of a job that is about to run.
    pub fn occupy(&self, permit: OwnedSemaphorePermit) -> Slot {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Slot { _permit: permit, consumption_check: self.clone() }
    }

    /// How many jobs run now, or are about to. The permits do not say it: a taker that waits for ids holds the free
    /// ones.
    pub fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    fn since(&self, then_ms: i64) -> Duration {
        Duration::from_millis((self.elapsed_ms() - then_ms).max(0).unsigned_abs())
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Why this worker takes no jobs although jobs are due, or `None`. Answers within about a second.
    pub async fn fault(&self, store: &Store, queue: &Queue) -> Option<String> {
        let asked = jobs::oldest_due_age_ms(store, &self.0.queues);
        let Ok(Ok(oldest_ms)) = tokio::time::timeout(Duration::from_secs(1), asked).await else {
            return Some("the database does not answer".into());
        };
        if oldest_ms == 0 {
            return None;
        }
        let silence = queue.silent_for().unwrap_or_default();
        if millis(silence) > SILENT_MS {
            return Some(format!("work is due, and the queue has not answered for {} s", silence.as_secs()));
        }
        let took_ago = self.since(self.0.took_ms.load(Ordering::Relaxed));
        let has_free_slot = self.running() < self.0.all_slots;
        (oldest_ms > millis(STUCK) && took_ago > STUCK && has_free_slot).then(|| {
            format!("work is due for {} s, and nothing was taken for {} s", oldest_ms / 1_000, took_ago.as_secs())
        })
    }
}
