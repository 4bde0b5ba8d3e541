//! Tokens, fields and codes, as a merchant's server gets them.

use serde_json::{Value, json};

use crate::support::{GOOD_CARD, Merchant, TestShop, code};

#[tokio::test]
async fn a_token_is_the_same_until_it_lapses() {
    let shop = TestShop::configured(|_| ()).await;

    let first = shop.fetch_token().await;
    let second = shop.fetch_token().await;

    assert_eq!(first["access_token"], second["access_token"]);
    assert_eq!(first["token_type"], "Bearer");
    assert!((3590..=3600).contains(&first["expires_in"].as_i64().expect("seconds")));
}

#[tokio::test]
async fn the_grant_type_may_stand_in_the_query() {
    let shop = TestShop::configured(|_| ()).await;

    let response = shop
        .post("/token?grant_type=client_credentials")
        .basic_auth("sandbox-key", Some("sandbox-secret"))
        .send()
        .await
        .expect("an answer");

    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_wrong_secret_gets_no_token() {
    let shop = TestShop::configured(|_| ()).await;

    let response = shop
        .post("/token")
        .basic_auth("sandbox-key", Some("guess"))
        .form(&[("grant_type", "client_credentials")])
        .send()
        .await
        .expect("an answer");

    assert_eq!(response.status(), 401);
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["error"], "invalid_client");
}

#[tokio::test]
async fn a_revoked_token_opens_nothing() {
    let shop = TestShop::configured(|_| ()).await;
    let token = shop.fetch_token().await["access_token"].as_str().expect("a token").to_owned();

    let revoked = shop
        .post("/revoke")
        .basic_auth("sandbox-key", Some("sandbox-secret"))
        .form(&[("token", &token)])
        .send()
        .await
        .expect("an answer");
    assert_eq!(revoked.status(), 200);

    let body = json!({"store_id": 1234, "account": "1", "amount": 100});
    let response = shop.prepare("create", &body).send().await.expect("an answer");
    assert_eq!(response.status(), 401);
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["fault"]["code"], 900_901);
    assert_eq!(body.get("result"), None);
}

#[tokio::test]
async fn a_draft_is_shown_as_atmos_shows_it() {
    let shop = TestShop::configured(|_| ()).await;

    let body = json!({"store_id": "1234", "account": "333", "amount": 10_200, "details": "333", "lang": "en"});
    let answer = shop.call("create", body).await;

    assert_eq!(answer["result"], json!({"code": "OK", "description": "No errors"}));
    let draft = &answer["store_transaction"];
    assert_eq!(draft["trans_id"], answer["transaction_id"]);
    assert_eq!(draft["success_trans_id"], Value::Null);
    assert_eq!(draft["confirmed"], false);
    assert_eq!(draft["status_code"], Value::Null);
    assert_eq!(draft["terminal_id"], Value::Null);
    assert_eq!(draft["store"]["id"], 1234);
    assert_eq!(draft["details"], "333");
    assert_eq!(draft["label"]["label_ru"], "Номер инвойса");
}

