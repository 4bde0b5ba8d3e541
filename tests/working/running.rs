//! Leases, deadlines, panics and the end of a run.

use std::time::{Duration, Instant};

use domain::job::{Job, JobState, QueueName};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, SqliteConnection};
use store::jobs::{self, LEASE_MS};
use store::kinds;

use super::gateway::{HeldGateway, PER_ORDER};
use super::{LONGER_THAN_A_LEASE, Working, inquire_now, watch};
use crate::support::fixture::{Fixture, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    a_job_that_runs_longer_than_its_lease_keeps_it
    a_job_whose_lease_another_worker_has_is_aborted_and_writes_nothing
    a_handler_that_panics_is_a_failure_of_its_job_alone
    a_kind_that_is_not_known_is_left_to_a_newer_release
    a_worker_sees_to_it_that_there_is_one_sweep
}

/// Shows: JOB-9
async fn a_job_that_runs_longer_than_its_lease_keeps_it(f: Fixture) {
    let w = Working::start(f).await;
    w.gateway.hold_all();
    let order = w.f.order().await;
    w.wait_for_calls(&[1]).await;

    // A lease is longer if the database was slow at the last measurement of its clock.
    let mut longest_ms = LEASE_MS;
    watch(LONGER_THAN_A_LEASE, async || {
        longest_ms = longest_ms.max(w.f.store.lease_ms());
        let job = w.job_of(&order).await;
        let lasts_ms = job.due_at_ms - w.f.store.now_ms();
        let is_as_it_began = (job.state, job.crashes, job.attempt) == (JobState::Running, 0, 1);
        is_as_it_began && (3_000..=longest_ms).contains(&lasts_ms)
    })
    .await;
    w.gateway.release_all();

    w.wait_for_link(&order).await;
    assert_eq!(w.gateway.asked(1), 1);
}

/// Shows: JOB-10
async fn a_job_whose_lease_another_worker_has_is_aborted_and_writes_nothing(f: Fixture) {
    let w = Working::start(f).await;
    w.gateway.hold_only(&[1, 2]);
    let (taken, kept) = (w.f.order().await, w.f.order().await);
    w.wait_for_calls(&[1, 2]).await;

    let far_ms = w.f.store.now_ms() + 3_600_000;
    let take = format!("update jobs set lease_token = 1, due_at_ms = {far_ms} where subject_id = 1");
    w.f.execute(&[take]).await;
    // The slot is free before the gateway has answered.
    wait_until("its slot to be free", PATIENCE, async || (w.consumption_check.running() == 1).then_some(())).await;
    assert_eq!(w.gateway.waiting(), [1, 2]);
    w.gateway.release_all();

    w.wait_for_link(&kept).await;
    let job = w.job_of(&taken).await;
    assert_eq!((job.state, job.due_at_ms), (JobState::Running, far_ms), "it is the other's");
    assert_eq!(w.f.find(&taken).await.payment_url, None);
}

/// The times of this order overflow every clock. An inquiry about it panics where Rust checks sums, as in tests.
/// Shows: JOB-12
async fn a_handler_that_panics_is_a_failure_of_its_job_alone(f: Fixture) {
    let (crashing, beside) = (f.order_with_link(PER_ORDER + 1).await, f.order_with_link(2 * PER_ORDER + 1).await);
    f.execute(&[format!("update orders set link_at_ms = {} where id = {}", i64::MAX, crashing.id)]).await;
    let gateway = HeldGateway::start().await;
    gateway.hold_only(&[beside.id.0]);
    gateway.debit(2 * PER_ORDER + 1);
    let w = Working::start_with(f, gateway, &[QueueName::Settle]).await;
    inquire_now(&w.f, &beside).await;
    w.wait_for_calls(&[beside.id.0]).await;

    let inquiry = inquire_now(&w.f, &crashing).await;

    let failed = wait_until("the failure", PATIENCE, async || {
        Some(w.job(inquiry).await).filter(|job| job.state == JobState::Available && job.last_error.is_some())
    })
    .await;
    assert_eq!(failed.last_error.as_deref(), Some("the handler panicked"));
    assert_eq!((failed.attempt, failed.crashes), (1, 0), "its process lives");
    assert!(failed.due_at_ms > w.f.store.now_ms(), "it waits before it tries again");
    w.gateway.release_all();
    wait_until("the order beside it to be paid", PATIENCE, async || {
        (w.find(beside.id.0).await.status == domain::order::OrderStatus::Paid).then_some(())
    })
    .await;
}

