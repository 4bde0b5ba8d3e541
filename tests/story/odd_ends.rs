//! Orders whose money moves otherwise than the callbacks said. Each order ends as the gateway's book has it, or before
//! a person.

use futures_util::future::join;
use serde_json::{Value, json};

use super::reviews::another_draft;
use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::{Linked, tea};
use crate::support::wait::{PATIENCE, wait_until};

on_both_kinds! {
    money_that_went_back_after_paid_is_refunded
    money_that_went_back_before_the_first_inquiry_never_was_paid
    money_after_the_end_goes_before_a_person
    an_order_that_was_declined_after_our_yes_expires_in_the_end
    a_transaction_that_closed_after_our_yes_is_followed_by_another
    a_customer_who_cancels_after_a_declined_card_gets_another_link_once_closed_is_believed
    a_transaction_that_ended_at_the_gateway_is_followed_by_another
    an_unknown_status_is_not_paid_and_goes_before_a_person_when_its_time_is_over
    of_two_drafts_tried_at_once_one_is_debited
    a_draft_that_was_allowed_is_watched_although_another_has_paid
    the_audit_finds_money_on_a_draft_that_no_row_knows
}

/// Shows: GATEWAY-14
async fn money_that_went_back_after_paid_is_refunded(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "reversed-later", "milliseconds": 2_000 })).await;
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "paid").await;

    wait_for_state(&app, &order, "reversed").await;
    inquire(&app, order.id).await;
    let refunded = app.wait_for(order.id, "refunded").await;

    assert_eq!(refunded["refunded_amount"], "50.00", "{refunded}");
    assert_eq!(app.history(order.id).await.statuses(), ["pending", "pending", "confirming", "paid", "refunded"]);
    assert_clean(&app, &[order.id]).await;
}

/// Shows: GATEWAY-14
async fn money_that_went_back_before_the_first_inquiry_never_was_paid(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "unavailable", "path": "/merchant/pay/get" })).await;
    app.fault(json!({ "fault": "reversed-later", "milliseconds": 0 })).await;
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    wait_for_state(&app, &order, "reversed").await;

    app.clear_faults().await;
    time_is_over(&app, order.id).await;
    inquire(&app, order.id).await;
    app.wait_for(order.id, "expired").await;

    assert_eq!(app.history(order.id).await.times_entered("paid"), 0);
    assert_clean(&app, &[order.id]).await;
}

/// One order has expired and one was canceled. Money moves without a callback, and although we refused.
/// Shows: GATEWAY-11, GATEWAY-15
async fn money_after_the_end_goes_before_a_person(kind: Kind) {
    let app = TestApp::start(kind).await;
    let mut ids = Vec::new();
    for end in ["expired", "canceled"] {
        for fault in ["callback-never", "debit-although-refused"] {
            let order = app.order_with_link().await;
            match end {
                "expired" => {
                    time_is_over(&app, order.id).await;
                    inquire(&app, order.id).await;
                }
                _ => assert_eq!(app.cancel(order.id).await.status, 200),
            }
            app.wait_for(order.id, end).await;
            assert_eq!(app.pay(order.transaction_id).await, "refused", "{end}");

            app.fault(json!({ "fault": fault, "next": 1 })).await;
            assert_eq!(app.pay(order.transaction_id).await, "debited", "{end} {fault}");
            inquire(&app, order.id).await;
            let review = app.wait_for(order.id, "review").await;

            assert!(review["reason"].as_str().unwrap().contains(end), "{review}");
            assert_eq!(app.history(order.id).await.times_entered("paid"), 0);
            ids.push(order.id);
        }
    }
    app.audit(&ids).await;
}

/// Shows: GATEWAY-12
async fn an_order_that_was_declined_after_our_yes_expires_in_the_end(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "debit-declined" })).await;
    assert_eq!(app.pay(order.transaction_id).await, "declined");
    assert_eq!(app.status(order.id).await, "confirming");

    time_is_over(&app, order.id).await;
    inquire(&app, order.id).await;
    app.wait_for(order.id, "expired").await;

    assert_eq!(app.history(order.id).await.times_entered("paid"), 0);
    assert_clean(&app, &[order.id]).await;
}

