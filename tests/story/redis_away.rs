//! Redis dies, hangs, or forgets everything while orders are taken: it holds nothing that the database does not.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::app::{Kind, TestApp};
use crate::support::doors::{HttpAnswer, tea};
use crate::support::installation::SANDBOX_CREDENTIALS;
use crate::support::servers::PrivateRedis;
use crate::support::wait::{PATIENCE, wait_until};

/// The longest wait of a person: no answer of ours may wait for Redis.
const SOON: Duration = Duration::from_secs(3);

async fn start(redis: &PrivateRedis) -> TestApp {
    TestApp::start_with(Kind::Servers, &[("REDIS_URL", &redis.url()), ("TASDIQ_LINK_WAIT_MS", "300")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_down_orders_are_taken_and_callbacks_answered() {
    let mut redis = PrivateRedis::start().await;
    let app = start(&redis).await;
    let before = app.order_with_link().await;

    redis.kill();
    let ids = take_orders_and_a_callback(&app, before.transaction_id, before.id).await;
    wait_until("the program to say so", PATIENCE, async || {
        let ready = app.get("/readyz").await;
        assert_eq!(ready.status, 200, "the webhook must go on: {ready}");
        ready.text.contains("Redis does not answer").then_some(())
    })
    .await;
    redis.restart().await;

    settle(&app, &ids, before.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_hangs_orders_are_taken_and_callbacks_answered() {
    let mut redis = PrivateRedis::start().await;
    let app = start(&redis).await;
    let before = app.order_with_link().await;

    redis.pause();
    let ids = take_orders_and_a_callback(&app, before.transaction_id, before.id).await;
    redis.resume();

    settle(&app, &ids, before.id).await;
}

/// Shows: PROMISE-1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_forgets_everything_costs_nothing_but_seconds() {
    const MORE_THAN_RUN_AT_ONCE: usize = 90;
    let redis = PrivateRedis::start().await;
    // Atmos's account alone: where there are more, no account's jobs take all slots.
    let url = redis.url();
    let settings = [("REDIS_URL", url.as_str()), ("TASDIQ_LINK_WAIT_MS", "300")];
    let app = TestApp::start_with(Kind::Servers, &[&settings[..], &SANDBOX_CREDENTIALS[..]].concat()).await;
    // With such slow calls, ids wait in Redis for a free slot.
    app.fault(json!({ "fault": "latency", "milliseconds": 4_000 })).await;
    let ids = take_orders(&app, MORE_THAN_RUN_AT_ONCE).await;

    wipe_while_ids_wait(&app, &redis, "links").await;
    let mut orders = Vec::new();
    for id in &ids {
        orders.push(app.wait_for_link(*id).await);
    }
    let outcomes = futures_util::future::join_all(orders.iter().map(|order| app.pay(order.transaction_id))).await;
    assert!(outcomes.iter().all(|outcome| outcome == "debited"), "{outcomes:?}");
    wipe_while_ids_wait(&app, &redis, "settle").await;
    app.clear_faults().await;

    for id in &ids {
        app.wait_for(*id, "paid").await;
        assert_eq!(app.history(*id).await.statuses(), ["pending", "pending", "confirming", "paid"]);
    }
    assert_eq!(app.metric("tasdiq_dead_letters").await, 0);
    app.audit(&ids).await;
}

/// Wipes Redis while it holds ids that no worker has taken yet, so that ids are lost.
async fn wipe_while_ids_wait(app: &TestApp, redis: &PrivateRedis, queue: &str) {
    let depth = format!("tasdiq_queue_depth{{queue=\"{queue}\"}}");
    wait_until(&format!("ids that wait in {queue}"), PATIENCE, async || (app.metric(&depth).await > 0).then_some(()))
        .await;
    redis.wipe().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_starts_while_redis_is_away_works_as_soon_as_it_is_back() {
    let mut redis = PrivateRedis::start().await;
    redis.kill();
    let app = start(&redis).await;
    let ids = take_orders(&app, 3).await;

    redis.restart().await;

    for id in &ids {
        let order = app.wait_for_link(*id).await;
        assert_eq!(app.pay(order.transaction_id).await, "debited");
        app.wait_for(*id, "paid").await;
    }
    app.audit(&ids).await;
}

/// Checks that orders and a callback are accepted quickly without Redis. Returns the new orders.
async fn take_orders_and_a_callback(app: &TestApp, transaction_id: i64, id: i64) -> Vec<i64> {
    let ids = take_orders(app, 5).await;
    let body = app.sign(transaction_id, id, "50.00").await;
    let begun = Instant::now();
    assert_eq!(app.deliver(body).await.callback_status(), 1);
    assert!(begun.elapsed() < Duration::from_secs(1), "the gateway waits for us: {:?}", begun.elapsed());
    assert_eq!(app.status(id).await, "confirming");
    assert_eq!(app.pay(transaction_id).await, "debited");
    ids
}

/// Makes this many orders at the same time. Each is answered within the wait of a person, and its page opens.
async fn take_orders(app: &TestApp, number: usize) -> Vec<i64> {
    let made: Vec<(HttpAnswer, Duration)> = futures_util::future::join_all((0..number).map(async |_| {
        let begun = Instant::now();
        (app.create_order(&tea()).await, begun.elapsed())
    }))
    .await;
    let mut ids = Vec::new();
    for (answer, taken) in made {
        assert_eq!(answer.status, 201, "{answer}");
        assert!(taken < SOON, "{taken:?}");
        let order = answer.json();
        let page = app.open(order["payment_url"].as_str().unwrap()).await;
        assert!([200, 303].contains(&page.status), "{page}");
        ids.push(order["order_id"].as_i64().unwrap());
    }
    ids
}

/// Redis is back: all links come, orders debited meanwhile become paid, and the others can be paid.
async fn settle(app: &TestApp, ids: &[i64], before: i64) {
    app.wait_for(before, "paid").await;
    for id in ids {
        let order = app.wait_for_link(*id).await;
        assert_eq!(app.pay(order.transaction_id).await, "debited");
    }
    for id in ids {
        app.wait_for(*id, "paid").await;
    }
    assert_eq!(app.metric("tasdiq_dead_letters").await, 0);
    let all: Vec<i64> = ids.iter().copied().chain([before]).collect();
    app.audit(&all).await;
}
