//! An installation to which nothing is given has an account of each gateway: links, payments and refunds, each in the gateway's
//! own way.

use serde_json::{Value, json};

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::tea;
use crate::support::role::client;
use crate::support::wait::{PATIENCE, wait_until};

on_both_kinds! {
    each_gateway_takes_a_payment_and_gives_it_back
    an_inquiry_beside_a_refund_at_click_tells_no_person
    a_payment_at_click_that_begins_beside_an_inquiry_is_not_taken_for_an_earlier_attempts
}

/// The sandbox's credentials at each gateway.
pub(crate) const ACCOUNTS: [(&str, &str); 10] = [
    ("ATMOS_CONSUMER_KEY", "sandbox-key"),
    ("ATMOS_CONSUMER_SECRET", "sandbox-secret"),
    ("ATMOS_STORE_ID", "1234"),
    ("ATMOS_API_KEY", "sandbox-api-key"),
    ("PAYME_ID", "64a1f0c2b7e8d9034f5a6b7c"),
    ("PAYME_KEY", "sandbox-payme-key"),
    ("CLICK_SERVICE_ID", "22222"),
    ("CLICK_MERCHANT_ID", "11111"),
    ("CLICK_MERCHANT_USER_ID", "33333"),
    ("CLICK_SECRET_KEY", "sandbox-click-secret"),
];

/// The order's number and its payment page, of an order that has both in the answer that makes it.
pub(crate) async fn order_of(app: &TestApp, payment_type: &str) -> (i64, String) {
    let mut body = tea();
    (body["amount"], body["payment_type"]) = (json!("50.00"), json!(payment_type));
    let order = app.create_order(&body).await.json();
    (order["order_id"].as_i64().unwrap(), order["payment_url"].as_str().unwrap().to_owned())
}

/// What the sandbox shows at this path.
async fn look(page: &str, path: &str) -> Value {
    let mut address: url::Url = page.parse().unwrap();
    address.set_query(None);
    address.set_path(path);
    client().get(address).send().await.unwrap().json().await.unwrap()
}

