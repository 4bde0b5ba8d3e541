//! An order from the shop's request to *paid*.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::{TEA_TIYIN, tea};
use crate::support::role::order_of;
use crate::support::wait::{PATIENCE, wait_until};

/// The request waits for the link even on a loaded machine, so that the answer always has the same shape.
const PATIENT_CREATE: (&str, &str) = ("TASDIQ_LINK_WAIT_MS", "20000");

on_both_kinds! {
    create_answers_in_the_promised_shape_and_its_link_opens
    a_whole_number_of_som_is_an_amount
    a_paying_customer_makes_the_order_paid_and_its_history_tells_each_step
    a_debit_without_any_callback_is_found_once_the_customer_comes_back
    an_operator_can_ask_the_gateway_about_an_order_whose_callback_was_lost
    a_follower_of_an_order_is_told_that_it_is_paid
    orders_that_are_paid_side_by_side_do_not_disturb_each_other
    a_closed_payment_page_is_replaced_by_another_that_can_be_paid
    a_payment_that_the_bank_gives_back_is_refunded_at_the_next_inquiry
    a_second_run_on_the_same_data_still_knows_its_orders
    a_power_cut_between_the_debit_and_its_confirmation_loses_nothing
    power_cuts_in_the_midst_of_the_work_lose_nothing_and_double_nothing
}

async fn create_answers_in_the_promised_shape_and_its_link_opens(kind: Kind) {
    let app = TestApp::start_with(kind, &[PATIENT_CREATE]).await;

    let answer = app.create_order(&tea()).await;

    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(answer.header("Content-Type"), "application/json; charset=utf-8");
    assert_eq!(answer.header("Location"), format!("{}/api/orders/1", app.url));
    let order = answer.json();
    let promised = "order_id payment_url payment_type amount status order_token transaction_id created_at expires_at";
    assert_eq!(fields(&order), promised.split(' ').collect());
    assert_eq!(order["order_id"], 1);
    assert_eq!(order["payment_type"], "atmos");
    assert_eq!(order["amount"], "50.00");
    assert_eq!(order["status"], "pending");
    assert_eq!(order["transaction_id"], app.ledger().await[0].transaction_id);
    let lifetime = at(&order["expires_at"]) - at(&order["created_at"]);
    assert!((1_800..1_830).contains(&lifetime.whole_seconds()), "30 minutes from the link on: {lifetime}");

    let payment_url = order["payment_url"].as_str().unwrap();
    assert!(payment_url.starts_with(&format!("{}/invoice/get?", app.sandbox_url)), "{payment_url}");
    let page = app.open(payment_url).await;
    assert_eq!(page.status, 200, "{page}");
    assert!(page.text.contains("50.00"), "the page names the amount: {page}");

    let seen = app.order(1).await;
    let further = "refunded_amount needs_review findings reason product_name reference return_url cancel_url language seen_unpaid_at";
    assert_eq!(fields(&seen), promised.split(' ').chain(further.split(' ')).collect());
    for (name, value) in order.as_object().unwrap() {
        assert_eq!(&seen[name], value, "{name}");
    }
    let with_token = app.get(&format!("/api/orders/1?token={}", order["order_token"].as_str().unwrap())).await;
    assert_eq!(with_token.json(), seen);
}

async fn a_whole_number_of_som_is_an_amount(kind: Kind) {
    let app = TestApp::start(kind).await;

    for (amount, written, tiyin) in [
        (json!(50), "50.00", 5_000),
        (json!("50"), "50.00", 5_000),
        (json!("50.5"), "50.50", 5_050),
        (json!("0.01"), "0.01", 1),
        (json!("10000000000.00"), "10000000000.00", 1_000_000_000_000_i64),
    ] {
        let order =
            app.linked_order_of(&json!({ "product_name": "Choy", "amount": amount, "payment_type": "atmos" })).await;

        assert_eq!(app.order(order.id).await["amount"], written, "{amount}");
        assert_eq!(app.ledger_of(order.id).await[0].amount, tiyin, "{amount}");
    }
}

