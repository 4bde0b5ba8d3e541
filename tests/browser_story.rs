//! A customer with a real browser: from the shop's link through the gateway's page to our confirmation of the payment.

use std::path::Path;
use std::time::Duration;

use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::web::Html;
use poem::{IntoResponse, Response, Route, Server, handler};
use serde_json::{Value, json};

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::browser::Browser;
use crate::support::forwarder::Forwarder;
use crate::support::wait::{PATIENCE, wait_until};

mod gateways;

on_both_kinds! {
    a_customer_pays_in_a_browser_and_is_told_so_by_the_page_itself
    a_customer_whose_card_was_declined_is_led_back_and_pays_with_another
    a_customer_who_comes_back_without_paying_is_told_so_and_can_still_pay
}

const CARD: &str = "8600490744313347";
const WITHOUT_MONEY: &str = "8600312998546358";

/// The longest that a customer should wait for the result of a payment.
const TEN_SECONDS: Duration = Duration::from_secs(10);

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
    assert!(browser.text("#amount").await.contains("50 000,00"));
    assert_eq!(browser.text("#product").await, "Somsa, 2 dona");
    app.wait_for(id(&order), "paid").await;
    app.audit(&[id(&order)]).await;
    browser.quit().await;
}

/// The page opens while the payment is undecided, and changes while the customer looks at it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_page_turns_paid_when_the_gateway_speaks_late() {
    let app = TestApp::start(Kind::Embedded).await;
    let browser = Browser::start().await;
    let order = make_order(&app, "ru").await;
    // Money moves without a callback, and for now the gateway does not report it.
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

    // Our waiting page forwards by itself as soon as there is a gateway's page.
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

/// After the decline the customer leaves the gateway's page, and finds the way back to it on either of our pages.
/// Shows: PERSON-21
async fn a_customer_whose_card_was_declined_is_led_back_and_pays_with_another(kind: Kind) {
    let app = TestApp::start(kind).await;
    let browser = Browser::start().await;
    let mut ids = Vec::new();
    for page in ["", "/return"] {
        let order = make_order(&app, "en").await;
        browser.goto(order["payment_url"].as_str().unwrap()).await;
        pay_with(&browser, WITHOUT_MONEY).await;
        browser.wait_for_text("#message", "not enough money", PATIENCE).await;

        browser.goto(&format!("{}/pay/{}{page}", app.url, order["order_token"].as_str().unwrap())).await;
        browser.wait_for_text("#headline", "has not gone through", TEN_SECONDS).await;
        browser.wait_for_text("#explanation", "no money has been taken", PATIENCE).await;
        let seen = app.order(id(&order)).await;
        assert_eq!((&seen["status"], seen["seen_unpaid_at"].is_string()), (&json!("confirming"), true), "{seen}");
        assert_eq!(seen["payment_url"], order["payment_url"], "the shop can lead its customer back as well");
        browser.click("a#pay").await;
        browser.wait_for_url("/invoice/get", PATIENCE).await;
        pay(&browser).await;

        browser.wait_for_url("/return", PATIENCE).await;
        browser.wait_for_text(PAID, "Payment", PATIENCE).await;
        assert_eq!(app.wait_for(id(&order), "paid").await["seen_unpaid_at"], Value::Null);
        ids.push(id(&order));
    }
    app.audit(&ids).await;
    browser.quit().await;
}

/// No payment was tried, so the page must not show a check without end.
/// Shows: PERSON-21
async fn a_customer_who_comes_back_without_paying_is_told_so_and_can_still_pay(kind: Kind) {
    let app = TestApp::start(kind).await;
    let browser = Browser::start().await;
    let order = make_order(&app, "en").await;
    let back = format!("{}/pay/{}/return", app.url, order["order_token"].as_str().unwrap());

    browser.goto(&back).await;
    browser.wait_for_text("#headline", "Checking", PATIENCE).await;
    browser.wait_for_text("#headline", "Not paid yet", TEN_SECONDS).await;
    browser.click("a#pay").await;
    browser.click("#cancel").await;

    // No callback was allowed, so a closed page is final at once.
    browser.wait_for_url("/return", PATIENCE).await;
    wait_until("another link", PATIENCE, async || {
        let linked = app.wait_for_link(id(&order)).await;
        (order["transaction_id"] != linked.transaction_id).then_some(())
    })
    .await;
    browser.wait_for_text("#headline", "Not paid yet", TEN_SECONDS).await;
    browser.click("a#pay").await;
    pay(&browser).await;
    browser.wait_for_url("/return", PATIENCE).await;
    browser.wait_for_text(PAID, "Payment", PATIENCE).await;
    app.audit(&[id(&order)]).await;
    browser.quit().await;
}

