//! The gateway fails, forgets, lies and contradicts itself. After each fault the gateway's book and our orders agree.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::{Doors, tea};
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::wait::{PATIENCE, wait_until};

/// An inquiry that the gateway answered.
const INQUIRIES: &str = r#"tasdiq_gateway_calls_total{gateway="atmos",operation="inquiry",outcome="ok"}"#;

on_both_kinds! {
    while_the_gateway_is_down_create_answers_in_time_with_a_page_that_forwards_later
    a_gateway_that_starts_after_us_is_found
    when_every_third_call_fails_each_order_is_still_paid_once
    on_a_day_when_everything_goes_wrong_once_or_thrice_each_order_is_still_paid_once
    a_lost_answer_to_create_leaves_a_draft_that_cannot_be_paid
    a_lost_answer_to_apply_is_no_lost_payment
    a_callback_that_comes_twice_at_once_counts_once
    a_callback_that_comes_after_the_debit_still_counts
    a_callback_that_comes_after_paid_changes_nothing
    a_badly_signed_or_wrong_callback_moves_no_money
    a_debit_although_we_refused_a_forged_callback_is_paid_only_by_the_gateways_word
    a_debit_although_we_refused_a_wrong_amount_is_found_without_help
    a_debit_that_fails_after_our_yes_is_not_paid_until_the_second_try
    a_debit_of_another_amount_goes_before_a_person
    a_payment_that_the_gateway_calls_closed_is_paid_all_the_same
    while_the_gateway_cannot_be_asked_no_customer_is_told_paid
    a_rejected_token_is_replaced
}

async fn while_the_gateway_is_down_create_answers_in_time_with_a_page_that_forwards_later(kind: Kind) {
    let app = TestApp::start_with(kind, &[("TASDIQ_LINK_WAIT_MS", "500")]).await;
    app.fault(json!({ "fault": "unavailable" })).await;

    let begun = Instant::now();
    let answer = app.create_order(&tea()).await;
    let taken = begun.elapsed();

    assert_eq!(answer.status, 201, "{answer}");
    assert!((500..2_500).contains(&taken.as_millis()), "it waits as long as it was told to: {taken:?}");
    let order = answer.json();
    let (id, page) = (order["order_id"].as_i64().unwrap(), order["payment_url"].as_str().unwrap());
    assert_eq!(page, format!("{}/pay/{}", app.url, order["order_token"].as_str().unwrap()));
    assert_eq!((&order["transaction_id"], &order["expires_at"]), (&Value::Null, &Value::Null), "{order}");
    let waiting = app.open(page).await;
    assert_eq!(waiting.status, 200, "{waiting}");
    assert!(waiting.text.contains("http-equiv=\"refresh\""), "it asks again without JavaScript: {waiting}");

    app.clear_faults().await;
    let forward = wait_until("the page to forward", PATIENCE, async || {
        let answer = app.open(page).await;
        (answer.status == 303).then(|| answer.location().to_owned())
    })
    .await;
    assert!(forward.starts_with(&format!("{}/invoice/get?", app.sandbox_url)), "{forward}");
    assert_eq!(app.order(id).await["payment_url"], forward);
    assert_eq!(app.open(&forward).await.status, 200);
    assert_eq!(app.pay(app.wait_for_link(id).await.transaction_id).await, "debited");
    app.wait_for(id, "paid").await;
    app.audit(&[id]).await;
}

/// Connections are refused: no request was sent, so no outcome is unknown.
/// Shows: GATEWAY-5
async fn a_gateway_that_starts_after_us_is_found(kind: Kind) {
    let (address, data) = (format!("127.0.0.1:{}", free_port()), tempfile::tempdir().unwrap());
    let gateway = format!("http://{address}");
    let app = TestApp::start_with(kind, &[("ATMOS_BASE_URL", &gateway), ("TASDIQ_LINK_WAIT_MS", "300")]).await;
    let app_and_gateway = Doors::new(app.url.clone(), gateway.clone());
    let order = app.create_order(&tea()).await;
    assert_eq!(order.status, 201, "{order}");
    let id = order.json()["order_id"].as_i64().unwrap();
    assert_eq!(app.order(id).await["transaction_id"], Value::Null);

    let callback_url = format!("{}/atmos/webhook/", app.url);
    let data = data.path().to_str().unwrap();
    let variables = [("TASDIQ_SANDBOX_LISTEN", address.as_str()), ("TASDIQ_DATA_DIR", data)];
    let _sandbox = Program::start(&["sandbox", "--callback-url", &callback_url], &variables);

    let order = app.wait_for_link(id).await;
    assert!(order.payment_url.starts_with(&gateway), "{}", order.payment_url);
    assert_eq!(app_and_gateway.pay(order.transaction_id).await, "debited");
    app.wait_for(id, "paid").await;
    app_and_gateway.audit(&[id]).await;
}

