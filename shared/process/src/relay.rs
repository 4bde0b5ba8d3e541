//! The relay moves due job rows to the queue. Nothing else pushes ids, and the relay also finds ids that were lost.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use domain::id::JobId;
use domain::job::QueueName;
use failpoint::{Point, reach};
use queue::{Queue, QueueError};
use store::clock::ClockSteps;
use store::jobs::{self, LEASE_MS};
use store::{Store, StoreError};
use telemetry::causes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

mod metrics;
mod recovering;
mod redis_instance;

/// The most ids that wait in one queue. The rest waits in the database, so Redis stays small.
const ROOM: u64 = 2_000;

/// Rows enqueued in one statement.
const BATCH: u64 = 500;

/// The most ids in one push command.
const LARGEST_PUSH: usize = 500;

/// A queue is opened when fewer ids than this wait in it: then it takes ids as soon as their rows are committed. It
/// stays open until there is no room for [`BATCH`] more.
const OPEN_BELOW: u64 = ROOM / 4;

/// The database is not asked what is due more often than this: what came due meanwhile is enqueued in one statement.
const ASKED_EVERY: Duration = Duration::from_millis(5);

/// The longest sleep. A row that another process commits is found after this time at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A database call that takes longer means that renewals may have been late, too.
const SLOW_CALL: Duration = Duration::from_secs(3);

/// The first pause in trouble. Most outages are short; the pause doubles up to the longest sleep.
const SHORTEST_TROUBLE: Duration = Duration::from_millis(100);

/// A job that Redis or a worker lost has waited for seconds already. A search with every row that is enqueued costs the
/// database more than enqueueing them.
const LOST_SEARCHED_EVERY: Duration = Duration::from_millis(250);

/// The relay of one process. Every process that stages or runs jobs has one; several relays work side by side.
#[derive(Debug)]
pub struct Relay {
    store: Store,
    queue: Queue,
    /// Until this moment no lease counts as ended: workers must be able to renew first.
    recover_from: Instant,
    clock_steps: watch::Receiver<ClockSteps>,
    /// Rows whose lease was over while another transaction had locked them, and when that was last seen.
    seen_locked: HashMap<JobId, Instant>,
    /// When to ask which jobs are due, and when to search for lost ids and for the jobs of dead workers.
    asks_next: Instant,
    searches_lost_next: Instant,
    /// When it was last asked.
    asked: Option<Instant>,
    /// The queues that take ids as soon as their rows are committed.
    open: Vec<QueueName>,
    /// Ids that Redis may or may not have, because it did not answer.
    unpushed: Vec<(QueueName, Vec<JobId>)>,
    /// Rows enqueued in one statement: one while Redis refuses, for it may well refuse the next ones, too.
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
    /// A relay from this store to this queue. `leases_are_over` says that no other process can hold a lease (embedded
    /// start).
    pub fn new(store: Store, queue: Queue, leases_are_over: bool) -> Self {
        let wait = if leases_are_over { Duration::ZERO } else { lease() };
        // Both counters exist from the start on, so that a rate begins at zero.
        metrics::job_crashes();
        store::metrics::clock_steps();
        let now = Instant::now();
        Relay {
            clock_steps: store.clock().steps(),
            seen_locked: HashMap::new(),
            store,
            queue,
            recover_from: now + wait,
            asks_next: now,
            searches_lost_next: now,
            asked: None,
            open: Vec::new(),
            unpushed: Vec::new(),
            batch: BATCH,
        }
    }

