//! A payer's way at Click: Prepare, the debit, Complete, and every answer of the merchant.

use std::time::Duration;

use sandbox::SandboxConfig;
use serde_json::{Value, json};

use super::shop::ClickMerchant;
use crate::support::TestShop;

/// Pays an order of 1000 soʻm like a customer.
pub(super) async fn pay(shop: &TestShop, account: &str) -> Value {
    pay_with(shop, account, json!({"amount": "1000.00"})).await
}

pub(super) async fn pay_with(shop: &TestShop, account: &str, payer: Value) -> Value {
    let response = shop.post(&format!("/click/_sim/pay/{account}")).json(&payer).send().await.expect("an outcome");
    assert_eq!(response.status(), 200, "{payer}");
    response.json().await.expect("JSON")
}

pub(super) async fn get(shop: &TestShop, path: &str) -> Value {
    shop.get(path).send().await.expect("an answer").json().await.expect("JSON")
}

/// The rows of the ledger, oldest first.
pub(super) async fn ledger(shop: &TestShop) -> Vec<Value> {
    get(shop, "/click/_sim/ledger").await["transactions"].as_array().expect("rows").clone()
}

pub(super) async fn add_fault(shop: &TestShop, fault: Value) {
    let response = shop.post("/click/_sim/faults").json(&fault).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{fault}");
}

async fn resume(shop: &TestShop, outcome: &Value) -> Value {
    let path = format!("/click/_sim/resume/{}", outcome["click_trans_id"]);
    shop.post(&path).send().await.expect("an outcome").json().await.expect("JSON")
}

#[tokio::test]
async fn a_payment_is_asked_debited_and_told() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;

    let outcome = pay(&shop, "71").await;

    assert_eq!((outcome["outcome"].as_str(), outcome["completion"].as_str()), (Some("debited"), Some("answered")));
    assert!(merchant.is_paid("71"));
    assert_eq!(merchant.came("action"), ["0", "1"]);
    assert_eq!(merchant.came("amount"), ["1000.00", "1000.00"]);
    assert_eq!(merchant.came("error"), ["0", "0"]);
    assert_eq!(merchant.came("merchant_prepare_id"), ["", "1"]);
    assert_eq!(merchant.content_types(), ["application/x-www-form-urlencoded"; 2]);
    let rows = ledger(&shop).await;
    let ids = ["click_trans_id", "click_paydoc_id", "payment_id"].map(|id| rows[0][id].as_i64().expect("a number"));
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    assert_eq!(merchant.came("click_trans_id"), [ids[0].to_string(), ids[0].to_string()]);
    assert_eq!(merchant.came("click_paydoc_id"), [ids[1].to_string(), ids[1].to_string()]);
    assert_eq!(
        (&rows[0]["state"], &rows[0]["debits"], &rows[0]["amount"]),
        (&json!("debited"), &json!(1), &json!(100_000))
    );
}

/// The link is not signed, so a payer may write another amount and another order into it.
#[tokio::test]
async fn a_payer_can_alter_the_link_and_the_merchant_refuses() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;

    let cheaper = pay_with(&shop, "71", json!({"amount": "1"})).await;
    let foreign = pay(&shop, "72").await;

    assert_eq!((cheaper["outcome"].as_str(), &cheaper["prepare"]["error"]), (Some("refused"), &json!(-2)));
    assert_eq!((foreign["outcome"].as_str(), &foreign["prepare"]["error"]), (Some("refused"), &json!(-5)));
    assert_eq!(merchant.came("action"), ["0", "0"], "no Complete after these");
    assert!(ledger(&shop).await.iter().all(|row| row["debits"] == 0 && row["state"] == "closed"));
}

#[tokio::test]
async fn a_canceled_order_gets_a_complete_with_a_cancel_mark() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    merchant.cancel("71");
    let shop = merchant.sandbox().await;

    let outcome = pay(&shop, "71").await;

    assert_eq!((outcome["outcome"].as_str(), &outcome["prepare"]["error"]), (Some("refused"), &json!(-9)));
    assert_eq!(merchant.came("action"), ["0", "1"]);
    assert_eq!(merchant.came("error"), ["0", "-9"]);
    assert_eq!(ledger(&shop).await[0]["debits"], 0);
}

