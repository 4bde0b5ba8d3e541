//! Heartbeats of a process while it works.

use gateway::{AccountSettings, Gateways};
use process::heartbeat::{self, Introduction};
use queue::{LocalQueue, Queue};
use store::Store;
use store::processes::{self, Process};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::fixture::{Fixture, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    a_consumer_is_told_of_from_the_first_beat_to_its_end
    a_consumer_that_has_come_and_gone_between_two_beats_is_told_of_no_more
    a_process_that_takes_no_jobs_tells_of_no_consumer
}

/// Waits until this process's row tells the wanted state of its consumer.
async fn wait_for_word(store: &Store, what: &str, fits: impl Fn(Option<i64>) -> bool) -> Option<i64> {
    wait_until(what, PATIENCE, async || {
        let alive = processes::alive(store).await.unwrap();
        let [Process { queue_heard_at_ms, .. }] = alive.as_slice() else { return None };
        fits(*queue_heard_at_ms).then_some(*queue_heard_at_ms)
    })
    .await
}

/// The sandbox's account.
fn gateways() -> Gateways {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let account = AccountSettings::Atmos(config::defaults().unwrap());
    account.gateway(account.coordination(None, true)).unwrap().into()
}

/// Writes heartbeats until the token is canceled.
fn keep(f: &Fixture, queue: &Queue, introduction: Introduction) -> (JoinHandle<()>, CancellationToken) {
    let stop = CancellationToken::new();
    let kept = heartbeat::keep(f.store.clone(), queue.clone(), gateways(), introduction, stop.clone());
    (tokio::spawn(kept), stop)
}

fn worker() -> Introduction {
    Introduction { role: "worker", slots: 1, queues: "links".into() }
}

/// A worker may hang before it has a consumer.
async fn a_consumer_is_told_of_from_the_first_beat_to_its_end(f: Fixture) {
    let queue = Queue::Local(LocalQueue::default());
    let (keeping, stop) = keep(&f, &queue, worker());

    let start = wait_for_word(&f.store, "a consumer that is still to come", |heard| heard.is_some()).await;
    let taker = queue.taker();
    wait_for_word(&f.store, "the consumer that is there", |heard| heard > start).await;
    drop(taker);
    wait_for_word(&f.store, "no consumer any more", |heard| heard.is_none()).await;

    stop.cancel();
    keeping.await.unwrap();
    assert_eq!(processes::alive(&f.store).await.unwrap(), []);
}

/// A worker may be stopped before its second heartbeat, and finish its jobs for longer than the silence limit.
async fn a_consumer_that_has_come_and_gone_between_two_beats_is_told_of_no_more(f: Fixture) {
    let queue = Queue::Local(LocalQueue::default());
    let (_keeping, _stop) = keep(&f, &queue, worker());

    wait_for_word(&f.store, "a consumer that is still to come", |heard| heard.is_some()).await;
    drop(queue.taker());

    wait_for_word(&f.store, "no consumer any more", |heard| heard.is_none()).await;
}

async fn a_process_that_takes_no_jobs_tells_of_no_consumer(f: Fixture) {
    let queue = Queue::Local(LocalQueue::default());
    let (_keeping, _stop) = keep(&f, &queue, Introduction { role: "api", slots: 0, queues: String::new() });

    wait_for_word(&f.store, "its word", |heard| heard.is_none()).await;
}
