//! The gateway's odd answers, and no answers: its token, its transport, the shape of its JSON.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::app::{Kind, TestApp};
use crate::support::doors::tea;
use crate::support::wait::{PATIENCE, wait_until};

const PATHS: [&str; 2] = ["/merchant/pay/create", "/merchant/pay/get"];

/// The time for some attempts, each with its wait.
const LONG: Duration = Duration::from_secs(75);

/// One order for each kind of answer. The answer comes twice while the link is made, and twice to the inquiries.
/// Shows: GATEWAY-3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_gateway_answers_each_order_is_paid_once() {
    const ANSWERS: [&str; 15] = [
        "unavailable",
        "server-error",
        "forbidden",
        "html",
        "empty",
        "malformed",
        "answer-lost",
        "answer-late",
        "latency",
        "unknown-code",
        "no-store-transaction",
        "other-types",
        "extra-fields",
        "token-rejected",
        "token-revoked",
    ];
    let app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let mut ids = Vec::new();
    for (number, fault) in ANSWERS.iter().enumerate() {
        let account = (number + 1).to_string(); // the order that is made next
        for path in PATHS {
            app.fault(json!({ "fault": fault, "account": account, "path": path, "next": 2, "milliseconds": 1_000 }))
                .await;
        }
        let order = app.create_order(&tea()).await.json();
        assert_eq!(order["order_id"].to_string(), account);
        ids.push(order["order_id"].as_i64().unwrap());
    }

    join_all(ids.iter().zip(ANSWERS).map(async |(id, fault)| {
        let what = format!("a link in spite of {fault}");
        let transaction_id = wait_until(&what, LONG, async || app.order(*id).await["transaction_id"].as_i64()).await;
        assert_eq!(app.pay(transaction_id).await, "debited", "{fault}");
        app.wait_for_within(*id, "paid", LONG).await;
        assert_eq!(app.history(*id).await.statuses(), ["pending", "pending", "confirming", "paid"], "{fault}");
    }))
    .await;

    for line in app.ledger().await.into_iter().filter(|line| line.debits == 0) {
        assert_eq!(app.pay(line.transaction_id).await, "refused", "a draft whose answer was lost");
    }
    assert_eq!(app.metric("tasdiq_dead_letters").await, 0);
    app.audit(&ids).await;
    assert_eq!(app.run(&["audit"]).await.code, Some(0));
}

/// Calls are given up after 15 s. The next inquiry shows what the gateway did meanwhile, and no order is harmed.
/// Shows: GATEWAY-4
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_slower_than_we_wait_costs_time_and_no_order() {
    let app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let [create, get] = PATHS;
    for (account, fault, path, milliseconds) in [
        ("1", "answer-late", create, 10_000),
        ("2", "latency", create, 60_000),
        ("3", "answer-late", create, 130_000),
        ("4", "answer-late", get, 130_000),
    ] {
        let wish = json!({ "fault": fault, "account": account, "path": path, "milliseconds": milliseconds, "next": 1 });
        app.fault(wish).await;
    }
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(app.create_order(&tea()).await.json()["order_id"].as_i64().unwrap());
    }

    join_all(ids.iter().map(async |id| {
        let transaction_id = wait_until("a link", LONG, async || app.order(*id).await["transaction_id"].as_i64()).await;
        assert_eq!(app.pay(transaction_id).await, "debited");
        app.wait_for_within(*id, "paid", LONG).await;
    }))
    .await;

    assert_eq!(app.ledger_of(1).await.len(), 1, "10 s are waited for");
    assert_eq!(app.ledger_of(2).await.len(), 1, "what was given up before the work was not done");
    assert_eq!(app.ledger_of(3).await.len(), 2, "a timeout after success leaves a draft");
    app.audit(&ids).await;
}

/// Shows: GATEWAY-2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_orders_wait_and_none_fails() {
    let app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let mut ids = Vec::new();
    let refused = [
        ("token-rejected", r#"operation="create",outcome="not_admitted""#),
        ("token-unavailable", r#"operation="token",outcome="unknown""#),
    ];

    for (fault, series) in refused {
        sim(&app, Method::DELETE, "token", &Value::Null).await; // every token that we have is void
        app.fault(json!({ "fault": fault })).await;
        let id = app.create_order(&tea()).await.json()["order_id"].as_i64().unwrap();
        let refused = format!("tasdiq_gateway_calls_total{{gateway=\"atmos\",{series}}}");
        wait_until(fault, PATIENCE, async || (app.metric(&refused).await >= 4).then_some(())).await;
        assert_eq!((app.status(id).await.as_str(), app.ledger_of(id).await.len()), ("pending", 0), "{fault}");
        app.clear_faults().await;
        // The breaker that this trouble opened must not delay the next one.
        app.command(&["gateways", "reset", "atmos"]).await;
        ids.push(id);
    }
    sim(&app, Method::DELETE, "token", &Value::Null).await;
    app.fault(json!({ "fault": "token-slow", "milliseconds": 1_500, "next": 1 })).await;
    ids.push(app.order_with_link().await.id);

    for id in &ids {
        let order = app.wait_for_link(*id).await;
        assert_eq!(app.pay(order.transaction_id).await, "debited");
        app.wait_for(*id, "paid").await;
    }
    assert_eq!(app.metric("tasdiq_dead_letters").await, 0);
    app.audit(&ids).await;
}

/// Shows: GATEWAY-2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_between_link_and_inquiry_is_replaced_at_once() {
    let app = TestApp::start(Kind::Embedded).await;
    sim(&app, Method::POST, "token", &json!({ "lifetime_seconds": 300 })).await;
    let order = app.order_with_link().await;

    sim(&app, Method::POST, "clock", &json!({ "advance_seconds": 300 })).await; // our clock still takes the token for good
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for_within(order.id, "paid", Duration::from_secs(10)).await;

    let counts = sim(&app, Method::GET, "token", &Value::Null).await;
    assert_eq!((&counts["token_calls"], &counts["rejected_calls"]), (&json!(2), &json!(1)), "{counts}");
    app.audit(&[order.id]).await;
}

/// Shows: GATEWAY-5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_refuses_connections_is_waited_for() {
    let app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let paid_meanwhile = app.order_with_link().await;
    app.fault(json!({ "fault": "unavailable", "path": "/merchant/pay/get" })).await;
    assert_eq!(app.pay(paid_meanwhile.transaction_id).await, "debited");

    app.clear_faults().await;
    sim(&app, Method::POST, "away", &json!({ "milliseconds": 2_500 })).await;
    let unreachable = r#"tasdiq_gateway_calls_total{gateway="atmos",operation="create",outcome="unreachable"}"#;
    let id = wait_until("a refused connection", PATIENCE, async || {
        let id = app.create_order(&tea()).await.json()["order_id"].as_i64().unwrap();
        (app.metric(unreachable).await > 0).then_some(id)
    })
    .await;

    let order = app.wait_for_link(id).await;
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(id, "paid").await;
    app.wait_for(paid_meanwhile.id, "paid").await;
    app.audit(&[id, paid_meanwhile.id]).await;
}

/// Sends a request under `/_sim/` to the sandbox.
async fn sim(app: &TestApp, method: Method, path: &str, wish: &Value) -> Value {
    let request = app.request(method, &format!("{}/_sim/{path}", app.sandbox_url));
    let request = if wish.is_null() { request } else { request.json(wish) };
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{path}");
    answer.json().await.unwrap()
}