#[tokio::test]
async fn unusable_answers_to_prepare_allow_nothing() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;

    for (status, body) in [
        (500, r#"{"error":0,"error_note":"x","merchant_prepare_id":1}"#),
        (200, "OK"),
        (200, r#"{"error":0,"error_note":"x"}"#),
        (200, r#"{"error":0,"error_note":"x","merchant_prepare_id":"1"}"#),
        (200, r#"{"error":-4,"error_note":"x"}"#),
    ] {
        merchant.script(&[(status, body, 0)]);

        assert_eq!(pay(&shop, "71").await["outcome"], "refused", "{status} {body}");
    }
    assert!(ledger(&shop).await.iter().all(|row| row["debits"] == 0));
}

#[tokio::test]
async fn a_payment_that_the_bank_declines_is_told_to_the_merchant() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;

    let card = pay_with(&shop, "71", json!({"amount": "1000", "card_number": "8600312998546358"})).await;
    let phone = pay_with(&shop, "71", json!({"amount": "1000", "phone": "998900000001"})).await;
    let paid = pay(&shop, "71").await;

    for declined in [card, phone] {
        assert_eq!((declined["outcome"].as_str(), &declined["complete"]["error"]), (Some("declined"), &json!(-9)));
    }
    assert_eq!(merchant.came("error"), ["0", "-5017", "0", "-5017", "0", "0"]);
    assert_eq!(paid["outcome"], "debited");
}

#[tokio::test]
async fn a_payer_who_left_holds_the_order_until_click_ends_the_attempt() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;

    let left = pay_with(&shop, "71", json!({"amount": "1000", "phone": "998900000002"})).await;
    let meanwhile = pay(&shop, "71").await;
    let ended = resume(&shop, &left).await;
    let after = pay(&shop, "71").await;

    assert_eq!((left["outcome"].as_str(), left["state"].as_str()), (Some("left"), Some("prepared")));
    assert_eq!(meanwhile["prepare"]["error"], -9);
    assert_eq!((ended["outcome"].as_str(), &ended["complete"]["error"]), (Some("declined"), &json!(-9)));
    assert_eq!(after["outcome"], "debited");
}

#[tokio::test]
async fn an_unanswered_complete_is_repeated_and_then_hangs_for_a_person() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;
    let prepared = r#"{"error":0,"error_note":"x","merchant_prepare_id":1}"#;
    merchant.script(&[(200, prepared, 0), (500, "", 0), (200, "no", 0), (200, r#"{"error":-7,"error_note":"x"}"#, 0)]);

    let hanging = pay(&shop, "71").await;
    assert_eq!((hanging["outcome"].as_str(), hanging["completion"].as_str()), (Some("debited"), Some("hangs")));
    assert_eq!(merchant.came("action"), ["0", "1", "1", "1"]);

    // A person at Click asks again, which finds the merchant well.
    let resumed = resume(&shop, &hanging).await;
    assert_eq!((resumed["outcome"].as_str(), resumed["completion"].as_str()), (Some("debited"), Some("answered")));
    assert!(merchant.is_paid("71"));
    assert_eq!(ledger(&shop).await[0]["debits"], 1);

    // Once it is finished, nothing more is sent.
    let before = merchant.calls().len();
    resume(&shop, &hanging).await;
    assert_eq!(merchant.calls().len(), before);
}

#[tokio::test]
async fn after_a_debit_two_errors_are_permitted_and_one_of_them_returns_the_money() {
    let prepared = r#"{"error":0,"error_note":"x","merchant_prepare_id":1}"#;
    for (error, outcome, state) in [(-4, "debited", "debited"), (-9, "returned", "reversed")] {
        let merchant = ClickMerchant::right().await;
        let shop = merchant.sandbox().await;
        merchant.script(&[(200, prepared, 0), (200, &format!(r#"{{"error":{error},"error_note":"x"}}"#), 0)]);

        let ended = pay(&shop, "71").await;

        assert_eq!((ended["outcome"].as_str(), ended["state"].as_str()), (Some(outcome), Some(state)), "{error}");
        assert_eq!(merchant.calls().len(), 2, "it is not repeated");
    }
}

#[tokio::test]
async fn a_merchant_that_is_too_slow_has_not_answered() {
    let merchant = ClickMerchant::right().await;
    let url = merchant.url.clone();
    let shop = TestShop::configured(|config| {
        config.click_prepare = Some(url.clone());
        config.click_complete = Some(url);
        config.callback_timeout = Duration::from_millis(100);
    })
    .await;
    merchant.script(&[(200, r#"{"error":0,"error_note":"x","merchant_prepare_id":1}"#, 2_000)]);

    let outcome = pay(&shop, "71").await;

    assert_eq!(outcome["outcome"], "refused");
    assert_eq!(outcome["prepare"]["failure"], "no answer in time");
}

#[tokio::test]
async fn a_service_without_addresses_is_off() {
    let merchant = ClickMerchant::right().await;
    let url = merchant.url.clone();
    let off = TestShop::configured(|config: &mut SandboxConfig| config.click_prepare = Some(url.clone())).await;

    let outcome = pay(&off, "71").await;

    assert_eq!((outcome["outcome"].as_str(), &outcome["prepare"]), (Some("refused"), &Value::Null));
    assert!(merchant.calls().is_empty());
    off.sandbox.set_click_addresses(url.clone(), url);
    merchant.order("71", 100_000);
    assert_eq!(pay(&off, "71").await["outcome"], "debited");
}

#[tokio::test]
async fn the_ledger_survives_a_restart() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;
    pay(&shop, "71").await;
    let before = ledger(&shop).await;
    let TestShop { sandbox, directory, .. } = shop;
    sandbox.stop().await;

    let again = TestShop::in_directory(directory, |_| ()).await;

    assert_eq!(ledger(&again).await, before);
    let next = pay(&again, "71").await["click_trans_id"].as_i64();
    assert!(next > before[0]["click_trans_id"].as_i64(), "{next:?}");
}

#[tokio::test]
async fn a_link_is_paid_like_a_person_would() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_050);
    let shop = merchant.sandbox().await;
    let link = format!(
        "{}/click/services/pay?service_id=22222&merchant_id=11111&amount=1000.50&transaction_param=71",
        shop.sandbox.base_url()
    );

    let response = shop.post("/click/_sim/pay").json(&json!({"url": link})).send().await.expect("an outcome");
    let outcome: Value = response.json().await.expect("JSON");

    assert_eq!(outcome["outcome"], "debited");
    assert_eq!(merchant.came("amount"), ["1000.50", "1000.50"]);
}

#[tokio::test]
async fn bad_input_is_told_the_right_way() {
    let shop = TestShop::configured(|_| ()).await;

    for (path, body, status, says) in [
        ("/click/_sim/pay", json!({}), 400, "/click/_sim/pay/{account}"),
        ("/click/_sim/pay", json!({"url": "http://x/?amount=1"}), 400, "service_id is missing"),
        ("/click/_sim/pay/71", json!({}), 400, "POST /click/_sim/pay/{account}"),
        ("/click/_sim/pay/71", json!({"amount": "-1"}), 400, "1000.00"),
        ("/click/_sim/pay/71", json!({"amount": "1", "card_number": "1"}), 400, "16 digits"),
        ("/click/_sim/pay/71", json!({"amount": "1", "card_number": "1", "phone": "1"}), 400, "not both"),
        ("/click/_sim/pay/71", json!({"amount": "1", "sum": 1}), 400, "unknown field"),
        ("/click/_sim/resume/7", json!({}), 404, "/click/_sim/ledger"),
        ("/click/_sim/resume/x", json!({}), 404, "/click/_sim/ledger"),
        ("/click/_sim/reverse/7", json!({}), 404, "/click/_sim/ledger"),
        ("/click/_sim/check", json!({"account": "1", "amount": "1"}), 400, "tasdiq sandbox check click"),
        ("/click/_sim/clock", json!({"now": "tomorrow"}), 400, "2026-11-30 23:59:50"),
        ("/click/_sim/clock", json!({"advance_seconds": i64::MAX}), 400, "2026-11-30 23:59:50"),
        ("/click/_sim/faults", json!({"fault": "gremlins"}), 400, "complete-never"),
        ("/click/_sim/ledgers", json!({}), 404, "GET /click/_sim/ledger"),
        ("/click/_sim/ledger", json!({}), 405, "GET /click/_sim/ledger"),
        ("/click/prepare", json!({}), 404, "/click/services/pay"),
    ] {
        let response = shop.post(path).json(&body).send().await.expect("an answer");

        assert_eq!(response.status(), status, "{path} {body}");
        let error: Value = response.json().await.expect("JSON");
        let text = error["error"].as_str().expect("an error");
        assert!(text.contains(says), "{path} {body}: {text}");
    }
}
