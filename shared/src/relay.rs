//! Due job rows to the queue: the only pusher, and the one that finds what was lost on the way.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::job::{JobKind, QueueName};
use crate::queue::{Queue, QueueError};
use crate::store::jobs::{self, Crashed, LEASE_MS};
use crate::store::{Store, StoreError, processes};
use crate::telemetry::causes;

/// Ids that may wait in one queue; the rest wait in the database, so Redis stays small.
const ROOM: u64 = 2_000;

/// Rows offered in one statement.
const BATCH: u64 = 500;

/// The longest sleep: rows that other processes commit are found this late at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A slower database call says that renewals may have been late, too.
const SLOW_CALL: Duration = Duration::from_secs(3);

/// A relay whose Redis no living worker shares stops pushing after this long.
const ALONE: Duration = Duration::from_secs(60);

/// One process's relay. Every process that stages or runs jobs has one; they do not get in each other's way.
#[derive(Debug)]
pub struct Relay {
    store: Store,
    queue: Queue,
    /// Workers renew first: until then no lease is called ended.
    recover_from: Instant,
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Relay {
    /// A relay between these two. `leases_are_over` says that no other process can hold one (embedded start).
    pub fn new(store: Store, queue: Queue, leases_are_over: bool) -> Self {
        let wait = if leases_are_over { Duration::ZERO } else { lease() };
        Relay { store, queue, recover_from: Instant::now() + wait }
    }

    /// Relays until `stop`. Trouble with the database or Redis is told once, waited out and told again when over.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = Duration::ZERO;
        let mut alone_since: Option<Instant> = None;
        let mut twins_looked_at = Instant::now();
        loop {
            if stop.run_until_cancelled(self.sleep(pause)).await.is_none() {
                return;
            }
            if twins_looked_at.elapsed() > Duration::from_secs(10) {
                twins_looked_at = Instant::now();
                self.look_for_twins(&mut alone_since).await;
            }
            if self.queue.is_cut_off() {
                pause = LONGEST_SLEEP;
                continue;
            }
            let began = Instant::now();
            let result = self.relay_once(began).await;
            if began.elapsed() > SLOW_CALL || matches!(result, Err(RelayError::Store(_))) {
                self.recover_from = Instant::now() + lease();
            }
            match result {
                Ok(rest) => {
                    if pause > LONGEST_SLEEP {
                        info!("the relay works again");
                    }
                    pause = rest;
                }
                Err(trouble) => {
                    let next = trouble_pause(pause);
                    if pause <= LONGEST_SLEEP {
                        warn!(error = causes(&trouble), "the relay waits: {trouble}");
                    }
                    pause = next;
                }
            }
        }
    }

    /// Sleeps, or wakes when this process commits a job. While there is trouble, only time helps.
    async fn sleep(&self, pause: Duration) {
        if pause > LONGEST_SLEEP {
            tokio::time::sleep(pause).await;
        } else {
            let _ = tokio::time::timeout(pause, self.store.job_staged()).await;
        }
    }

    /// Offers what is due and returns how long nothing will be.
    async fn relay_once(&self, began: Instant) -> Result<Duration, RelayError> {
        let now_ms = self.store.now_ms();
        let mut rest = LONGEST_SLEEP;
        for due in jobs::earliest_due(&self.store).await? {
            let Some(earliest_ms) = due.earliest_ms else { continue };
            if earliest_ms > now_ms {
                let wait = Duration::from_millis((earliest_ms - now_ms).unsigned_abs());
                rest = rest.min(wait);
                continue;
            }
            let moved = self.relay_queue(due.queue, began).await?;
            // Due rows that could not be moved (no room, locked, leases not yet called ended) are no hurry.
            rest = rest.min(if moved { Duration::ZERO } else { Duration::from_millis(100) });
        }
        Ok(rest)
    }

    async fn relay_queue(&self, queue: QueueName, began: Instant) -> Result<bool, RelayError> {
        let mut waiting = self.queue.len(queue).await?;
        let mut moved = false;
        // Not a few at a time while there is plenty: each offer is a commit, which on SQLite is one job's less.
        if waiting + BATCH <= ROOM {
            let ids = jobs::offer(&self.store, queue, BATCH).await?;
            moved |= !ids.is_empty();
            self.queue.push(queue, &ids).await?;
            waiting = waiting.saturating_add(u64::try_from(ids.len()).unwrap_or(u64::MAX));
        }
        let overdue = jobs::offer_again(&self.store, queue, BATCH).await?;
        if !overdue.is_empty() {
            moved = true;
            // Ids that still wait in the list need no second copy.
            let enqueued = jobs::count_enqueued(&self.store, queue).await?;
            let missing = usize::try_from(enqueued - i64::try_from(waiting).unwrap_or(i64::MAX)).unwrap_or(0);
            let again = &overdue[..missing.min(overdue.len())];
            if !again.is_empty() {
                debug!(queue = %queue, jobs = again.len(), "ids that were lost on the way are offered again");
                self.queue.push(queue, again).await?;
            }
        }
        // Last, for a row that a hung process has locked must not hold up the others; and not where a call of this very
        // pass was slow.
        if Instant::now() >= self.recover_from && began.elapsed() <= SLOW_CALL {
            for crashed in jobs::recover_crashed(&self.store, queue).await? {
                moved = true;
                tell(&crashed);
            }
        }
        Ok(moved)
    }

    /// Two Redis servers on one database: ids would be pushed where nobody takes them.
    async fn look_for_twins(&self, alone_since: &mut Option<Instant>) {
        let Some(redis) = self.queue.redis() else { return };
        let (Ok(ours), Ok(alive)) = (redis.twin().await, processes::alive(&self.store).await) else { return };
        let twins: Vec<&String> =
            alive.iter().filter(|process| process.slots > 0).filter_map(|process| process.twin.as_ref()).collect();
        if twins.is_empty() || twins.contains(&&ours) {
            *alone_since = None;
            if redis.set_cut_off(false) {
                info!("a worker shares our Redis again; the relay goes on");
            }
            return;
        }
        let since = *alone_since.get_or_insert_with(Instant::now);
        if since.elapsed() > ALONE && !redis.set_cut_off(true) {
            error!(
                "no living worker uses the Redis of this process; REDIS_URL must be the same everywhere. The relay pushes nothing"
            );
        }
    }
}

fn tell(crashed: &Crashed) {
    let (id, kind, crashes) = (crashed.job_id, &crashed.kind, crashed.crashes);
    if crashed.is_dead {
        error!(job.id = %id, job.kind = kind, crashes, "job {id} ({kind}) crashed its worker {crashes} times and is a dead letter");
    } else if kind == JobKind::Sweep.as_str() {
        error!(job.id = %id, crashes, "sweep crashed its worker, crash {crashes}; until it runs nothing that is missing is restored");
    } else {
        warn!(job.id = %id, job.kind = kind, crashes, "the lease of job {id} ({kind}) ran out, crash {crashes}");
    }
}

fn lease() -> Duration {
    Duration::from_millis(LEASE_MS.unsigned_abs())
}

/// Doubling from just above the longest normal sleep, so that trouble can be told from rest by the pause alone.
fn trouble_pause(pause: Duration) -> Duration {
    if pause <= LONGEST_SLEEP {
        LONGEST_SLEEP + Duration::from_millis(1)
    } else {
        (pause * 2).min(Duration::from_secs(2))
    }
}
