//! Cancellations and refunds: permissions, answers, and refused cases.

use domain::id::RefundId;
use domain::job::{Job, QueueName};
use domain::order::{Order, OrderStatus};
use domain::refund::RefundState;
use poem::test::TestClient;
use serde_json::json;
use store::refunds;

use super::support::{TestApi, gateway_of, keys_of_shops, send};
use super::webhook::assert_refused;
use crate::ApiContext;

impl TestApi {
    async fn paid_order(&self, transaction_id: i64) -> Order {
        let order = self.order().await;
        let order = self.link(&order, transaction_id).await;
        self.pay(&order).await
    }
}

#[tokio::test]
async fn a_refund_is_accepted_and_told_of() {
    let api = TestApi::start().await;
    let order = api.paid_order(700).await;

    let accepted = api.refund(&order, "key", r#"{"amount":"50.00","reason":"it was broken"}"#).await;

    assert_eq!(accepted.status, 202, "{accepted:?}");
    assert_eq!(accepted.header("location"), "http://shop.test/api/orders/1/refunds");
    let refund = accepted.json();
    let created_at = refund["created_at"].as_str().unwrap();
    assert_eq!(
        refund,
        json!({
            "refund_id": 1, "order_id": 1, "amount": "50.00", "state": "open", "reason": "it was broken",
            "outcome": null, "created_at": created_at, "finished_at": null
        })
    );
    let seen = api.get("/api/orders/1").await.json();
    assert_eq!((&seen["status"], &seen["refunded_amount"]), (&json!("paid"), &json!("0.00")));
    assert_eq!(api.get("/api/orders/1/refunds").await.json(), json!({ "refunds": [refund] }));

    // The worker does this when the gateway has returned the money.
    let lease = api.claim(QueueName::Settle, Job::RefundOrder { refund_id: RefundId(1) }).await;
    let open = refunds::find(api.store(), RefundId(1)).await.unwrap().unwrap();
    refunds::close_as_done(api.store(), &lease, &order, &open).await.unwrap();

    let seen = api.get("/api/orders/1").await.json();
    assert_eq!((&seen["status"], &seen["refunded_amount"]), (&json!("refunded"), &json!("50.00")));
    let refunds = api.get("/api/orders/1/refunds").await.json();
    assert_eq!(refunds["refunds"][0]["state"], "done");
    assert!(refunds["refunds"][0]["finished_at"].is_string());
}

#[tokio::test]
async fn a_repeated_request_brings_the_same_refund_whatever_became_of_it() {
    let api = TestApi::start().await;
    let order = api.paid_order(700).await;
    let first = api.refund(&order, "key", "").await.json();
    assert_eq!(first["reason"], json!(null));

    for body in ["", "{}", r#"{"amount":"50.00"}"#, r#"{"amount":50,"reason":null}"#] {
        let again = api.refund(&order, "key", body).await;
        assert_eq!((again.status, again.json()), (202, first.clone()), "{body}");
    }
    api.refund(&order, "key", r#"{"reason":"another"}"#).await.problem(422, "idempotency-key-reused");

    let lease = api.claim(QueueName::Settle, Job::RefundOrder { refund_id: RefundId(1) }).await;
    let open = refunds::find(api.store(), RefundId(1)).await.unwrap().unwrap();
    refunds::close_as_done(api.store(), &lease, &order, &open).await.unwrap();
    let again = api.refund(&order, "key", "").await;
    assert_eq!((again.status, &again.json()["state"]), (202, &json!("done")));
}

#[tokio::test]
async fn a_key_belongs_to_an_order_or_to_a_refund() {
    let api = TestApi::start().await;
    let order = api.paid_order(700).await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    assert_eq!(api.create_as(None, Some("of-an-order"), &body).await.status, 201);

    api.refund(&order, "of-an-order", "").await.problem(422, "idempotency-key-reused");
    assert_eq!(api.refund(&order, "of-a-refund", "").await.status, 202);
    api.create_as(None, Some("of-a-refund"), &body).await.problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn a_refund_that_cannot_be_is_refused_with_what_to_do() {
    let api = TestApi::start().await;
    let order = api.order().await;

    let unpaid = api.refund(&order, "a", "").await.problem(409, "order-not-paid");
    assert_eq!(unpaid["order_status"], "pending");
    assert!(unpaid["detail"].as_str().unwrap().contains("cancel it"), "{unpaid}");

    let order = api.link(&order, 700).await;
    let order = api.pay(&order).await;
    assert_eq!(api.refund(&order, "b", "").await.status, 202);
    assert_eq!(api.refund(&order, "c", "").await.problem(409, "refund-in-progress")["refund_id"], 1);

    let lease = api.claim(QueueName::Settle, Job::RefundOrder { refund_id: RefundId(1) }).await;
    let open = refunds::find(api.store(), RefundId(1)).await.unwrap().unwrap();
    refunds::put_in_review(api.store(), &lease, &open, "no answer").await.unwrap();
    assert_eq!(api.refund(&order, "d", "").await.problem(409, "refund-in-review")["refund_id"], 1);
    let seen = api.get("/api/orders/1").await.json();
    assert_eq!((&seen["status"], &seen["needs_review"]), (&json!("paid"), &json!(true)));

    let order = api.paid_order(701).await;
    assert_eq!(api.refund(&order, "e", "").await.status, 202);
    let lease = api.claim(QueueName::Settle, Job::RefundOrder { refund_id: RefundId(2) }).await;
    let open = refunds::find(api.store(), RefundId(2)).await.unwrap().unwrap();
    refunds::close_as_done(api.store(), &lease, &order, &open).await.unwrap();
    api.refund(&order, "f", "").await.problem(409, "already-refunded");
    assert_eq!(refunds::find(api.store(), RefundId(2)).await.unwrap().unwrap().state, RefundState::Done);
}

#[tokio::test]
async fn a_refund_through_a_gateway_that_is_gone_is_refused() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    api.pay(&order).await;
    let elsewhere = ApiContext { gateways: gateway_of("9999"), ..api.context.clone() };
    let client = TestClient::new(crate::routes(elsewhere));

    let request = client.post("/api/orders/1/refund").header("idempotency-key", "k");
    send(request).await.problem(409, "gateway-not-configured");
}

#[tokio::test]
async fn a_refund_needs_a_key_and_the_whole_amount() {
    let api = TestApi::start().await;
    let order = api.paid_order(700).await;

    let without = api.post_as(None, "/api/orders/1/refund", &[], "").await;
    without.problem(400, "missing-idempotency-key");
    api.refund(&order, "two words", "").await.problem(400, "invalid-idempotency-key");
    for (body, status, slug, field) in [
        (r#"{"amount":"49.99"}"#, 422, "partial-refund-unavailable", Some("amount")),
        (r#"{"amount":"50.01"}"#, 422, "partial-refund-unavailable", Some("amount")),
        (r#"{"amount":0.5}"#, 422, "invalid-amount", Some("amount")),
        (r#"{"amount":"-50"}"#, 422, "invalid-amount", Some("amount")),
        (r#"{"amount":true}"#, 422, "invalid-amount", Some("amount")),
        (r#"{"reason":""}"#, 422, "invalid-reason", Some("reason")),
        (r#"{"reason":7}"#, 422, "invalid-reason", Some("reason")),
        (r#"{"reason":"a\nb"}"#, 422, "invalid-reason", Some("reason")),
        (r#"{"sum":"50.00"}"#, 422, "unknown-field", Some("sum")),
        (r#"{"reason":"a","reason":"b"}"#, 422, "repeated-field", Some("reason")),
        ("[]", 422, "not-an-object", None),
        ("{", 400, "unreadable-body", None),
    ] {
        let problem = api.refund(&order, "key", body).await.problem(status, slug);
        assert_eq!(problem["field"].as_str(), field, "{body}");
    }
    let long = format!(r#"{{"reason":"{}"}}"#, "a".repeat(201));
    api.refund(&order, "key", &long).await.problem(422, "invalid-reason");
    let large = format!(r#"{{"reason":"{}"}}"#, "a".repeat(70_000));
    api.refund(&order, "key", &large).await.problem(413, "body-too-large");
    assert_eq!(refunds::of_order(api.store(), order.id).await.unwrap(), []);
    // None of the refused requests has used the key.
    assert_eq!(api.refund(&order, "key", "").await.status, 202);
}

/// The customer has the token, but the shop decides about refunds.
/// Shows: MONEY-24
#[tokio::test]
async fn only_a_key_of_the_order_s_shop_cancels_or_refunds_it() {
    let api = TestApi::with(|context| context.settings.keys = keys_of_shops(&["tea", "rice"])).await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    let made = api.create_as(Some("key-of-tea"), None, &body).await.json();
    let token = made["order_token"].as_str().unwrap();

    for (path, headers) in [("cancel", [].as_slice()), ("refund", [("idempotency-key", "k")].as_slice())] {
        let path = format!("/api/orders/1/{path}");
        api.post_as(None, &format!("{path}?token={token}"), headers, "").await.problem(401, "missing-api-key");
        api.post_as(Some(token), &path, headers, "").await.problem(401, "wrong-api-key");
        let other = format!("{path}?token={token}");
        api.post_as(Some("key-of-rice"), &other, headers, "").await.problem(404, "order-not-found");
        api.post_as(Some("key-of-tea"), &path.replace("/1/", "/9/"), headers, "").await.problem(404, "order-not-found");
    }
    api.get(&format!("/api/orders/1/refunds?token={token}")).await.problem(401, "missing-api-key");
    let canceled = api.post_as(Some("key-of-tea"), "/api/orders/1/cancel", &[], "").await;
    assert_eq!((canceled.status, &canceled.json()["status"]), (200, &json!("canceled")));
}

#[tokio::test]
async fn a_pending_order_is_canceled_once_and_answers_the_same_again() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;

    let canceled = api.cancel(&order, r#"{"reason":"sold out"}"#).await;
    let again = api.cancel(&order, "").await;

    assert_eq!((canceled.status, again.status), (200, 200), "{canceled:?} {again:?}");
    assert_eq!(canceled.json()["status"], "canceled");
    assert_eq!(canceled.json(), again.json());
    let history = api.get("/api/orders/1/history").await.json();
    let causes: Vec<_> =
        history["history"].as_array().unwrap().iter().filter(|line| line["to"] == "canceled").collect();
    assert_eq!((causes.len(), &causes[0]["cause"]), (1, &json!("the shop canceled it: sold out")));
    // Money may have moved without a callback.
    api.claim(QueueName::Background, Job::SettleOrder { order_id: order.id }).await;
    assert_refused(&api.callback(700, "1", 5_000).await, "cannot be paid");
}

#[tokio::test]
async fn an_order_that_cannot_be_canceled_says_what_to_do() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    assert_eq!(api.callback(700, "1", 5_000).await.json()["status"], 1);

    let paying = api.cancel(&order, "").await;
    paying.problem(409, "payment-in-progress");
    assert_eq!(api.reread(order.id).await.status, OrderStatus::Confirming);

    api.pay(&order).await;
    let paid = api.cancel(&order, "").await.problem(409, "order-not-cancelable");
    assert_eq!(paid["order_status"], "paid");
    assert!(paid["detail"].as_str().unwrap().contains("refund it"), "{paid}");
    api.cancel(&order, r#"{"why":"x"}"#).await.problem(422, "unknown-field");
    api.cancel(&order, r#"{"reason":"  "}"#).await.problem(422, "invalid-reason");
}

#[tokio::test]
async fn the_methods_of_each_address_are_told() {
    let api = TestApi::start().await;

    for path in ["/api/orders/1/refund", "/api/orders/1/cancel"] {
        let answer = api.get(path).await;
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), "POST");
    }
    let answer = api.post_as(None, "/api/orders/1/refunds", &[], "").await;
    answer.problem(405, "method-not-allowed");
    assert_eq!(answer.header("allow"), "GET, HEAD");
}

#[tokio::test]
async fn the_description_tells_of_refunds_and_cancellations() {
    let api = TestApi::start().await;

    let description = api.get("/openapi.json").await.json();

    let refund = &description["paths"]["/api/orders/{order_id}/refund"]["post"];
    let key = refund["parameters"].as_array().unwrap().iter().find(|parameter| parameter["in"] == "header").unwrap();
    assert_eq!((&key["name"], &key["required"]), (&json!("Idempotency-Key"), &json!(true)));
    assert!(refund["responses"]["202"].is_object() && refund["responses"]["409"].is_object(), "{refund}");
    assert_ne!(refund["requestBody"]["required"], json!(true));
    assert!(description["paths"]["/api/orders/{order_id}/cancel"]["post"]["responses"]["409"].is_object());
    assert!(description["paths"]["/api/orders/{order_id}/refunds"]["get"].is_object());
}
