//! A request that is sent twice must not make two orders.

use serde_json::json;

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::{Doors, HttpAnswer, tea};

const OPEN_ORDERS: &str = r#"tasdiq_orders{status="pending"}"#;

on_both_kinds! {
    sixteen_requests_at_once_with_one_key_make_one_order
    the_same_key_with_another_body_is_refused
    the_same_order_in_other_words_is_the_same_order
    a_repeated_request_waits_for_the_link_like_the_first
    a_taken_reference_is_refused_with_the_orders_number
    sixteen_orders_at_once_with_one_reference_make_one
    keys_of_one_shop_share_orders_and_references_and_no_idempotency_keys
    a_key_that_is_no_key_is_refused
}

async fn sixteen_requests_at_once_with_one_key_make_one_order(kind: Kind) {
    let app = TestApp::start(kind).await;
    let body = tea();

    let answers = futures_util::future::join_all((0..16).map(|_| app.create_with_key("double-click", &body))).await;

    let mut made = Vec::new();
    for answer in &answers {
        match answer.status {
            201 => made.push(answer.json()["order_id"].as_i64().unwrap()),
            409 => assert_eq!(problem(answer), "request-in-flight", "{answer}"),
            _ => panic!("{answer}"),
        }
    }
    assert!(!made.is_empty());
    assert!(made.iter().all(|id| *id == made[0]), "{made:?}");
    assert_eq!(app.metric(OPEN_ORDERS).await, 1);
    let later = app.create_with_key("double-click", &body).await;
    assert_eq!((later.status, &later.json()["order_id"]), (201, &json!(made[0])), "{later}");
    // The order has one payment.
    let order = app.wait_for_link(made[0]).await;
    assert_eq!(app.ledger().await.len(), 1);
    app.pay(order.transaction_id).await;
    app.wait_for(order.id, "paid").await;
    let afterwards = app.create_with_key("double-click", &body).await.json();
    assert_eq!((&afterwards["order_id"], &afterwards["status"]), (&json!(order.id), &json!("paid")));
}

async fn the_same_key_with_another_body_is_refused(kind: Kind) {
    let app = TestApp::start(kind).await;
    let first = app.create_with_key("one", &tea()).await;
    assert_eq!(first.status, 201, "{first}");

    for (field, value) in [("amount", json!("50.01")), ("product_name", json!("Coffee")), ("reference", json!("A-1"))] {
        let mut body = tea();
        body[field] = value;
        let answer = app.create_with_key("one", &body).await;

        assert_eq!((answer.status, problem(&answer).as_str()), (422, "idempotency-key-reused"), "{answer}");
    }

    assert_eq!(app.metric(OPEN_ORDERS).await, 1);
    assert_eq!(app.create_with_key("two", &tea()).await.status, 201);
}

async fn the_same_order_in_other_words_is_the_same_order(kind: Kind) {
    let app = TestApp::start(kind).await;
    let first = app.create_with_key("one", &tea()).await.json();

    for body in [
        r#"{ "payment_type" : "atmos", "amount" : "50.00", "product_name" : "Tea" }"#,
        r#"{"product_name":"Tea","amount":50,"payment_type":"atmos","reference":null}"#,
        r#"{"product_name":"\u0054ea","amount":"50","payment_type":"atmos"}"#,
    ] {
        let request = app.request(reqwest::Method::POST, "/api/orders/create").header("Idempotency-Key", "one");
        let answer = request.header("Content-Type", "application/json").body(body).send().await.unwrap();

        assert_eq!(answer.status(), 201, "{body}");
        let order: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(order["order_id"], first["order_id"], "{body}");
    }
}

async fn a_repeated_request_waits_for_the_link_like_the_first(kind: Kind) {
    let app = TestApp::start_with(kind, &[("TASDIQ_LINK_WAIT_MS", "20000")]).await;
    app.fault(json!({ "fault": "latency", "path": "/merchant/pay/create", "milliseconds": 700 })).await;

    let body = tea();
    let answers = futures_util::future::join_all((0..4).map(|_| app.create_with_key("slow", &body))).await;

    let whole: Vec<&HttpAnswer> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(!whole.is_empty());
    for answer in whole {
        let order = answer.json();
        assert!(order["payment_url"].as_str().unwrap().starts_with(&app.sandbox_url), "{order}");
        assert!(order["transaction_id"].is_i64(), "{order}");
    }
}

