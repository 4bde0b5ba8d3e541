//! Bad input: the answer names the fault, and no half of a change is written.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::{HttpAnswer, tea};
use crate::support::installation::SANDBOX_CREDENTIALS;

on_both_kinds! {
    every_bad_order_has_a_problem_of_its_own_and_writes_nothing
    what_is_not_there_or_not_yours_is_told_apart_and_never_shown
    a_gateway_that_is_known_and_not_configured_is_named
    a_body_that_is_too_large_costs_its_sender_the_answer_and_not_the_connection
}

const ORDER: &str = r#"{"product_name":"Tea","amount":"50.00","payment_type":"atmos"}"#;

async fn every_bad_order_has_a_problem_of_its_own_and_writes_nothing(kind: Kind) {
    let app = TestApp::start_with(kind, &SANDBOX_CREDENTIALS).await;
    let with = |field: &str, json: &str| {
        let mut fields = vec![("product_name", "\"Tea\""), ("amount", "\"50.00\""), ("payment_type", "\"atmos\"")];
        fields.retain(|(name, _)| *name != field);
        fields.push((field, json));
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    };
    let without = |field: &str| with(field, "null");
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let cases: Vec<(u16, &str, String)> = vec![
        (400, "unreadable-body", String::new()),
        (400, "unreadable-body", "product_name=Tea&amount=50".to_owned()),
        (400, "unreadable-body", ORDER[..ORDER.len() - 1].to_owned()),
        (400, "unreadable-body", format!("{ORDER} {ORDER}")),
        (413, "body-too-large", with("product_name", &format!("\"{}\"", "x".repeat(1_000_000)))),
        (422, "not-an-object", "null".to_owned()),
        (422, "not-an-object", format!("[{ORDER}]")),
        (422, "not-an-object", "\"order\"".to_owned()),
        (422, "not-an-object", deep.clone()),
        (422, "missing-field", "{}".to_owned()),
        (422, "missing-field", without("product_name")),
        (422, "missing-field", without("amount")),
        (422, "unknown-field", with("refrence", "\"A-1\"")),
        (422, "unknown-field", with("status", "\"paid\"")),
        (422, "repeated-field", ORDER.replacen('{', r#"{"amount":"1.00","#, 1)),
        (422, "invalid-amount", with("amount", "\"abc\"")),
        (422, "invalid-amount", with("amount", "\"\"")),
        (422, "invalid-amount", with("amount", "\"-1\"")),
        (422, "invalid-amount", with("amount", "\"0\"")),
        (422, "invalid-amount", with("amount", "\"0.00\"")),
        (422, "invalid-amount", with("amount", "\"0.001\"")),
        (422, "invalid-amount", with("amount", "\"50,00\"")),
        (422, "invalid-amount", with("amount", "\"1e3\"")),
        (422, "invalid-amount", with("amount", "\" 50\"")),
        (422, "invalid-amount", with("amount", "\"\u{0665}\u{0660}\"")), // digits, but not ASCII
        (422, "invalid-amount", with("amount", "1e30")),
        (422, "invalid-amount", with("amount", "50.00")),
        (422, "invalid-amount", with("amount", "-1")),
        (422, "invalid-amount", with("amount", "0")),
        (422, "invalid-amount", with("amount", "10000000001")),
        (422, "invalid-amount", with("amount", &"9".repeat(400))),
        (422, "invalid-amount", with("amount", "true")),
        (422, "invalid-amount", with("amount", "{}")),
        (422, "invalid-product-name", with("product_name", "\"\"")),
        (422, "invalid-product-name", with("product_name", "\" \"")),
        (422, "invalid-product-name", with("product_name", "7")),
        (422, "invalid-product-name", with("product_name", &deep)),
        (422, "invalid-product-name", with("product_name", "\"line\\nbreak\"")),
        (422, "invalid-product-name", with("product_name", "\"nul\\u0000\"")),
        (422, "invalid-product-name", with("product_name", &format!("\"{}\"", "x".repeat(201)))),
        (422, "unknown-payment-type", with("payment_type", "\"cash\"")),
        (422, "unknown-payment-type", with("payment_type", "\"\"")),
        (422, "unknown-payment-type", with("payment_type", "1")),
        (422, "payment-type-without-gateway", with("payment_type", "\"payme\"")),
        (422, "payment-type-without-gateway", with("payment_type", "\"click\"")),
        (422, "invalid-reference", with("reference", "\"\"")),
        (422, "invalid-reference", with("reference", "1")),
        (422, "invalid-reference", with("reference", &format!("\"{}\"", "x".repeat(101)))),
        (422, "invalid-return-url", with("return_url", "\"javascript:alert(1)\"")),
        (422, "invalid-return-url", with("return_url", "\"/thanks\"")),
        (422, "invalid-return-url", with("return_url", "\"https:///nowhere\\n\"")),
        (422, "unknown-language", with("language", "\"fr\"")),
    ];

    for (status, kind_of_problem, body) in &cases {
        let what: String = body.chars().take(90).collect();
        let answer = app.post("/api/orders/create", "application/json", body.clone()).await;
        check_problem(&answer, *status, kind_of_problem, &what);
    }
    let not_utf8 = app.post("/api/orders/create", "application/json", b"{\"product_name\":\"\xff\"}".to_vec()).await;
    check_problem(&not_utf8, 400, "unreadable-body", "not UTF-8");
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=windows-1251"] {
        let answer = app.post("/api/orders/create", content_type, ORDER).await;
        check_problem(&answer, 415, "unsupported-media-type", content_type);
    }

    for status in ["pending", "confirming", "review"] {
        assert_eq!(app.metric(&format!("tasdiq_orders{{status=\"{status}\"}}")).await, 0);
    }
    assert_eq!(app.get("/api/orders/1").await.status, 404);
    assert!(app.ledger().await.is_empty(), "the gateway got no call");
    let first = app.order_with_link().await;
    assert_eq!(first.id, 1, "no number was spent");
}

async fn what_is_not_there_or_not_yours_is_told_apart_and_never_shown(kind: Kind) {
    let app = TestApp::start_with(kind, &[("TASDIQ_API_KEYS", "shop:the-shops-key")]).await;
    let shop = app.with_key("the-shops-key");
    let order = shop.order_with_link().await;
    let other = shop.order_with_link().await;
    let token = &order.token;
    let unknown_token = "0".repeat(token.len());

    for (path, status, problem) in [
        ("/api/orders/999".to_owned(), 404, "order-not-found"),
        ("/api/orders/0".to_owned(), 404, "order-not-found"),
        ("/api/orders/-1".to_owned(), 404, "order-not-found"),
        ("/api/orders/abc".to_owned(), 404, "order-not-found"),
        ("/api/orders/99999999999999999999".to_owned(), 404, "order-not-found"),
        ("/api/orders/999/history".to_owned(), 404, "order-not-found"),
        ("/api/orders/999/events".to_owned(), 404, "order-not-found"),
        ("/nowhere".to_owned(), 404, "not-found"),
        ("/atmos/webhook/".to_owned(), 405, "method-not-allowed"),
    ] {
        let answer = shop.get(&path).await;
        check_problem(&answer, status, problem, &path);
    }
    // Without a key, an order's token opens that order and nothing else.
    for part in ["", "/history", "/events"] {
        for (query, problem) in [
            (String::new(), "missing-api-key"),
            ("?token=".to_owned(), "wrong-token"),
            ("?token=short".to_owned(), "wrong-token"),
            (format!("?token={unknown_token}"), "wrong-token"),
            (format!("?token={}", other.token), "wrong-token"),
        ] {
            let path = format!("/api/orders/{}{part}{query}", order.id);
            let answer = app.get(&path).await;
            check_problem(&answer, 401, problem, &path);
            assert_eq!(answer.header("WWW-Authenticate"), "Bearer", "{path}");
        }
        assert_eq!(app.get(&format!("/api/orders/999{part}?token={token}")).await.status, 401);
    }
    assert_eq!(app.get(&format!("/api/orders/{}?token={token}", order.id)).await.status, 200);
    assert_eq!(app.create_order(&tea()).await.status, 401);
    let wrong_key = app.with_key("the-shops-kez");
    check_problem(&wrong_key.create_order(&tea()).await, 401, "wrong-api-key", "create");
    let basic = app.request(Method::POST, "/api/orders/create").basic_auth("shop", Some("the-shops-key")).json(&tea());
    assert_eq!(basic.send().await.unwrap().status(), 401);
    // A customer's page answers in text for people.
    for path in [format!("/pay/{unknown_token}"), format!("/pay/{unknown_token}/return"), "/pay/x".to_owned()] {
        let page = app.get(&path).await;
        assert_eq!(page.status, 404, "{path}: {page}");
        assert!(page.header("Content-Type").starts_with("text/html"), "{path}: {page}");
        assert!(page.text.contains("<h1"), "{path}: {page}");
    }
}

async fn a_gateway_that_is_known_and_not_configured_is_named(kind: Kind) {
    let app = TestApp::start_with(kind, &SANDBOX_CREDENTIALS).await;

    for name in ["payme", "click"] {
        let mut body = tea();
        body["payment_type"] = json!(name);
        let answer = app.create_order(&body).await;

        check_problem(&answer, 422, "payment-type-without-gateway", name);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(name) && detail.contains("atmos"), "it says what to do instead: {detail}");
    }
}