/// Shows: JOB-17
async fn when_every_third_call_fails_each_order_is_still_paid_once(kind: Kind) {
    let app = TestApp::start_with(kind, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    app.fault(json!({ "fault": "unavailable", "share": 0.3 })).await;

    let ids = buy(&app, 30).await;

    assert!(
        app.metric(r#"tasdiq_gateway_calls_total{gateway="atmos",operation="create",outcome="unknown"}"#).await > 0
    );
    assert_eq!(app.metric("tasdiq_dead_letters").await, 0);
    app.audit(&ids).await;
}

/// Shows: GATEWAY-3
async fn on_a_day_when_everything_goes_wrong_once_or_thrice_each_order_is_still_paid_once(kind: Kind) {
    let app = TestApp::start_with(kind, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    for fault in ["latency", "unavailable", "server-error", "forbidden", "token-rejected", "malformed", "answer-lost"] {
        for path in ["/merchant/pay/create", "/merchant/pay/get"] {
            app.fault(json!({ "fault": fault, "path": path, "next": 3 })).await;
        }
    }
    for path in ["/merchant/pay/create", "/merchant/pay/get"] {
        app.fault(json!({ "fault": "unknown-code", "path": path, "next": 2 })).await;
        app.fault(json!({ "fault": "throttled", "path": path, "next": 2, "milliseconds": 1_000 })).await;
    }
    app.fault(json!({ "fault": "token-unavailable", "next": 1 })).await;
    for fault in ["callback-never", "callback-late", "callback-doubled"] {
        app.fault(json!({ "fault": fault, "next": 2 })).await;
    }

    let ids = buy(&app, 12).await;

    assert_eq!(app.metric("tasdiq_dead_letters").await, 0);
    app.audit(&ids).await;
}

/// Shows: PROMISE-5
async fn a_lost_answer_to_create_leaves_a_draft_that_cannot_be_paid(kind: Kind) {
    let app = TestApp::start(kind).await;
    app.fault(json!({ "fault": "answer-lost", "path": "/merchant/pay/create", "next": 1 })).await;

    let order = app.order_with_link().await;

    let drafts = app.ledger_of(order.id).await;
    assert_eq!(drafts.len(), 2, "{drafts:?}");
    let lost = drafts.iter().find(|draft| draft.transaction_id != order.transaction_id).unwrap();
    assert_eq!(app.pay(lost.transaction_id).await, "refused");
    assert_eq!(app.status(order.id).await, "pending");
    assert_eq!(app.metric(r#"tasdiq_callbacks_total{gateway="atmos",verdict="unknown_transaction"}"#).await, 1);
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "paid").await;
    app.audit(&[order.id]).await;
}

/// The payer's browser, or a merchant's server that drives the payment, gets no answer.
/// Shows: PROMISE-5
async fn a_lost_answer_to_apply_is_no_lost_payment(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "answer-lost", "path": "/merchant/pay/apply", "next": 1 })).await;
    let card = json!({ "store_id": 1234, "transaction_id": order.transaction_id, "card_number": "8600490744313347",
        "expiry": "3012" });
    let entered = merchant_call(&app, "pre-apply", &card).await.expect("an answer");
    assert_eq!(entered["result"]["code"], "OK", "{entered}");

    let otp = json!({ "store_id": 1234, "transaction_id": order.transaction_id, "otp": "111111" });
    let answer = merchant_call(&app, "apply", &otp).await;

    assert!(answer.is_err(), "{answer:?}");
    app.wait_for(order.id, "paid").await;
    app.audit(&[order.id]).await;
}

async fn a_callback_that_comes_twice_at_once_counts_once(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "callback-doubled" })).await;

    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "paid").await;

    let sent = app.sent_callbacks(order.transaction_id).await;
    assert_eq!(sent.len(), 2, "{sent:?}");
    assert!(sent.iter().all(|callback| callback["status"] == 1), "{sent:?}");
    let seen: i64 = app.verdicts(order.id).await.iter().map(|(_, times)| times).sum();
    assert_eq!(seen, 2);
    assert_eq!(app.history(order.id).await.statuses(), ["pending", "pending", "confirming", "paid"]);
    app.audit(&[order.id]).await;
}

