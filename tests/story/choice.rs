//! The customer chooses on our page how to pay, changes it, and pays once.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::gateways::{ACCOUNTS, act, assert_paymes_book_agrees};
use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::HttpAnswer;
use crate::support::wait::{PATIENCE, wait_until};

on_both_kinds! {
    a_customer_chooses_payme_and_pays
    a_customer_goes_back_changes_to_atmos_and_pays_once_and_the_old_link_is_refused
    a_paused_gateway_cannot_be_chosen_until_it_is_resumed
    a_gateway_that_was_chosen_before_and_is_silent_delays_no_payment
    an_address_with_a_last_slash_leads_to_the_same_pages
    an_order_without_a_choice_is_shown_as_such_and_found_whole_by_an_audit
}

/// An order whose customer chooses: its number and its token.
pub(crate) async fn unchosen(app: &TestApp) -> (i64, String) {
    let body = json!({ "product_name": "Tea", "amount": "50.00", "language": "en" });
    let answer = app.create_order(&body).await;
    let order = answer.json();
    assert_eq!((answer.status, &order["payment_type"]), (201, &Value::Null), "{order}");
    (order["order_id"].as_i64().unwrap(), order["order_token"].as_str().unwrap().to_owned())
}

/// Sends the page's form, as a browser without JavaScript does.
pub(crate) async fn choose(app: &TestApp, token: &str, payment_type: &str) -> HttpAnswer {
    let form = format!("pay_with={payment_type}");
    app.post(&format!("/pay/{token}"), "application/x-www-form-urlencoded", form).await
}

/// The gateway's page to which our page of a chosen way forwards.
pub(crate) async fn payment_page(app: &TestApp, token: &str) -> String {
    let answer = app.get(&format!("/pay/{token}")).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.header("location").to_owned()
}

async fn a_customer_chooses_payme_and_pays(kind: Kind) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;
    let (id, token) = unchosen(&app).await;
    let page = app.get(&format!("/pay/{token}?choose")).await;
    assert!(page.text.contains("value=\"payme\""), "{page:?}");

    assert_eq!(choose(&app, &token, "payme").await.status, 303);
    let page = payment_page(&app, &token).await;
    let receipt = act(&page, &format!("/payme/_sim/pay/{id}"), &json!({ "amount": 5_000 })).await;

    assert_eq!(receipt["outcome"], "paid");
    let order = app.wait_for(id, "paid").await;
    assert_eq!(order["payment_type"], "payme");
    assert_eq!(app.history(id).await.times_entered("paid"), 1);
    assert_eq!(app.run(&["audit"]).await.code, Some(0));
    assert_paymes_book_agrees(&app, &page, &[id]).await;
}

/// Shows: MONEY-25
async fn a_customer_goes_back_changes_to_atmos_and_pays_once_and_the_old_link_is_refused(kind: Kind) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;
    let (id, token) = unchosen(&app).await;
    choose(&app, &token, "click").await;
    let click_page = payment_page(&app, &token).await;
    assert!(click_page.contains("/click"), "{click_page}");
    let back = app.get(&format!("/pay/{token}/return")).await;
    assert!(back.text.contains(&format!("href=\"../{token}?choose\"")), "{back:?}");

    choose(&app, &token, "atmos").await;
    let linked = app.wait_for_link(id).await;
    let attempt = act(&click_page, &format!("/click/_sim/pay/{id}"), &json!({ "amount": "50.00" })).await;
    assert_ne!(attempt["outcome"], "debited", "the link of the choice before: {attempt}");
    app.pay(linked.transaction_id).await;

    let order = app.wait_for(id, "paid").await;
    assert_eq!((&order["payment_type"], &order["needs_review"]), (&json!("atmos"), &json!(false)));
    let history = app.history(id).await;
    assert_eq!((history.times_entered("confirming"), history.times_entered("paid")), (1, 1));
    assert_eq!(choose(&app, &token, "payme").await.header("location"), format!("{token}?refused"));
    assert_eq!(app.run(&["audit"]).await.code, Some(0));

    // Paid through the account that was chosen last, and given back there.
    app.refund(id, "back", &json!({ "reason": "the tea was cold" })).await;
    app.wait_for(id, "refunded").await;
}

