//! Due job rows to the queue: the only pusher, and the one that finds what was lost on the way.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::failpoint::{Point, reach};
use crate::id::JobId;
use crate::job::{JobKind, QueueName};
use crate::metrics;
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

/// The pauses while there is trouble: short at first, for most outages are; then as long as the longest sleep.
const SHORTEST_TROUBLE: Duration = Duration::from_millis(100);

/// What was lost, by Redis or by a worker, has waited for seconds already. To look for it with every row that is offered
/// costs the database more than the offering.
const LOST_LOOKED_FOR: Duration = Duration::from_millis(250);

/// A relay whose Redis no living worker shares stops pushing after this long.
const ALONE: Duration = Duration::from_secs(60);

/// One process's relay. Every process that stages or runs jobs has one; they do not get in each other's way.
#[derive(Debug)]
pub struct Relay {
    store: Store,
    queue: Queue,
    /// Workers renew first: until then no lease is called ended.
    recover_from: Instant,
    /// When it was last asked what was lost on the way, and whose worker has died.
    looked_for_lost: Option<Instant>,
    /// Rows offered in one statement: one while Redis refuses, for it may well refuse the next ones, too.
    batch: u64,
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
        // From its start on, so that a rate begins at zero.
        metrics::job_crashes();
        Relay { store, queue, recover_from: Instant::now() + wait, looked_for_lost: None, batch: BATCH }
    }

    /// Relays until `stop`. Trouble with the database or Redis is told once, and again when it becomes another one (first
    /// the connection breaks, then the password is refused), waited out, and told when it is over.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut rest = Duration::ZERO;
        // The pause while there is trouble.
        let mut trouble: Option<Duration> = None;
        let mut told = String::new();
        let mut alone_since: Option<Instant> = None;
        let mut twins_looked_at = Instant::now();
        loop {
            let slept_from = Instant::now();
            if stop.run_until_cancelled(self.sleep(rest, trouble)).await.is_none() {
                return;
            }
            if slept_from.elapsed() > LONGEST_SLEEP + SLOW_CALL {
                // This process was held up as a whole, and so were its renewals.
                self.spare_leases();
            }
            if twins_looked_at.elapsed() > Duration::from_secs(10) {
                twins_looked_at = Instant::now();
                self.look_for_twins(&mut alone_since).await;
            }
            if self.queue.is_cut_off() {
                rest = LONGEST_SLEEP;
                continue;
            }
            match self.relay_once().await {
                Ok(until_due) => {
                    if trouble.take().is_some() {
                        info!("the relay works again");
                    }
                    self.batch = BATCH;
                    rest = until_due;
                }
                Err(error) => {
                    match &error {
                        RelayError::Store(_) => self.spare_leases(), // also where it was about crashes
                        RelayError::Queue(QueueError::Refused(_)) => self.batch = 1,
                        RelayError::Queue(QueueError::Unavailable(_)) => (),
                    }
                    if trouble.is_none() || told != error.to_string() {
                        warn!(error = causes(&error), "the relay waits: {error}");
                    }
                    told = error.to_string();
                    trouble =
                        Some(trouble.map_or(SHORTEST_TROUBLE, |pause| pause.saturating_mul(2).min(LONGEST_SLEEP)));
                }
            }
        }
    }

    /// Sleeps, or wakes when this process commits a job. While there is trouble, only time helps.
    async fn sleep(&self, rest: Duration, trouble: Option<Duration>) {
        match trouble {
            Some(pause) => tokio::time::sleep(pause).await,
            None => drop(tokio::time::timeout(rest, self.store.job_staged()).await),
        }
    }

    /// Calls no lease ended for as long as one lasts: whoever holds it must be able to renew it first.
    fn spare_leases(&mut self) {
        self.recover_from = Instant::now() + lease();
    }

    /// Asks the database. Where that fails or takes long, renewals may have come to nothing, too: no lease is called ended
    /// for a while. Redis has no part in it.
    async fn ask<T>(&mut self, question: impl Future<Output = Result<T, StoreError>>) -> Result<T, RelayError> {
        let began = Instant::now();
        let answer = question.await;
        if answer.is_err() || began.elapsed() > SLOW_CALL {
            self.spare_leases();
        }
        Ok(answer?)
    }

    /// Offers what is due and returns how long nothing will be.
    async fn relay_once(&mut self) -> Result<Duration, RelayError> {
        let store = self.store.clone();
        let now_ms = store.now_ms();
        let mut rest = LONGEST_SLEEP;
        let looks_for_lost = self.looked_for_lost.is_none_or(|looked| looked.elapsed() >= LOST_LOOKED_FOR);
        if looks_for_lost {
            self.looked_for_lost = Some(Instant::now());
        }
        for due in self.ask(jobs::earliest_due(&store)).await? {
            let Some(earliest_ms) = due.earliest_ms else { continue };
            if earliest_ms > now_ms {
                let wait = Duration::from_millis((earliest_ms - now_ms).unsigned_abs());
                rest = rest.min(wait);
                continue;
            }
            let moved = self.relay_queue(due.queue, looks_for_lost).await?;
            // Due rows that could not be moved (no room, locked, leases not yet called ended) are no hurry.
            rest = rest.min(if moved { Duration::ZERO } else { Duration::from_millis(100) });
        }
        Ok(rest)
    }

    async fn relay_queue(&mut self, queue: QueueName, looks_for_lost: bool) -> Result<bool, RelayError> {
        let store = self.store.clone();
        let mut waiting = self.queue.len(queue).await?;
        let mut moved = false;
        // Not a few at a time while there is plenty: each offer is a commit, which on SQLite is one job's less.
        if waiting + BATCH <= ROOM {
            let ids = self.ask(jobs::offer(&store, queue, self.batch)).await?;
            moved |= !ids.is_empty();
            if !ids.is_empty() {
                reach(Point::RelayBeforePush);
            }
            self.push(queue, &ids).await?;
            if !ids.is_empty() {
                reach(Point::RelayAfterPush);
            }
            waiting = waiting.saturating_add(u64::try_from(ids.len()).unwrap_or(u64::MAX));
        }
        if !looks_for_lost {
            return Ok(moved);
        }
        let overdue = self.ask(jobs::offer_again(&store, queue, self.batch)).await?;
        if !overdue.is_empty() {
            moved = true;
            // Ids that still wait in the list need no second copy.
            let enqueued = self.ask(jobs::count_enqueued(&store, queue)).await?;
            let missing = usize::try_from(enqueued - i64::try_from(waiting).unwrap_or(i64::MAX)).unwrap_or(0);
            let again = &overdue[..missing.min(overdue.len())];
            if !again.is_empty() {
                debug!(queue = %queue, jobs = again.len(), "ids that were lost on the way are offered again");
                self.push(queue, again).await?;
            }
        }
        // Last, for a row that a hung process has locked must not hold up the others.
        if Instant::now() >= self.recover_from {
            for crashed in jobs::recover_crashed(&store, queue).await? {
                moved = true;
                tell(&crashed);
            }
        }
        Ok(moved)
    }

    /// Pushes ids whose rows are marked as offered. What Redis refuses is available again at once; where it is not known
    /// what Redis did, the rows wait for their grace to end, or the list would fill with copies.
    async fn push(&self, queue: QueueName, ids: &[JobId]) -> Result<(), RelayError> {
        let pushed = self.queue.push(queue, ids).await;
        if let Err(QueueError::Refused(_)) = &pushed {
            jobs::withdraw_offer(&self.store, ids).await?;
        }
        Ok(pushed?)
    }

    /// Two Redis servers on one database: ids would be pushed where nobody takes them.
    async fn look_for_twins(&mut self, alone_since: &mut Option<Instant>) {
        let (queue, store) = (self.queue.clone(), self.store.clone());
        let Some(redis) = queue.redis() else { return };
        let (Ok(ours), Ok(alive)) = (redis.twin().await, self.ask(processes::alive(&store)).await) else { return };
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
    metrics::job_crashes().with_label_values(&[kind]).inc();
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
