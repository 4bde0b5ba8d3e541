//! What a process tells of itself while it works.

use shared::coordination::Coordination;
use shared::presence::{self, Introduction};
use shared::queue::{LocalQueue, Queue};
use shared::store::Store;
use shared::store::processes::{self, Process};
use tokio_util::sync::CancellationToken;

use super::{Fixture, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    a_consumer_is_told_of_from_the_first_beat_to_its_end
    a_process_that_takes_no_jobs_tells_of_no_consumer
}

/// Waits for this process's word of its consumer.
async fn wait_for_consumer(store: &Store, what: &str, is_told: bool) {
    wait_until(what, PATIENCE, async || {
        let alive = processes::alive(store).await.unwrap();
        let [Process { queue_heard_at_ms, .. }] = alive.as_slice() else { return None };
        (queue_heard_at_ms.is_some() == is_told).then_some(())
    })
    .await;
}

/// A worker may hang before its consumer has asked for anything.
async fn a_consumer_is_told_of_from_the_first_beat_to_its_end(f: Fixture) {
    let queue = Queue::Local(LocalQueue::default());
    let stop = CancellationToken::new();
    let told = Introduction { role: "worker", slots: 1, queues: "links".into() };
    let keeping =
        tokio::spawn(presence::keep(f.store.clone(), queue.clone(), Coordination::local(None), told, stop.clone()));

    wait_for_consumer(&f.store, "a consumer that is still to come", true).await;
    let taker = queue.taker();
    let first = processes::alive(&f.store).await.unwrap()[0].heartbeat_at_ms;
    wait_until("another beat", PATIENCE, async || {
        (processes::alive(&f.store).await.unwrap()[0].heartbeat_at_ms > first).then_some(())
    })
    .await;
    wait_for_consumer(&f.store, "its word", true).await;
    drop(taker);
    wait_for_consumer(&f.store, "no consumer any more", false).await;

    stop.cancel();
    keeping.await.unwrap();
    assert_eq!(processes::alive(&f.store).await.unwrap(), []);
}

async fn a_process_that_takes_no_jobs_tells_of_no_consumer(f: Fixture) {
    let queue = Queue::Local(LocalQueue::default());
    let told = Introduction { role: "api", slots: 0, queues: String::new() };
    tokio::spawn(presence::keep(f.store.clone(), queue, Coordination::local(None), told, CancellationToken::new()));

    wait_for_consumer(&f.store, "its word", false).await;
}
