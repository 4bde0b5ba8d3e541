//! Rarer faults: answers in another format, callbacks at unusual moments, money that is returned.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Merchant, TestShop, code};

#[tokio::test]
async fn a_successful_answer_can_be_other_than_json_while_the_work_is_done() {
    let shop = TestShop::configured(|_| ()).await;
    let body = json!({"store_id": 1234, "account": "1", "amount": 100});

    for (fault, text) in [("html", "<!DOCTYPE html>"), ("empty", "")] {
        shop.add_fault(json!({"fault": fault, "next": 1})).await;
        let answer = shop.prepare("create", &body).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "{fault}");
        let read = answer.text().await.expect("text");
        assert!(read.starts_with(text) && read.is_empty() == text.is_empty(), "{fault}: {read}");
    }

    let ledger: Value = shop.get("/_sim/ledger").send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(ledger["transactions"].as_array().expect("transactions").len(), 2);
}

#[tokio::test]
async fn an_answer_can_have_other_types_more_fields_or_no_transaction() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("77", 100).await;
    let plain = shop.inquire(id).await;

    shop.add_fault(json!({"fault": "other-types", "account": "77", "next": 1})).await;
    let types = shop.inquire(id).await;
    shop.add_fault(json!({"fault": "extra-fields", "account": "77", "next": 1})).await;
    let extra = shop.inquire(id).await;
    shop.add_fault(json!({"fault": "no-store-transaction", "account": "77", "next": 1})).await;
    let bare = shop.inquire(id).await;

    let types = &types["store_transaction"];
    assert_eq!((&types["trans_id"], &types["account"]), (&json!(id.to_string()), &json!(77)));
    assert_eq!((&types["amount"], &types["success_trans_id"]), (&json!("100"), &Value::Null));
    for object in [&extra, &extra["result"], &extra["store_transaction"], &extra["store_transaction"]["store"]] {
        assert!(object["extra"].is_object(), "{object}");
    }
    assert_eq!(extra["store_transaction"]["trans_id"], plain["store_transaction"]["trans_id"]);
    assert_eq!((code(&bare), bare.get("store_transaction")), ("OK", None));
}

#[tokio::test]
async fn a_timeout_can_come_after_the_work_or_before_it() {
    let shop = TestShop::configured(|_| ()).await;
    let body = |account: &str| json!({"store_id": 1234, "account": account, "amount": 100});
    let short = Duration::from_millis(300);

    for (account, fault) in [("1", "answer-late"), ("2", "latency")] {
        shop.add_fault(json!({"fault": fault, "milliseconds": 60_000, "account": account})).await;
        let error = shop.prepare("create", &body(account)).timeout(short).send().await.expect_err("a timeout");
        assert!(error.is_timeout(), "{error:?}");
    }

    let ledger: Value = shop.get("/_sim/ledger").send().await.expect("an answer").json().await.expect("JSON");
    let accounts: Vec<_> =
        ledger["transactions"].as_array().expect("lines").iter().map(|line| &line["account"]).collect();
    assert_eq!(accounts, ["1"]);
}

