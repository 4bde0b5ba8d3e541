//! Following an order.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use poem::web::sse::Event;
use serde_json::Value;

use super::support::{TestApi, send};
use crate::orders::{EVENT_STREAMS, EVENT_STREAMS_PER_ORDER};

async fn follow(api: &TestApi, path: &str) -> impl Stream<Item = Value> + Unpin + use<> {
    let response = api.client.get(path).send().await;
    response.assert_status_is_ok();
    response.assert_content_type("text/event-stream");
    response.sse_stream().map(|event| match event {
        Event::Message { event, data, .. } => {
            assert_eq!(event, "order");
            serde_json::from_str(&data).unwrap()
        }
        Event::Retry { .. } => panic!("nobody asked for that"),
    })
}

async fn next(stream: &mut (impl Stream<Item = Value> + Unpin)) -> Option<Value> {
    tokio::time::timeout(Duration::from_secs(3), stream.next()).await.expect("within 3 s")
}

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

    assert_eq!(next(&mut stream).await, None, "nothing more can come");
}

#[tokio::test]
async fn the_stream_of_a_settled_order_shows_it_and_ends() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    api.pay(&order).await;

    let mut stream = follow(&api, &format!("/api/orders/1/events?token={}", order.token.as_str())).await;

    assert_eq!(next(&mut stream).await.unwrap()["status"], "paid");
    assert_eq!(next(&mut stream).await, None);
}

#[tokio::test]
async fn a_lost_notice_costs_a_follower_a_few_seconds_and_no_more() {
    let ends = tokio_util::sync::CancellationToken::new();
    ends.cancel();
    // Notices that hear of nothing.
    let api =
        TestApi::with(|context| context.notice = shared::notice::Notice::start(&context.store, None, &ends)).await;
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
        for _ in 0..EVENT_STREAMS_PER_ORDER {
            open.push(api.client.get(format!("/api/orders/{id}/events")).send().await);
        }
    }
    let last = api.order().await;
    let path = format!("/api/orders/{}/events", last.id);

    send(api.client.get(&path)).await.problem(503, "too-many-streams");
    open.pop();
    api.client.get(&path).send().await.assert_status_is_ok();
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

    send(api.client.get("/api/orders/1/events")).await.problem(503, "too-many-streams");
    api.client.get("/api/orders/2/events").send().await.assert_status_is_ok();
    open.pop();
    api.client.get("/api/orders/1/events").send().await.assert_status_is_ok();
}