/// Shows: GATEWAY-10
async fn a_callback_that_comes_after_the_debit_still_counts(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "callback-late", "milliseconds": 700 })).await;

    assert_eq!(app.pay(order.transaction_id).await, "debited");
    assert_eq!(app.status(order.id).await, "pending", "no callback has come yet");
    app.wait_for_within(order.id, "paid", Duration::from_secs(15)).await;

    let verdicts = app.verdicts(order.id).await;
    assert!(verdicts == [("allowed".to_owned(), 1)], "{verdicts:?}");
    app.audit(&[order.id]).await;
}

/// Shows: GATEWAY-10
async fn a_callback_that_comes_after_paid_changes_nothing(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "callback-never" })).await;
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.open_return_page(&order).await;
    let paid = app.wait_for(order.id, "paid").await;

    let late = app.deliver(app.sign(order.transaction_id, order.id, "50.00").await).await;

    assert_eq!(late.callback_status(), 1, "the money was rightly taken, and we say so: {late}");
    assert_eq!(app.verdicts(order.id).await, [("already_paid".to_owned(), 1)]);
    assert_eq!(app.order(order.id).await, paid);
    assert_eq!(app.history(order.id).await.statuses(), ["pending", "pending", "paid"]);
    app.audit(&[order.id]).await;
}

async fn a_badly_signed_or_wrong_callback_moves_no_money(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;

    for (fault, verdict) in [("callback-badly-signed", "badly_signed"), ("callback-wrong-amount", "wrong_amount")] {
        app.fault(json!({ "fault": fault, "next": 1 })).await;
        assert_eq!(app.pay(order.transaction_id).await, "refused", "{fault}");
        assert_eq!(app.metric(&format!("tasdiq_callbacks_total{{gateway=\"atmos\",verdict=\"{verdict}\"}}")).await, 1);
    }

    assert_eq!(app.status(order.id).await, "pending");
    assert_eq!(app.ledger_of(order.id).await[0].debits, 0);
    app.audit(&[order.id]).await;
}

/// An integration reports that Atmos debited although the callback was refused. Then the right amount has moved, and
/// only the gateway's own answer about it counts.
/// Shows: GATEWAY-11
async fn a_debit_although_we_refused_a_forged_callback_is_paid_only_by_the_gateways_word(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "callback-badly-signed" })).await;
    app.fault(json!({ "fault": "debit-although-refused" })).await;

    let inquiries = app.metric(INQUIRIES).await;
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    assert_eq!(app.sent_callbacks(order.transaction_id).await[0]["status"], 0);
    assert_eq!(app.status(order.id).await, "pending", "an unproven body moves nothing");
    assert_eq!(app.metric(INQUIRIES).await, inquiries, "and brings no inquiry");
    app.open_return_page(&order).await;
    app.wait_for(order.id, "paid").await;

    assert_eq!(app.history(order.id).await.statuses(), ["pending", "pending", "paid"]);
    app.audit(&[order.id]).await;
}

async fn a_debit_although_we_refused_a_wrong_amount_is_found_without_help(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "callback-wrong-amount" })).await;
    app.fault(json!({ "fault": "debit-although-refused" })).await;

    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "paid").await; // a rightly signed callback brings an inquiry, even a refused one

    assert_eq!(app.verdicts(order.id).await, [("wrong_amount".to_owned(), 1)]);
    assert_eq!(app.history(order.id).await.statuses(), ["pending", "pending", "paid"]);
    app.audit(&[order.id]).await;
}

/// Shows: GATEWAY-12
async fn a_debit_that_fails_after_our_yes_is_not_paid_until_the_second_try(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "debit-declined", "next": 1 })).await;

    assert_eq!(app.pay(order.transaction_id).await, "declined");
    assert_eq!(app.sent_callbacks(order.transaction_id).await[0]["status"], 1, "we had said yes");
    let inquiries = app.metric(INQUIRIES).await;
    wait_until("further inquiries", PATIENCE, async || (app.metric(INQUIRIES).await >= inquiries + 3).then_some(()))
        .await;
    assert_eq!(app.status(order.id).await, "confirming");
    app.audit(&[order.id]).await;

    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "paid").await;
    assert_eq!(app.history(order.id).await.statuses(), ["pending", "pending", "confirming", "paid"]);
    app.audit(&[order.id]).await;
}

