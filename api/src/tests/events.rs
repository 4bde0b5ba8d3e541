//! Following an order.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use poem::web::sse::Event;
use serde_json::{Value, json};

use super::support::{TestApi, TestResponse, answer, keys, send};
use crate::orders::{EVENT_STREAMS, EVENT_STREAMS_PER_ADDRESS, EVENT_STREAMS_PER_KEY, EVENT_STREAMS_PER_ORDER};

/// The orders of the stream, then the data of its event `end`.
async fn follow(api: &TestApi, path: &str) -> impl Stream<Item = Value> + Unpin + use<> {
    let response = api.client.get(path).send().await;
    response.assert_status_is_ok();
    response.assert_content_type("text/event-stream");
    response.sse_stream().map(|event| match event {
        Event::Message { event, data, .. } if event == "end" => Value::String(data),
        Event::Message { event, data, .. } => {
            assert_eq!(event, "order");
            serde_json::from_str(&data).unwrap()
        }
        Event::Retry { .. } => panic!("not expected"),
    })
}

/// Connects again like a browser that has seen this event.
async fn follow_after(api: &TestApi, id: &str) -> TestResponse {
    send(api.client.get("/api/orders/1/events").header("last-event-id", id)).await
}

/// The id of the stream's first event.
async fn first_id(api: &TestApi) -> String {
    let mut stream = api.client.get("/api/orders/1/events").send().await.sse_stream();
    match tokio::time::timeout(Duration::from_secs(3), stream.next()).await.expect("within 3 s") {
        Some(Event::Message { id, .. }) => id,
        other => panic!("{other:?}"),
    }
}

async fn next(stream: &mut (impl Stream<Item = Value> + Unpin)) -> Option<Value> {
    tokio::time::timeout(Duration::from_secs(3), stream.next()).await.expect("within 3 s")
}

/// Shows: PERSON-24
#[tokio::test]
async fn a_follower_sees_the_order_at_once_then_each_change_and_the_end() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let mut stream = follow(&api, "/api/orders/1/events").await;

    let first = next(&mut stream).await.unwrap();
    assert_eq!(first, api.get("/api/orders/1").await.json(), "an event says what GET says");
    let order = api.link(&order, 700).await;
    assert_eq!(next(&mut stream).await.unwrap()["transaction_id"], 700);
    api.callback(700, "1", 5_000).await;
    assert_eq!(next(&mut stream).await.unwrap()["status"], "confirming");
    api.pay(&order).await;
    assert_eq!(next(&mut stream).await.unwrap()["status"], "paid");

    assert_eq!(next(&mut stream).await.unwrap(), "paid", "the event `end`");
    assert_eq!(next(&mut stream).await, None, "nothing more can come");
}

/// A browser's `EventSource` connects again after every end of a stream, until it gets 204.
/// Shows: PERSON-24
#[tokio::test]
async fn a_browser_that_has_seen_the_final_status_is_told_to_ask_no_more() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let before = first_id(&api).await;
    let order = api.link(&order, 700).await;
    let linked = first_id(&api).await;
    api.pay(&order).await;

    let news = follow_after(&api, &linked).await;
    assert!(news.status == 200 && news.body.contains("event: end"), "it has not seen it yet: {news:?}");
    assert_eq!(follow_after(&api, &first_id(&api).await).await.status, 204);
    assert_eq!(follow_after(&api, "of-another-stream").await.status, 200);
    assert_ne!(before, linked, "an id names what the event says");
}

