//! Authentication: which orders and which texts a caller may see.

use std::time::Duration;

use domain::id::OrderId;
use domain::order::{Order, OrderStatus};
use domain::review::{FindingKind, NewFinding};
use domain::secret::Secret;
use domain::shop::ShopName;
use futures_util::StreamExt;
use serde_json::json;
use store::reviewing::{self, Decision};
use store::settlement::Settlement;

use super::support::{TestApi, keys, keys_of_shops, send};
use crate::ApiKey;

#[tokio::test]
async fn without_a_key_or_with_a_wrong_one_nothing_is_made() {
    let api = TestApi::with(|context| context.settings.keys = keys(&["a", "b"])).await;
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
    let api = TestApi::with(|context| context.settings.keys = keys(&["a"])).await;

    api.create_raw("text/plain", "no JSON").await.problem(401, "missing-api-key");
}

#[tokio::test]
async fn a_key_sees_the_orders_of_its_shop_and_no_others() {
    let api = TestApi::with(|context| {
        context.settings.keys = keys_of_shops(&["a", "b"]);
        let till =
            ApiKey { name: "till".to_owned(), key: Secret::new("key-of-till"), ..context.settings.keys[0].clone() };
        context.settings.keys.push(till);
    })
    .await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    api.create_as(Some("key-of-a"), None, &body).await;

    for path in ["/api/orders/1", "/api/orders/1/history", "/api/orders/1/events"] {
        let other = api.client.get(path).header("authorization", "Bearer key-of-b");
        send(other).await.problem(404, "order-not-found");
    }
    for own in ["key-of-a", "key-of-till"] {
        let own = send(api.client.get("/api/orders/1").header("authorization", format!("bearer {own}"))).await;
        assert_eq!(own.status, 200);
    }
}

#[tokio::test]
async fn a_token_opens_its_own_order_and_no_other() {
    let api = TestApi::with(|context| context.settings.keys = keys(&["a"])).await;
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

/// An operator's name and the findings are for the shop. The order's token belongs to the customer.
/// Shows: PERSON-25
#[tokio::test]
async fn a_customer_reads_no_operator_s_name_and_no_inner_reason() {
    let api = TestApi::with(|context| context.settings.keys = keys(&["shop"])).await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    let made = api.create_as(Some("key-of-shop"), None, &body).await.json();
    let order = api.reread(OrderId(made["order_id"].as_i64().unwrap())).await;
    let order = api.link(&order, 700).await;
    let found = "the debit does not fit";
    let order = api.settle(&order, Settlement::Review(NewFinding::new(FindingKind::DebitDiffers, found))).await;
    let in_review = customer_reads(&api, &order).await;
    let decision = Decision {
        status: OrderStatus::Canceled,
        by: "Olim".into(),
        reason: "looks like fraud".into(),
        transaction_id: None,
        findings: None,
    };
    reviewing::resolve(api.store(), order.id, &decision).await.unwrap();
    let resolved = customer_reads(&api, &order).await;

    for text in [&in_review, &resolved] {
        for inner in [found, "Olim", "fraud"] {
            assert!(!text.contains(inner), "{inner}: {text}");
        }
    }
    assert!(in_review.contains("a person looks at the payment"), "{in_review}");
    assert!(resolved.contains("the order was canceled"), "{resolved}");
    let shop = send(api.client.get("/api/orders/1/history").header("authorization", "Bearer key-of-shop")).await.body;
    assert!(shop.contains(found) && shop.contains("Olim") && shop.contains("fraud"), "the shop reads all: {shop}");
}

/// Everything that the order's token gives access to.
async fn customer_reads(api: &TestApi, order: &Order) -> String {
    let token = order.token.as_str();
    let mut all = String::new();
    for path in [
        format!("/api/orders/{}?token={token}", order.id),
        format!("/api/orders/{}/history?token={token}", order.id),
        format!("/pay/{token}"),
        format!("/pay/{token}/return"),
    ] {
        let answer = api.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        all.push_str(&answer.body);
    }
    let mut stream = api.client.get(format!("/api/orders/{}/events?token={token}", order.id)).send().await.sse_stream();
    let event = tokio::time::timeout(Duration::from_secs(3), stream.next()).await.expect("within 3 s");
    all + &format!("{event:?}")
}

/// While a shop changes its key, it must still see the orders of the old key, and no order may be made twice.
#[tokio::test]
async fn two_keys_of_one_name_are_one_shop() {
    let key = |key: &str| ApiKey { shop: ShopName::default(), name: "shop".to_owned(), key: Secret::new(key) };
    let api = TestApi::with(|context| context.settings.keys = vec![key("old"), key("new")]).await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos", "reference": "A-1" });

    let made = api.create_as(Some("old"), Some("click-1"), &body).await;
    assert_eq!(made.status, 201, "{made:?}");

    let seen = send(api.client.get("/api/orders/1").header("authorization", "Bearer new")).await;
    assert_eq!(seen.json()["order_id"], 1);
    let repeated = api.create_as(Some("new"), Some("click-1"), &body).await;
    assert_eq!((repeated.status, &repeated.json()["order_id"]), (201, &json!(1)));
    api.create_as(Some("new"), Some("click-2"), &body).await.problem(409, "reference-taken");
}
