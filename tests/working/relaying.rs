//! Which rows a relay enqueues, and when.

use std::time::{Duration, Instant};

use domain::id::JobId;
use domain::job::{JobState, QueueName};
use process::relay::Relay;
use queue::{LocalQueue, Queue};
use sqlx::Executor;
use store::Store;
use store::jobs::{self, LEASE_MS};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::running::lock;
use super::watch;
use crate::support::fixture::{Fixture, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    ids_that_still_wait_get_no_second_copy_and_lost_ones_do
    a_list_holds_two_thousand_ids_and_the_rest_waits_in_the_database
    what_this_process_stages_is_enqueued_at_once_and_what_another_stages_within_a_second
    a_relay_that_works_opens_its_queues
    what_is_staged_once_its_relay_has_stopped_waits_for_another
    a_relay_that_starts_waits_one_lease_before_it_calls_any_lease_ended
    a_relay_that_knows_of_no_other_process_calls_leases_ended_at_once
}

/// A running relay. It ends when dropped.
struct Relaying {
    queue: Queue,
    task: JoinHandle<()>,
}

impl Drop for Relaying {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relaying {
    fn start(store: &Store, leases_are_over: bool) -> Self {
        let queue = Queue::Local(LocalQueue::default());
        let relay = Relay::new(store.clone(), queue.clone(), leases_are_over);
        Relaying { queue, task: tokio::spawn(relay.run(CancellationToken::new())) }
    }

    async fn len(&self) -> u64 {
        self.queue.len(QueueName::Links).await.unwrap()
    }

    async fn wait_for_len(&self, ids: u64) {
        let what = format!("{ids} ids");
        wait_until(&what, PATIENCE, async || (self.len().await == ids).then_some(())).await;
    }