#[tokio::test]
async fn a_follower_that_connects_again_gets_no_event_twice() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let request = api.client.get("/api/orders/1/events").header("last-event-id", first_id(&api).await);
    let mut stream = request.send().await.sse_stream();

    api.link(&order, 700).await;

    match tokio::time::timeout(Duration::from_secs(3), stream.next()).await.expect("within 3 s") {
        Some(Event::Message { data, .. }) => assert!(data.contains("\"transaction_id\":700"), "{data}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_description_calls_the_stream_a_text_of_events() {
    let api = TestApi::start().await;

    let description = api.get("/openapi.json").await.json();

    let answers = &description["paths"]["/api/orders/{order_id}/events"]["get"]["responses"];
    let schema = &answers["200"]["content"]["text/event-stream"]["schema"];
    assert_eq!(schema["type"], "string", "{answers}");
    assert!(schema["items"].is_null() && schema["example"].as_str().is_some_and(|text| text.contains("event: end")));
    assert!(answers["204"].is_object(), "{answers}");
}

#[tokio::test]
async fn the_stream_of_a_settled_order_shows_it_and_ends() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    api.pay(&order).await;

    let mut stream = follow(&api, &format!("/api/orders/1/events?token={}", order.token.as_str())).await;

    assert_eq!(next(&mut stream).await.unwrap()["status"], "paid");
    assert_eq!(next(&mut stream).await.unwrap(), "paid");
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn a_lost_notice_costs_a_follower_a_few_seconds_and_no_more() {
    let ends = tokio_util::sync::CancellationToken::new();
    ends.cancel();
    // Notices that receive nothing.
    let api =
        TestApi::with(|context| context.notice = process::notice::Notice::start(&context.store, None, &ends)).await;
    let order = api.order().await;
    let mut stream = follow(&api, "/api/orders/1/events").await;
    next(&mut stream).await;

    api.link(&order, 700).await;

    let seen = tokio::time::timeout(Duration::from_secs(8), stream.next()).await.expect("within 8 s");
    assert_eq!(seen.unwrap()["transaction_id"], 700);
}

#[tokio::test]
async fn a_stopping_process_ends_its_streams() {
    let api = TestApi::start().await;
    api.order().await;
    let mut stream = follow(&api, "/api/orders/1/events").await;
    next(&mut stream).await;

    api.stopping.cancel();

    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn a_change_of_another_order_is_not_this_stream_s() {
    let api = TestApi::start().await;
    api.order().await;
    let other = api.order().await;
    let mut stream = follow(&api, "/api/orders/1/events").await;
    next(&mut stream).await;

    api.link(&other, 700).await;

    let silence = tokio::time::timeout(Duration::from_millis(300), stream.next()).await;
    assert!(silence.is_err(), "{silence:?}");
}

#[tokio::test]
async fn streams_are_bounded_and_a_closed_one_frees_its_place() {
    let api = TestApi::start().await;
    let mut open = Vec::new();
    for id in 1..=EVENT_STREAMS / EVENT_STREAMS_PER_ORDER {
        api.order().await;
        for peer in 1..=EVENT_STREAMS_PER_ORDER {
            open.push(api.get_from(&format!("203.0.113.{peer}"), &format!("/api/orders/{id}/events"), &[]).await);
        }
    }
    assert!(open.iter().all(|response| response.status() == 200));
    let last = api.order().await;
    let path = format!("/api/orders/{}/events", last.id);

    let problem = answer(api.get_from("203.0.113.99", &path, &[]).await).await.problem(503, "too-many-streams");
    assert_eq!((&problem["limit"], &problem["most"]), (&"process".into(), &EVENT_STREAMS.into()));
    open.pop();
    assert_eq!(api.get_from("203.0.113.99", &path, &[]).await.status(), 200);
}

/// Fifty orders' tokens with twenty streams each would take all streams of a process.
/// Shows: INVARIANT-25
#[tokio::test]
async fn a_caller_with_many_tokens_leaves_other_customers_their_streams() {
    let api = TestApi::with(|context| context.settings.keys = keys(&["shop"])).await;
    let fields = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    let mut open = Vec::new();
    let mut refused = None;
    for _ in 0..=EVENT_STREAMS_PER_ADDRESS / EVENT_STREAMS_PER_ORDER {
        let made = api.create_as(Some("key-of-shop"), None, &fields).await.json();
        let path = format!("/api/orders/{}/events?token={}", made["order_id"], made["order_token"].as_str().unwrap());
        for _ in 0..EVENT_STREAMS_PER_ORDER {
            let response = api.get_from("2001:db8::1", &path, &[]).await;
            match response.status().as_u16() {
                200 => open.push(response),
                _ => refused = Some(answer(response).await),
            }
        }
        // A customer with another address, and the shop with its key.
        assert_eq!(api.get_from("2001:db8:0:1::1", &path.replace("events", "history"), &[]).await.status(), 200);
    }

    assert_eq!(open.len(), EVENT_STREAMS_PER_ADDRESS);
    let problem = refused.expect("refused").problem(503, "too-many-streams");
    assert_eq!(problem["limit"], "address");
    let order = api.create_as(Some("key-of-shop"), None, &fields).await.json();
    let path = format!("/api/orders/{}/events?token={}", order["order_id"], order["order_token"].as_str().unwrap());
    assert_eq!(api.get_from("2001:db8::ffff", &path, &[]).await.status(), 503, "the same subscriber");
    assert_eq!(api.get_from("2001:db8:0:1::1", &path, &[]).await.status(), 200, "another one");
    let path = format!("/api/orders/{}/events", order["order_id"]);
    let key = [("authorization", "Bearer key-of-shop")];
    assert_eq!(api.get_from("2001:db8::1", &path, &key).await.status(), 200, "a key is counted by its name");
}

#[tokio::test]
async fn one_api_key_leaves_half_of_the_streams_to_others() {
    let api = TestApi::with(|context| context.settings.keys = keys(&["shop", "till"])).await;
    let fields = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
    let mut open = Vec::new();
    for id in 1..=EVENT_STREAMS_PER_KEY / EVENT_STREAMS_PER_ORDER + 1 {
        api.create_as(Some("key-of-shop"), None, &fields).await;
        for _ in 0..EVENT_STREAMS_PER_ORDER {
            let key = [("authorization", "Bearer key-of-shop")];
            open.push(api.get_from(&format!("203.0.113.{id}"), &format!("/api/orders/{id}/events"), &key).await);
        }
    }
    let till = api.create_as(Some("key-of-till"), None, &fields).await.json();

    let refused = open.iter().filter(|response| response.status() == 503).count();
    assert_eq!(refused, EVENT_STREAMS_PER_ORDER, "of {}", open.len());
    let problem = answer(open.pop().unwrap()).await.problem(503, "too-many-streams");
    assert_eq!(problem["limit"], "api_key");
    let path = format!("/api/orders/{}/events", till["order_id"]);
    assert_eq!(api.get_from("203.0.113.1", &path, &[("authorization", "Bearer key-of-till")]).await.status(), 200);
}

#[tokio::test]
async fn the_followers_of_one_order_leave_room_for_those_of_another() {
    let api = TestApi::start().await;
    api.order().await;
    api.order().await;
    let mut open = Vec::new();
    for _ in 0..EVENT_STREAMS_PER_ORDER {
        open.push(api.client.get("/api/orders/1/events").send().await);
    }

    let problem = send(api.client.get("/api/orders/1/events")).await.problem(503, "too-many-streams");
    assert_eq!(problem["limit"], "order");
    api.client.get("/api/orders/2/events").send().await.assert_status_is_ok();
    open.pop();
    api.client.get("/api/orders/1/events").send().await.assert_status_is_ok();
}
