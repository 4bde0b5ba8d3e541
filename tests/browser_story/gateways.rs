//! A customer with a real browser at each gateway of an installation to which nothing is given.

use serde_json::Value;

use super::{CARD, PAID, TEN_SECONDS, WITHOUT_MONEY, id, make_order_of, pay};
use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::browser::Browser;
use crate::support::wait::PATIENCE;

on_both_kinds! {
    a_customer_pays_an_order_of_each_gateway_in_a_browser
    a_customer_whose_card_was_declined_at_a_gateway_that_begins_payments_pays_with_another
}

/// The gateways, each with a part of the address of its page.
const PAGES: [(&str, &str); 3] = [("atmos", "/invoice/get"), ("payme", "/payme/"), ("click", "/click/services/pay")];

const PAYME_CARD: &str = "8600069195406311";
/// Any card but the published ones has no money at Payme.
const PAYME_WITHOUT_MONEY: &str = "4111111111111111";

async fn a_customer_pays_an_order_of_each_gateway_in_a_browser(kind: Kind) {
    let app = TestApp::start(kind).await;
    let browser = Browser::start().await;
    let mut ids = [0; 3];
    for ((gateway, page), paid) in PAGES.into_iter().zip(&mut ids) {
        let order = make_order_of(&app, gateway, "uz").await;
        assert!(order["payment_url"].as_str().unwrap().contains(page), "{order}");

        browser.goto(order["payment_url"].as_str().unwrap()).await;
        pay_at(&browser, gateway, true).await;

        let url = browser.wait_for_url("/return", PATIENCE).await;
        assert_eq!(url, format!("{}/pay/{}/return", app.url, order["order_token"].as_str().unwrap()));
        browser.text(PAID).await;
        assert_eq!(browser.text("#headline").await, "Toʻlov qabul qilindi", "{gateway}");
        *paid = id(&order);
    }
    for order in &ids {
        app.wait_for(*order, "paid").await;
        let history = app.history(*order).await;
        assert_eq!((history.times_entered("confirming"), history.times_entered("paid")), (1, 1), "{order}");
    }
    check_books(&app, &ids.map(|id| (id, 1))).await;
    let audit = app.run(&["audit"]).await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
    browser.quit().await;
}

/// Payme and Click tell of the decline, so the order is free at once. The customer goes on at the gateway's page, or comes
/// back from it and finds the way to it on ours.
async fn a_customer_whose_card_was_declined_at_a_gateway_that_begins_payments_pays_with_another(kind: Kind) {
    let app = TestApp::start(kind).await;
    let browser = Browser::start().await;
    let mut paid = Vec::new();
    for (gateway, page) in &PAGES[1..] {
        for goes_on_there in [true, false] {
            let order = make_order_of(&app, gateway, "en").await;
            browser.goto(order["payment_url"].as_str().unwrap()).await;
            pay_at(&browser, gateway, false).await;
            browser.wait_for_text("#message", "No money was taken", PATIENCE).await;
            app.wait_for(id(&order), "pending").await;

            if !goes_on_there {
                browser.click("a#return").await;
                browser.wait_for_url("/return", PATIENCE).await;
                browser.wait_for_text("#headline", "Not paid yet", TEN_SECONDS).await;
                browser.click("a#pay").await;
                browser.wait_for_url(page, PATIENCE).await;
            }
            pay_at(&browser, gateway, true).await;

            browser.wait_for_url("/return", PATIENCE).await;
            browser.wait_for_text(PAID, "Payment", PATIENCE).await;
            assert_eq!(app.wait_for(id(&order), "paid").await["seen_unpaid_at"], Value::Null);
            assert_eq!(app.history(id(&order)).await.times_entered("paid"), 1, "{gateway}");
            paid.push((id(&order), 2));
        }
    }
    check_books(&app, &paid).await;
    let audit = app.run(&["audit"]).await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
    browser.quit().await;
}

/// The books of all gateways together hold one debit of each of these orders, by its transaction and for its amount, none
/// given back, and so many attempts to pay it; and nothing else.
async fn check_books(app: &TestApp, paid: &[(i64, usize)]) {
    let mut attempts = 0;
    for (order_id, tries) in paid {
        let (order, lines) = (app.order(*order_id).await, lines_of(app, &order_id.to_string()).await);
        assert_eq!(lines.len(), *tries, "{lines:?}");
        attempts += tries;
        let debits: Vec<_> = lines.iter().filter(|line| line.debits > 0).collect();
        let [debit] = debits.as_slice() else { panic!("one debit of order {order_id}: {lines:?}") };
        assert_eq!((debit.debits, debit.is_given_back), (1, false), "{debit:?}");
        assert_eq!(order["amount"], debit.amount, "{debit:?}");
        assert_eq!(debit.transaction, order["transaction_id"].as_i64(), "{order}");
        assert_eq!(order["payment_type"], debit.gateway, "{debit:?}");
    }
    let all = lines_in_books(app).await;
    assert_eq!(all.len(), attempts, "{all:?}");
}

/// One payment, or one attempt to pay, in a gateway's book.
#[derive(Debug)]
struct BookLine {
    gateway: &'static str,
    account: String,
    /// In soʻm.
    amount: String,
    debits: i64,
    is_given_back: bool,
    /// Our number of the transaction.
    transaction: Option<i64>,
}

async fn lines_of(app: &TestApp, account: &str) -> Vec<BookLine> {
    lines_in_books(app).await.into_iter().filter(|line| line.account == account).collect()
}

async fn lines_in_books(app: &TestApp) -> Vec<BookLine> {
    let mut lines = Vec::new();
    for (gateway, path, list) in [
        ("atmos", "/_sim/ledger", "transactions"),
        ("payme", "/payme/_sim/ledger", "receipts"),
        ("click", "/click/_sim/ledger", "transactions"),
    ] {
        let book = app.open(&format!("{}{path}", app.sandbox_url)).await.json();
        for line in book[list].as_array().unwrap() {
            let soums = |tiyin: i64| format!("{}.{:02}", tiyin / 100, tiyin % 100);
            let amount = line["amount"].as_i64().map_or_else(|| line["amount"].as_str().unwrap().to_owned(), soums);
            let (given_back, transaction) = match gateway {
                "payme" => (line["returns"] != 0, line["transaction"].as_str().and_then(|text| text.parse().ok())),
                "click" => (line["returned"] != 0, line["merchant_prepare_id"].as_i64()),
                _ => (line["state"] == "reversed", line["transaction_id"].as_i64()),
            };
            lines.push(BookLine {
                gateway,
                account: line["account"].as_str().unwrap().to_owned(),
                amount,
                debits: line["debits"].as_i64().unwrap(),
                is_given_back: given_back,
                transaction,
            });
        }
    }
    lines
}

/// Enters a card on the gateway's page, with money on it or without.
async fn pay_at(browser: &Browser, gateway: &str, has_money: bool) {
    match gateway {
        "payme" => {
            browser.fill("#card_number", if has_money { PAYME_CARD } else { PAYME_WITHOUT_MONEY }).await;
            browser.fill("#expiry", "03/99").await;
            browser.click("#continue").await;
            browser.fill("#code", "666666").await;
            browser.click("#pay").await;
        }
        "click" => {
            browser.fill("#card_number", if has_money { CARD } else { WITHOUT_MONEY }).await;
            browser.fill("#expiry", "07/28").await;
            browser.click("#pay").await;
        }
        _ => pay(browser).await,
    }
}
