//! Jobs that are offered where they are staged, and jobs that are claimed by whoever stages them.

use shared::id::JobId;
use shared::job::{Job, QueueName};
use shared::order::Order;
use shared::store::callbacks::wake_settlement;
use shared::store::jobs::{self, Finish, InHand, LEASE_MS, OFFER_GRACE_MS};
use shared::store::kinds;
use tokio_util::sync::CancellationToken;

use crate::support::fixture::{Fixture, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    what_is_staged_on_an_open_queue_is_offered_with_its_commit
    an_id_that_nobody_pushed_is_offered_again_after_its_grace
    a_waiting_job_that_is_staged_again_on_an_open_queue_is_offered_and_a_suspect_is_not
    the_look_after_a_callback_belongs_to_whoever_processed_that
    a_look_that_was_offered_or_runs_is_claimed_once
    a_look_in_hand_that_nobody_takes_is_handed_back_as_it_was
}

/// The row of the order's look, or of its link.
async fn job_of(f: &Fixture, order: &Order, kind: &str) -> shared::job::JobRow {
    let jobs = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    jobs.into_iter().find(|job| job.kind == kind && job.finished_at_ms.is_none()).expect("an open job")
}

async fn state_of(f: &Fixture, order: &Order, kind: &str) -> String {
    job_of(f, order, kind).await.state.to_string()
}

async fn what_is_staged_on_an_open_queue_is_offered_with_its_commit(f: Fixture) {
    let before = f.order().await;
    assert_eq!(state_of(&f, &before, "create_payment_link").await, "available", "nobody has opened a queue");
    assert!(f.store.take_fresh().due_at_ms.is_some(), "the relay must look at it");
    f.store.offer_when_staged(vec![QueueName::Links]);

    let order = f.order().await;

    let job = job_of(&f, &order, "create_payment_link").await;
    assert_eq!(job.state.to_string(), "enqueued");
    assert!(job.due_at_ms > f.store.now_ms() + OFFER_GRACE_MS / 2, "it has its grace");
    let fresh = f.store.take_fresh();
    assert_eq!(fresh.offered[&QueueName::Links], [job.id]);
    assert_eq!(fresh.due_at_ms, None, "there is nothing to ask the database about");
    assert_eq!(f.store.take_fresh().offered.len(), 0, "it is given once");
    assert_eq!(jobs::claim(&f.store, &[job.id]).await.unwrap().len(), 1);

    f.store.offer_when_staged(Vec::new());
    let after = f.order().await;
    assert_eq!(state_of(&f, &after, "create_payment_link").await, "available");
}

async fn an_id_that_nobody_pushed_is_offered_again_after_its_grace(f: Fixture) {
    f.store.offer_when_staged(vec![QueueName::Links]);
    let order = f.order().await;
    let id = job_of(&f, &order, "create_payment_link").await.id;
    assert_eq!(jobs::offer_again(&f.store, QueueName::Links, 10).await.unwrap(), []);

    let past = "update jobs set due_at_ms = 0, waiting_since_ms = waiting_since_ms - 60000 where state = 'enqueued'";
    f.execute(&[past.to_owned()]).await;

    let waited_ms = jobs::oldest_due_age_ms(&f.store, QueueName::ALL).await.unwrap();
    assert!(
        (60_000..90_000).contains(&waited_ms),
        "it waits since it was staged, and not since it was offered: {waited_ms}"
    );
    assert_eq!(jobs::offer_again(&f.store, QueueName::Links, 10).await.unwrap(), [id]);
}

async fn a_waiting_job_that_is_staged_again_on_an_open_queue_is_offered_and_a_suspect_is_not(f: Fixture) {
    f.store.offer_when_staged(vec![QueueName::Settle]);
    for (queue, expected) in [("background", ("enqueued", "settle")), ("suspect", ("available", "suspect"))] {
        let order = f.order_with_link(7 + queue.len() as i64).await;
        let id = job_of(&f, &order, "settle_order").await.id;
        f.execute(&[format!("update jobs set queue = '{queue}' where id = {id}")]).await;
        f.store.take_fresh();

        jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();

        let job = job_of(&f, &order, "settle_order").await;
        assert_eq!((job.state.to_string().as_str(), job.queue.as_str()), expected);
        let offered: Vec<JobId> = f.store.take_fresh().offered.into_values().flatten().collect();
        assert_eq!(offered, if queue == "suspect" { vec![] } else { vec![id] });
    }
}