    async fn take(&self, ids: usize) -> Vec<JobId> {
        self.queue.taker().take(&[QueueName::Links], ids, Duration::ZERO).await.unwrap()
    }
}

/// Shows: PROMISE-1, JOB-34
async fn ids_that_still_wait_get_no_second_copy_and_lost_ones_do(f: Fixture) {
    for _ in 0..3 {
        f.order().await;
    }
    let relaying = Relaying::start(&f.store, true);
    relaying.wait_for_len(3).await;
    let next_due = async || jobs::list(&f.store, Some(JobState::Enqueued), None, 10).await.unwrap();
    let all_are_put_off = async || next_due().await.iter().all(|job| job.due_at_ms > f.store.now_ms());

    // Their grace is over, and no worker took them. They get a new grace, or the relay would read them all the time.
    jobs::enqueue_all_again(&f.store).await.unwrap();
    wait_until("them to be put off", PATIENCE, async || all_are_put_off().await.then_some(())).await;
    assert_eq!(relaying.len().await, 3);

    // A worker took two of them and died before it claimed them.
    assert_eq!(relaying.take(2).await.len(), 2);
    jobs::enqueue_all_again(&f.store).await.unwrap();
    wait_until("them to be put off", PATIENCE, async || all_are_put_off().await.then_some(())).await;

    relaying.wait_for_len(3).await;
}

/// Shows: PROMISE-7
async fn a_list_holds_two_thousand_ids_and_the_rest_waits_in_the_database(f: Fixture) {
    f.execute(&["insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms)
        with recursive counted(n) as (select 1 union all select n + 1 from counted where n < 5000)
        select n, 'links', 'create_payment_link', n, '{}', 'available', n, 0 from counted"
        .to_owned()])
        .await;
    let relaying = Relaying::start(&f.store, true);

    relaying.wait_for_len(2_000).await;
    watch(Duration::from_secs(2), async || relaying.len().await == 2_000).await;
    let taken = relaying.take(500).await;

    assert_eq!(taken, (1..=500).map(JobId).collect::<Vec<_>>(), "the oldest first");
    relaying.wait_for_len(2_000).await;
    assert_eq!(jobs::count_enqueued(&f.store, QueueName::Links).await.unwrap(), 2_500);
}

/// Shows: JOB-33
async fn what_this_process_stages_is_enqueued_at_once_and_what_another_stages_within_a_second(f: Fixture) {
    let relaying = Relaying::start(&f.store, true);
    let other = f.another_process().await;
    let mut quickest = [Duration::MAX; 2];
    for (round, store) in [&f.store, &other, &f.store, &other, &f.store, &other].into_iter().enumerate() {
        // The relay sleeps by now: it has nothing to do.
        watch(Duration::from_millis(300), async || relaying.len().await == 0).await;
        store::orders::create(store, &crate::support::fixture::new_order(), None).await.unwrap();
        let began = Instant::now();
        relaying.wait_for_len(1).await;
        quickest[round % 2] = began.elapsed().min(quickest[round % 2]);
        relaying.take(1).await;
    }

    let [ours, others] = quickest;
    assert!(ours < Duration::from_millis(200), "woken by the commit: {ours:?}");
    assert!(others < Duration::from_millis(1_200), "found by asking: {others:?}");
}

async fn a_relay_that_works_opens_its_queues(f: Fixture) {
    let relaying = Relaying::start(&f.store, true);
    for ids in 1..=2 {
        f.order().await;
        relaying.wait_for_len(ids).await;
    }
    // The relay dies while it sleeps, and closes no queue.
    relaying.task.abort();
    wait_until("the relay to be gone", PATIENCE, async || relaying.task.is_finished().then_some(())).await;

    f.order().await;

    assert_eq!(f.store.take_recent().enqueued[&QueueName::Links].len(), 1, "staged for a push, without being enqueued");
    assert_eq!(jobs::enqueue(&f.store, QueueName::Links, 10).await.unwrap(), []);
}

/// Shows: JOB-30
async fn what_is_staged_once_its_relay_has_stopped_waits_for_another(f: Fixture) {
    let (queue, stop) = (Queue::Local(LocalQueue::default()), CancellationToken::new());
    let running = tokio::spawn(Relay::new(f.store.clone(), queue.clone(), true).run(stop.clone()));
    let waiting = async |ids| (queue.len(QueueName::Links).await.unwrap() == ids).then_some(());
    f.order().await;
    wait_until("the id of what was staged", PATIENCE, async || waiting(1).await).await;

    stop.cancel();
    running.await.unwrap();
    f.order().await;

    let ids = jobs::enqueue(&f.store, QueueName::Links, 10).await.unwrap();
    assert_eq!(ids.len(), 1, "it is available, and no relay has its id");
    assert!(waiting(1).await.is_some());
}

/// A claimed job. Its lease ends with `end_all_leases`.
async fn running(f: &Fixture) -> JobId {
    f.order().await;
    f.claim_one(QueueName::Links).await.lease.job_id
}

async fn crashes(f: &Fixture, id: JobId) -> i64 {
    f.state_of(id).await.1
}

/// Shows: JOB-35
async fn a_relay_that_starts_waits_one_lease_before_it_calls_any_lease_ended(f: Fixture) {
    let job = running(&f).await;
    jobs::end_all_leases(&f.store).await.unwrap();
    let began = Instant::now();
    let _relaying = Relaying::start(&f.store, false);

    let nearly = Duration::from_millis(LEASE_MS.unsigned_abs() - 1_000);
    watch(nearly, async || crashes(&f, job).await == 0).await;

    wait_until("the crash", PATIENCE, async || (crashes(&f, job).await == 1).then_some(())).await;
    assert!(began.elapsed() >= Duration::from_millis(LEASE_MS.unsigned_abs()), "{:?}", began.elapsed());
}

/// Shows: JOB-36
async fn a_relay_that_knows_of_no_other_process_calls_leases_ended_at_once(f: Fixture) {
    let job = running(&f).await;
    jobs::end_all_leases(&f.store).await.unwrap();
    let began = Instant::now();
    let relaying = Relaying::start(&f.store, true);

    wait_until("the crash", PATIENCE, async || (crashes(&f, job).await == 1).then_some(())).await;
    relaying.wait_for_len(1).await;

    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

/// The worker could not renew the lease meanwhile.
/// Shows: JOB-24
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_row_was_locked_has_time_to_be_renewed_before_it_counts_as_crashed() {
    let f = Fixture::postgres().await;
    f.order().await;
    let job = f.claim_one(QueueName::Links).await.lease.job_id;
    let mut other = f.connection().await;
    f.execute(&["update jobs set due_at_ms = 0".to_owned()]).await;
    other.execute("begin").await.unwrap();
    other.execute("select id from jobs for update").await.unwrap();
    let _relaying = Relaying::start(&f.store, true);
    watch(Duration::from_secs(3), async || crashes(&f, job).await == 0).await;

    other.execute("rollback").await.unwrap();

    // Until a renewal would have come. No worker is alive here, so the job counts as crashed in the end.
    watch(Duration::from_secs(4), async || crashes(&f, job).await == 0).await;
    wait_until("the crash", PATIENCE, async || (crashes(&f, job).await == 1).then_some(())).await;
}

/// While the database executes no statement, workers cannot renew either.
async fn after_a_lock_of(locked: Duration) {
    let f = Fixture::sqlite().await;
    let job = running(&f).await;
    // In a moment, when the database is locked, its lease ends, and there is something to enqueue.
    let soon_ms = f.store.now_ms() + 1_500;
    f.execute(&[
        format!("update jobs set due_at_ms = {soon_ms}"),
        format!(
            "insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms)
            values (9000, 'settle', 'brew_tea', 1, '{{}}', 'available', {soon_ms}, 0)"
        ),
    ])
    .await;
    let _relaying = Relaying::start(&f.store, true);

    let mut lock = lock(&f).await;
    watch(locked, async || crashes(&f, job).await == 0).await;
    lock.execute("rollback").await.unwrap();

    watch(Duration::from_millis(LEASE_MS.unsigned_abs() - 1_500), async || crashes(&f, job).await == 0).await;
    wait_until("the crash", PATIENCE, async || (crashes(&f, job).await == 1).then_some(())).await;
}

/// Shows: JOB-35
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_call_that_failed_a_relay_waits_one_lease_before_it_calls_any_lease_ended() {
    after_a_lock_of(Duration::from_millis(7_500)).await;
}

/// Shows: JOB-35
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_slow_call_a_relay_waits_one_lease_before_it_calls_any_lease_ended() {
    after_a_lock_of(Duration::from_millis(5_500)).await;
}