#[tokio::test]
async fn the_token_can_be_slow_or_another_logins() {
    let shop = TestShop::configured(|_| ()).await;
    shop.add_fault(json!({"fault": "token-slow", "milliseconds": 150, "next": 1})).await;
    let begun = Instant::now();
    shop.fetch_token().await;
    assert!(begun.elapsed() >= Duration::from_millis(150));

    shop.add_fault(json!({"fault": "token-revoked", "next": 1})).await;
    let body = json!({"store_id": 1234, "transaction_id": 7});
    for _ in 0..2 {
        assert_eq!(
            shop.prepare("get", &body).send().await.expect("an answer").status(),
            401,
            "until a new token is had"
        );
    }
    let token = shop.fetch_token().await["access_token"].as_str().expect("a token").to_owned();
    let answer = shop.post("/merchant/pay/get").bearer_auth(token).json(&body).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

/// A merchant that has not read create's answer yet does not know the transaction of the callback.
#[tokio::test]
async fn a_callback_can_come_before_the_answer_of_create() {
    let merchant = Merchant::refusing().await;
    let shop = TestShop::with(&merchant).await;
    shop.add_fault(json!({"fault": "callback-early", "next": 1})).await;

    let id = shop.create("1", 100).await;

    assert_eq!(merchant.callbacks()[0]["transaction_id"], id.to_string());
    assert_eq!(shop.book(id).await["state"], "prepaid", "refused, and may be tried again");
}

#[tokio::test]
async fn a_callback_can_be_repeated_and_replayed_byte_for_byte() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;
    shop.add_fault(json!({"fault": "callback-repeated", "times": 4})).await;
    shop.add_fault(json!({"fault": "callback-replayed", "milliseconds": 50})).await;
    let id = shop.create("1", 100).await;

    assert_eq!(shop.pay(id).await["outcome"], "debited");

    let begun = Instant::now();
    while merchant.callbacks().len() < 5 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the replay never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let callbacks = merchant.callbacks();
    assert!(callbacks.iter().all(|body| *body == callbacks[0]), "{callbacks:?}");
    assert_eq!(shop.book(id).await["debits"], 1);
}

#[tokio::test]
async fn a_callback_for_another_account_is_correctly_signed() {
    let merchant = Merchant::refusing().await;
    let shop = TestShop::with(&merchant).await;
    shop.add_fault(json!({"fault": "callback-unknown-account"})).await;
    let id = shop.create("7", 100).await;

    assert_eq!(shop.pay(id).await["outcome"], "refused");

    assert_eq!(merchant.callbacks()[0]["account"], "7000");
    assert_eq!(shop.book(id).await["debits"], 0);
}

#[tokio::test]
async fn money_can_go_back_by_itself_after_a_while() {
    let shop = TestShop::configured(|_| ()).await;
    shop.add_fault(json!({"fault": "reversed-later", "milliseconds": 50})).await;
    let id = shop.create("1", 100).await;

    assert_eq!(shop.pay(id).await["outcome"], "debited");

    let begun = Instant::now();
    while shop.book(id).await["state"] != "reversed" {
        assert!(begun.elapsed() < Duration::from_secs(10), "the money never went back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(shop.inquire(id).await["store_transaction"]["status_code"], "-20");
}

#[tokio::test]
async fn a_paid_transaction_can_have_an_unknown_status() {
    let shop = TestShop::configured(|_| ()).await;
    shop.add_fault(json!({"fault": "status-unknown"})).await;
    let id = shop.create("1", 100).await;
    assert_eq!(shop.inquire(id).await["store_transaction"]["status_code"], Value::Null, "not before it is paid");
    shop.pay(id).await;

    let shown = shop.inquire(id).await["store_transaction"].clone();

    assert_eq!((&shown["confirmed"], &shown["status_code"]), (&json!(true), &json!("-777")));
}

/// On Linux all of 127.0.0.0/8 is this machine; on other systems the callback cannot be sent.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_callback_can_come_from_another_address() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;
    shop.add_fault(json!({"fault": "callback-other-address", "next": 1})).await;
    let id = shop.create("1", 100).await;
    assert_eq!(shop.pay(id).await["outcome"], "debited");
    let id = shop.create("2", 100).await;
    assert_eq!(shop.pay(id).await["outcome"], "debited");

    assert_eq!(merchant.addresses(), ["127.0.0.2", "127.0.0.1"]);
}

#[tokio::test]
async fn a_fault_for_a_prefix_of_accounts_spares_the_others() {
    let shop = TestShop::configured(|_| ()).await;
    shop.add_fault(json!({"fault": "debit-declined", "account": "sim-declined-*"})).await;
    let (declined, other) = (shop.create("sim-declined-1", 100).await, shop.create("sim-1", 100).await);

    assert_eq!(shop.pay(declined).await["outcome"], "declined");
    assert_eq!(shop.pay(other).await["outcome"], "debited");
}