async fn a_taken_reference_is_refused_with_the_orders_number(kind: Kind) {
    let app = TestApp::start(kind).await;
    let mut body = tea();
    body["reference"] = json!("INV-2026/001 №7");
    let first = app.create_order(&body).await.json();

    let second = app.create_order(&body).await;

    assert_eq!((second.status, problem(&second).as_str()), (409, "reference-taken"), "{second}");
    assert_eq!(second.json()["order_id"], first["order_id"]);
    assert_eq!(app.metric(OPEN_ORDERS).await, 1);
    assert_eq!(app.order(first["order_id"].as_i64().unwrap()).await["reference"], "INV-2026/001 №7");
    // With its key the same request is a repetition and not a conflict.
    body["reference"] = json!("INV-2");
    let third = app.create_with_key("key", &body).await.json();
    assert_eq!(app.create_with_key("key", &body).await.json()["order_id"], third["order_id"]);
}

async fn sixteen_orders_at_once_with_one_reference_make_one(kind: Kind) {
    let app = TestApp::start(kind).await;
    let mut body = tea();
    body["reference"] = json!("R");

    let answers = futures_util::future::join_all((0..16).map(|_| app.create_order(&body))).await;

    let made: Vec<&HttpAnswer> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(made.len(), 1, "{answers:?}");
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!((refused.status, problem(refused).as_str()), (409, "reference-taken"), "{refused}");
        assert_eq!(refused.json()["order_id"], made[0].json()["order_id"]);
    }
    assert_eq!(app.metric(OPEN_ORDERS).await, 1);
}

async fn keys_of_one_shop_share_orders_and_references_and_no_idempotency_keys(kind: Kind) {
    let app = TestApp::start_with(kind, &[("TASDIQ_API_KEYS", "till:till-shop-key,web:web-shop-key")]).await;
    let (till, web) = (app.with_key("till-shop-key"), app.with_key("web-shop-key"));
    let mut body = tea();
    body["reference"] = json!("1");

    let of_till = till.create_with_key("key", &body).await;
    let taken = web.create_with_key("key", &body).await;
    body["reference"] = json!("2");
    let of_web = web.create_with_key("key", &body).await;

    assert_eq!((of_till.status, of_web.status), (201, 201), "{of_till} {of_web}");
    let (of_till, of_web) = (of_till.json()["order_id"].clone(), of_web.json()["order_id"].clone());
    assert_eq!((taken.status, problem(&taken).as_str()), (409, "reference-taken"), "{taken}");
    assert_eq!(taken.json()["order_id"], of_till);
    for key in [&till, &web] {
        assert_eq!(key.get(&format!("/api/orders/{of_web}")).await.status, 200);
    }
    for stranger in [Doors::clone(&app), app.with_key("till-shop-kez")] {
        assert_eq!(stranger.create_order(&tea()).await.status, 401);
        assert_eq!(stranger.get(&format!("/api/orders/{of_till}")).await.status, 401);
    }
}

async fn a_key_that_is_no_key_is_refused(kind: Kind) {
    let app = TestApp::start(kind).await;
    let too_long = "k".repeat(256);

    for key in ["", "two words", &too_long] {
        let answer = app.create_with_key(key, &tea()).await;
        assert_eq!((answer.status, problem(&answer).as_str()), (400, "invalid-idempotency-key"), "{key}: {answer}");
    }

    assert_eq!(app.metric(OPEN_ORDERS).await, 0);
    assert_eq!(app.create_with_key(&too_long[..255], &tea()).await.status, 201);
}

/// The type of the problem, which programs match.
fn problem(answer: &HttpAnswer) -> String {
    answer.json()["type"].as_str().unwrap().strip_prefix("urn:tasdiq:problem:").unwrap().to_owned()
}