/// Asks about the order's draft, and processes that callback.
async fn process_callback(f: &Fixture, order: &Order, transaction_id: i64) -> Option<InHand> {
    f.ask(order, transaction_id).await;
    let callback = f.claim(QueueName::Settle).await.into_iter().find(|job| job.kind == "process_callback").unwrap();
    wake_settlement(&f.store, &callback.lease, order.id).await.unwrap()
}

async fn the_look_after_a_callback_belongs_to_whoever_processed_that(f: Fixture) {
    let order = f.order_with_link(7).await;

    let look = process_callback(&f, &order, 7).await.and_then(InHand::take).expect("nobody runs it");

    assert_eq!(look.job.as_ref().unwrap(), &Job::SettleOrder { order_id: order.id });
    assert_eq!((look.attempt, look.crashes, look.queue), (1, 0, QueueName::Settle));
    let row = job_of(&f, &order, "settle_order").await;
    assert_eq!((row.id, row.state.to_string().as_str()), (look.lease.job_id, "running"));
    let lease_ms = row.due_at_ms - f.store.now_ms();
    // Besides the line to the database, for which a lease is longer by ten round trips, 12 s at most.
    let line_ms = i64::try_from(f.store.round_trip().as_millis()).unwrap() * 10;
    assert!((1..=LEASE_MS + (line_ms + 100).min(12_000)).contains(&lease_ms), "it has a lease: {lease_ms} ms");
    assert_eq!(jobs::renew(&f.store, &[look.lease]).await.unwrap(), [look.lease.job_id]);
    jobs::finish_alone(&f.store, &look.lease, &Finish::Complete).await.unwrap();
}

async fn a_look_that_was_offered_or_runs_is_claimed_once(f: Fixture) {
    let order = f.order_with_link(7).await;
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
    let ids = jobs::offer(&f.store, QueueName::Settle, 10).await.unwrap();
    assert_eq!(ids.len(), 1);

    let look = process_callback(&f, &order, 7).await.and_then(InHand::take).expect("nobody runs it");

    assert_eq!([look.lease.job_id], ids[..]);
    assert_eq!(jobs::claim(&f.store, &ids).await.unwrap().len(), 0, "its id in the list is of the past");
    f.execute(&["update callbacks set received_at_ms = 0, hinted_at_ms = 0".to_owned()]).await;
    assert!(process_callback(&f, &order, 7).await.is_none(), "somebody runs it, and is told to look once more");
    jobs::finish_alone(&f.store, &look.lease, &Finish::Complete).await.unwrap();
    assert_eq!(state_of(&f, &order, "settle_order").await, "available");
}

async fn a_look_in_hand_that_nobody_takes_is_handed_back_as_it_was(f: Fixture) {
    let order = f.order_with_link(7).await;
    let (store, stop) = (f.store.clone(), CancellationToken::new());
    let handing_back = tokio::spawn({
        let stop = stop.clone();
        async move { jobs::hand_back_untaken(&store, &stop).await }
    });

    drop(process_callback(&f, &order, 7).await.expect("nobody runs it"));

    let job = wait_until("the look to be handed back", PATIENCE, async || {
        let job = job_of(&f, &order, "settle_order").await;
        (job.state.to_string() == "available").then_some(job)
    })
    .await;
    assert_eq!((job.attempt, job.crashes), (0, 0));
    assert!(job.due_at_ms <= f.store.now_ms(), "it is due at once");
    stop.cancel();
    handing_back.await.unwrap();

    // A worker that stops leaves none behind.
    let order = f.order_with_link(8).await;
    drop(process_callback(&f, &order, 8).await.expect("nobody runs it"));
    assert_eq!(state_of(&f, &order, "settle_order").await, "running");
    jobs::hand_back_untaken(&f.store, &stop).await;
    assert_eq!(state_of(&f, &order, "settle_order").await, "available");
}