/// Shows: GATEWAY-13
async fn a_transaction_that_closed_after_our_yes_is_followed_by_another(kind: Kind) {
    let app = TestApp::start(kind).await;
    let first = app.order_with_link().await;
    app.fault(json!({ "fault": "lapsed", "next": 1 })).await;
    assert_eq!(app.pay(first.transaction_id).await, "closed");
    assert_eq!(app.status(first.id).await, "confirming", "an apply may take minutes");

    // Three minutes later the closed answer is believed.
    let later = "update orders set last_allowed_at_ms = last_allowed_at_ms - 200000 where id = ";
    app.execute(&format!("{later}{}", first.id)).await;
    inquire(&app, first.id).await;
    let second = another_link(&app, &first).await;
    assert_eq!(app.pay(second.transaction_id).await, "debited");
    app.wait_for(first.id, "paid").await;

    assert_eq!(app.pay(first.transaction_id).await, "closed");
    assert_clean(&app, &[first.id]).await;
}

/// The inquiry comes at the very moment when closed may be believed, and the new link right after it.
/// Shows: PERSON-22
async fn a_customer_who_cancels_after_a_declined_card_gets_another_link_once_closed_is_believed(kind: Kind) {
    let app = TestApp::start(kind).await;
    let first = app.order_with_link().await;
    app.fault(json!({ "fault": "debit-declined", "next": 1 })).await;
    assert_eq!(app.pay(first.transaction_id).await, "declined");
    app.sim("close", first.transaction_id).await;

    app.open_return_page(&first).await;
    let seen = wait_until("no money to be seen", PATIENCE, async || {
        Some(app.order(first.id).await).filter(|order| order["seen_unpaid_at"].is_string())
    })
    .await;
    assert_eq!(seen["status"], "confirming", "a debit may still come");
    assert_eq!(seen["payment_url"], format!("{}/pay/{}", app.url, first.token), "no card is taken on a closed page");
    let page = app.open_return_page(&first).await;
    assert!(page.text.contains("uch daqiqa"), "what the page waits for: {page}");

    // As if all had happened 173 s earlier: after the inquiry at 15 s the next one would be at 300 s.
    app.execute(&format!(
        "update orders set last_allowed_at_ms = last_allowed_at_ms - 173000, last_hint_at_ms = last_hint_at_ms - 173000,
             seen_unpaid_at_ms = seen_unpaid_at_ms - 173000, seen_closed_at_ms = seen_closed_at_ms - 173000
         where id = {}",
        first.id
    ))
    .await;
    let second = another_link(&app, &first).await;
    assert_eq!(app.pay(second.transaction_id).await, "debited");
    app.wait_for(first.id, "paid").await;
    assert_clean(&app, &[first.id]).await;
}

/// Shows: GATEWAY-13
async fn a_transaction_that_ended_at_the_gateway_is_followed_by_another(kind: Kind) {
    let app = TestApp::start(kind).await;
    let first = app.order_with_link().await;

    let forward = app.request(reqwest::Method::POST, &format!("{}/_sim/clock", app.sandbox_url));
    assert_eq!(forward.json(&json!({ "advance_seconds": 3_600 })).send().await.unwrap().status(), 200);
    assert_eq!(app.ledger_of(first.id).await[0].state, "closed");
    app.open_return_page(&first).await;
    let second = another_link(&app, &first).await;

    assert_eq!(app.pay(second.transaction_id).await, "debited");
    app.wait_for(first.id, "paid").await;
    assert_clean(&app, &[first.id]).await;
}

/// Shows: GATEWAY-18
async fn an_unknown_status_is_not_paid_and_goes_before_a_person_when_its_time_is_over(kind: Kind) {
    let app = TestApp::start(kind).await;
    let (passing, lasting) = join(app.order_with_link(), app.order_with_link()).await;
    for order in [&passing, &lasting] {
        app.fault(json!({ "fault": "status-unknown", "account": order.id.to_string() })).await;
        assert_eq!(app.pay(order.transaction_id).await, "debited");
        inquire(&app, order.id).await;
        assert_eq!(app.status(order.id).await, "confirming");
    }

    time_is_over(&app, lasting.id).await;
    inquire(&app, lasting.id).await;
    let review = app.wait_for(lasting.id, "review").await;
    assert!(review["reason"].as_str().unwrap().contains("-777"), "{review}");
    app.clear_faults().await;
    inquire(&app, passing.id).await;
    app.wait_for(passing.id, "paid").await;

    app.audit(&[passing.id, lasting.id]).await;
}

