//! A shop gives money back, or cancels an order: once, although answers are lost, parts are away, or it asks twice.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::forwarder::Forwarder;
use crate::support::ports::free_port;
use crate::support::sandbox::RunningSandbox;
use crate::support::wait::{PATIENCE, wait_until};

on_both_kinds! {
    a_refund_brings_the_money_back_and_the_shop_learns_of_it
    a_refund_whose_answer_was_lost_is_made_once
    a_refund_after_a_rest_does_not_meet_a_connection_that_was_closed
    a_refund_asked_for_while_the_gateway_is_away_is_made_afterwards
    of_refunds_asked_for_at_once_over_sixteen_connections_one_is_made
    money_that_went_back_in_the_cabinet_is_no_second_refund
    a_canceled_order_takes_no_money
    money_that_moves_after_a_cancel_goes_before_a_person
}

async fn wait_for_refund(app: &TestApp, id: i64, state: &str) -> serde_json::Value {
    wait_until(&format!("a refund of order {id} to be {state}"), PATIENCE, async || {
        app.refunds(id).await.pop().filter(|refund| refund["state"] == state)
    })
    .await
}

async fn a_refund_brings_the_money_back_and_the_shop_learns_of_it(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.paid_order().await;

    let accepted = app.refund(order.id, "first", &json!({ "reason": "it was broken" })).await;

    assert_eq!(accepted.status, 202, "{accepted}");
    let refunded = app.wait_for(order.id, "refunded").await;
    assert_eq!(refunded["refunded_amount"], "50.00");
    let refund = wait_for_refund(&app, order.id, "done").await;
    assert_eq!((&refund["refund_id"], &refund["reason"]), (&accepted.json()["refund_id"], &json!("it was broken")));
    let line = app.ledger_of(order.id).await.remove(0);
    assert_eq!((line.state.as_str(), line.debits, line.reversals_asked), ("reversed", 1, 1));
    assert_eq!(app.history(order.id).await.times_entered("refunded"), 1);
    let again = app.refund(order.id, "first", &json!({ "reason": "it was broken" })).await;
    assert_eq!((again.status, &again.json()["state"]), (202, &json!("done")), "{again}");
    assert_eq!(app.refund(order.id, "second", &json!({})).await.status, 409);
    assert_eq!(app.metric(r#"tasdiq_refunds_total{state="open"}"#).await, 1);
    app.command(&["audit"]).await;
}

/// Shows: MONEY-21
async fn a_refund_whose_answer_was_lost_is_made_once(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.paid_order().await;
    app.fault(json!({ "fault": "answer-lost", "path": "/merchant/pay/reverse", "next": 1 })).await;
    app.fault(json!({ "fault": "unavailable", "path": "/merchant/pay/get", "next": 4 })).await;

    app.refund(order.id, "key", &json!({})).await;

    app.wait_for(order.id, "refunded").await;
    assert_eq!(app.ledger_of(order.id).await[0].reversals_asked, 1);
    app.command(&["audit"]).await;
}

/// A device between us and the gateway forgets connections that are idle for a second. The refund is sent once, so it
/// must not be lost on such a connection: it would wait for a person because of one lost call.
async fn a_refund_after_a_rest_does_not_meet_a_connection_that_was_closed(kind: Kind) {
    const REST: Duration = Duration::from_secs(1);
    let listen = format!("127.0.0.1:{}", free_port());
    let sandbox = RunningSandbox::start(&format!("http://{listen}")).await;
    let way = Forwarder::start_forgetful(sandbox.port(), REST).await;
    let (sandbox_listen, url) = (&sandbox.url["http://".len()..], format!("http://127.0.0.1:{}", way.port()));
    let settings =
        [("TASDIQ_LISTEN", listen.as_str()), ("TASDIQ_SANDBOX_LISTEN", sandbox_listen), ("ATMOS_BASE_URL", &url)];
    let app = TestApp::start_with(kind, &settings).await;
    let order = app.paid_order().await;
    let known = way.opened();
    tokio::time::sleep(REST + Duration::from_millis(500)).await; // the idle time itself; there is no condition to wait for

    app.refund(order.id, "key", &json!({})).await;

    app.wait_for(order.id, "refunded").await;
    assert_eq!(app.ledger_of(order.id).await[0].reversals_asked, 1);
    assert!(way.opened() > known, "it left by a connection of its own");
}

async fn a_refund_asked_for_while_the_gateway_is_away_is_made_afterwards(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.paid_order().await;
    app.fault(json!({ "fault": "throttled", "path": "/merchant/pay/reverse", "milliseconds": 1_000, "next": 2 })).await;
    app.fault(json!({ "fault": "forbidden", "path": "/merchant/pay/reverse", "next": 1 })).await;

    let accepted = app.refund(order.id, "key", &json!({})).await;

    assert_eq!(accepted.status, 202, "the shop need not wait for the gateway: {accepted}");
    assert_eq!(app.refund(order.id, "other", &json!({})).await.status, 409);
    app.wait_for(order.id, "refunded").await;
    assert_eq!(app.ledger_of(order.id).await[0].reversals_asked, 1);
    app.command(&["audit"]).await;
}

/// Shows: MONEY-20
async fn of_refunds_asked_for_at_once_over_sixteen_connections_one_is_made(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.paid_order().await;
    let same = app.paid_order().await;

    let body = json!({});
    let keys: Vec<String> = (0..16).map(|number| format!("key-{number}")).collect();
    let asked = join_all(keys.iter().map(|key| app.refund(order.id, key, &body))).await;
    let repeated = join_all((0..16).map(|_| app.refund(same.id, "the-same", &body))).await;

    let accepted = asked.iter().filter(|answer| answer.status == 202).count();
    let refused = asked.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((accepted, refused), (1, 15), "{asked:?}");
    assert!(repeated.iter().all(|answer| matches!(answer.status, 202 | 409)), "{repeated:?}");
    for id in [order.id, same.id] {
        app.wait_for(id, "refunded").await;
        assert_eq!(app.refunds(id).await.len(), 1);
        let line = app.ledger_of(id).await.remove(0);
        assert_eq!((line.state.as_str(), line.reversals_asked), ("reversed", 1));
    }
    app.command(&["audit"]).await;
}

/// The stored number of the debit is wrong, so that the gateway knows no such payment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_a_refund_that_the_gateway_refuses_leaves_the_order_paid() {
    let app = TestApp::start(Kind::Servers).await;
    let order = app.paid_order().await;
    let right = app.number("select success_transaction_id from transactions").await;
    app.execute("update transactions set success_transaction_id = 1").await;

    app.refund(order.id, "first", &json!({})).await;

    let refused = wait_for_refund(&app, order.id, "refused").await;
    assert!(refused["outcome"].as_str().unwrap().contains("STPIMS-ERR-061"), "{refused}");
    let paid = app.order(order.id).await;
    assert_eq!((&paid["status"], &paid["refunded_amount"]), (&json!("paid"), &json!("0.00")));
    assert!(app.history(order.id).await.to_string().contains("was not made"));
    app.execute(&format!("update transactions set success_transaction_id = {right}")).await;
    assert_eq!(app.refund(order.id, "second", &json!({})).await.status, 202);
    app.wait_for(order.id, "refunded").await;
    app.command(&["audit"]).await;
}

async fn money_that_went_back_in_the_cabinet_is_no_second_refund(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.paid_order().await;
    app.sim("reverse", order.transaction_id).await;

    assert_eq!(app.refund(order.id, "key", &json!({})).await.status, 202, "no inquiry has shown it yet");

    let refunded = app.wait_for(order.id, "refunded").await;
    assert_eq!(refunded["refunded_amount"], "50.00");
    wait_for_refund(&app, order.id, "done").await;
    app.command(&["audit"]).await;
}

async fn a_canceled_order_takes_no_money(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;

    let canceled = app.cancel(order.id).await;

    assert_eq!((canceled.status, &canceled.json()["status"]), (200, &json!("canceled")), "{canceled}");
    assert_eq!(app.pay(order.transaction_id).await, "refused");
    assert_eq!(app.cancel(order.id).await.status, 200);
    let refund = app.refund(order.id, "key", &json!({})).await;
    assert_eq!((refund.status, &refund.json()["order_status"]), (409, &json!("canceled")), "{refund}");
    assert_eq!(app.history(order.id).await.times_entered("canceled"), 1);
    app.command(&["audit"]).await;
}

/// The gateway sent no callback.
/// Shows: MONEY-24
async fn money_that_moves_after_a_cancel_goes_before_a_person(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "callback-never", "next": 1 })).await;
    assert_eq!(app.pay(order.transaction_id).await, "debited");

    assert_eq!(app.cancel(order.id).await.status, 200);

    let review = app.wait_for(order.id, "review").await;
    assert!(review["reason"].as_str().unwrap().contains("although the order is canceled"), "{review}");
    app.command(&["audit"]).await;
}
