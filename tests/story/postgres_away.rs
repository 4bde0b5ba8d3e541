//! PostgreSQL dies or hangs while orders are under way. Without it no order can be promised, so none is, and no
//! promised order is lost.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::app::{Kind, TestApp};
use crate::support::doors::{HttpAnswer, Linked, tea};
use crate::support::servers::PrivatePostgres;
use crate::support::wait::{PATIENCE, wait_until};

/// The longest wait of a caller while the database hangs. The gateway above all must not wait.
const SOON: Duration = Duration::from_secs(10);

/// The longest wait while the database refuses connections, for any number of callers.
const AT_ONCE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_down_requests_are_turned_away_and_afterwards_everything_settles() {
    let mut postgres = PrivatePostgres::start().await;
    let (app, under_way) = start_with_payments_under_way(&postgres).await;

    postgres.kill();
    check_that_all_are_turned_away(&app, &under_way[0], AT_ONCE).await;
    app.clear_faults().await;
    postgres.restart().await;

    settle(&app, &under_way).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_hangs_requests_are_turned_away_and_afterwards_everything_settles() {
    let mut postgres = PrivatePostgres::start().await;
    let (app, under_way) = start_with_payments_under_way(&postgres).await;

    postgres.pause();
    check_that_all_are_turned_away(&app, &under_way[0], SOON).await;
    app.clear_faults().await;
    postgres.resume();

    settle(&app, &under_way).await;
}

/// Orders whose money has moved, and whose inquiries wait for a gateway that does not answer yet.
async fn start_with_payments_under_way(postgres: &PrivatePostgres) -> (TestApp, Vec<Linked>) {
    let app = TestApp::start_with(Kind::Servers, &[("DATABASE_URL", &postgres.url())]).await;
    let mut orders = Vec::new();
    for _ in 0..6 {
        orders.push(app.order_with_link().await);
    }
    app.fault(json!({ "fault": "latency", "milliseconds": 2_000 })).await;
    for order in &orders {
        assert_eq!(app.pay(order.transaction_id).await, "debited");
    }
    (app, orders)
}

async fn check_that_all_are_turned_away(app: &TestApp, order: &Linked, soon: Duration) {
    let forged = r#"{"store_id":"1234","transaction_id":"1","amount":"5000","account":"1","sign":"x"}"#;
    let signed = app.sign(order.transaction_id, order.id, "50.00").await;
    let new = tea();
    let path = format!("/api/orders/{}", order.id);
    let return_page = format!("{}/pay/{}/return", app.url, order.token);

    let (create, webhook, read, page, refused, ready, live, metrics) = tokio::join!(
        timed(soon, app.create_order(&new)),
        timed(soon, app.deliver(signed)),
        timed(soon, app.get(&path)),
        timed(soon, app.open(&return_page)),
        timed(soon, app.deliver(forged)),
        timed(soon, app.get("/readyz")),
        timed(soon, app.get("/livez")),
        timed(soon, app.get("/metrics")),
    );

    check_turned_away(&create, "create");
    // The gateway must ask again: neither a yes nor a no would be true.
    check_turned_away(&webhook, "webhook");
    check_turned_away(&read, "order");
    assert_eq!(page.status, 503, "{page}");
    assert!(page.text.contains("http-equiv=\"refresh\""), "the customer's page asks again: {page}");
    assert_eq!(refused.callback_status(), 0, "a forged body needs no database to be refused: {refused}");
    assert_eq!(ready.status, 503, "{ready}");
    assert_eq!(live.status, 200, "restarting the program would mend nothing");
    assert_eq!(metrics.status, 200);
}

fn check_turned_away(answer: &HttpAnswer, what: &str) {
    assert_eq!(answer.status, 503, "{what}: {answer}");
    assert!(!answer.header("Retry-After").is_empty(), "{what}: {answer}");
    assert!(answer.text.len() < 1_000 && !answer.text.contains("sql"), "{what}: nothing of the inside shows: {answer}");
}

async fn timed(soon: Duration, answer: impl Future<Output = HttpAnswer>) -> HttpAnswer {
    let begun = Instant::now();
    let answer = answer.await;
    assert!(begun.elapsed() < soon, "after {:?}: {answer}", begun.elapsed());
    answer
}

async fn settle(app: &TestApp, under_way: &[Linked]) {
    wait_until("the program to be ready", PATIENCE, async || (app.get("/readyz").await.status == 200).then_some(()))
        .await;
    for order in under_way {
        app.wait_for_within(order.id, "paid", Duration::from_secs(60)).await;
    }
    let new = app.order_with_link().await;
    assert_eq!(app.pay(new.transaction_id).await, "debited");
    app.wait_for(new.id, "paid").await;
    // An outage costs no job an attempt, and counts as no crash of a worker.
    assert_eq!(app.metric("tasdiq_dead_letters").await, 0);
    let ids: Vec<i64> = under_way.iter().map(|order| order.id).chain([new.id]).collect();
    app.audit(&ids).await;
}