/// The answer of the first create was lost, and a customer has its draft all the same. The first try was allowed and
/// declined, the second page debits without a question, and then the first try succeeds after all. The customer has
/// paid twice, and a person is told within seconds rather than a day later.
/// Shows: PERSON-6
async fn a_draft_that_was_allowed_is_watched_although_another_has_paid(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    let other = another_draft(&app, order.id).await;
    app.fault(json!({ "fault": "debit-declined", "next": 1 })).await;
    assert_eq!(app.pay(order.transaction_id).await, "declined");
    app.fault(json!({ "fault": "callback-never" })).await;
    assert_eq!(app.pay(other).await, "debited");
    assert_eq!(app.wait_for(order.id, "paid").await["transaction_id"], other);

    assert_eq!(app.pay(order.transaction_id).await, "debited");

    let marked = wait_until("the second payment to be told", PATIENCE, async || {
        Some(app.order(order.id).await).filter(|order| order["needs_review"] == true)
    })
    .await;
    assert!(marked["reason"].as_str().unwrap().contains("a second time"), "{marked}");
    app.audit(&[order.id]).await;
}

/// Shows: GATEWAY-17
async fn of_two_drafts_tried_at_once_one_is_debited(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    let other = another_draft(&app, order.id).await;

    let (first, second) = join(app.pay(order.transaction_id), app.pay(other)).await;
    app.wait_for(order.id, "paid").await;

    let mut ends = [first, second];
    ends.sort();
    assert_eq!(ends, ["debited", "refused"]);
    assert_clean(&app, &[order.id]).await;
}

/// The job and the order were canceled while only the gateway knew of a draft. Then the gateway takes money for it
/// although we refuse. No row of ours shows that. The audit does.
/// Shows: GATEWAY-16
async fn the_audit_finds_money_on_a_draft_that_no_row_knows(kind: Kind) {
    let app = TestApp::start_with(kind, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    app.fault(json!({ "fault": "answer-lost", "path": "/merchant/pay/create" })).await;
    let id = app.create_order(&tea()).await.json()["order_id"].as_i64().unwrap();
    let draft = wait_until("a draft", PATIENCE, async || app.ledger_of(id).await.into_iter().next()).await;
    let jobs: Value =
        serde_json::from_str(&app.command(&["jobs", "list", "--kind", "create_payment_link", "--json"]).await).unwrap();
    let job = find_id(&jobs);
    wait_until("the job to be canceled", PATIENCE, async || {
        (app.run(&["jobs", "cancel", &job]).await.code == Some(0)).then_some(())
    })
    .await;
    app.wait_for(id, "canceled").await;
    app.clear_faults().await;

    assert_eq!(app.pay(draft.transaction_id).await, "refused");
    assert_eq!(app.run(&["audit"]).await.code, Some(0), "no unknown money is there");
    app.fault(json!({ "fault": "debit-although-refused" })).await;
    assert_eq!(app.pay(draft.transaction_id).await, "debited");

    let audit = app.run(&["audit"]).await;
    assert_eq!(audit.code, Some(1), "{audit:?}");
    assert!(
        audit.said.contains("debit-unknown-to-us") && audit.said.contains(&draft.transaction_id.to_string()),
        "{audit:?}"
    );
}

fn find_id(jobs: &Value) -> String {
    let jobs = jobs.as_array().or_else(|| jobs["jobs"].as_array()).unwrap();
    jobs[0]["id"].to_string()
}

async fn another_link(app: &TestApp, first: &Linked) -> Linked {
    wait_until("another transaction", PATIENCE, async || {
        let order = app.wait_for_link(first.id).await;
        (order.transaction_id != first.transaction_id).then_some(order)
    })
    .await
}

async fn wait_for_state(app: &TestApp, order: &Linked, state: &str) {
    wait_until(state, PATIENCE, async || (app.ledger_of(order.id).await[0].state == state).then_some(())).await;
}

/// An operator asks the gateway about an order.
async fn inquire(app: &TestApp, id: i64) {
    app.command(&["orders", "reconcile", &id.to_string()]).await;
}

/// Changes the rows as if the order had been made an hour ago, with the last inquiry half an hour ago.
async fn time_is_over(app: &TestApp, id: i64) {
    app.execute(&format!(
        "update orders set expires_at_ms = expires_at_ms - 3600000,
             last_allowed_at_ms = last_allowed_at_ms - 1800000,
             allowed_until_ms = allowed_until_ms - 1800000 where id = {id}"
    ))
    .await;
}

/// Checks that the gateway's book and our rows agree, by this test's own comparison and by `tasdiq audit`.
async fn assert_clean(app: &TestApp, ids: &[i64]) {
    app.audit(ids).await;
    let audit = app.run(&["audit"]).await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
}
