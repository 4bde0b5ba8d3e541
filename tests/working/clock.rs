//! The clock of the database's host is set while jobs run and wait.

use std::time::Duration;

use domain::job::{JobState, QueueName};
use process::relay::Relay;
use queue::{LocalQueue, Queue};
use store::clock::MEASURED_EVERY;
use store::{Store, jobs};
use tokio_util::sync::CancellationToken;

use super::gateway::HeldGateway;
use super::{LONGER_THAN_A_LEASE, Working, watch};
use crate::support::fixture::{Fixture, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    a_clock_that_is_set_forward_makes_no_running_job_a_crash
    a_process_that_notices_a_clock_set_forward_before_the_worker_counts_no_crash
    after_a_clock_was_set_back_no_open_job_lies_further_ahead_than_its_schedule
}

const HOUR_MS: i64 = 3_600_000;

/// Lets this process see a step of the database's clock by this much.
fn step(store: &Store, by_ms: i64) {
    let stepped = store.clock().set(store.now_ms() + by_ms, Duration::ZERO);
    assert!(stepped.is_some(), "it is noticed");
}

/// Shows: JOB-26
async fn a_clock_that_is_set_forward_makes_no_running_job_a_crash(f: Fixture) {
    let w = Working::start(f).await;
    w.gateway.hold_all();
    let orders = [w.f.order().await, w.f.order().await, w.f.order().await];
    w.wait_for_calls(&[1, 2, 3]).await;
    // By now the relay knows which leases are over.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let is_well = async || {
        let mut is_well = true;
        for order in &orders {
            let job = w.job_of(order).await;
            is_well &= (job.state, job.crashes, job.attempt) == (JobState::Running, 0, 1);
        }
        is_well
    };
    // Several times: the first renewal by the new time may come before the relay checks.
    for _ in 0..6 {
        step(&w.f.store, HOUR_MS);
        watch(Duration::from_millis(700), is_well).await;
    }
    watch(LONGER_THAN_A_LEASE + MEASURED_EVERY, is_well).await;
    w.gateway.release_all();

    for (number, order) in (1..).zip(&orders) {
        w.wait_for_link(order).await;
        assert_eq!(w.gateway.asked(number), 1);
    }
}

/// Shows: JOB-26
async fn a_process_that_notices_a_clock_set_forward_before_the_worker_counts_no_crash(f: Fixture) {
    let other = f.another_process().await;
    let w = Working::start(f).await;
    w.gateway.hold_all();
    let order = w.f.order().await;
    w.wait_for_calls(&[1]).await;
    let stop = CancellationToken::new();
    let relaying = tokio::spawn(Relay::new(other.clone(), Queue::Local(LocalQueue::default()), true).run(stop.clone()));

    step(&other, HOUR_MS);
    let is_well = async || {
        let job = w.job_of(&order).await;
        (job.state, job.crashes) == (JobState::Running, 0)
    };
    watch(MEASURED_EVERY + Duration::from_millis(500), is_well).await;
    step(&w.f.store, HOUR_MS);
    watch(LONGER_THAN_A_LEASE, is_well).await;
    w.gateway.release_all();

    w.wait_for_link(&order).await;
    stop.cancel();
    relaying.await.unwrap();
}

/// Shows: JOB-26
async fn after_a_clock_was_set_back_no_open_job_lies_further_ahead_than_its_schedule(f: Fixture) {
    // One inquiry waits for its time, one has lost its worker, and the id of one was lost.
    let waiting = f.order_with_link(7).await;
    let (died, lost) = (f.order().await, f.order().await);
    let ids = jobs::enqueue(&f.store, QueueName::Links, 10).await.unwrap();
    jobs::claim(&f.store, &ids[..1]).await.unwrap();
    // A link that may wait is on the queue of the late inquiries. It failed, and waits for its next attempt.
    let patient = f.order().await;
    let due_at_ms = f.store.now_ms() + 900_000;
    f.execute(&[format!(
        "update jobs set queue = 'background', due_at_ms = {due_at_ms}
            where kind = 'create_payment_link' and subject_id = {}",
        patient.id
    )])
    .await;
    let w = Working::start_with(f, HeldGateway::start().await, &[QueueName::Links]).await;

    step(&w.f.store, -HOUR_MS);

    let inquiry = wait_until("the inquiry to be brought near", PATIENCE, async || {
        Some(w.job_of(&waiting).await).filter(|inquiry| inquiry.due_at_ms <= w.f.store.now_ms() + 600_000)
    })
    .await;
    assert_eq!((inquiry.kind.as_str(), inquiry.state), ("settle_order", JobState::Available));
    let link = wait_until("the link that may wait to be brought near", PATIENCE, async || {
        Some(w.job_of(&patient).await).filter(|link| link.due_at_ms <= w.f.store.now_ms() + 900_000)
    })
    .await;
    assert_eq!((link.kind.as_str(), link.queue.as_str()), ("create_payment_link", "background"));
    w.wait_for_link(&died).await;
    w.wait_for_link(&lost).await;
}
