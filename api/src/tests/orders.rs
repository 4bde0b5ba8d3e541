//! `POST /api/orders/create`, and reading orders.

use domain::order::{GatewayIdentity, OrderStatus, PaymentType};
use domain::review::{FindingKind, NewFinding};
use domain::shops::{Shop, Shops};
use serde_json::{Value, json};

use super::support::{TestApi, gzip, send};

fn body(change: impl FnOnce(&mut Value)) -> Value {
    let mut body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    change(&mut body);
    body
}

#[tokio::test]
async fn an_order_is_answered_with_exactly_the_fields_that_shops_build_on() {
    let api = TestApi::start().await;

    let answer = api.create(&body(|_| ())).await;

    assert_eq!(answer.status, 201, "{answer:?}");
    let order = answer.json();
    let token = order["order_token"].as_str().unwrap();
    assert_eq!(token.len(), 32);
    let created_at = order["created_at"].as_str().unwrap();
    assert!(created_at.ends_with('Z') && created_at.contains('T'), "{created_at}");
    assert_eq!(
        order,
        json!({
            "order_id": 1,
            "payment_url": format!("http://shop.test/pay/{token}"),
            "payment_type": "atmos",
            "amount": "50.00",
            "status": "pending",
            "order_token": token,
            "transaction_id": null,
            "created_at": created_at,
            "expires_at": null,
        })
    );
    assert_eq!(answer.header("location"), "http://shop.test/api/orders/1");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn an_order_is_read_back_with_its_link_and_with_what_the_shop_said() {
    let api = TestApi::start().await;
    let order = api
        .order_with(json!({ "reference": "A-17", "return_url": "https://shop.test/done?x=1",
            "cancel_url": "https://shop.test/basket", "language": "ru" }))
        .await;
    let order = api.link(&order, 700).await;

    let answer = api.get("/api/orders/1").await;

    assert_eq!(answer.status, 200);
    let seen = answer.json();
    assert_eq!(seen["payment_url"], "http://gateway.test/pay?transactionId=700");
    assert_eq!(seen["transaction_id"], 700);
    assert_eq!(seen["expires_at"], domain::time::rfc3339(order.expires_at_ms.unwrap()));
    for (field, value) in [
        ("refunded_amount", json!("0.00")),
        ("needs_review", json!(false)),
        ("reason", json!(null)),
        ("findings", json!([])),
        ("product_name", json!("Somsa")),
        ("reference", json!("A-17")),
        ("return_url", json!("https://shop.test/done?x=1")),
        ("cancel_url", json!("https://shop.test/basket")),
        ("language", json!("ru")),
    ] {
        assert_eq!(seen[field], value, "{field}");
    }
}

#[tokio::test]
async fn the_history_tells_each_transition_with_its_cause() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    api.pay(&order).await;

    let history = api.get("/api/orders/1/history").await.json();

    let lines = history["history"].as_array().unwrap();
    assert_eq!(lines.first().unwrap()["from"], json!(null));
    assert_eq!(lines.first().unwrap()["to"], "pending");
    assert_eq!(lines.last().unwrap()["from"], "pending");
    assert_eq!(lines.last().unwrap()["to"], "paid");
    assert!(lines.iter().all(|line| line["at"].as_str().unwrap().ends_with('Z')));
    assert!(lines.iter().all(|line| !line["cause"].as_str().unwrap().is_empty()));
}

#[tokio::test]
async fn amounts_are_taken_as_strings_and_as_whole_numbers() {
    let api = TestApi::start().await;

    for (amount, written) in [
        (json!("50.00"), "50.00"),
        (json!(50), "50.00"),
        (json!("0.01"), "0.01"),
        (json!("10000000000"), "10000000000.00"),
    ] {
        let answer = api.create(&body(|body| body["amount"] = amount.clone())).await;
        assert_eq!(answer.json()["amount"], written, "{amount}: {answer:?}");
    }
}

