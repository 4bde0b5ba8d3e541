//! The main rule: money moves once, and only after the merchant allowed it.

use std::sync::Arc;
use std::time::Duration;

use poem::http::StatusCode;
use sandbox::{Sandbox, SandboxConfig, SandboxError};
use serde_json::{Value, json};

use crate::support::{GOOD_CARD, Merchant, POOR_CARD, TestShop, code};

#[tokio::test]
async fn an_allowed_payment_is_debited_and_shown_so() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;
    let id = shop.create("order-7", 5_000_000).await;

    assert_eq!(code(&shop.pre_apply(id, GOOD_CARD).await), "OK");
    let applied = shop.apply(id, "111111").await;

    assert_eq!(code(&applied), "OK");
    assert!(applied["ofd_url"].is_string());
    let callbacks = merchant.callbacks();
    assert_eq!(callbacks.len(), 1);
    assert_eq!(callbacks[0]["transaction_id"], id.to_string());
    assert_eq!(callbacks[0]["account"], "order-7");
    assert_eq!(callbacks[0]["amount"], "5000000");
    let inquiry = shop.inquire(id).await;
    assert_eq!(code(&inquiry), "OK");
    assert_eq!(inquiry["store_transaction"], applied["store_transaction"]);
    let shown = &inquiry["store_transaction"];
    assert_eq!(shown["confirmed"], true);
    assert_eq!(shown["status_code"], "0");
    assert_eq!(shown["status_message"], "Success");
    assert_eq!(shown["terminal_id"], "1");
    assert!(shown["success_trans_id"].as_i64() > Some(0));
    assert!(shown["confirm_time"].as_i64() >= shown["prepay_time"].as_i64());
    assert!(shown["card_id"].is_string());
}

/// The receipt is for the customer's browser, which may not reach the address on which the sandbox listens.
#[tokio::test]
async fn the_receipt_is_where_browsers_reach_the_sandbox() {
    let public = TestShop::configured(|config| config.public_url = "http://shop.test:8100".parse().ok()).await;
    let everywhere = TestShop::configured(|config| config.listen = ([0, 0, 0, 0], 0).into()).await;

    for (shop, base) in [(&public, "http://shop.test:8100".to_owned()), (&everywhere, everywhere.sandbox.base_url())] {
        let id = shop.create("1", 100).await;
        shop.pre_apply(id, GOOD_CARD).await;
        let applied = shop.apply(id, "111111").await;

        let receipt = applied["ofd_url"].as_str().expect("a receipt");
        assert!(receipt.starts_with(&format!("{base}/ofd/")), "{receipt}");
    }
}