/// A close while the body is still being sent would cut off the answer, or the next request on the same connection.
async fn a_body_that_is_too_large_costs_its_sender_the_answer_and_not_the_connection(kind: Kind) {
    let app = TestApp::start(kind).await;

    for size in [70_000, 200_000, 1_000_000, 1_900_000].repeat(8) {
        let body = vec![b' '; size];
        let create = app.post("/api/orders/create", "application/json", body.clone()).await;
        check_problem(&create, 413, "body-too-large", &format!("{size} bytes"));
        assert_eq!(app.get("/api/orders/1").await.status, 404);
        assert_eq!(app.deliver(body).await.callback_status(), 0, "{size} bytes");
        assert_eq!(app.get("/livez").await.status, 200);
    }
    for _ in 0..16 {
        let body = vec![b' '; 60_000];
        let create = app.post("/api/orders/create", "text/plain", body.clone()).await;
        check_problem(&create, 415, "unsupported-media-type", "text");
        assert_eq!(app.get("/livez").await.status, 200);
        let request = app.request(Method::POST, "/api/orders/create").header("Idempotency-Key", "two words");
        let create = request.header("Content-Type", "application/json").body(body).send().await.unwrap();
        assert_eq!(create.status(), 400);
        assert_eq!(app.get("/livez").await.status, 200);
    }
}

/// Checks that a refusal is a problem document for programs and for people.
fn check_problem(answer: &HttpAnswer, status: u16, problem: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer}");
    assert_eq!(answer.header("Content-Type"), "application/problem+json", "{what}: {answer}");
    let document = answer.json();
    assert_eq!(document["type"], format!("urn:tasdiq:problem:{problem}"), "{what}: {answer}");
    assert_eq!(document["status"], status, "{what}: {answer}");
    for member in ["title", "detail"] {
        let sentence = document[member].as_str().unwrap_or_default();
        assert!(sentence.len() >= 10, "{what}: {member} is a sentence: {answer}");
    }
    assert_eq!(document["request_id"], answer.header("X-Request-Id"), "{what}: {answer}");
    assert_ne!(document["request_id"], Value::from(""), "{what}: {answer}");
}
