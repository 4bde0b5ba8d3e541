//! Settings that change while the sandbox runs: tokens, the clock, and outages.

use std::time::{Duration, Instant};

use sandbox::TokenMode;
use serde_json::{Value, json};

use crate::support::{Merchant, TestShop, code};

async fn tokens(shop: &TestShop) -> Value {
    shop.get("/_sim/token").send().await.expect("an answer").json().await.expect("JSON")
}

async fn advance(shop: &TestShop, seconds: u64) -> Value {
    let wish = json!({"advance_seconds": seconds});
    let answer = shop.post("/_sim/clock").json(&wish).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.json().await.expect("JSON")
}

fn draft() -> Value {
    json!({"store_id": 1234, "account": "1", "amount": 100})
}

#[tokio::test]
async fn where_each_login_voids_the_last_token_the_old_one_opens_nothing() {
    let shop = TestShop::configured(|config| config.token_mode = TokenMode::RevokePrevious).await;
    assert_eq!(shop.prepare("create", &draft()).send().await.expect("an answer").status(), 200);

    let second = shop.fetch_token().await;

    assert_eq!(shop.prepare("create", &draft()).send().await.expect("an answer").status(), 401);
    let with_second = shop
        .post("/merchant/pay/create")
        .bearer_auth(second["access_token"].as_str().expect("a token"))
        .json(&draft())
        .send()
        .await
        .expect("an answer");
    assert_eq!(with_second.status(), 200);
    assert_eq!(
        tokens(&shop).await,
        json!({"mode": "revoke-previous", "lifetime_seconds": 3600, "token_calls": 2, "issued": 2, "rejected_calls": 1})
    );
}

#[tokio::test]
async fn the_kind_and_the_life_of_tokens_can_be_changed_while_it_runs() {
    let shop = TestShop::configured(|_| ()).await;
    let first = shop.fetch_token().await;

    let wish = json!({"mode": "revoke-previous", "lifetime_seconds": 2});
    let changed: Value =
        shop.post("/_sim/token").json(&wish).send().await.expect("an answer").json().await.expect("JSON");

    assert_eq!((&changed["mode"], &changed["lifetime_seconds"]), (&json!("revoke-previous"), &json!(2)));
    let second = shop.fetch_token().await;
    assert_ne!(first["access_token"], second["access_token"]);
    assert_eq!(second["expires_in"], 2);
    for nonsense in [json!({"mode": "rotate"}), json!({"lifetime_seconds": 1}), json!({"lifetime": 7})] {
        let refused = shop.post("/_sim/token").json(&nonsense).send().await.expect("an answer");
        assert_eq!(refused.status(), 400, "{nonsense}");
    }
    assert_eq!(tokens(&shop).await["mode"], "revoke-previous");
}

#[tokio::test]
async fn another_login_can_be_had_at_any_time() {
    let shop = TestShop::configured(|_| ()).await;

    let url = shop.sandbox.base_url() + "/_sim/token";
    assert_eq!(shop.client.delete(url).send().await.expect("an answer").status(), 200);

    assert_eq!(shop.prepare("create", &draft()).send().await.expect("an answer").status(), 401);
}

#[tokio::test]
async fn an_hour_of_waiting_is_one_request() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;
    let (first, paid) = (shop.create("1", 100).await, shop.create("2", 100).await);
    assert_eq!(shop.pay(paid).await["outcome"], "debited");

    assert_eq!(advance(&shop, 3_599).await["ahead_seconds"], 3_599);
    let second = shop.create("3", 100).await;
    advance(&shop, 1).await;

    // The paid transaction stays paid, and the later one stays open.
    assert_eq!(shop.book(first).await["state"], "closed");
    assert_eq!(shop.book(paid).await["state"], "debited");
    assert_eq!(shop.book(second).await["state"], "draft");
    assert_eq!(shop.pay(first).await["outcome"], "closed");
    assert_eq!(merchant.callbacks().len(), 1, "no callback is sent for a closed transaction");
    // The token has expired.
    assert_eq!(shop.prepare("create", &draft()).send().await.expect("an answer").status(), 401);
}

#[tokio::test]
async fn an_unpaid_draft_is_shown_closed_after_its_lifetime() {
    let shop = TestShop::configured(|config| config.draft_lifetime = Duration::from_millis(1)).await;
    let id = shop.create("1", 100).await;
    tokio::time::sleep(Duration::from_millis(5)).await;

    let inquiry = shop.inquire(id).await;

    assert_eq!(code(&inquiry), "STPIMS-ERR-092");
    assert_eq!(inquiry["store_transaction"]["confirmed"], false);
    assert_eq!(shop.pay(id).await["outcome"], "closed");
}

#[tokio::test]
async fn a_sandbox_that_is_away_refuses_connections_and_comes_back() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("1", 100).await;

    let left = shop.post("/_sim/away").json(&json!({"milliseconds": 500})).send().await.expect("an answer");
    assert_eq!(left.status(), 200);
    let begun = Instant::now();
    let mut refused = false;
    while begun.elapsed() < Duration::from_secs(10) {
        match shop.get("/livez").send().await {
            Ok(_) if refused => break,
            Ok(_) => (),
            Err(error) => refused |= error.is_connect(),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    assert!(refused, "it was never away");
    assert_eq!(shop.book(id).await["state"], "draft");
}