/// Shows: JOB-38
async fn a_kind_that_is_not_known_is_left_to_a_newer_release(f: Fixture) {
    f.execute(&["insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms)
        values (9000, 'settle', 'brew_tea', 1, '{\"kind\":\"brew_tea\"}', 'available', 0, 0)"
        .to_owned()])
        .await;
    let w = Working::start(f).await;

    let left = wait_until("it to be left", PATIENCE, async || {
        Some(w.job(domain::id::JobId(9_000)).await).filter(|job| job.state == JobState::Available && job.due_at_ms > 0)
    })
    .await;

    assert_eq!((left.attempt, left.crashes), (0, 0));
    let wait_ms = left.due_at_ms - w.f.store.now_ms();
    assert!((20_000..=30_000).contains(&wait_ms), "enqueued again in {wait_ms} ms");
}

/// Shows: JOB-29
async fn a_worker_sees_to_it_that_there_is_one_sweep(f: Fixture) {
    let first = Working::start(f).await;
    let sweeps = async || {
        let jobs = jobs::list(&first.f.store, None, Some(domain::job::JobKind::Sweep), 10).await.unwrap();
        jobs.into_iter().filter(|job| job.finished_at_ms.is_none()).collect::<Vec<_>>()
    };
    // The sweep has run, and waits for its next time.
    let rest = wait_until("a sweep", PATIENCE, async || {
        sweeps().await.pop().filter(|job| job.state == JobState::Available && job.due_at_ms > first.f.store.now_ms())
    })
    .await;
    assert!(rest.due_at_ms - first.f.store.now_ms() <= 60_000);
    assert_eq!(rest.queue, "background");

    jobs::seed(&first.f.store, Job::Sweep).await.unwrap(); // as the next worker does at its start

    assert_eq!(sweeps().await.len(), 1);
}

/// Another connection writes to the file, and does not end its transaction.
pub(super) async fn lock(f: &Fixture) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(f.file().expect("SQLite"));
    let mut connection = options.connect().await.unwrap();
    connection.execute("begin immediate").await.unwrap();
    connection
}

/// Another transaction locks the row of a running job for longer than a lease: a callback whose process hangs.
/// Shows: JOB-24
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_row_costs_its_job_no_crash_and_holds_up_no_other_jobs_restart() {
    let f = Fixture::postgres().await;
    let died = f.order().await;
    // Claimed by a worker that dies at once.
    f.claim_one(QueueName::Links).await;
    let w = Working::start(f).await;
    w.gateway.hold_only(&[2]);
    let locked = w.f.order().await;
    w.wait_for_calls(&[2]).await;
    let job = w.job_of(&locked).await.id;

    let mut other = w.f.connection().await;
    other.execute("begin").await.unwrap();
    let hold = format!("update jobs set wakes = wakes + 1 where id = {job}");
    other.execute(AssertSqlSafe(hold)).await.unwrap();
    w.wait_for_link(&died).await;
    let lapsed = async || (w.job(job).await.due_at_ms < w.f.store.now_ms() - 1_000).then_some(());
    wait_until("its lease to be over", PATIENCE, lapsed).await;
    assert_eq!(w.job(job).await.crashes, 0);
    other.execute("rollback").await.unwrap();

    watch(Duration::from_secs(4), async || {
        let row = w.job(job).await;
        (row.state, row.crashes, row.attempt) == (JobState::Running, 0, 1)
    })
    .await;
    w.gateway.release_all();
    w.wait_for_link(&locked).await;
    assert_eq!(w.gateway.asked(2), 1);
}

/// Shorter than a lease, and longer than a statement waits for a locked database.
const LOCKED: Duration = Duration::from_millis(6_500);

