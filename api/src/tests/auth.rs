//! Who may see what.

use serde_json::json;

use super::support::{TestApi, keys, send};

#[tokio::test]
async fn without_a_key_or_with_a_wrong_one_nothing_is_made() {
    let api = TestApi::with(|context| context.api_keys = keys(&["a", "b"])).await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });

    let missing = api.create(&body).await;
    missing.problem(401, "missing-api-key");
    assert_eq!(missing.header("www-authenticate"), "Bearer");
    for wrong in ["key-of-c", "key-of-", "key-of-aa"] {
        api.create_as(Some(wrong), None, &body).await.problem(401, "wrong-api-key");
    }
    let basic = api.client.get("/api/orders/1").header("authorization", "Basic a2V5");
    send(basic).await.problem(401, "wrong-api-key");
    assert_eq!(api.create_as(Some("key-of-b"), None, &body).await.status, 201);
}

#[tokio::test]
async fn the_refusal_comes_before_the_body_is_looked_at() {
    let api = TestApi::with(|context| context.api_keys = keys(&["a"])).await;

    api.create_raw("text/plain", "no JSON").await.problem(401, "missing-api-key");
}

#[tokio::test]
async fn a_key_sees_its_own_orders_and_no_others() {
    let api = TestApi::with(|context| context.api_keys = keys(&["a", "b"])).await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    api.create_as(Some("key-of-a"), None, &body).await;

    for path in ["/api/orders/1", "/api/orders/1/history", "/api/orders/1/events"] {
        let other = api.client.get(path).header("authorization", "Bearer key-of-b");
        send(other).await.problem(404, "order-not-found");
    }
    let own = send(api.client.get("/api/orders/1").header("authorization", "bearer key-of-a")).await;
    assert_eq!(own.status, 200);
}

#[tokio::test]
async fn a_token_opens_its_own_order_and_no_other() {
    let api = TestApi::with(|context| context.api_keys = keys(&["a"])).await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    let first = api.create_as(Some("key-of-a"), None, &body).await.json();
    api.create_as(Some("key-of-a"), None, &body).await;
    let token = first["order_token"].as_str().unwrap();

    for path in ["/api/orders/1", "/api/orders/1/history"] {
        assert_eq!(api.get(&format!("{path}?token={token}")).await.status, 200, "{path}");
    }
    for foreign in ["Basic c2hvcDpwYXNz", "Bearer", "Bearer "] {
        let request = api.client.get(format!("/api/orders/1?token={token}")).header("authorization", foreign);
        assert_eq!(send(request).await.status, 200, "{foreign}");
        let request = api.client.get(format!("/api/orders/2?token={token}")).header("authorization", foreign);
        send(request).await.problem(401, "wrong-token");
    }
    let with_wrong_key = api.client.get(format!("/api/orders/1?token={token}")).header("authorization", "Bearer x");
    send(with_wrong_key).await.problem(401, "wrong-api-key");
    for path in [
        format!("/api/orders/2?token={token}"),
        format!("/api/orders/3?token={token}"),
        format!("/api/orders/2/events?token={token}"),
        format!("/api/orders/2/history?token={token}"),
        "/api/orders/1?token=nonsense".to_owned(),
        "/api/orders/1?token=".to_owned(),
        format!("/api/orders/1?token={}", token.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A")),
    ] {
        api.get(&path).await.problem(401, "wrong-token");
    }
    api.get("/api/orders/1").await.problem(401, "missing-api-key");
}
