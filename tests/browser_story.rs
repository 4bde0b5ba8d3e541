//! A customer with a real browser: from the shop's link over the gateway's page to our word that it is paid.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::browser::Browser;
use crate::support::wait::PATIENCE;

on_both_kinds! {
    a_customer_pays_in_a_browser_and_is_told_so_by_the_page_itself
}

const CARD: &str = "8600490744313347";

async fn a_customer_pays_in_a_browser_and_is_told_so_by_the_page_itself(kind: Kind) {
    let app = TestApp::start(kind).await;
    let browser = Browser::start().await;
    let order = make_order(&app, "uz").await;

    browser.goto(order["payment_url"].as_str().unwrap()).await;
    pay(&browser).await;

    let url = browser.wait_for_url("/return", PATIENCE).await;
    assert_eq!(url, format!("{}/pay/{}/return", app.url, order["order_token"].as_str().unwrap()));
    browser.text(PAID).await;
    assert_eq!(browser.text("#headline").await, "Toʻlov qabul qilindi");
    assert!(browser.text("#amount").await.contains("50000.00"));
    assert_eq!(browser.text("#product").await, "Somsa, 2 dona");
    app.wait_for(id(&order), "paid").await;
    app.audit(&[id(&order)]).await;
    browser.quit().await;
}

/// The page opens while nothing is decided yet, and turns while the customer looks on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_page_turns_paid_when_the_gateway_speaks_late() {
    let app = TestApp::start(Kind::Embedded).await;
    let browser = Browser::start().await;
    let order = make_order(&app, "ru").await;
    // Money moves, nobody is asked, and for now the gateway does not say how it went.
    app.fault(json!({ "fault": "callback-late", "milliseconds": 2_000 })).await;
    app.fault(json!({ "fault": "unavailable", "path": "/merchant/pay/get" })).await;

    browser.goto(order["payment_url"].as_str().unwrap()).await;
    pay(&browser).await;
    browser.wait_for_url("/return", PATIENCE).await;
    browser.text(r#"main#status[data-status="pending"], main#status[data-status="confirming"]"#).await;
    let confirming = browser.wait_for_text("#headline", "Платёж подтверждается", PATIENCE).await;
    app.clear_faults().await;

    let paid = browser.wait_for_text(PAID, "Оплата", Duration::from_secs(45)).await;
    assert!(!paid.contains(&confirming), "{paid}");
    app.wait_for(id(&order), "paid").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_without_javascript_is_told_too() {
    let app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let browser = Browser::start_without_javascript().await;
    app.fault(json!({ "fault": "unavailable" })).await;
    let order = make_order(&app, "en").await;
    let page = order["payment_url"].as_str().unwrap();
    assert!(page.starts_with(&format!("{}/pay/", app.url)), "{page}");

    // Our waiting page leads on by itself as soon as there is a gateway's page.
    browser.goto(page).await;
    browser.wait_for_text("#headline", "payment page", PATIENCE).await;
    app.clear_faults().await;
    browser.wait_for_url("/invoice/get", PATIENCE).await;
    app.fault(json!({ "fault": "callback-never" })).await;
    pay(&browser).await;
    browser.wait_for_url("/return", PATIENCE).await;

    browser.wait_for_text(PAID, "Payment", PATIENCE).await;
    app.wait_for(id(&order), "paid").await;
    app.audit(&[id(&order)]).await;
    browser.quit().await;
}

/// A card without money is declined after the shop has said yes; the customer takes another one on the same page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_whose_card_is_declined_pays_with_another() {
    const WITHOUT_MONEY: &str = "8600312998546358";
    let app = TestApp::start(Kind::Embedded).await;
    let browser = Browser::start().await;
    let order = make_order(&app, "en").await;

    browser.goto(order["payment_url"].as_str().unwrap()).await;
    pay_with(&browser, WITHOUT_MONEY).await;
    browser.wait_for_text("#message", "not enough money", PATIENCE).await;
    assert_eq!(app.status(id(&order)).await, "confirming", "asked, allowed, and not paid");
    pay(&browser).await;

    browser.wait_for_url("/return", PATIENCE).await;
    browser.wait_for_text(PAID, "Payment", PATIENCE).await;
    app.audit(&[id(&order)]).await;
    browser.quit().await;
}

/// Our page once it says that the order is paid.
const PAID: &str = r#"main#status[data-status="paid"]"#;

async fn make_order(app: &TestApp, language: &str) -> Value {
    let body = json!({ "product_name": "Somsa, 2 dona", "amount": "50000.00", "payment_type": "atmos",
        "language": language });
    let answer = app.create_order(&body).await;
    assert_eq!(answer.status, 201, "{answer}");
    answer.json()
}

fn id(order: &Value) -> i64 {
    order["order_id"].as_i64().unwrap()
}

async fn pay(browser: &Browser) {
    pay_with(browser, CARD).await;
}

/// Types a card and its code on the gateway's page.
async fn pay_with(browser: &Browser, card: &str) {
    browser.fill("#card_number", card).await;
    browser.fill("#expiry", "07/28").await;
    browser.click("#continue").await;
    browser.fill("#otp", "111111").await;
    browser.click("#pay").await;
}