/// What the sandbox answers to an act of a customer or of the gateway's cabinet. The page is one of its own.
pub(crate) async fn act(page: &str, path: &str, body: &Value) -> Value {
    let mut address: url::Url = page.parse().unwrap();
    address.set_query(None);
    address.set_path(path);
    let answer = client().post(address).json(body).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

/// An audit cannot ask Payme: it compares these orders with what Payme told us. So here they are compared with the sandbox's
/// own book, which tells how often it took money, and how often it gave money back.
pub(crate) async fn assert_paymes_book_agrees(app: &TestApp, page: &str, orders: &[i64]) {
    let receipts = look(page, "/payme/_sim/ledger").await;
    let receipts = receipts["receipts"].as_array().unwrap_or_else(|| panic!("{receipts}"));
    for id in orders {
        let account = id.to_string();
        let of_order = receipts.iter().filter(|receipt| receipt["account"].as_str() == Some(&account));
        let counted = of_order.fold((0, 0), |(debits, returns), receipt| {
            (debits + receipt["debits"].as_u64().unwrap(), returns + receipt["returns"].as_u64().unwrap())
        });
        let expected = match app.status(*id).await.as_str() {
            "paid" => (1, 0),
            "refunded" => (1, 1),
            _ => (0, 0),
        };
        assert_eq!(counted, expected, "order {id} and the debits and returns of {receipts:#?}");
    }
}

async fn each_gateway_takes_a_payment_and_gives_it_back(kind: Kind) {
    let app = TestApp::start(kind).await;
    let (of_payme, payme_page) = order_of(&app, "payme").await;
    let (of_click, click_page) = order_of(&app, "click").await;
    let of_atmos = app.linked_order_of(&tea()).await;

    let receipt = act(&payme_page, &format!("/payme/_sim/pay/{of_payme}"), &json!({ "amount": 5_000 })).await;
    let attempt = act(&click_page, &format!("/click/_sim/pay/{of_click}"), &json!({ "amount": "50.00" })).await;
    app.pay(of_atmos.transaction_id).await;

    assert_eq!((&receipt["outcome"], &attempt["outcome"]), (&json!("paid"), &json!("debited")));
    for id in [of_payme, of_click, of_atmos.id] {
        app.wait_for(id, "paid").await;
        let history = app.history(id).await;
        assert_eq!(history.times_entered("confirming"), 1, "{id}");
        assert_eq!(history.times_entered("paid"), 1, "{id}");
    }
    let audit = app.run(&["audit"]).await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
    for account in [
        "sandbox:1234, asked by its ledger",
        "sandbox-click:22222, asked by its inquiries",
        "sandbox-payme:64a1f0c2b7e8d9034f5a6b7c, not asked: known by its calls to us",
    ] {
        assert!(audit.said.contains(account), "{account}: {}", audit.said);
    }
    assert_paymes_book_agrees(&app, &payme_page, &[of_payme]).await;

    // Payme gives money back in its cabinet alone, and says so by its call.
    let refused = app.refund(of_payme, "of-payme", &json!({ "reason": "the tea was cold" })).await;
    assert!(refused.json()["type"].as_str().unwrap().ends_with("refund-only-in-cabinet"), "{}", refused.json());
    let id = receipt["receipt"]["id"].as_str().unwrap();
    act(&payme_page, &format!("/payme/_sim/refund/{id}"), &json!({})).await;
    app.refund(of_click, "of-click", &json!({ "reason": "the tea was cold" })).await;
    for id in [of_payme, of_click] {
        app.wait_for(id, "refunded").await;
        assert_eq!(app.history(id).await.times_entered("refunded"), 1, "{id}");
    }
    assert_eq!(app.status(of_atmos.id).await, "paid");
    // A gateway's support knows a payment by the gateway's own id.
    for (order, own) in [(of_payme, id.to_owned()), (of_click, attempt["click_trans_id"].to_string())] {
        let shown = app.command(&["orders", "show", &order.to_string()]).await;
        assert!(shown.contains(&own), "{own}: {shown}");
    }
    assert_eq!(app.run(&["audit"]).await.code, Some(0));
    assert_paymes_book_agrees(&app, &payme_page, &[of_payme]).await;
}

/// Click does not say how a payment looks that was given back. The refund whose answer is on its way will know.
async fn an_inquiry_beside_a_refund_at_click_tells_no_person(kind: Kind) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;
    let (id, page) = order_of(&app, "click").await;
    act(&page, &format!("/click/_sim/pay/{id}"), &json!({ "amount": "50.00" })).await;
    app.wait_for(id, "paid").await;
    let late = json!({ "fault": "api-answer-late", "path": "payment/reversal", "milliseconds": 3_000 });
    act(&page, "/click/_sim/faults", &late).await;

    app.refund(id, "of-click", &json!({ "reason": "the tea was cold" })).await;
    let attempt = |book: &Value| book["transactions"][0]["state"] == "reversed";
    wait_until("the money to go back", PATIENCE, async || {
        attempt(&look(&page, "/click/_sim/ledger").await).then_some(())
    })
    .await;
    assert_eq!(app.run(&["orders", "reconcile", &id.to_string()]).await.code, Some(0));

    let order = app.wait_for(id, "refunded").await;
    assert_eq!(order["needs_review"], false, "{order}");
    assert_eq!(app.run(&["audit"]).await.code, Some(0));
}

/// Click's answer names the order alone, and the attempt that it is about may have begun after our question.
async fn a_payment_at_click_that_begins_beside_an_inquiry_is_not_taken_for_an_earlier_attempts(kind: Kind) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;
    let (id, page) = order_of(&app, "click").await;
    let fault = async |fault: Value| act(&page, "/click/_sim/faults", &fault).await;
    let pay = async || act(&page, &format!("/click/_sim/pay/{id}"), &json!({ "amount": "50.00" })).await;
    fault(json!({ "fault": "debit-declined", "next": 1 })).await;
    fault(json!({ "fault": "complete-altered", "next": 1 })).await;
    assert_eq!(pay().await["outcome"], "declined");
    app.wait_for(id, "pending").await;

    // The first attempt is asked about again, for its debit was told; Click answers late.
    fault(json!({ "fault": "api-slow", "milliseconds": 2_000 })).await;
    fault(json!({ "fault": "complete-never" })).await;
    assert_eq!(app.run(&["orders", "reconcile", &id.to_string()]).await.code, Some(0));
    assert_eq!(pay().await["outcome"], "debited");

    let order = app.wait_for(id, "paid").await;
    let book = look(&page, "/click/_sim/ledger").await;
    assert_eq!(order["transaction_id"], book["transactions"][1]["merchant_prepare_id"], "{order} {book}");
}