/// Shows: PROMISE-2
async fn a_paying_customer_makes_the_order_paid_and_its_history_tells_each_step(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;

    assert_eq!(app.pay(order.transaction_id).await, "debited");
    let paid = app.wait_for_within(order.id, "paid", Duration::from_secs(10)).await;

    assert_eq!(paid["transaction_id"], order.transaction_id);
    assert_eq!((&paid["needs_review"], &paid["reason"]), (&json!(false), &Value::Null));
    assert_eq!(paid["refunded_amount"], "0.00");
    let history = app.history(order.id).await;
    assert_eq!(history.statuses(), ["pending", "pending", "confirming", "paid"], "{history}");
    assert_eq!(history.times_entered("paid"), 1, "{history}");
    let transaction = order.transaction_id.to_string();
    for (step, of_transaction) in history.steps().iter().zip([false, true, true, true]) {
        assert!(step.cause.len() > 10, "a cause is a sentence: {history}");
        assert_eq!(step.cause.contains(&transaction), of_transaction, "{history}");
    }
    let times: Vec<&String> = history.steps().iter().map(|step| &step.at).collect();
    assert!(times.is_sorted(), "{history}");
    let book = app.ledger_of(order.id).await;
    assert_eq!(book.len(), 1, "{book:?}");
    assert_eq!((book[0].state.as_str(), book[0].debits, book[0].amount), ("debited", 1, TEA_TIYIN));
    assert_eq!(app.verdicts(order.id).await, [("allowed".to_owned(), 1)]);
    // Our page no longer links to the payment.
    let page = app.open(&format!("{}/pay/{}", app.url, order.token)).await;
    assert_eq!(page.status, 200, "{page}");
    assert!(page.text.contains(r#"data-status="paid""#), "{page}");
}

async fn a_debit_without_any_callback_is_found_once_the_customer_comes_back(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "callback-never" })).await;

    assert_eq!(app.pay(order.transaction_id).await, "debited");
    assert_eq!(app.status(order.id).await, "pending", "no callback has come yet");
    app.open_return_page(&order).await;
    app.wait_for_within(order.id, "paid", Duration::from_secs(10)).await;

    assert_eq!(app.history(order.id).await.statuses(), ["pending", "pending", "paid"]);
    assert_eq!(app.verdicts(order.id).await, []);
    app.audit(&[order.id]).await;
}

async fn an_operator_can_ask_the_gateway_about_an_order_whose_callback_was_lost(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "callback-never" })).await;
    assert_eq!(app.pay(order.transaction_id).await, "debited");

    app.command(&["orders", "reconcile", &order.id.to_string()]).await;

    app.wait_for_within(order.id, "paid", Duration::from_secs(10)).await;
    assert_eq!(app.history(order.id).await.times_entered("paid"), 1);
}

async fn a_follower_of_an_order_is_told_that_it_is_paid(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    let events = format!("/api/orders/{}/events?token={}", order.id, order.token);

    // The stream must end by itself: otherwise reading it would run into the client's deadline.
    let (stream, outcome) = tokio::join!(app.get(&events), app.pay(order.transaction_id));

    assert_eq!(outcome, "debited");
    assert_eq!(stream.header("Content-Type"), "text/event-stream");
    let told: Vec<Value> = stream.text.split("\n\n").filter_map(order_of).collect();
    let last = told.last().expect("an event");
    assert_eq!(last["status"], "paid", "{stream}");
    assert_eq!(last, &app.order(order.id).await, "an event tells what GET tells");
}

async fn orders_that_are_paid_side_by_side_do_not_disturb_each_other(kind: Kind) {
    let app = TestApp::start(kind).await;
    let soms: Vec<i64> = (1..=24).map(|number| number * 1_000).collect();

    let paid = futures_util::future::join_all(soms.iter().map(async |soms| {
        let body = json!({ "product_name": "Kitob", "amount": soms, "payment_type": "atmos" });
        let order = app.linked_order_of(&body).await;
        assert_eq!(app.pay(order.transaction_id).await, "debited");
        app.wait_for(order.id, "paid").await;
        (order, *soms)
    }))
    .await;

    for (order, soms) in &paid {
        let book = app.ledger_of(order.id).await;
        assert_eq!(book.len(), 1, "{book:?}");
        assert_eq!((book[0].transaction_id, book[0].amount), (order.transaction_id, soms * 100));
    }
    let ids: Vec<i64> = paid.iter().map(|(order, _)| order.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), soms.len());
    app.audit(&ids).await;
}

