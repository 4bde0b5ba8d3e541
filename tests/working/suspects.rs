//! A job that crashed its worker twice runs with nothing beside it.

use std::time::{Duration, Instant};

use shared::job::{JobState, QueueName};

use super::gateway::HeldGateway;
use super::{Working, watch};
use crate::contracts::{Fixture, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

/// A worker waits for an id for 5 s.
const LONGEST_TAKE: Duration = Duration::from_secs(6);

on_every_database! {
    a_suspect_waits_until_all_else_has_ended_and_then_runs_alone
    two_suspects_never_run_beside_each_other
    every_worker_takes_suspects_whatever_its_queues
}

/// The payment link of this order has crashed its worker twice; its wait is over at `due_at_ms`.
async fn make_suspect(f: &Fixture, order: i64, due_at_ms: i64) {
    let suspect = format!(
        "update jobs set crashes = 2, queue = 'suspect', due_at_ms = {due_at_ms} where subject_id = {order}
            and kind = 'create_payment_link'"
    );
    f.execute(&[suspect]).await;
}

async fn a_suspect_waits_until_all_else_has_ended_and_then_runs_alone(f: Fixture) {
    let suspect = f.order().await;
    make_suspect(&f, 1, i64::MAX / 2).await;
    let w = Working::start(f).await;
    w.gateway.hold_only(&[1, 2, 3]);
    let (first, second) = (w.f.order().await, w.f.order().await);
    w.wait_for_calls(&[2, 3]).await;

    make_suspect(&w.f, 1, 0).await;
    let job = w.job_of(&suspect).await.id;
    w.wait_for_state(job, JobState::Enqueued).await;
    // The take that is under way may still bring something; after it nothing new begins, although two slots are free.
    let (under_way, began) = (w.f.order().await, Instant::now());
    wait_until("the end of the take that is under way", PATIENCE, async || {
        let has_link = w.f.find(&under_way).await.payment_url.is_some();
        (has_link || began.elapsed() > LONGEST_TAKE).then_some(())
    })
    .await;
    let later = w.f.order().await;
    let nothing_new = async || w.gateway.asked(1) == 0 && w.gateway.asked(later.id.0) == 0;
    watch(Duration::from_millis(1_500), nothing_new).await;
    // One of two has ended: it still waits.
    w.gateway.hold_only(&[1, 3]);
    w.wait_for_link(&first).await;
    watch(Duration::from_millis(1_000), nothing_new).await;
    // Now it runs, and the later one does not begin.
    w.gateway.hold_only(&[1]);
    w.wait_for_link(&second).await;
    w.wait_for_calls(&[1]).await;
    watch(Duration::from_millis(1_500), async || {
        w.gateway.waiting() == [1] && w.pulse.running() == 1 && w.gateway.asked(later.id.0) == 0
    })
    .await;
    // And afterwards all goes on.
    w.gateway.release_all();
    w.wait_for_link(&suspect).await;
    w.wait_for_link(&later).await;
}

async fn two_suspects_never_run_beside_each_other(f: Fixture) {
    for order in 1..=3 {
        f.order().await;
        make_suspect(&f, order, 0).await;
    }
    let gateway = HeldGateway::start().await;
    gateway.hold_all();
    let w = Working::start_with(f, gateway, &[QueueName::Settle]).await;

    wait_until("one to run", PATIENCE, async || (w.gateway.waiting().len() == 1).then_some(())).await;
    watch(Duration::from_millis(1_500), async || w.gateway.waiting().len() == 1).await;
    w.gateway.release_all();

    for order in 1..=3 {
        w.wait_for_link(&w.find(order).await).await;
    }
    assert_eq!(w.gateway.most_at_once(), 1);
}

async fn every_worker_takes_suspects_whatever_its_queues(f: Fixture) {
    let (suspect, other) = (f.order().await, f.order().await);
    make_suspect(&f, suspect.id.0, 0).await;
    let w = Working::start_with(f, HeldGateway::start().await, &[QueueName::Background]).await;

    w.wait_for_link(&suspect).await;

    assert_eq!(w.gateway.asked(other.id.0), 0, "links are not this worker's");
    let job = shared::store::jobs::of_order(&w.f.store, suspect.id).await.unwrap().pop().unwrap();
    assert_eq!((job.state, job.crashes), (JobState::Completed, 0), "it came to its end");
}
