//! A customer with a real browser chooses on our page how to pay.

use std::path::Path;

use serde_json::{Value, json};

use crate::story::gateways::ACCOUNTS;
use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::browser::Browser;
use crate::support::wait::{PATIENCE, wait_until};

on_both_kinds! {
    a_customer_chooses_payme_changes_to_atmos_and_pays_in_a_browser
}

const PAID: &str = r#"main#status[data-status="paid"]"#;

async fn make_order(app: &TestApp, language: &str) -> Value {
    let body = json!({ "product_name": "Somsa, 2 dona", "amount": "1250000.00", "language": language });
    app.create_order(&body).await.json()
}

async fn pay_at_atmos(browser: &Browser) {
    browser.fill("#card_number", "8600490744313347").await;
    browser.fill("#expiry", "07/28").await;
    browser.click("#continue").await;
    browser.fill("#otp", "111111").await;
    browser.click("#pay").await;
}

/// The choice leads to each gateway's page, and the return page leads back to the choice.
async fn a_customer_chooses_payme_changes_to_atmos_and_pays_in_a_browser(kind: Kind) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;
    let browser = Browser::start().await;
    let order = make_order(&app, "en").await;
    let (id, token) = (order["order_id"].as_i64().unwrap(), order["order_token"].as_str().unwrap());

    browser.goto(order["payment_url"].as_str().unwrap()).await;
    browser.wait_for_text("#headline", "Choose how to pay", PATIENCE).await;
    browser.click("button[value=payme]").await;
    browser.wait_for_url("/payme/", PATIENCE).await;
    browser.goto(&format!("{}/pay/{token}/return", app.url)).await;
    browser.click("a#choose").await;
    browser.wait_for_text("button[value=payme]", "Chosen now", PATIENCE).await;
    browser.click("button[value=atmos]").await;
    browser.wait_for_url("/invoice/get", PATIENCE).await;
    pay_at_atmos(&browser).await;

    browser.wait_for_url("/return", PATIENCE).await;
    browser.wait_for_text(PAID, "Payment", PATIENCE).await;
    assert_eq!(app.wait_for(id, "paid").await["payment_type"], "atmos");
    app.audit(&[id]).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_without_javascript_chooses_and_pays() {
    let app = TestApp::start_with(Kind::Embedded, &ACCOUNTS).await;
    let browser = Browser::start_without_javascript().await;
    let order = make_order(&app, "ru").await;

    browser.goto(order["payment_url"].as_str().unwrap()).await;
    browser.click("button[value=atmos]").await;
    browser.wait_for_url("/invoice/get", PATIENCE).await;
    pay_at_atmos(&browser).await;

    browser.wait_for_url("/return", PATIENCE).await;
    browser.wait_for_text(PAID, "Оплата прошла", PATIENCE).await;
    browser.quit().await;
}

/// The whole choice stands on the screen of a telephone, in each language, and with a gateway that is paused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_choice_fits_a_telephone_in_each_language() {
    let app = TestApp::start_with(Kind::Embedded, &ACCOUNTS).await;
    let browser = Browser::start().await;
    app.command(&["gateways", "pause", "sandbox-click:22222"]).await;
    let first = make_order(&app, "uz").await;
    let path = format!("/pay/{}?choose", first["order_token"].as_str().unwrap());
    wait_until("the page shows the pause", PATIENCE, async || {
        app.get(&path).await.text.contains(" disabled>").then_some(())
    })
    .await;
    for language in ["uz", "ru", "en"] {
        let order = make_order(&app, language).await;
        for (width, height) in [(390, 844), (1280, 900)] {
            browser.resize(width, height).await;
            browser.goto(order["payment_url"].as_str().unwrap()).await;
            browser.text("button[value=click][disabled]").await;

            for element in ["button[value=atmos]", "button[value=payme]", "button[value=click]", "#amount"] {
                let place = browser.place(element).await;
                assert!(place.left >= 0.0 && place.left + place.width <= f64::from(width), "{language}: {element}");
                assert!(place.top + place.height <= f64::from(height), "{language}: {element} is below the screen");
            }
            let name = format!("choice-{language}-{width}.png");
            browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)).await;
        }
    }
    browser.quit().await;
}