/// Shows: GATEWAY-18
async fn a_debit_of_another_amount_goes_before_a_person(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "amount-differs" })).await;

    assert_eq!(app.pay(order.transaction_id).await, "debited");
    let review = app.wait_for(order.id, "review").await;

    let reason = review["reason"].as_str().unwrap();
    assert!(reason.contains("5100") && reason.contains("5000"), "both amounts are named: {reason}");
    assert_eq!(app.metric(r#"tasdiq_orders{status="review"}"#).await, 1);
    assert_eq!(app.history(order.id).await.times_entered("paid"), 0);
    app.audit(&[order.id]).await;
}

/// Shows: PERSON-2, GATEWAY-18
async fn a_payment_that_the_gateway_calls_closed_is_paid_all_the_same(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "paid-as-closed" })).await;

    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "paid").await;

    assert_eq!(app.order(order.id).await["transaction_id"], order.transaction_id);
    app.audit(&[order.id]).await;
}

/// Shows: PROMISE-2
async fn while_the_gateway_cannot_be_asked_no_customer_is_told_paid(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "unavailable", "path": "/merchant/pay/get" })).await;

    assert_eq!(app.pay(order.transaction_id).await, "debited");
    let failed = r#"tasdiq_gateway_calls_total{gateway="atmos",operation="inquiry",outcome="unknown"}"#;
    wait_until("inquiries that fail", PATIENCE, async || (app.metric(failed).await >= 4).then_some(())).await;
    assert_eq!(app.status(order.id).await, "confirming");
    let page = app.open_return_page(&order).await;
    assert!(page.text.contains(r#"data-status="confirming""#), "{page}");

    app.clear_faults().await;
    app.wait_for_within(order.id, "paid", Duration::from_secs(60)).await;
    app.audit(&[order.id]).await;
}

/// Shows: GATEWAY-2
async fn a_rejected_token_is_replaced(kind: Kind) {
    let app = TestApp::start_with(kind, &[("TASDIQ_LINK_WAIT_MS", "20000")]).await;
    app.order_with_link().await; // gets a token that works
    let tokens = r#"tasdiq_gateway_calls_total{gateway="atmos",operation="token",outcome="ok"}"#;
    assert_eq!(app.metric(tokens).await, 1);
    app.fault(json!({ "fault": "token-rejected", "next": 1 })).await;

    let begun = Instant::now();
    let order = app.create_order(&tea()).await.json();

    assert!(order["transaction_id"].is_i64(), "{order}");
    assert!(begun.elapsed() < Duration::from_secs(2), "within the same attempt: {:?}", begun.elapsed());
    assert_eq!(app.metric(tokens).await, 2);
}

/// Makes this many orders at the same time, pays each of them, and waits until all are paid.
async fn buy(app: &TestApp, number: usize) -> Vec<i64> {
    const LONG: Duration = Duration::from_secs(75);
    futures_util::future::join_all((0..number).map(async |_| {
        let created = app.create_order(&tea()).await;
        assert_eq!(created.status, 201, "{created}");
        let id = created.json()["order_id"].as_i64().unwrap();
        let what = format!("a payment link for order {id}");
        let transaction_id = wait_until(&what, LONG, async || app.order(id).await["transaction_id"].as_i64()).await;
        assert_eq!(app.pay(transaction_id).await, "debited");
        // The customer's browser is back from the gateway's page, and asks again now and then.
        let token = created.json()["order_token"].as_str().unwrap().to_owned();
        let return_page = format!("{}/pay/{token}/return", app.url);
        wait_until(&format!("order {id} to be paid"), LONG, async || {
            app.open(&return_page).await.text.contains(r#"data-status="paid""#).then_some(())
        })
        .await;
        id
    }))
    .await
}

/// Calls the gateway's API with the merchant's credentials, as a merchant does who takes cards on its own page.
async fn merchant_call(app: &TestApp, call: &str, body: &Value) -> Result<Value, reqwest::Error> {
    let token: Value = app
        .request(Method::POST, &format!("{}/token", app.sandbox_url))
        .basic_auth("sandbox-key", Some("sandbox-secret"))
        .form(&[("grant_type", "client_credentials")])
        .send()
        .await?
        .json()
        .await?;
    app.request(Method::POST, &format!("{}/merchant/pay/{call}", app.sandbox_url))
        .bearer_auth(token["access_token"].as_str().unwrap())
        .json(body)
        .send()
        .await?
        .json()
        .await
}
