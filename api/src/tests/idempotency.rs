//! Repeating a request must be harmless.

use domain::id::OrderId;
use futures_util::future::join_all;
use serde_json::json;
use store::orders;

use super::support::{TestApi, keys};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_requests_with_one_key_at_once_make_one_order() {
    let api = TestApi::start().await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });

    let answers = join_all((0..16).map(|_| api.create_as(None, Some("key-1"), &body))).await;

    let made: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(!made.is_empty());
    assert!(made.iter().all(|answer| answer.body == made[0].body), "all show the same order: {made:?}");
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.problem(409, "request-in-flight");
    }
    let id = made[0].json()["order_id"].as_i64().unwrap();
    for other in (1..=20).filter(|other| *other != id) {
        assert!(orders::find(api.store(), OrderId(other)).await.unwrap().is_none(), "order {other} was made as well");
    }
}

#[tokio::test]
async fn a_repeated_request_brings_the_order_as_it_is_now() {
    let api = TestApi::start().await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    let first = api.create_as(None, Some("key-1"), &body).await.json();
    let order = api.reread(OrderId(first["order_id"].as_i64().unwrap())).await;
    api.link(&order, 700).await;

    let again = api.create_as(None, Some("key-1"), &body).await;

    assert_eq!(again.status, 201);
    assert_eq!(again.json()["order_id"], first["order_id"]);
    assert_eq!(again.json()["payment_url"], "http://gateway.test/pay?transactionId=700");
}

#[tokio::test]
async fn blanks_and_the_order_of_fields_do_not_make_another_body() {
    let api = TestApi::start().await;
    let first = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    let same = json!({ "payment_type": "atmos", "amount": 50, "language": "uz", "product_name": "Somsa" });

    let first = api.create_as(None, Some("key-1"), &first).await.json();
    let again = api.create_as(None, Some("key-1"), &same).await;

    assert_eq!(again.status, 201, "{again:?}");
    assert_eq!(again.json()["order_id"], first["order_id"]);
}

#[tokio::test]
async fn a_key_sent_with_another_body_is_refused() {
    let api = TestApi::start().await;
    let body = |amount: &str| json!({ "product_name": "Somsa", "amount": amount, "payment_type": "atmos" });
    api.create_as(None, Some("key-1"), &body("50.00")).await;

    let answer = api.create_as(None, Some("key-1"), &body("50.01")).await;

    answer.problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn two_callers_may_use_the_same_idempotency_key() {
    let api = TestApi::with(|context| context.settings.keys = keys(&["a", "b"])).await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });

    let of_a = api.create_as(Some("key-of-a"), Some("key-1"), &body).await.json();
    let of_b = api.create_as(Some("key-of-b"), Some("key-1"), &body).await.json();

    assert_ne!(of_a["order_id"], of_b["order_id"]);
}

#[tokio::test]
async fn a_key_that_is_empty_too_long_or_not_visible_is_refused() {
    let api = TestApi::start().await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });

    for key in ["", "has blank", "kalit-oʻ", &"x".repeat(256)] {
        api.create_as(None, Some(key), &body).await.problem(400, "invalid-idempotency-key");
    }
    assert_eq!(api.create_as(None, Some(&"x".repeat(255)), &body).await.status, 201);
}