/// Atmos is asked about the draft that it made before the customer chose Payme. It would be waited for 15 s.
async fn a_gateway_that_was_chosen_before_and_is_silent_delays_no_payment(kind: Kind) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;
    let (id, token) = unchosen(&app).await;
    choose(&app, &token, "atmos").await;
    app.wait_for_link(id).await;
    choose(&app, &token, "payme").await;
    let page = payment_page(&app, &token).await;
    app.fault(json!({ "fault": "latency", "milliseconds": 60_000 })).await;

    let receipt = act(&page, &format!("/payme/_sim/pay/{id}"), &json!({ "amount": 5_000 })).await;

    assert_eq!(receipt["outcome"], "paid");
    app.wait_for_within(id, "paid", Duration::from_secs(10)).await;
    // The account before is asked all the same, and shows no second debit.
    app.clear_faults().await;
    app.command(&["orders", "reconcile", &id.to_string()]).await;
    let order = app.wait_for(id, "paid").await;
    assert_eq!((&order["payment_type"], &order["needs_review"]), (&json!("payme"), &json!(false)));
    assert_eq!(app.history(id).await.times_entered("paid"), 1);
}

async fn an_address_with_a_last_slash_leads_to_the_same_pages(kind: Kind) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;
    let token = unchosen(&app).await.1;
    let follow = async |path: &str, query: &str| {
        let answer = app.get(&format!("{path}/{query}")).await;
        assert_eq!((answer.status, answer.header("cache-control")), (307, "no-store"), "{answer:?}");
        let last = path.rsplit('/').next().unwrap();
        assert_eq!(answer.header("location"), format!("../{last}{query}"));
        app.get(&format!("{path}{query}")).await
    };

    assert_eq!(follow(&format!("/pay/{token}"), "").await.header("location"), format!("{token}?choose"));
    assert!(follow(&format!("/pay/{token}"), "?choose").await.text.contains("value=\"payme\""));
    assert_eq!(follow(&format!("/pay/{token}/return"), "?payment_id=7").await.status, 200);
    // The browser sends the form again, with its content.
    let form = choose(&app, &format!("{token}/"), "payme").await;
    assert_eq!((form.status, form.header("location")), (307, &*format!("../{token}")));
}

async fn a_paused_gateway_cannot_be_chosen_until_it_is_resumed(kind: Kind) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;
    let (id, token) = unchosen(&app).await;
    let account = "sandbox-click:22222";
    app.command(&["gateways", "pause", account]).await;
    let shows = async |disabled: bool| {
        let page = app.get(&format!("/pay/{token}?choose")).await.text;
        let button = page.split("<button").find(|part| part.contains("value=\"click\"")).unwrap().to_owned();
        button.split('>').next().unwrap().contains("disabled") == disabled
    };
    wait_until("the page shows the pause", PATIENCE, async || shows(true).await.then_some(())).await;

    assert_eq!(choose(&app, &token, "click").await.header("location"), format!("{token}?choose"));
    assert_eq!(app.order(id).await["payment_type"], Value::Null);

    app.command(&["gateways", "resume", account]).await;
    wait_until("the page shows the end of the pause", PATIENCE, async || shows(false).await.then_some(())).await;
    assert_eq!(choose(&app, &token, "click").await.header("location"), format!("{token}?chosen"));
    assert_eq!(app.order(id).await["payment_type"], "click");
}

async fn an_order_without_a_choice_is_shown_as_such_and_found_whole_by_an_audit(kind: Kind) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;
    let (id, token) = unchosen(&app).await;

    let shown = app.command(&["orders", "show", &id.to_string()]).await;
    let audit = app.run(&["audit"]).await;
    let metrics = app.get("/metrics").await;

    assert!(shown.contains("the customer has not chosen one yet"), "{shown}");
    assert_eq!(audit.code, Some(0), "{audit:?}");
    assert_eq!(metrics.status, 200);
    // Its time to choose ends.
    app.execute(&format!("update orders set expires_at_ms = 1 where id = {id}")).await;
    app.command(&["orders", "reconcile", &id.to_string()]).await;
    app.wait_for(id, "expired").await;
    let answer = choose(&app, &token, "payme").await;
    assert_eq!(answer.header("location"), format!("{token}?refused"));
    let request = app.request(Method::GET, &format!("/pay/{token}?refused"));
    assert!(request.send().await.unwrap().text().await.unwrap().contains("The time to pay is over"));
    assert_eq!(app.run(&["audit"]).await.code, Some(0));
}
