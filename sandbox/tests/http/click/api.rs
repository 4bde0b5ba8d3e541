//! Click's Merchant API, as a merchant's server uses it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

use super::payment::{add_fault, get, ledger, pay, pay_with};
use super::shop::{ClickMerchant, KEY};
use crate::support::TestShop;

fn auth(key: &str, seconds_ago: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs() - seconds_ago;
    let digest: String = Sha1::digest(format!("{now}{key}")).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("33333:{digest}:{now}")
}

fn request(shop: &TestShop, method: Method, path: &str) -> RequestBuilder {
    shop.client.request(method, format!("{}/click/v2/merchant/payment/{path}", shop.sandbox.base_url()))
}

async fn call(shop: &TestShop, method: Method, path: &str) -> (u16, Value) {
    let sent = request(shop, method, path).header("Auth", auth(KEY, 0)).header("Accept", "application/json").send();
    let response = sent.await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

async fn ask(shop: &TestShop, path: &str) -> Value {
    let (status, body) = call(shop, Method::GET, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// `payment/reversal` or `payment/partial_reversal`; returns `error_code`.
async fn reverse(shop: &TestShop, path: &str) -> i64 {
    let (status, body) = call(shop, Method::DELETE, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body["error_code"].as_i64().expect("a code")
}

async fn set_clock(shop: &TestShop, now: &str) {
    let response = shop.post("/click/_sim/clock").json(&json!({"now": now})).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
}

async fn today(shop: &TestShop) -> String {
    get(shop, "/click/_sim/clock").await["now"].as_str().expect("a time")[..10].to_owned()
}

async fn paid_order() -> (ClickMerchant, TestShop, i64) {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;
    let payment_id = pay(&shop, "71").await["payment_id"].as_i64().expect("an id");
    (merchant, shop, payment_id)
}

#[tokio::test]
async fn a_paid_payment_is_found_by_its_order_and_by_its_id() {
    let (_merchant, shop, payment_id) = paid_order().await;
    let day = today(&shop).await;

    let by_order = ask(&shop, &format!("status_by_mti/22222/71/{day}")).await;
    let by_id = ask(&shop, &format!("status/22222/{payment_id}")).await;

    let expected = json!({"error_code": 0, "error_note": "Success", "payment_id": payment_id, "payment_status": 2});
    assert_eq!((&by_order, &by_id), (&expected, &expected));
}

#[tokio::test]
async fn each_state_has_its_status() {
    let merchant = ClickMerchant::right().await;
    for account in ["left", "declined", "returned"] {
        merchant.order(account, 100_000);
    }
    let shop = merchant.sandbox().await;
    let left = pay_with(&shop, "left", json!({"amount": "1000", "phone": "998900000002"})).await;
    let declined = pay_with(&shop, "declined", json!({"amount": "1000", "phone": "998900000001"})).await;
    let returned = pay(&shop, "returned").await;
    shop.post(&format!("/click/_sim/reverse/{}", returned["payment_id"])).send().await.expect("an answer");

    let mut shown = Vec::new();
    for outcome in [left, declined, returned] {
        shown.push(ask(&shop, &format!("status/22222/{}", outcome["payment_id"])).await["payment_status"].clone());
    }

    assert_eq!(shown, [json!(1), json!(-5017), json!(-99)]);
}

#[tokio::test]
async fn only_the_right_auth_of_now_is_let_in() {
    let (_merchant, shop, payment_id) = paid_order().await;
    let path = format!("status/22222/{payment_id}");

    for (header, status) in [
        (Some(auth(KEY, 0)), 200),
        (Some(auth(KEY, 200)), 200),
        (Some(auth(KEY, 3_600)), 401),
        (Some(auth("another-key", 0)), 401),
        (Some(auth(KEY, 0).replacen("33333", "33334", 1)), 401),
        (Some("33333".to_owned()), 401),
        (None, 401),
    ] {
        let mut call = request(&shop, Method::GET, &path);
        if let Some(header) = &header {
            call = call.header("Auth", header);
        }
        assert_eq!(call.send().await.expect("an answer").status(), status, "{header:?}");
    }
    let xml = request(&shop, Method::GET, &path).header("Auth", auth(KEY, 0)).header("Accept", "application/xml");
    assert_eq!(xml.send().await.expect("an answer").status(), 406);
}

#[tokio::test]
async fn a_wrong_question_has_its_http_status() {
    let (_merchant, shop, payment_id) = paid_order().await;
    let day = today(&shop).await;

    for (method, path, status) in [
        (Method::GET, "status/22222/7".to_owned(), 404),
        (Method::GET, "status/22222/x".to_owned(), 400),
        (Method::GET, format!("status/12345/{payment_id}"), 403),
        (Method::GET, "status_by_mti/22222/71".to_owned(), 400),
        (Method::GET, "status_by_mti/22222/71/30.11.2026".to_owned(), 400),
        (Method::DELETE, format!("status_by_mti/22222/71/{day}"), 405),
        (Method::GET, format!("reversal/22222/{payment_id}"), 405),
        (Method::DELETE, format!("partial_reversal/22222/{payment_id}/x"), 400),
        (Method::GET, format!("status_by_mti/22222/72/{day}"), 404),
        (Method::GET, "nothing".to_owned(), 404),
    ] {
        assert_eq!(call(&shop, method, &path).await.0, status, "{path}");
    }
}

/// The day is that of Tashkent; a payment of one minute before midnight is not one of the next day.
#[tokio::test]
async fn a_payment_is_found_on_its_own_day_only() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;
    set_clock(&shop, "2026-09-30 23:59:58").await;
    let payment_id = pay(&shop, "71").await["payment_id"].clone();
    assert_eq!(merchant.came("sign_time")[0][..16], *"2026-09-30 23:59");
    set_clock(&shop, "2026-10-01 00:00:05").await;

    let on_its_day = ask(&shop, "status_by_mti/22222/71/2026-09-30").await;
    let (a_day_later, _) = call(&shop, Method::GET, "status_by_mti/22222/71/2026-10-01").await;

    assert_eq!(on_its_day["payment_id"], payment_id);
    assert_eq!(a_day_later, 404);
}

#[tokio::test]
async fn a_reversal_returns_the_money_once() {
    let (_merchant, shop, payment_id) = paid_order().await;
    let path = format!("reversal/22222/{payment_id}");

    let (first, second) = tokio::join!(reverse(&shop, &path), reverse(&shop, &path));

    assert!([first, second].contains(&0) && first != second, "{first} {second}");
    let row = &ledger(&shop).await[0];
    assert_eq!((&row["state"], &row["returned"]), (&json!("reversed"), &json!(100_000)));
    assert_eq!(row["reversals_asked"], 2);
}

#[tokio::test]
async fn a_part_is_returned_until_nothing_is_left() {
    let (_merchant, shop, payment_id) = paid_order().await;
    let part = |amount: &str| format!("partial_reversal/22222/{payment_id}/{amount}");

    assert_eq!(reverse(&shop, &part("400.50")).await, 0);
    assert_eq!(ask(&shop, &format!("status/22222/{payment_id}")).await["payment_status"], 2);
    assert!(reverse(&shop, &part("600")).await < 0, "less is left");
    assert_eq!(reverse(&shop, &part("599.50")).await, 0);
    assert!(reverse(&shop, &part("1")).await < 0, "nothing is left");

    assert_eq!(ledger(&shop).await[0]["state"], "reversed");
}

#[tokio::test]
async fn a_month_that_is_over_takes_no_reversal() {
    for (now, is_reversed) in
        [("2026-10-31 23:59:59", true), ("2026-11-01 23:59:50", true), ("2026-11-02 00:00:00", false)]
    {
        let merchant = ClickMerchant::right().await;
        merchant.order("71", 100_000);
        let shop = merchant.sandbox().await;
        set_clock(&shop, "2026-10-05 12:00:00").await;
        let payment_id = pay(&shop, "71").await["payment_id"].clone();
        set_clock(&shop, now).await;

        let code = reverse(&shop, &format!("reversal/22222/{payment_id}")).await;

        assert_eq!(code == 0, is_reversed, "{now}: {code}");
        assert_eq!(ledger(&shop).await[0]["state"] == "reversed", is_reversed, "{now}");
    }
}

#[tokio::test]
async fn uzcard_refuses_when_it_is_told_to_and_humo_does_not() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    merchant.order("72", 100_000);
    let shop = merchant.sandbox().await;
    add_fault(&shop, json!({"fault": "uzcard-refuses"})).await;
    let uzcard = pay(&shop, "71").await;
    let humo = pay_with(&shop, "72", json!({"amount": "1000", "card_number": "9860090101014364"})).await;

    assert!(reverse(&shop, &format!("reversal/22222/{}", uzcard["payment_id"])).await < 0);
    assert_eq!(reverse(&shop, &format!("reversal/22222/{}", humo["payment_id"])).await, 0);
}

#[tokio::test]
async fn a_lost_answer_to_a_reversal_leaves_it_done() {
    let (_merchant, shop, payment_id) = paid_order().await;
    add_fault(&shop, json!({"fault": "api-answer-lost", "path": "payment/reversal", "next": 1})).await;

    let lost = request(&shop, Method::DELETE, &format!("reversal/22222/{payment_id}")).header("Auth", auth(KEY, 0));
    assert!(lost.send().await.is_err());

    assert_eq!(ledger(&shop).await[0]["state"], "reversed");
    assert_eq!(ask(&shop, &format!("status/22222/{payment_id}")).await["payment_status"], -99);
}

#[tokio::test]
async fn the_api_can_be_away_slow_or_broken() {
    let (_merchant, shop, payment_id) = paid_order().await;
    let path = format!("status/22222/{payment_id}");
    let sent = || request(&shop, Method::GET, &path).header("Auth", auth(KEY, 0)).send();

    for (fault, status) in [
        ("api-unavailable", 502),
        ("api-server-error", 500),
        ("api-forbidden", 403),
        ("api-unauthorized", 401),
        ("api-throttled", 429),
    ] {
        add_fault(&shop, json!({"fault": fault, "account": "71", "next": 1, "milliseconds": 1_500})).await;
        let response = sent().await.expect("an answer");
        assert_eq!(response.status(), status, "{fault}");
        let retry_after = response.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(retry_after.as_deref(), (fault == "api-throttled").then_some("2"));
    }
    for (fault, is_json) in
        [("api-html", false), ("api-empty", false), ("api-malformed", false), ("api-error-code", true)]
    {
        add_fault(&shop, json!({"fault": fault, "path": "payment/status", "next": 1})).await;
        let response = sent().await.expect("an answer");
        assert_eq!(response.status(), 200, "{fault}");
        assert_eq!(response.json::<Value>().await.is_ok(), is_json, "{fault}");
    }
    add_fault(&shop, json!({"fault": "api-other-types", "next": 1})).await;
    let types: Value = sent().await.expect("an answer").json().await.expect("JSON");
    assert_eq!((&types["error_code"], &types["payment_status"]), (&json!("0"), &json!("2")));
    for fault in ["api-slow", "api-answer-late"] {
        add_fault(&shop, json!({"fault": fault, "next": 1, "milliseconds": 60_000})).await;
        let call = request(&shop, Method::GET, &path).header("Auth", auth(KEY, 0));
        let error = call.timeout(Duration::from_millis(200)).send().await.expect_err("a timeout");
        assert!(error.is_timeout(), "{fault}");
    }
}

#[tokio::test]
async fn the_status_of_an_order_can_mislead() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;
    let declined = pay_with(&shop, "71", json!({"amount": "1000", "phone": "998900000001"})).await;
    let paid = pay(&shop, "71").await;
    assert_eq!(pay(&shop, "71").await["outcome"], "refused", "a third attempt, which is the latest");
    let path = format!("status_by_mti/22222/71/{}", today(&shop).await);

    assert_eq!(ask(&shop, &path).await["payment_id"], paid["payment_id"], "the one that was paid");
    let with = async |fault: &str| {
        add_fault(&shop, json!({"fault": fault, "account": "71", "next": 1})).await;
        call(&shop, Method::GET, &path).await
    };
    let (_, another) = with("mti-another-attempt").await;
    assert_eq!((&another["payment_id"], &another["payment_status"]), (&declined["payment_id"], &json!(-5017)));
    let (status, nothing) = with("mti-nothing").await;
    assert!(status == 200 && nothing["error_code"].as_i64().is_some_and(|code| code < 0), "{status} {nothing}");
    assert_eq!(with("mti-not-found").await.0, 404);
    let (_, without) = with("mti-without-status").await;
    assert_eq!((&without["merchant_trans_id"], without.get("payment_status")), (&json!("71"), None));
    assert!(with("mti-as-list").await.1[0]["payment_status"] == 2);
    for (fault, shown) in [("status-processing", 1), ("status-unknown", 7), ("status-failed", -1)] {
        assert_eq!(with(fault).await.1["payment_status"], shown, "{fault}");
    }
    assert_eq!(ask(&shop, &path).await["payment_status"], 2);
}
