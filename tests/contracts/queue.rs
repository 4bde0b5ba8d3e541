use std::time::{Duration, Instant};

use domain::id::JobId;
use domain::job::QueueName;
use queue::{LocalQueue, Queue, QueueError, RedisQueue};
use redis_server::RedisServer;

use crate::support::servers;

macro_rules! on_every_queue {
    ($($name:ident)+) => {
        mod local {
            $(#[tokio::test] async fn $name() { super::$name(super::Queue::Local(super::LocalQueue::default())).await; })+
        }
        mod redis {
            $(#[tokio::test] async fn $name() { super::$name(super::on_redis()).await; })+
        }
    };
}

on_every_queue! {
    ids_come_out_in_the_order_they_went_in
    the_first_queue_with_an_id_wins
    a_take_wakes_as_soon_as_an_id_comes
    an_empty_queue_answers_after_the_wait
    many_takers_share_the_ids
}

/// The queue of an installation that no other test uses.
fn on_redis() -> Queue {
    let installation = format!("test-{:016x}", rand::random::<u64>());
    Queue::Redis(RedisQueue::new(RedisServer::new(&servers::redis_url(), &installation).unwrap()))
}

const SECOND: Duration = Duration::from_secs(1);

fn ids(range: std::ops::Range<i64>) -> Vec<JobId> {
    range.map(JobId).collect()
}

async fn ids_come_out_in_the_order_they_went_in(queue: Queue) {
    queue.push(QueueName::Settle, &ids(1..6)).await.unwrap();
    queue.push(QueueName::Settle, &ids(6..8)).await.unwrap();
    let mut taker = queue.taker();

    assert_eq!(queue.len(QueueName::Settle).await.unwrap(), 7);
    assert_eq!(taker.take(&[QueueName::Settle], 4, SECOND).await.unwrap(), ids(1..5));
    assert_eq!(taker.take(&[QueueName::Settle], 4, SECOND).await.unwrap(), ids(5..8));
    assert_eq!(queue.len(QueueName::Settle).await.unwrap(), 0);
}

async fn the_first_queue_with_an_id_wins(queue: Queue) {
    queue.push(QueueName::Background, &ids(1..2)).await.unwrap();
    queue.push(QueueName::Settle, &ids(2..3)).await.unwrap();
    let mut taker = queue.taker();
    let queues = [QueueName::Settle, QueueName::Links, QueueName::Background];

    assert_eq!(taker.take(&queues, 9, SECOND).await.unwrap(), ids(2..3));
    assert_eq!(taker.take(&queues, 9, SECOND).await.unwrap(), ids(1..2));
}

async fn a_take_wakes_as_soon_as_an_id_comes(queue: Queue) {
    let mut taker = queue.taker();
    let waiting = tokio::spawn(async move { taker.take(&[QueueName::Links], 1, Duration::from_secs(20)).await });
    tokio::task::yield_now().await;
    let began = Instant::now();

    queue.push(QueueName::Links, &ids(1..2)).await.unwrap();

    assert_eq!(waiting.await.unwrap().unwrap(), ids(1..2));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

async fn an_empty_queue_answers_after_the_wait(queue: Queue) {
    let began = Instant::now();

    let taken = queue.taker().take(&[QueueName::Settle], 1, Duration::from_millis(200)).await.unwrap();

    assert_eq!(taken, []);
    assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
}

async fn many_takers_share_the_ids(queue: Queue) {
    queue.push(QueueName::Settle, &ids(0..200)).await.unwrap();
    let takers: Vec<_> = (0..4)
        .map(|_| {
            let mut taker = queue.taker();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                loop {
                    match taker.take(&[QueueName::Settle], 7, Duration::from_millis(200)).await.unwrap() {
                        none if none.is_empty() => return taken,
                        some => taken.extend(some),
                    }
                }
            })
        })
        .collect();

    let mut taken = Vec::new();
    for taker in takers {
        taken.extend(taker.await.unwrap());
    }

    taken.sort_unstable();
    assert_eq!(taken, ids(0..200));
}

#[tokio::test]
async fn a_redis_that_is_away_is_an_error_of_the_call_and_comes_back() {
    let mut server = servers::PrivateRedis::start().await;
    let queue = Queue::Redis(RedisQueue::new(RedisServer::new(&server.url(), "away").unwrap()));
    queue.push(QueueName::Settle, &ids(1..2)).await.unwrap();
    server.kill();

    let began = Instant::now();
    assert!(matches!(queue.push(QueueName::Settle, &ids(2..3)).await, Err(QueueError::Unavailable(_))));
    assert!(matches!(queue.taker().take(&[QueueName::Settle], 1, SECOND).await, Err(QueueError::Unavailable(_))));
    assert!(began.elapsed() < Duration::from_secs(10), "an outage is noticed, not waited out: {:?}", began.elapsed());

    server.restart().await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while queue.push(QueueName::Settle, &ids(3..4)).await.is_err() {
        assert!(Instant::now() < deadline, "the queue works again by itself");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(queue.taker().take(&[QueueName::Settle], 9, SECOND).await.unwrap(), ids(3..4));
}

#[tokio::test]
async fn a_redis_that_must_not_carry_the_queue_is_found_out() {
    let old = servers::FakeRedis::start("6.2.14");
    let evicting = servers::PrivateRedis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let evicting_in_the_newer_protocol = format!("{}/?protocol=resp3", evicting.url());

    for (url, says) in [
        (old.url(), "Redis 7 or newer"),
        (evicting.url(), "noeviction"),
        (evicting_in_the_newer_protocol, "noeviction"),
    ] {
        let faults = RedisQueue::new(RedisServer::new(&url, "check").unwrap()).check().await.unwrap().faults;
        assert!(faults.iter().any(|fault| fault.to_string().contains(says)), "{faults:?}");
    }
}

/// The usual advice for a separate Redis user forbids INFO and CONFIG.
#[tokio::test]
async fn a_redis_whose_user_may_not_ask_for_its_state_carries_the_queue() {
    let server = servers::PrivateRedis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    let rights = ["on", ">secret", "~{tasdiq:*", "&{tasdiq:*", "+@all", "-@dangerous", "-@admin"];
    let () = server.command(&[&["ACL", "SETUSER", "pay"], &rights[..]].concat()).await;
    let url = server.url().replace("redis://", "redis://pay:secret@");
    let queue = RedisQueue::new(RedisServer::new(&url, "untold").unwrap());

    let checked = queue.check().await.unwrap();
    let pushed = Queue::Redis(queue).push(QueueName::Settle, &ids(1..2)).await;

    assert!(checked.faults.is_empty(), "{checked:?}");
    let [policy] = checked.untold.as_slice() else { panic!("its version is told at the greeting: {checked:?}") };
    assert!(policy.contains("policy"), "{policy}");
    assert!(pushed.is_ok(), "{pushed:?}");
}
