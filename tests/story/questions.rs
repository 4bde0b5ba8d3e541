//! Callbacks that no document describes: spoiled, of another shape, too often, too early.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::tea;
use crate::support::wait::{PATIENCE, wait_until};

on_both_kinds! {
    a_spoiled_question_moves_no_money_and_the_next_right_one_does
    a_question_of_any_shape_and_any_number_pays_its_order_once
    a_question_before_the_answer_of_create_is_refused_and_may_come_again
    a_debit_before_the_answer_of_create_is_found
}

/// Shows: GATEWAY-7
async fn a_spoiled_question_moves_no_money_and_the_next_right_one_does(kind: Kind) {
    const SPOILED: [&str; 6] = [
        "callback-badly-signed",
        "callback-unsigned",
        "callback-wrong-amount",
        "callback-wrong-store",
        "callback-unknown-transaction",
        "callback-unknown-account",
    ];
    let app = TestApp::start(kind).await;
    let orders = join_all(SPOILED.map(|_| app.order_with_link())).await;

    join_all(orders.iter().zip(SPOILED).map(async |(order, fault)| {
        app.fault(json!({ "fault": fault, "account": order.id.to_string(), "next": 1 })).await;
        assert_eq!(app.pay(order.transaction_id).await, "refused", "{fault}");
        assert_eq!(app.status(order.id).await, "pending", "{fault}");
        assert_eq!(app.history(order.id).await.times_entered("confirming"), 0, "{fault}");

        assert_eq!(app.pay(order.transaction_id).await, "debited", "{fault}");
        app.wait_for(order.id, "paid").await;
    }))
    .await;

    app.audit(&orders.iter().map(|order| order.id).collect::<Vec<_>>()).await;
}

/// Shows: GATEWAY-8
async fn a_question_of_any_shape_and_any_number_pays_its_order_once(kind: Kind) {
    // The shape of the callback, and how many callbacks it brings.
    const SHAPES: [(&str, usize); 10] = [
        ("callback-decimal-amount", 1),
        ("callback-uppercase-sign", 1),
        ("callback-invoice", 1),
        ("callback-both", 1),
        ("callback-numbers", 1),
        ("callback-form", 1),
        ("callback-other-address", 1),
        ("callback-doubled", 2),
        ("callback-repeated", 5),
        ("callback-replayed", 2),
    ];
    let app = TestApp::start(kind).await;
    let orders = join_all(SHAPES.map(|_| app.order_with_link())).await;

    join_all(orders.iter().zip(SHAPES).map(async |(order, (fault, copies))| {
        let account = order.id.to_string();
        app.fault(json!({ "fault": fault, "account": account, "times": 5, "milliseconds": 1_500 })).await;

        assert_eq!(app.pay(order.transaction_id).await, "debited", "{fault}");
        app.wait_for(order.id, "paid").await;

        let sent = wait_until(fault, PATIENCE, async || {
            let sent = app.sent_callbacks(order.transaction_id).await;
            (sent.len() >= copies).then_some(sent)
        })
        .await;
        assert_eq!(sent.len(), copies, "{fault}: {sent:?}");
        assert!(sent.iter().all(|callback| callback["status"] == 1), "{fault}: {sent:?}");
        let history = app.history(order.id).await;
        assert_eq!(history.statuses(), ["pending", "pending", "confirming", "paid"], "{fault}: {history}");
    }))
    .await;

    app.audit(&orders.iter().map(|order| order.id).collect::<Vec<_>>()).await;
}

/// The payer is quicker than the answer to create: we do not know the transaction yet.
/// Shows: GATEWAY-9
async fn a_question_before_the_answer_of_create_is_refused_and_may_come_again(kind: Kind) {
    let app = TestApp::start(kind).await;
    app.fault(json!({ "fault": "callback-early", "next": 1 })).await;

    let order = app.order_with_link().await;

    let early = app.sent_callbacks(order.transaction_id).await;
    assert_eq!((early.len(), &early[0]["status"]), (1, &json!(0)), "{early:?}");
    assert_eq!(app.status(order.id).await, "pending");
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "paid").await;
    app.audit(&[order.id]).await;
}

/// Shows: GATEWAY-9
async fn a_debit_before_the_answer_of_create_is_found(kind: Kind) {
    let app = TestApp::start(kind).await;
    app.fault(json!({ "fault": "callback-early", "next": 1 })).await;
    app.fault(json!({ "fault": "debit-although-refused", "next": 1 })).await;
    let created = app.create_order(&tea()).await.json();

    let order = app.wait_for_link(created["order_id"].as_i64().unwrap()).await;
    app.open_return_page(&order).await;
    app.wait_for(order.id, "paid").await;

    assert_eq!(app.history(order.id).await.statuses(), ["pending", "pending", "paid"]);
    app.audit(&[order.id]).await;
}