#[tokio::test]
async fn odd_fields_are_err_009_and_another_store_is_err_061() {
    let shop = TestShop::configured(|_| ()).await;
    let whole = json!({"store_id": 1234, "account": "1", "amount": 100});
    let with = |name: &str, value: Value| {
        let mut body = whole.clone();
        body[name] = value;
        body
    };

    for odd in [
        json!({}),
        json!([]),
        with("store_id", Value::Null),
        with("amount", json!(0)),
        with("amount", json!(-1)),
        with("amount", json!(1.5)),
        with("amount", json!("100")),
        with("amount", Value::Null),
        with("account", json!("")),
        with("account", json!(1)),
        with("lang", json!("fr")),
        with("details", json!({})),
    ] {
        assert_eq!(code(&shop.call("create", odd.clone()).await), "STPIMS-ERR-009", "{odd}");
    }
    for foreign in [with("store_id", json!(4321)), with("terminal_id", json!("2"))] {
        assert_eq!(code(&shop.call("create", foreign.clone()).await), "STPIMS-ERR-061", "{foreign}");
    }
    for call in ["pre-apply", "apply", "apply-ofd", "retry-otp", "get", "reverse"] {
        assert_eq!(code(&shop.call(call, json!({"store_id": 1234})).await), "STPIMS-ERR-009", "{call}");
        let foreign = json!({"store_id": 4321, "transaction_id": 1, "otp": 1, "card_token": "x"});
        assert_eq!(code(&shop.call(call, foreign).await), "STPIMS-ERR-061", "{call}");
        let unknown = json!({"store_id": "1234", "transaction_id": "7", "otp": "1", "card_token": "x"});
        assert_eq!(code(&shop.call(call, unknown).await), "STPIMS-ERR-061", "{call}");
    }
}

#[tokio::test]
async fn a_draft_with_a_receipt_needs_its_lines() {
    let shop = TestShop::configured(|_| ()).await;
    let mut body = json!({"store_id": 1234, "account": "1", "amount": 100});

    let without = shop.call("create/checkout-ofd", body.clone()).await;
    body["ofd_items"] = json!([{"ofd_code": "00702001001000001", "name": "Bread", "amount": 100}]);
    let with = shop.call("create/checkout-ofd", body).await;

    assert_eq!(code(&without), "STPIMS-ERR-009");
    assert_eq!(code(&with), "OK");
}

#[tokio::test]
async fn an_unknown_path_is_404() {
    let shop = TestShop::configured(|_| ()).await;

    for path in ["/merchant/pay/cancel", "/merchant/pay/get-status", "/"] {
        let response = shop.post(path).json(&json!({})).send().await.expect("an answer");
        assert_eq!(response.status(), 404, "{path}");
    }
    assert_eq!(shop.get("/livez").send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn error_cards_are_refused_where_a_real_one_would_be() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("1", 100).await;

    for (card, expected) in [
        ("8600493214116133", "STPIMS-ERR-067"), // no SMS service
        ("8600492986215602", "STPIMS-ERR-067"), // expired
        ("8600490744313340", "STPIMS-ERR-067"), // mistyped
        ("860049074431334", "STPIMS-ERR-009"),
        (GOOD_CARD, "OK"),
    ] {
        assert_eq!(code(&shop.pre_apply(id, card).await), expected, "{card}");
    }
    // This card fails at the debit.
    assert_eq!(code(&shop.pre_apply(id, "8600312987000557").await), "OK");
    assert_eq!(code(&shop.apply(id, "111111").await), "STPIMS-ERR-001");
    assert_eq!(shop.book(id).await["state"], "prepaid");
}

#[tokio::test]
async fn a_card_and_its_token_are_never_sent_together() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("1", 100).await;
    let body = json!({"store_id": 1234, "transaction_id": id, "card_token": "a token"});
    let mut both = body.clone();
    both["card_number"] = json!(GOOD_CARD);
    both["expiry"] = json!("2410");

    assert_eq!(code(&shop.call("pre-apply", both).await), "STPIMS-ERR-009");
    assert_eq!(code(&shop.call("pre-apply", body).await), "OK");
}

#[tokio::test]
async fn the_third_wrong_otp_closes_the_transaction() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;
    let id = shop.create("1", 100).await;
    shop.pre_apply(id, GOOD_CARD).await;

    for _ in 0..3 {
        assert_eq!(code(&shop.apply(id, "000000").await), "STPIMS-ERR-098");
    }
    let late = shop.apply(id, "111111").await;

    assert_eq!(code(&late), "STPIMS-ERR-092");
    assert_eq!(late["store_transaction"]["confirmed"], false);
    assert_eq!(shop.book(id).await["state"], "closed");
    assert!(merchant.callbacks().is_empty());
}