/// Shows: MONEY-7, PERSON-2
async fn a_closed_payment_page_is_replaced_by_another_that_can_be_paid(kind: Kind) {
    let app = TestApp::start(kind).await;
    let first = app.order_with_link().await;
    let expires_at = app.order(first.id).await["expires_at"].clone();

    app.sim("close", first.transaction_id).await;
    app.open_return_page(&first).await;
    let second = wait_until("another transaction", PATIENCE, async || {
        let order = app.wait_for_link(first.id).await;
        (order.transaction_id != first.transaction_id).then_some(order)
    })
    .await;

    assert_ne!(second.payment_url, first.payment_url);
    assert_eq!(app.order(first.id).await["expires_at"], expires_at, "a new page gives no further time");
    assert_eq!(app.pay(first.transaction_id).await, "closed");
    assert_eq!(app.pay(second.transaction_id).await, "debited");
    let paid = app.wait_for(first.id, "paid").await;
    assert_eq!(paid["transaction_id"], second.transaction_id);
    app.audit(&[first.id]).await;
}

async fn a_payment_that_the_bank_gives_back_is_refunded_at_the_next_inquiry(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "paid").await;

    app.sim("reverse", order.transaction_id).await;
    app.command(&["orders", "reconcile", &order.id.to_string()]).await;
    let refunded = app.wait_for(order.id, "refunded").await;

    assert_eq!(refunded["refunded_amount"], "50.00");
    let again = app.sign(order.transaction_id, order.id, "50.00").await;
    assert_eq!(app.deliver(again).await.callback_status(), 0, "what was given back is not taken once more");
}

async fn a_second_run_on_the_same_data_still_knows_its_orders(kind: Kind) {
    let mut app = TestApp::start(kind).await;
    let paid = app.order_with_link().await;
    let open = app.order_with_link().await;
    app.pay(paid.transaction_id).await;
    let as_it_was = app.wait_for(paid.id, "paid").await;
    let history = app.history(paid.id).await.to_string();

    app.restart().await;

    assert_eq!(app.order(paid.id).await, as_it_was);
    assert_eq!(app.history(paid.id).await.to_string(), history);
    assert_eq!(app.pay(open.transaction_id).await, "debited");
    app.wait_for(open.id, "paid").await;
    let new = app.order_with_link().await;
    assert!(![paid.id, open.id].contains(&new.id), "numbers are not given twice");
    app.audit(&[paid.id, open.id, new.id]).await;
}

async fn a_power_cut_between_the_debit_and_its_confirmation_loses_nothing(kind: Kind) {
    let mut app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "unavailable", "path": "/merchant/pay/get" })).await;
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "confirming").await;

    app.kill_and_restart().await; // the sandbox forgets its faults and keeps its book

    app.wait_for(order.id, "paid").await;
    app.audit(&[order.id]).await;
}

/// Shows: PROMISE-3
async fn power_cuts_in_the_midst_of_the_work_lose_nothing_and_double_nothing(kind: Kind) {
    const SLOW: &str = r#"{ "fault": "latency", "milliseconds": 400 }"#;
    let mut app = TestApp::start_with(kind, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    app.fault(serde_json::from_str(SLOW).unwrap()).await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(app.create_order(&tea()).await.json()["order_id"].as_i64().unwrap());
    }
    wait_until("drafts to be under way", PATIENCE, async || (running_jobs(&app, ids[5]).await > 0).then_some(())).await;

    app.kill_and_restart().await;
    app.fault(serde_json::from_str(SLOW).unwrap()).await;
    for id in &ids {
        let order = app.wait_for_link(*id).await;
        assert_eq!(app.pay(order.transaction_id).await, "debited");
    }
    wait_until("inquiries to be under way", PATIENCE, async || (running_jobs(&app, ids[5]).await > 0).then_some(()))
        .await;
    app.kill_and_restart().await;

    for id in &ids {
        app.wait_for_within(*id, "paid", Duration::from_secs(60)).await;
    }
    assert_eq!(app.metric("tasdiq_dead_letters").await, 0);
    app.audit(&ids).await;
}

/// How many jobs of the order run at this moment.
async fn running_jobs(app: &TestApp, id: i64) -> usize {
    let story = app.story(id).await;
    story["jobs"].as_array().unwrap().iter().filter(|job| job["state"] == "running").count()
}

fn fields(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

fn at(time: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(time.as_str().unwrap(), &Rfc3339).unwrap()
}