/// A merchant that calls `get` from its webhook must get an answer, and must not see a debit yet.
#[tokio::test]
async fn the_merchant_is_asked_before_the_money_moves() {
    let merchant = Merchant::scripted(|_| (StatusCode::OK, r#"{"status":1}"#, Duration::from_millis(600))).await;
    let shop = Arc::new(TestShop::with(&merchant).await);
    let id = shop.create("1", 100).await;
    let paying = tokio::spawn({
        let shop = shop.clone();
        async move { shop.pay(id).await }
    });
    while merchant.callbacks().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let during = shop.inquire(id).await;
    let outcome = paying.await.expect("the payer");

    assert_eq!(during["store_transaction"]["confirmed"], false);
    assert_eq!(outcome["outcome"], "debited");
    assert_eq!(outcome["callback"], json!({"http_status": 200, "status": 1}));
}

#[tokio::test]
async fn a_refused_payment_moves_no_money_and_may_be_tried_again() {
    let merchant = Merchant::scripted(|count| {
        let answer = if count == 0 { r#"{"status":0}"# } else { r#"{"status":1}"# };
        (StatusCode::OK, answer, Duration::ZERO)
    })
    .await;
    let shop = TestShop::with(&merchant).await;
    let id = shop.create("1", 100).await;

    let refused = shop.pay(id).await;
    assert_eq!(refused["outcome"], "refused");
    assert_eq!(code(&refused), "STPIMS-ERR-093");
    assert_eq!(refused["callback"], json!({"http_status": 200, "status": 0}));
    assert_eq!(merchant.callbacks().len(), 1, "a refusal is final for this apply");
    assert_eq!(shop.book(id).await["state"], "prepaid");
    assert_eq!(shop.inquire(id).await["store_transaction"]["confirmed"], false);

    assert_eq!(shop.pay(id).await["outcome"], "debited");
}

#[tokio::test]
async fn an_http_error_is_asked_again_and_three_of_them_are_a_refusal() {
    let stumbling = Merchant::scripted(|count| match count {
        0 | 1 => (StatusCode::SERVICE_UNAVAILABLE, "", Duration::ZERO),
        _ => (StatusCode::OK, r#"{"status":1}"#, Duration::ZERO),
    })
    .await;
    let shop = TestShop::with(&stumbling).await;
    let id = shop.create("1", 100).await;
    assert_eq!(shop.pay(id).await["outcome"], "debited");
    assert_eq!(stumbling.callbacks().len(), 3);

    let broken = Merchant::answering(StatusCode::INTERNAL_SERVER_ERROR, r#"{"status":1}"#).await;
    shop.sandbox.set_callback_url(broken.url.clone());
    let id = shop.create("2", 100).await;
    let refused = shop.pay(id).await;
    assert_eq!(refused["outcome"], "refused");
    assert_eq!(refused["callback"]["http_status"], 500);
    assert_eq!(broken.callbacks().len(), 3);
}

#[tokio::test]
async fn an_answer_that_says_nothing_is_a_refusal() {
    for answer in ["", "ok", "{}", r#"{"status":true}"#, r#"{"status":"1"}"#, r#"{"status":2}"#] {
        let merchant = Merchant::answering(StatusCode::OK, answer).await;
        let shop = TestShop::with(&merchant).await;
        let id = shop.create("1", 100).await;

        assert_eq!(shop.pay(id).await["outcome"], "refused", "{answer}");
    }
}

#[tokio::test]
async fn a_merchant_that_takes_too_long_or_is_away_has_refused() {
    let sleeping = Merchant::scripted(|_| (StatusCode::OK, r#"{"status":1}"#, Duration::from_secs(5))).await;
    let url = sleeping.url.clone();
    let shop = TestShop::configured(|config| {
        config.callback_url = Some(url);
        config.callback_timeout = Duration::from_millis(200);
    })
    .await;
    let id = shop.create("1", 100).await;
    let refused = shop.pay(id).await;
    assert_eq!(refused["outcome"], "refused");
    assert_eq!(refused["callback"], json!({"http_status": null, "status": null}));

    shop.sandbox.set_callback_url("http://127.0.0.1:1/".parse().expect("a URL"));
    assert_eq!(shop.pay(id).await["outcome"], "refused");
    assert_eq!(shop.book(id).await["debits"], 0);
}

#[tokio::test]
async fn without_a_callback_url_no_callback_is_sent() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("1", 100).await;

    let outcome = shop.pay(id).await;

    assert_eq!(outcome["outcome"], "debited");
    assert_eq!(outcome["callback"], Value::Null);
}

#[tokio::test]
async fn a_card_without_money_is_declined_after_the_merchant_allowed() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;
    let id = shop.create("1", 100).await;

    shop.pre_apply(id, POOR_CARD).await;
    let declined = shop.apply(id, "111111").await;

    assert_eq!(code(&declined), "STPIMS-ERR-112");
    assert_eq!(merchant.callbacks().len(), 1);
    assert_eq!(shop.inquire(id).await["store_transaction"]["confirmed"], false);
    // Another card can pay.
    assert_eq!(shop.pay(id).await["outcome"], "debited");
}

#[tokio::test]
async fn of_many_applies_at_once_one_debits_and_the_others_find_it_closed() {
    let merchant = Merchant::scripted(|_| (StatusCode::OK, r#"{"status":1}"#, Duration::from_millis(50))).await;
    let shop = Arc::new(TestShop::with(&merchant).await);
    let id = shop.create("1", 100).await;
    shop.pre_apply(id, GOOD_CARD).await;

    let applies: Vec<_> = (0..8)
        .map(|_| {
            let shop = shop.clone();
            tokio::spawn(async move { shop.apply(id, "111111").await })
        })
        .collect();
    let mut codes = Vec::new();
    for apply in applies {
        let answer = apply.await.expect("an apply");
        assert_eq!(answer["store_transaction"]["confirmed"], true);
        codes.push(code(&answer).to_owned());
    }

    codes.sort();
    assert_eq!(codes.iter().filter(|code| *code == "OK").count(), 1);
    assert_eq!(codes.iter().filter(|code| *code == "STPIMS-ERR-092").count(), 7);
    assert_eq!(shop.book(id).await["debits"], 1);
    assert_eq!(merchant.callbacks().len(), 1);
}

/// A timeout of the client cancels nothing, so an apply must never be repeated.
#[tokio::test]
async fn an_apply_goes_on_when_its_caller_hangs_up() {
    let merchant = Merchant::scripted(|_| (StatusCode::OK, r#"{"status":1}"#, Duration::from_millis(300))).await;
    let shop = TestShop::with(&merchant).await;
    let id = shop.create("1", 100).await;
    shop.pre_apply(id, GOOD_CARD).await;

    let body = json!({"store_id": 1234, "transaction_id": id, "otp": "111111"});
    let impatient = shop.prepare("apply", &body).timeout(Duration::from_millis(100)).send().await;
    assert!(impatient.is_err());

    for _ in 0..200 {
        if shop.book(id).await["state"] == "debited" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the apply was given up");
}

#[tokio::test]
async fn a_reversal_gives_the_money_back_once_and_keeps_confirmed() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("1", 100).await;
    shop.pay(id).await;
    let success_trans_id = shop.inquire(id).await["store_transaction"]["success_trans_id"].clone();

    let by_draft_id = shop.call("reverse", json!({"transaction_id": id, "reason": "test"})).await;
    let body = json!({"transaction_id": success_trans_id, "reason": "test"});
    let reversed = shop.call("reverse", body.clone()).await;
    let again = shop.call("reverse", body).await;

    assert_eq!(code(&by_draft_id), "STPIMS-ERR-061");
    assert_eq!(code(&reversed), "OK");
    assert_eq!(reversed["transaction_id"], success_trans_id);
    assert_eq!(code(&again), "STPIMS-ERR-092");
    let shown = &shop.inquire(id).await["store_transaction"];
    assert_eq!(shown["confirmed"], true);
    assert_eq!(shown["status_code"], "-20");
    assert_eq!(shown["status_message"], "Canceled");
    assert_eq!(shop.book(id).await["state"], "reversed");
}

#[tokio::test]
async fn a_restarted_sandbox_remembers_every_payment() {
    let shop = TestShop::configured(|_| ()).await;
    let paid = shop.create("1", 100).await;
    shop.pay(paid).await;
    let draft = shop.create("2", 200).await;
    let before = shop.inquire(paid).await;
    let TestShop { sandbox, directory, .. } = shop;
    sandbox.stop().await;

    let shop = TestShop::in_directory(directory, |_| ()).await;

    assert_eq!(shop.inquire(paid).await, before);
    assert_eq!(shop.book(draft).await["state"], "draft");
    assert_eq!(shop.create("3", 300).await, draft + 1);
    assert_eq!(code(&shop.apply(paid, "111111").await), "STPIMS-ERR-092");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let shop = TestShop::configured(|_| ()).await;
    let directory = tempfile::tempdir().expect("a directory");
    let config = SandboxConfig::new(shop.sandbox.address(), directory.path().to_owned(), None);

    let error = Sandbox::start(config).await.expect_err("a second one");

    assert!(matches!(error, SandboxError::AddressInUse { address } if address == shop.sandbox.address()));
}