/// Shows: JOB-10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_fails_aborts_nothing() {
    // Without a sweep, which would run beside the job at first.
    let (f, gateway) = (Fixture::sqlite().await, HeldGateway::start().await);
    let w = Working::start_with(f, gateway, &[QueueName::Links]).await;
    w.gateway.hold_all();
    let order = w.f.order().await;
    w.wait_for_calls(&[1]).await;

    let mut locked = lock(&w.f).await;
    watch(LOCKED, async || w.gateway.waiting() == [1] && w.consumption_check.running() == 1).await;
    locked.execute("rollback").await.unwrap();
    watch(Duration::from_secs(4), async || w.gateway.waiting() == [1] && w.consumption_check.running() == 1).await;
    w.gateway.release_all();

    w.wait_for_link(&order).await;
    assert_eq!(w.gateway.asked(1), 1);
    assert_eq!(w.f.number("select count(*) from job_attempts").await, 0, "it neither failed nor crashed");
}

/// Shows: JOB-13, JOB-25
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_run_is_written_again_and_again_until_the_database_answers() {
    let f = Fixture::sqlite().await;
    let order = f.order_with_link(PER_ORDER + 1).await;
    let gateway = HeldGateway::start().await;
    gateway.hold_all();
    let w = Working::start_with(f, gateway, &[QueueName::Settle]).await;
    let inquiry = inquire_now(&w.f, &order).await;
    w.wait_for_calls(&[1]).await;

    // The inquiry's own write fails after 5 s, and the end of the run cannot be written either.
    let mut locked = lock(&w.f).await;
    w.gateway.release_all();
    watch(LOCKED, async || w.consumption_check.running() == 1 && counted("settle_order", "released") == 0).await;
    locked.execute("rollback").await.unwrap();

    // The job did not fail, so no attempt counts. It runs again.
    wait_until("the next inquiry", PATIENCE, async || (w.gateway.asked(1) == 2).then_some(())).await;
    let done = wait_until("its end", PATIENCE, async || {
        Some(w.job(inquiry).await).filter(|job| job.state == JobState::Available && job.due_at_ms > w.f.store.now_ms())
    })
    .await;
    assert_eq!((done.attempt, done.crashes), (0, 0));
    assert_eq!(counted("settle_order", "released"), 1, "counted once it was written");
}

/// The count of runs of this kind that ended with this outcome, in this process.
pub(super) fn counted(kind: &str, outcome: &str) -> u64 {
    let families = prometheus::gather();
    let jobs = families.iter().find(|family| family.name() == "tasdiq_jobs_total");
    let is_asked_for = |metric: &&prometheus::proto::Metric| {
        let values: Vec<&str> = metric.get_label().iter().map(|label| label.value()).collect();
        values == [kind, outcome]
    };
    let metric = jobs.and_then(|jobs| jobs.get_metric().iter().find(is_asked_for));
    metric.map_or(0, |metric| metric.get_counter().get_value().to_string().parse().unwrap())
}

/// After an abort the outcome is unknown: a draft may have been made. The link is requested again.
/// Shows: PROMISE-7, JOB-11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_to_its_deadline_is_aborted_and_tried_again() {
    const DEADLINE: Duration = Duration::from_secs(60);
    let w = Working::start(Fixture::sqlite().await).await;
    w.gateway.hold_all();
    let order = w.f.order().await;
    w.wait_for_calls(&[1]).await;
    let began = Instant::now();

    let aborted = wait_until("the deadline", DEADLINE + PATIENCE, async || {
        let jobs = kinds::jobs_of_order(&w.f.store, order.id).await.unwrap();
        jobs.into_iter().find(|job| job.last_error.is_some())
    })
    .await;

    assert!(began.elapsed() + Duration::from_secs(1) > DEADLINE, "{:?}", began.elapsed());
    assert_eq!(aborted.last_error.as_deref(), Some("it ran longer than 60 s and was aborted"));
    assert_eq!((aborted.attempt, aborted.crashes), (1, 0));
    w.gateway.release_all();
    w.wait_for_link(&order).await;
    assert_eq!(w.gateway.asked(1), 2);
}