#[tokio::test]
async fn each_amount_that_cannot_be_used_is_refused_with_its_reason() {
    let api = TestApi::start().await;

    for (amount, reason) in [
        ("0", "above zero"),
        ("\"0.00\"", "above zero"),
        ("-5", "above zero"),
        ("\"-5.00\"", "above zero"),
        ("50.5", "must be a string"),
        ("50.0", "must be a string"),
        ("1e30", "a whole number of soʻm"),
        ("1e400", "a whole number of soʻm"),
        ("1.5E3", "a whole number of soʻm"),
        ("\"1e30\"", "decimal number"),
        ("\"50.001\"", "more than two decimals"),
        ("10000000001", "10000000000.00"),
        ("100000000000000000000000000000000", "10000000000.00"),
        ("\"99999999999999999999999999\"", "10000000000.00"),
        ("\"\"", "decimal number"),
        ("\"ellik\"", "decimal number"),
        ("\"\\ud800\"", "decimal number"),
        ("true", "decimal number"),
        ("[50]", "decimal number"),
        ("{\"soʻm\":50}", "decimal number"),
    ] {
        let body = format!(r#"{{"product_name":"Somsa","amount":{amount},"payment_type":"atmos"}}"#);
        let problem = api.create_raw("application/json", body).await.problem(422, "invalid-amount");
        assert_eq!(problem["field"], "amount");
        assert!(problem["detail"].as_str().unwrap().contains(reason), "{amount}: {problem}");
    }
    assert!(store::orders::find(api.store(), domain::id::OrderId(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn each_field_that_cannot_be_used_has_a_problem_of_its_own() {
    let api = TestApi::start().await;
    let long = |count: usize| json!("x".repeat(count));

    for (field, value, slug) in [
        ("product_name", json!(""), "invalid-product-name"),
        ("product_name", json!("  "), "invalid-product-name"),
        ("product_name", json!(5), "invalid-product-name"),
        ("product_name", json!("two\nlines"), "invalid-product-name"),
        ("product_name", json!("nul\u{0}"), "invalid-product-name"),
        ("product_name", json!("\u{200b}\u{2060}\u{3164}"), "invalid-product-name"),
        ("product_name", json!("tea \u{202e}00.05\u{202c}"), "invalid-product-name"),
        ("reference", json!("\u{feff}"), "invalid-reference"),
        ("reference", json!("A-\u{2067}17"), "invalid-reference"),
        ("product_name", long(201), "invalid-product-name"),
        ("payment_type", json!("cash"), "unknown-payment-type"),
        ("payment_type", json!(1), "unknown-payment-type"),
        ("payment_type", json!("payme"), "payment-type-without-gateway"),
        ("payment_type", json!("click"), "payment-type-without-gateway"),
        ("reference", json!(""), "invalid-reference"),
        ("reference", json!(17), "invalid-reference"),
        ("reference", json!("tab\there"), "invalid-reference"),
        ("reference", long(101), "invalid-reference"),
        ("return_url", json!("/done"), "invalid-return-url"),
        ("return_url", json!("javascript:alert(1)"), "invalid-return-url"),
        ("return_url", json!("javascript://shop.test/%0aalert(1)"), "invalid-return-url"),
        ("return_url", json!("ftp://shop.test/done"), "invalid-return-url"),
        ("return_url", json!("https://shop.test/\ndone"), "invalid-return-url"),
        ("return_url", json!("https://"), "invalid-return-url"),
        ("return_url", json!("https://shop.uz@evil.com/"), "invalid-return-url"),
        ("return_url", json!("https://shop.uz\\@evil.com/"), "invalid-return-url"),
        ("return_url", json!("https://user:password@shop.uz/"), "invalid-return-url"),
        ("return_url", json!("https:evil.com"), "invalid-return-url"),
        ("return_url", json!(7), "invalid-return-url"),
        ("return_url", json!(format!("https://shop.test/{}", "x".repeat(2_000))), "invalid-return-url"),
        ("cancel_url", json!("/basket"), "invalid-cancel-url"),
        ("cancel_url", json!("javascript:alert(1)"), "invalid-cancel-url"),
        ("cancel_url", json!("https://shop.uz@evil.com/"), "invalid-cancel-url"),
        ("cancel_url", json!(7), "invalid-cancel-url"),
        ("cancel_url", json!(format!("https://shop.test/{}", "x".repeat(2_000))), "invalid-cancel-url"),
        ("language", json!("de"), "unknown-language"),
        ("language", json!(7), "unknown-language"),
        ("refrence", json!("A-17"), "unknown-field"),
    ] {
        let problem = api.create(&body(|body| body[field] = value.clone())).await.problem(422, slug);
        assert_eq!(problem["field"], field, "{value}");
    }
}

#[tokio::test]
async fn a_missing_field_is_named() {
    let api = TestApi::with(|context| context.shops = Shops::from_iter([shop(PaymentType::ALL)])).await;

    for field in ["product_name", "amount"] {
        let without = body(|body| drop(body.as_object_mut().unwrap().remove(field)));
        assert_eq!(api.create(&without).await.problem(422, "missing-field")["field"], field);
        let null = body(|body| body[field] = Value::Null);
        assert_eq!(api.create(&null).await.problem(422, "missing-field")["field"], field);
    }
}

fn shop(payment_types: &[PaymentType]) -> Shop {
    let account = |payment_type: &PaymentType| (*payment_type, GatewayIdentity(format!("sandbox-{payment_type}:1")));
    Shop { accounts: payment_types.iter().map(account).collect(), ..Shop::default() }
}

#[tokio::test]
async fn without_a_payment_type_a_shop_s_only_account_is_taken_and_of_several_the_customer_chooses() {
    let without = body(|body| drop(body.as_object_mut().unwrap().remove("payment_type")));
    let api = TestApi::start().await;
    assert_eq!(api.create(&without).await.json()["payment_type"], "atmos");

    let two = Shops::from_iter([shop(&[PaymentType::Atmos, PaymentType::Click])]);
    let api = TestApi::with(|context| context.shops = two).await;

    assert_eq!(api.create(&without).await.json()["payment_type"], Value::Null);
    let payme = api.create(&body(|body| body["payment_type"] = json!("payme"))).await;
    let problem = payme.problem(422, "payment-type-without-gateway");
    assert_eq!(problem["payment_types"], json!(["atmos", "click"]));
    assert_eq!(problem["detail"], "your shop has no account for `payme`; it has `atmos`, `click`");
    assert_eq!(api.create(&body(|_| ())).await.status, 201);

    let none = Shops::from_iter([shop(&[])]);
    let api = TestApi::with(|context| context.shops = none).await;
    api.create(&without).await.problem(422, "payment-type-without-gateway");
}

#[tokio::test]
async fn a_shop_that_lists_hosts_sends_its_customers_to_no_other() {
    let hosts = vec!["tea.uz".to_owned(), "shop.test".to_owned()];
    let listing = Shops::from_iter([Shop { return_hosts: hosts, ..shop(&[PaymentType::Atmos]) }]);
    let api = TestApi::with(|context| context.shops = listing).await;
    let to = |url: &str| body(|body| body["return_url"] = json!(url));

    for own in ["https://tea.uz/done?x=1", "http://SHOP.test:8080/"] {
        assert_eq!(api.create(&to(own)).await.status, 201, "{own}");
    }
    for foreign in ["https://evil.example/", "https://tea.uz.evil.example/", "https://www.tea.uz/"] {
        let problem = api.create(&to(foreign)).await.problem(422, "invalid-return-url");
        assert_eq!(problem["field"], "return_url", "{foreign}");
    }
    let without_paying = |url: &str| body(|body| body["cancel_url"] = json!(url));
    assert_eq!(api.create(&without_paying("https://tea.uz/basket")).await.status, 201);
    let refused = api.create(&without_paying("https://evil.example/")).await.problem(422, "invalid-cancel-url");
    assert_eq!(refused["field"], "cancel_url");
}

#[tokio::test]
async fn optional_fields_may_be_null() {
    let api = TestApi::start().await;

    let answer = api.create(&body(|body| body["reference"] = Value::Null)).await;

    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused_for_what_it_is() {
    let api = TestApi::start().await;

    for body in ["", "{", "amount=50", "{\"amount\":}", "{} {}", "\u{feff}", "\u{feff}\u{feff}{}"] {
        api.create_raw("application/json", body).await.problem(400, "unreadable-body");
    }
    api.create_raw("application/json", vec![b'"', 0xff, b'"']).await.problem(400, "unreadable-body");
    for body in ["[]", "null", "7", "\"text\""] {
        api.create_raw("application/json", body).await.problem(422, "not-an-object");
    }
    let twice = r#"{"amount":"1.00","amount":"2.00","product_name":"Somsa","payment_type":"atmos"}"#;
    let problem = api.create_raw("application/json", twice).await.problem(422, "repeated-field");
    assert_eq!(problem["field"], "amount");
}

#[tokio::test]
async fn only_json_in_utf_8_is_taken() {
    let api = TestApi::start().await;
    let text = body(|_| ()).to_string();

    for content_type in ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"] {
        api.create_raw(content_type, text.clone()).await.problem(415, "unsupported-media-type");
    }
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json; charset=utf8",
        "application/json; Charset = \"UTF8\"",
        "Application/JSON;charset=\"UTF-8\"",
    ] {
        assert_eq!(api.create_raw(content_type, text.clone()).await.status, 201, "{content_type}");
    }
}

#[tokio::test]
async fn a_body_with_a_byte_order_mark_or_compressed_is_read() {
    let api = TestApi::start().await;
    let text = body(|_| ()).to_string();
    let coded = |coding: &'static str, body: Vec<u8>| {
        let request = api.client.post("/api/orders/create").content_type("application/json");
        send(request.header("content-encoding", coding).body(body))
    };

    assert_eq!(api.create_raw("application/json", format!("\u{feff}{text}")).await.status, 201);
    assert_eq!(coded("gzip", gzip(text.as_bytes())).await.status, 201);
    assert_eq!(coded("identity", text.clone().into_bytes()).await.status, 201);
    let answer = coded("br", text.into_bytes()).await;
    answer.problem(415, "unsupported-media-type");
    assert_eq!(answer.header("accept-encoding"), "gzip, deflate, identity");
    coded("deflate", b"{}".to_vec()).await.problem(400, "unreadable-body");
    coded("gzip", gzip(&[b' '; 65 * 1024])).await.problem(413, "body-too-large");
}

/// `https://host/` and `/api/orders/create`, joined.
#[tokio::test]
async fn an_address_with_doubled_slashes_or_a_last_one_is_read_as_it_is_meant() {
    let api = TestApi::start().await;
    let order = api.order().await;

    for path in ["//api/orders/create", "/api//orders/create/"] {
        let request = api.client.post(path).content_type("application/json");
        assert_eq!(send(request.body(body(|_| ()).to_string())).await.status, 201, "{path}");
    }
    for path in [format!("//api/orders/{}", order.id), format!("/api/orders//{}/", order.id), "/livez/".to_owned()] {
        assert_eq!(api.get(&path).await.status, 200, "{path}");
    }
    api.get("//api/orders/x").await.problem(404, "order-not-found");
}

/// Shows: PROMISE-7
#[tokio::test]
async fn a_body_above_64_kib_is_refused_with_or_without_its_length_announced() {
    let api = TestApi::start().await;
    let long = format!("{{{}}}", " ".repeat(64 * 1024));

    api.create_raw("application/json", long.clone()).await.problem(413, "body-too-large");
    let chunks =
        long.into_bytes().chunks(1_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect::<Vec<_>>();
    let streamed = poem::Body::from_bytes_stream(futures_util::stream::iter(chunks));
    api.create_raw("application/json", streamed).await.problem(413, "body-too-large");
}

#[tokio::test]
async fn a_reference_names_one_order_and_the_second_is_told_which() {
    let api = TestApi::start().await;
    let first = api.order_with(json!({ "reference": "A-17" })).await;

    let answer = api.create(&body(|body| body["reference"] = json!("A-17"))).await;

    let problem = answer.problem(409, "reference-taken");
    assert_eq!(problem["order_id"], first.id.0);
}

#[tokio::test]
async fn an_order_that_does_not_exist_is_a_problem_and_so_is_a_number_that_is_none() {
    let api = TestApi::start().await;

    for path in [
        "/api/orders/1",
        "/api/orders/abc",
        "/api/orders/-1",
        "/api/orders/99999999999999999999999",
        "/api/orders/1/history",
    ] {
        api.get(path).await.problem(404, "order-not-found");
    }
}

#[tokio::test]
async fn addresses_and_methods_that_do_not_exist_are_problems_too() {
    let api = TestApi::start().await;

    for path in ["/", "/api", "/api/orders/1/refund/1", "/nothing/here"] {
        api.get(path).await.problem(404, "not-found");
    }
    for (path, allowed) in [("/api/orders/create", "POST"), ("/atmos/webhook", "POST"), ("/atmos/webhook/", "POST")] {
        let answer = api.get(path).await;
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), allowed, "{path}");
    }
    let answer = send(api.client.delete("/api/orders/1")).await;
    answer.problem(405, "method-not-allowed");
    assert_eq!(answer.header("allow"), "GET, HEAD");
}

#[tokio::test]
async fn a_database_that_is_away_is_said_so_and_asks_to_come_back() {
    let api = TestApi::start().await;
    api.store().close().await;

    for answer in [api.create(&body(|_| ())).await, api.get("/api/orders/1").await] {
        answer.problem(503, "database-unavailable");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(!answer.body.contains("pool"), "the cause is ours: {}", answer.body);
    }
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_any_other_is_replaced() {
    let api = TestApi::start().await;

    let kept = send(api.client.get("/api/orders/1").header("x-request-id", "shop-42.a_b")).await;
    assert_eq!(kept.problem(404, "order-not-found")["request_id"], "shop-42.a_b");
    for odd in ["has blank", "<script>", &"x".repeat(65)] {
        let replaced = send(api.client.get("/api/orders/1").header("x-request-id", odd)).await;
        let id = replaced.header("x-request-id").to_owned();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
}

#[tokio::test]
async fn the_description_names_every_address_and_problem_documents() {
    let api = TestApi::start().await;

    let description = api.get("/openapi.json").await.json();

    for path in [
        "/api/orders/create",
        "/api/orders/{order_id}",
        "/api/orders/{order_id}/history",
        "/api/orders/{order_id}/events",
    ] {
        assert!(description["paths"][path].is_object(), "{path} in {description:#}");
    }
    let create = &description["paths"]["/api/orders/create"]["post"];
    for status in ["201", "400", "401", "409", "413", "415", "422", "500", "503"] {
        assert!(create["responses"][status].is_object(), "{status} in {create:#}");
    }
    assert!(create["responses"]["422"]["content"]["application/problem+json"].is_object());
    assert!(create["requestBody"]["content"]["application/json"]["schema"]["$ref"].is_string(), "{create:#}");
    assert!(create["parameters"].to_string().contains("Idempotency-Key"), "{create:#}");
    assert!(description["components"]["schemas"]["Problem"].is_object());
    assert!(description["components"]["schemas"]["NewOrder"]["properties"]["amount"].is_object());
    let page = api.get("/docs").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("SwaggerUIBundle({ spec: {\"components\"") && page.body.contains("<title>Tasdiq"));
    assert!(page.body.len() > 1_000_000, "the page's own script stands in it");
}

/// A client generated from the description must expect the real response: every field is sent, some of them as `null`.
#[tokio::test]
async fn the_description_says_which_fields_may_be_null_and_that_all_are_sent() {
    let api = TestApi::start().await;

    let schemas = api.get("/openapi.json").await.json()["components"]["schemas"].clone();

    for (name, nullable) in [
        ("CreatedOrder", vec!["expires_at", "payment_type", "transaction_id"]),
        (
            "OrderAnswer",
            vec![
                "cancel_url",
                "expires_at",
                "payment_type",
                "reason",
                "reference",
                "return_url",
                "seen_unpaid_at",
                "transaction_id",
            ],
        ),
        ("HistoryEntry", vec!["from"]),
        ("OrderFinding", vec!["transaction_id"]),
    ] {
        let schema = &schemas[name];
        let fields = schema["properties"].as_object().unwrap();
        let mut required: Vec<&str> = schema["required"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
        required.sort_unstable();
        let mut sent: Vec<&str> = fields.keys().map(String::as_str).collect();
        sent.sort_unstable();
        assert_eq!(required, sent, "{name}");
        let mut may_be_null: Vec<&str> =
            fields.iter().filter(|(_, field)| field["nullable"] == true).map(|(name, _)| name.as_str()).collect();
        may_be_null.sort_unstable();
        assert_eq!(may_be_null, nullable, "{name}");
    }
    assert_eq!(schemas["OrderAnswer"]["properties"]["transaction_id"]["type"], "integer");
}

#[tokio::test]
async fn two_problem_types_never_share_a_name() {
    let mut slugs: Vec<&str> = crate::problem::ProblemType::ALL.iter().map(|kind| kind.slug()).collect();
    let count = slugs.len();

    slugs.sort_unstable();
    slugs.dedup();

    assert_eq!(slugs.len(), count);
}

#[tokio::test]
async fn an_order_in_review_tells_why() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    let reason = "the gateway debited 49.99".to_owned();

    let order = api
        .settle(
            &order,
            store::settlement::Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, reason.clone())),
        )
        .await;

    assert_eq!(order.status, OrderStatus::Review);
    let seen = api.get("/api/orders/1").await.json();
    assert_eq!((&seen["status"], &seen["reason"]), (&json!("review"), &json!(reason)));
    let [finding] = seen["findings"].as_array().unwrap().as_slice() else { panic!("{seen}") };
    assert_eq!((&finding["kind"], &finding["text"]), (&json!("unclear_answer"), &json!(reason)));
    assert_eq!((&finding["suggested_act"], &finding["transaction_id"]), (&json!("ask_gateway"), &json!(null)));
    assert!(finding["found_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{finding}");
    let as_customer = api.get(&format!("/api/orders/1?token={}", order.token.as_str())).await.json();
    assert_eq!(as_customer["findings"], json!([]), "what was found is for the shop");
}
