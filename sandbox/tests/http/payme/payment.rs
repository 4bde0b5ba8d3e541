//! A payer's way from the link to the merchant's last answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::shop::{Mistake, PRICE, PaymeScene, PaymeShop};
use crate::support::TestShop;

#[tokio::test]
async fn a_payment_goes_from_check_to_perform_as_payme_documents_it() {
    let scene = PaymeScene::start().await;

    let outcome = scene.pay("7").await;

    assert_eq!(outcome["outcome"], "paid", "{outcome}");
    let came = scene.shop.came();
    let methods: Vec<&str> = came.iter().filter_map(|call| call.body["method"].as_str()).collect();
    assert_eq!(methods, ["CheckPerformTransaction", "CreateTransaction", "PerformTransaction"]);
    for call in &came {
        assert_eq!(call.content_type, "text/json; charset=UTF-8");
        assert_eq!(call.authorization, "Basic UGF5Y29tOnNhbmRib3gtcGF5bWUta2V5");
        assert!(call.body.get("jsonrpc").is_none() && call.body["id"].is_u64(), "{}", call.body);
    }
    assert_eq!(came[0].body["params"], json!({"amount": PRICE, "account": {"order_id": "7"}}));
    let create = &came[1].body["params"];
    let id = create["id"].as_str().expect("an id");
    assert!(id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert!((1_000_000_000_000..=9_999_999_999_999).contains(&create["time"].as_i64().expect("a time")));
    assert_eq!((&create["amount"], &create["account"]), (&json!(PRICE), &json!({"order_id": "7"})));
    assert_eq!(came[2].body["params"], json!({"id": id}));
    let receipt = scene.receipt().await;
    assert_eq!((&receipt["id"], &receipt["state"], &receipt["receipt_state"]), (&json!(id), &json!(2), &json!(4)));
    assert_eq!((&receipt["debits"], &receipt["returns"], &receipt["account"]), (&json!(1), &json!(0), &json!("7")));
    assert_eq!(receipt["card"], "860006******6311");
}

#[tokio::test]
async fn a_link_is_paid_as_the_payer_has_it() {
    let scene = PaymeScene::start().await;
    // m=64a1f0c2b7e8d9034f5a6b7c;ac.order_id=7;a=5000000
    let link = "http://any.test/payme/bT02NGExZjBjMmI3ZThkOTAzNGY1YTZiN2M7YWMub3JkZXJfaWQ9NzthPTUwMDAwMDA=";

    let outcome = scene.sim("pay", json!({"link": link})).await;

    assert_eq!(outcome["outcome"], "paid", "{outcome}");
    assert_eq!(scene.receipt().await["amount"], PRICE);
}

#[tokio::test]
async fn what_the_merchant_refuses_is_not_debited() {
    let scene = PaymeScene::start().await;

    let unknown = scene.pay("100").await;
    let altered = scene.sim("pay/7", json!({"amount": 1})).await;

    assert_eq!((&unknown["outcome"], &unknown["error"]["code"]), (&json!("refused"), &json!(-31_050)));
    assert_eq!((&altered["outcome"], &altered["error"]["code"]), (&json!("refused"), &json!(-31_001)));
    assert!(scene.ledger().await.is_empty());
}

#[tokio::test]
async fn a_failed_debit_is_cancelled_with_reason_2_and_the_next_try_pays() {
    let scene = PaymeScene::start().await;

    let poor = scene.sim("pay/7", json!({"amount": PRICE, "card_number": "4111111111111111"})).await;
    let rich = scene.pay("7").await;

    assert_eq!((&poor["outcome"], &rich["outcome"]), (&json!("declined"), &json!("paid")));
    let receipts = scene.ledger().await;
    assert_eq!(
        (&receipts[0]["state"], &receipts[0]["reason"], &receipts[0]["debits"]),
        (&json!(-1), &json!(2), &json!(0))
    );
    assert_eq!(scene.shop.params("CancelTransaction"), [json!({"id": receipts[0]["id"], "reason": 2})]);
    assert_eq!(receipts[1]["state"], 2);
}

#[tokio::test]
async fn a_refund_in_the_cabinet_is_a_cancel_with_reason_5() {
    let scene = PaymeScene::start().await;
    let id = scene.pay("7").await["receipt"]["id"].as_str().expect("an id").to_owned();

    let refunded = scene.sim(&format!("refund/{id}"), json!({})).await;

    assert_eq!(refunded["outcome"], "canceled");
    assert_eq!(scene.shop.params("CancelTransaction"), [json!({"id": id, "reason": 5})]);
    let receipt = scene.receipt().await;
    assert_eq!((&receipt["state"], &receipt["returns"], &receipt["reason"]), (&json!(-2), &json!(1), &json!(5)));
    assert_eq!(scene.sim(&format!("refund/{id}"), json!({})).await["outcome"], "nothing");
}

#[tokio::test]
async fn a_merchant_can_veto_a_refund() {
    let scene = PaymeScene::with(PaymeShop::with(Some(Mistake::NeverRefunds)).await).await;
    let id = scene.pay("7").await["receipt"]["id"].as_str().expect("an id").to_owned();

    let refunded = scene.sim(&format!("refund/{id}"), json!({})).await;

    assert_eq!((&refunded["outcome"], &refunded["error"]["code"]), (&json!("kept"), &json!(-31_007)));
    let receipt = scene.receipt().await;
    assert_eq!((&receipt["state"], &receipt["receipt_state"], &receipt["returns"]), (&json!(2), &json!(4), &json!(0)));
}

#[tokio::test]
async fn what_is_created_and_not_performed_ends_after_12_hours() {
    let scene = PaymeScene::start().await;
    scene.fault(json!({"fault": "payer-leaves", "next": 1})).await;
    assert_eq!(scene.pay("7").await["outcome"], "left");

    // A minute is left for the test itself.
    scene.sim("clock", json!({"advance_seconds": 43_140})).await;
    assert_eq!(scene.receipt().await["state"], 1, "the time is not over");
    scene.sim("clock", json!({"advance_seconds": 61})).await;

    let receipt = scene.receipt().await;
    assert_eq!((&receipt["state"], &receipt["reason"], &receipt["debits"]), (&json!(-1), &json!(4), &json!(0)));
    assert_eq!(scene.shop.states("7"), [-1]);
}

#[tokio::test]
async fn a_silent_merchant_is_called_again_with_the_same_parameters() {
    let scene = PaymeScene::start().await;
    scene.shop.be_silent("CreateTransaction", 2);
    scene.shop.be_silent("PerformTransaction", 1);

    let outcome = scene.pay("7").await;

    assert_eq!(outcome["outcome"], "paid", "{outcome}");
    for (method, calls) in [("CreateTransaction", 3), ("PerformTransaction", 2)] {
        let params = scene.shop.params(method);
        assert_eq!(params.len(), calls, "{method}");
        assert!(params.iter().all(|other| *other == params[0]), "{params:?}");
    }
    assert_eq!(scene.receipt().await["debits"], 1);
}

#[tokio::test]
async fn a_merchant_that_never_answers_create_gets_no_money_until_a_person_resumes() {
    let scene = PaymeScene::start().await;
    scene.shop.be_silent("CreateTransaction", 3);

    let outcome = scene.pay("7").await;

    assert_eq!(outcome["outcome"], "unavailable", "{outcome}");
    let receipt = scene.receipt().await;
    assert_eq!((&receipt["receipt_state"], &receipt["debits"]), (&json!(20), &json!(0)));
    let id = receipt["id"].as_str().expect("an id").to_owned();
    assert_eq!(scene.sim(&format!("resume/{id}"), json!({})).await["outcome"], "paid");
    assert_eq!(scene.receipt().await["debits"], 1);
}

#[tokio::test]
async fn money_that_was_taken_is_closed_at_the_merchant_as_soon_as_it_answers() {
    let scene = PaymeScene::start().await;
    scene.shop.be_silent("PerformTransaction", 3);

    let outcome = scene.pay("7").await;

    assert_eq!((&outcome["outcome"], &outcome["receipt"]["receipt_state"]), (&json!("closing"), &json!(30)));
    let receipt = scene.wait_for(2).await;
    assert_eq!((&receipt["debits"], &receipt["receipt_state"]), (&json!(1), &json!(4)));
}

#[tokio::test]
async fn a_restarted_sandbox_goes_on_with_what_it_owes() {
    let scene = PaymeScene::start().await;
    scene.pay("8").await;
    scene.shop.be_silent("PerformTransaction", 3);
    assert_eq!(scene.pay("7").await["outcome"], "closing");
    let PaymeScene { shop, sandbox } = scene;
    let TestShop { sandbox, directory, .. } = sandbox;
    sandbox.stop().await;

    let scene = PaymeScene::in_directory(shop, directory).await;

    for _ in 0..500 {
        if scene.ledger().await.iter().all(|receipt| receipt["state"] == 2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let receipts = scene.ledger().await;
    assert_eq!(receipts.len(), 2);
    assert!(receipts.iter().all(|receipt| receipt["state"] == 2 && receipt["debits"] == 1), "{receipts:?}");
    assert_eq!(scene.shop.states("7"), [2]);
}

#[tokio::test]
async fn the_merchants_record_is_compared_with_payme_s() {
    let scene = PaymeScene::start().await;
    let id = scene.pay("7").await["receipt"]["id"].as_str().expect("an id").to_owned();
    scene.pay("8").await;

    let look = scene.sim(&format!("look/{id}"), json!({})).await;
    let statement = scene.sim("statement", json!({})).await;
    let fiscal = scene.sim(&format!("fiscal/{id}"), json!({"type": "PERFORM"})).await;

    assert_eq!(look["differences"], json!([]), "{look}");
    assert_eq!((&statement["listed"], &statement["is_sorted_by_time"]), (&json!(2), &json!(true)), "{statement}");
    for list in ["missing", "unknown", "different"] {
        assert_eq!(statement[list], json!([]), "{statement}");
    }
    assert_eq!(fiscal["answer"]["result"]["success"], true);
    let nothing = scene.sim("statement", json!({"from": 1, "to": 2})).await;
    assert_eq!((&nothing["listed"], &nothing["missing"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_paid() {
    let sandbox = TestShop::configured(|_| ()).await;

    let answer = sandbox.post("/payme/_sim/pay/7").json(&json!({"amount": 100})).send().await.expect("an answer");

    let outcome: Value = answer.json().await.expect("JSON");
    assert_eq!(outcome["outcome"], "unavailable");
    assert!(outcome["error"].as_str().expect("why").contains("--payme-webhook"), "{outcome}");
}

#[tokio::test]
async fn a_wrong_request_is_told_the_right_path() {
    let scene = PaymeScene::start().await;
    let told = async |method: reqwest::Method, path: &str, body: &str| {
        let url = format!("{}/payme/_sim/{path}", scene.sandbox.sandbox.base_url());
        let answer = scene.sandbox.client.request(method, url).body(body.to_owned()).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let error: Value = answer.json().await.expect("JSON");
        (status, error["error"].as_str().expect("an error").to_owned())
    };

    for (method, path, body, status, right) in [
        (reqwest::Method::POST, "pay/7", "", 400, "POST /payme/_sim/pay/{account} {\"amount\""),
        (reqwest::Method::POST, "pay/7", r#"{"amount":-5}"#, 400, "tiyin above 0"),
        (reqwest::Method::POST, "pay", r#"{"amount":5}"#, 400, "{\"link\""),
        (reqwest::Method::POST, "pay", r#"{"link":"http://x/bT0x"}"#, 400, "ac.order_id"),
        (reqwest::Method::POST, "pay/7", r#"{"amount":5,"card_number":"86"}"#, 400, "16 digits"),
        (reqwest::Method::POST, "pay/7", "{", 400, "EOF"),
        (reqwest::Method::GET, "pay/7", "", 405, "POST /payme/_sim/pay/{account}"),
        (reqwest::Method::POST, "payments", "", 404, "GET /payme/_sim/ledger"),
        (reqwest::Method::POST, "refund/nothing", "", 404, "GET /payme/_sim/ledger"),
        (reqwest::Method::POST, "fiscal/nothing", r#"{"type":"X"}"#, 400, "PERFORM or CANCEL"),
        (reqwest::Method::POST, "call", r#"{"params":{}}"#, 400, "\"method\""),
        (reqwest::Method::POST, "faults", r#"{"fault":"slow","path":"/x"}"#, 400, "CreateTransaction"),
        (reqwest::Method::POST, "faults", r#"{"fault":"rival","method":"CreateTransaction"}"#, 400, "only for faults"),
        (reqwest::Method::POST, "check", r#"{"accounts":[],"amount":5}"#, 400, "order's number"),
    ] {
        let (seen, error) = told(method, path, body).await;

        assert_eq!(seen, status, "{path} {body}: {error}");
        assert!(error.contains(right), "{path} {body}: {error}");
    }
}
