//! `create` waits a moment for the payment link.

use std::time::{Duration, Instant};

use domain::id::OrderId;
use process::notice::Notice;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::support::{TestApi, eventually};

fn body() -> Value {
    json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" })
}

/// Gives order 1 its link as soon as it exists.
async fn link_first_order(api: &TestApi) {
    eventually("order 1 exists", async || api.get("/api/orders/1").await.status == 200).await;
    let order = api.reread(OrderId(1)).await;
    api.link(&order, 700).await;
}

#[tokio::test]
async fn a_link_that_comes_in_time_is_in_the_answer_at_once() {
    let api = TestApi::with(|context| context.settings.link_wait = Duration::from_secs(5)).await;
    let made_late = async {
        // After the row is read again at 250 ms and long before 1 s: only the notice can end the wait now.
        tokio::time::sleep(Duration::from_millis(350)).await;
        link_first_order(&api).await;
    };
    let began = Instant::now();

    let body = body();
    let (answer, ()) = tokio::join!(api.create(&body), made_late);

    assert_eq!(answer.json()["payment_url"], "http://gateway.test/pay?transactionId=700");
    assert_eq!(answer.json()["transaction_id"], 700);
    assert!(began.elapsed() < Duration::from_millis(900), "the notice ends the wait: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_lost_notice_does_not_lose_the_link() {
    let ends = CancellationToken::new();
    ends.cancel();
    let api = TestApi::with(|context| {
        context.settings.link_wait = Duration::from_millis(1_500);
        context.notice = Notice::start(&context.store, None, &ends);
    })
    .await;

    let body = body();
    let (answer, ()) = tokio::join!(api.create(&body), link_first_order(&api));

    assert_eq!(answer.json()["transaction_id"], 700);
}

#[tokio::test]
async fn without_a_link_in_time_the_answer_is_our_own_page() {
    let api = TestApi::with(|context| context.settings.link_wait = Duration::from_millis(200)).await;
    let began = Instant::now();

    let answer = api.create(&body()).await;

    assert_eq!(answer.status, 201);
    assert!(answer.json()["payment_url"].as_str().unwrap().starts_with("http://shop.test/pay/"));
    assert!((Duration::from_millis(200)..Duration::from_secs(2)).contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_repeated_request_waits_like_the_first() {
    let api = TestApi::with(|context| context.settings.link_wait = Duration::from_millis(300)).await;
    let body = body();
    api.create_as(None, Some("key-1"), &body).await;
    let began = Instant::now();

    let (answer, ()) = tokio::join!(api.create_as(None, Some("key-1"), &body), link_first_order(&api));

    assert_eq!(answer.json()["transaction_id"], 700);
    assert!(began.elapsed() < Duration::from_millis(290), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_stopping_process_answers_at_once() {
    let api = TestApi::with(|context| context.settings.link_wait = Duration::from_secs(30)).await;
    api.stopping.cancel();

    let answer = tokio::time::timeout(Duration::from_secs(2), api.create(&body())).await.expect("at once");

    assert_eq!(answer.status, 201);
}