    /// Relays until `stop`. Trouble with the database or Redis is waited out. It is logged once, again when its text
    /// changes (first the connection breaks, then the password is refused), and once more when it is over.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut trouble: Option<Duration> = None;
        let mut told = String::new();
        let mut alone_since: Option<Instant> = None;
        let mut instance_compared = Instant::now();
        loop {
            let slept_from = Instant::now();
            if stop.run_until_cancelled(self.sleep(trouble)).await.is_none() {
                self.end().await;
                return;
            }
            if slept_from.elapsed() > LONGEST_SLEEP + SLOW_CALL {
                // The whole process stood still, and so did its renewals.
                self.spare_leases();
            }
            if instance_compared.elapsed() > Duration::from_secs(10) {
                instance_compared = Instant::now();
                self.compare_redis_instance(&mut alone_since).await;
            }
            if self.queue.is_cut_off() {
                self.open_only(Vec::new());
                self.asks_next = Instant::now() + LONGEST_SLEEP;
                continue;
            }
            match self.relay_once().await {
                Ok(()) => {
                    if trouble.take().is_some() {
                        info!("the relay works again");
                    }
                    self.batch = BATCH;
                }
                Err(error) => {
                    self.open_only(Vec::new());
                    self.asks_next = Instant::now();
                    match &error {
                        RelayError::Store(_) => self.spare_leases(), // also where the failed call was the search for crashes
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

    /// Sleeps until it is time to ask, or until this process commits a job. In trouble it sleeps for the pause alone.
    async fn sleep(&self, trouble: Option<Duration>) {
        match trouble {
            Some(pause) => tokio::time::sleep(pause).await,
            None => drop(tokio::time::timeout_at(self.asks_next.into(), self.store.job_staged()).await),
        }
    }

    /// Closes all queues: jobs that are committed from now on wait for another process's relay, or for the next start.
    async fn end(&mut self) {
        self.open_only(Vec::new());
        if let Ok(Err(error)) = tokio::time::timeout(LONGEST_SLEEP, self.push_recent()).await {
            debug!(error = causes(&error), "ids that were just committed are enqueued again after their grace");
        }
    }

    fn open_only(&mut self, queues: Vec<QueueName>) {
        if self.open != queues {
            self.open.clone_from(&queues);
            self.store.enqueue_when_staged(queues);
        }
    }

    fn shut(&mut self, queue: QueueName) {
        let open = self.open.iter().copied().filter(|open| *open != queue).collect();
        self.open_only(open);
    }

    /// Asks the database. When that fails or takes long, renewals may have failed, too: no lease counts as ended for a
    /// while. Trouble with Redis says nothing about renewals.
    async fn ask<T>(&mut self, question: impl Future<Output = Result<T, StoreError>>) -> Result<T, RelayError> {
        let began = Instant::now();
        let answer = question.await;
        if answer.is_err() || began.elapsed() > SLOW_CALL {
            self.spare_leases();
        }
        Ok(answer?)
    }

    /// Pushes what was just committed; then, where it is time to ask, enqueues what is due.
    async fn relay_once(&mut self) -> Result<(), RelayError> {
        self.push_recent().await?;
        let now = Instant::now();
        if now < self.asks_next {
            return Ok(());
        }
        let store = self.store.clone();
        let (now_ms, searches_lost) = (store.now_ms(), now >= self.searches_lost_next);
        let (mut rest, mut lost_rest) = (LONGEST_SLEEP, LONGEST_SLEEP);
        let until = |due_ms: i64| Duration::from_millis((due_ms - now_ms).max(0).unsigned_abs());
        for due in self.ask(jobs::earliest_due(&store, searches_lost)).await? {
            if let Some(available_ms) = due.available_ms {
                if available_ms > now_ms {
                    rest = rest.min(until(available_ms));
                } else {
                    // Due rows that could not be moved (no room, locked) can wait a moment.
                    let moved = self.enqueue(due.queue).await?;
                    rest = rest.min(if moved { Duration::ZERO } else { Duration::from_millis(100) });
                }
            }
            if let Some(lost_ms) = due.lost_ms {
                lost_rest = lost_rest.min(until(lost_ms));
                if lost_ms <= now_ms {
                    self.find_lost(due.queue).await?;
                }
            }
            self.open_with_room(due.queue).await?;
        }
        let now = Instant::now();
        if searches_lost {
            self.searches_lost_next = now + lost_rest.max(LOST_SEARCHED_EVERY);
        }
        self.asked = Some(now);
        self.asks_next = self.searches_lost_next.min(now + rest.max(ASKED_EVERY));
        Ok(())
    }

    /// Pushes the ids whose rows were marked as enqueued when they were staged, and learns when the others are due.
    async fn push_recent(&mut self) -> Result<(), RelayError> {
        if let Some((queue, _)) = self.unpushed.first() {
            // Only when Redis answers at all: with a server that hangs, each attempt could leave copies.
            self.queue.len(*queue).await?;
            let unpushed = std::mem::take(&mut self.unpushed);
            self.push_all(unpushed).await?;
        }
        let recent = self.store.take_recent();
        if let Some(due_at_ms) = recent.due_at_ms {
            let wait = Duration::from_millis((due_at_ms - self.store.now_ms()).max(0).unsigned_abs());
            let earliest = self.asked.map_or_else(Instant::now, |asked| asked + ASKED_EVERY);
            self.asks_next = self.asks_next.min((Instant::now() + wait.min(LONGEST_SLEEP)).max(earliest));
        }
        self.push_all(recent.enqueued.into_iter().collect()).await
    }

    /// Pushes ids whose rows were marked as enqueued when they were staged. Ids that Redis may
    /// or may not have are kept until it answers again, so that their jobs need not wait for the end of their grace.
    async fn push_all(&mut self, enqueued: Vec<(QueueName, Vec<JobId>)>) -> Result<(), RelayError> {
        let mut trouble = None;
        for (queue, ids) in enqueued {
            for ids in ids.chunks(LARGEST_PUSH) {
                if matches!(trouble, Some(RelayError::Queue(QueueError::Unavailable(_)))) {
                    self.unpushed.push((queue, ids.to_vec()));
                    continue;
                }
                reach(Point::RelayBeforePush);
                match self.push(queue, ids).await {
                    Ok(waiting) if waiting + BATCH > ROOM => self.shut(queue),
                    Ok(_) => (),
                    Err(error) => {
                        // At once: a job that is staged from now on must not wait for this relay.
                        self.open_only(Vec::new());
                        if matches!(error, RelayError::Queue(QueueError::Unavailable(_))) {
                            self.unpushed.push((queue, ids.to_vec()));
                        }
                        trouble = Some(error);
                    }
                }
                reach(Point::RelayAfterPush);
            }
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Opens a queue once there is room: it takes ids as soon as their rows are committed.
    async fn open_with_room(&mut self, queue: QueueName) -> Result<(), RelayError> {
        if !self.open.contains(&queue) && self.queue.len(queue).await? < OPEN_BELOW {
            let mut open = self.open.clone();
            open.push(queue);
            self.open_only(open);
        }
        Ok(())
    }

    /// Enqueues what is due, as far as there is room; returns whether there was any.
    async fn enqueue(&mut self, queue: QueueName) -> Result<bool, RelayError> {
        let store = self.store.clone();
        // Not a few at a time while there is plenty: each statement is a commit, and on SQLite a commit costs as much as a job.
        if self.queue.len(queue).await? + BATCH > ROOM {
            return Ok(false);
        }
        let ids = self.ask(jobs::enqueue(&store, queue, self.batch)).await?;
        if !ids.is_empty() {
            reach(Point::RelayBeforePush);
            self.push(queue, &ids).await?;
            reach(Point::RelayAfterPush);
        }
        Ok(!ids.is_empty())
    }

    /// Pushes ids whose rows are marked as enqueued. Rows whose ids Redis refuses are available again at once.
    /// If Redis did not answer, the rows wait for the end of their grace, or the list would fill with copies.
    async fn push(&self, queue: QueueName, ids: &[JobId]) -> Result<u64, RelayError> {
        let pushed = self.queue.push(queue, ids).await;
        if let Err(QueueError::Refused(_)) = &pushed {
            jobs::withdraw_enqueued(&self.store, ids).await?;
        }
        Ok(pushed?)
    }
}

/// The shortest time that a lease lasts: four renewals, enough for its holder to renew it. Over a slow connection to
/// the database a lease lasts longer ([`Store::lease_ms`]), and this process does not know the connections of the
/// others.
fn lease() -> Duration {
    Duration::from_millis(LEASE_MS.unsigned_abs())
}