/// With a proxy in front that answers while we are down.
/// Shows: PERSON-23
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_page_stays_through_a_restart_behind_a_proxy_and_turns_paid() {
    let front = Forwarder::start(away()).await;
    let address = format!("http://127.0.0.1:{}", front.port());
    let mut app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_PUBLIC_URL", &address)]).await;
    let ours = app.url.rsplit(':').next().unwrap().parse().unwrap();
    front.lead_to(ours);
    let browser = Browser::start().await;
    let order = make_order(&app, "en").await;
    browser.goto(&format!("{address}/pay/{}/return", order["order_token"].as_str().unwrap())).await;
    browser.wait_for_text("#headline", "Checking", PATIENCE).await;

    app.stop().await;
    front.lead_to(away());
    browser.wait_for_text("#trouble", "cannot be reached", PATIENCE).await;
    let headline = browser.text("#headline").await;
    assert!(["Checking your payment", "Not paid yet"].contains(&headline.as_str()), "{headline}");
    app.start_again().await;
    front.lead_to(ours);
    assert_eq!(app.pay(order["transaction_id"].as_i64().unwrap()).await, "debited");

    browser.wait_for_text(PAID, "Payment received", Duration::from_secs(30)).await;
    browser.quit().await;
}

/// A proxy whose server is down. It serves until the test ends; returns its port.
fn away() -> u16 {
    #[handler]
    fn bad_gateway() -> Response {
        let page = Html("<title>502 Bad Gateway</title><h1>502 Bad Gateway</h1>");
        page.with_status(StatusCode::BAD_GATEWAY).into_response()
    }

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TcpAcceptor::from_std(listener).unwrap();
    tokio::spawn(Server::new_with_acceptor(acceptor).run(Route::new().nest("/", bad_gateway)));
    port
}

/// A card without money is declined after the shop has allowed the debit; the customer uses another card on the same
/// page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_whose_card_is_declined_pays_with_another() {
    let app = TestApp::start(Kind::Embedded).await;
    let browser = Browser::start().await;
    let order = make_order(&app, "en").await;

    browser.goto(order["payment_url"].as_str().unwrap()).await;
    // The documents show this picture: docs/images/payment-page.png is a copy of it.
    browser.picture("main", &Path::new(env!("CARGO_TARGET_TMPDIR")).join("payment-page.png")).await;
    pay_with(&browser, WITHOUT_MONEY).await;
    browser.wait_for_text("#message", "not enough money", PATIENCE).await;
    assert_eq!(app.status(id(&order)).await, "confirming", "asked, allowed, and not paid");
    pay(&browser).await;

    browser.wait_for_url("/return", PATIENCE).await;
    browser.wait_for_text(PAID, "Payment", PATIENCE).await;
    app.audit(&[id(&order)]).await;
    browser.quit().await;
}

/// Our page as soon as it shows the order as paid.
const PAID: &str = r#"main#status[data-status="paid"]"#;

async fn make_order(app: &TestApp, language: &str) -> Value {
    make_order_of(app, "atmos", language).await
}

async fn make_order_of(app: &TestApp, payment_type: &str, language: &str) -> Value {
    let body = json!({ "product_name": "Somsa, 2 dona", "amount": "50000.00", "payment_type": payment_type,
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

/// Enters a card and its code on the gateway's page.
async fn pay_with(browser: &Browser, card: &str) {
    browser.fill("#card_number", card).await;
    browser.fill("#expiry", "07/28").await;
    browser.click("#continue").await;
    browser.fill("#otp", "111111").await;
    browser.click("#pay").await;
}
