//! A shop's page calls from the shop's own origin.

use serde_json::json;

use super::support::{TestApi, TestResponse, keys, send};

#[track_caller]
fn assert_readable(answer: &TestResponse) {
    assert_eq!(answer.header("access-control-allow-origin"), "*", "{answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), "", "{answer:?}");
}

#[tokio::test]
async fn a_browser_that_asks_first_is_told_that_it_may() {
    let api = TestApi::with(|context| context.settings.keys = keys(&["a"])).await;

    for (path, method) in [
        ("/api/orders/create", "POST"),
        ("/api/orders/1", "GET, HEAD"),
        ("/api/orders/1/history", "GET, HEAD"),
        ("/api/orders/1/events", "GET, HEAD"),
    ] {
        let preflight = api
            .client
            .options(path)
            .header("origin", "https://shop.test")
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "authorization,content-type,idempotency-key");
        let answer = send(preflight).await;

        assert_eq!(answer.status, 204, "{answer:?}");
        assert_readable(&answer);
        assert_eq!(answer.header("access-control-allow-methods"), method);
        for header in ["Authorization", "Content-Type", "Idempotency-Key"] {
            assert!(answer.header("access-control-allow-headers").contains(header), "{header}: {answer:?}");
        }
    }
}

/// Error trackers and tracing add their own headers to every request of a page.
#[tokio::test]
async fn a_pages_call_is_allowed_with_any_added_header() {
    let api = TestApi::start().await;
    let allowed = async |asked: &str| {
        let preflight = api.client.options("/api/orders/create").header("access-control-request-headers", asked);
        let answer = send(preflight).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        answer.header("access-control-allow-headers").to_lowercase()
    };

    let names = ["traceparent", "baggage", "sentry-trace", "x-requested-with", "authorization", "last-event-id"];
    let answer = allowed(&names.join(",")).await;
    let told: Vec<&str> = answer.split(',').map(str::trim).collect();
    for name in names {
        assert!(told.contains(&name), "{name}: {answer}");
    }
    for nonsense in ["a b", "x\u{e9}", "two,,three", &"x".repeat(2_001)] {
        let answer = allowed(nonsense).await;
        assert!(answer.contains("authorization") && !answer.contains(nonsense), "{answer}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_reads_orders_and_problems() {
    let api = TestApi::start().await;
    let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });

    let made = api.create(&body).await;
    assert_eq!(made.status, 201);
    assert_readable(&made);
    assert!(made.header("access-control-expose-headers").contains("Location"), "{made:?}");
    for path in ["/api/orders/1", "/api/orders/1/history", "/api/orders/2"] {
        assert_readable(&send(api.client.get(path).header("origin", "https://shop.test")).await);
    }
    let events = api.client.get("/api/orders/1/events").header("origin", "https://shop.test").send().await;
    events.assert_header("access-control-allow-origin", "*");
}

#[tokio::test]
async fn paths_that_no_shop_page_calls_are_not_open_to_other_origins() {
    let api = TestApi::start().await;
    let order = api.order().await;

    for path in ["/atmos/webhook/", "/metrics", &format!("/pay/{}", order.token.as_str())] {
        let answer = send(api.client.options(path).header("origin", "https://shop.test")).await;
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
    }
}
