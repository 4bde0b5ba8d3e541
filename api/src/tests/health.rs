//! What whoever runs us asks, and how we stop.

use std::time::Duration;

use poem::EndpointExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::support::{TestApi, send};

#[tokio::test]
async fn a_healthy_process_is_live_ready_and_measured() {
    let api = TestApi::start().await;
    api.order().await;

    assert_eq!(api.get("/livez").await.status, 200);
    let ready = api.get("/readyz").await;
    assert_eq!(ready.status, 200, "{ready:?}");
    for part in ["process", "database", "clock", "queue"] {
        assert_eq!(ready.json()["checks"][part], "ok", "{part}");
    }
    let metrics = api.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(metrics.body.contains("tasdiq_orders{status=\"pending\"} 1"), "{}", metrics.body);
    assert!(metrics.body.contains("tasdiq_http_requests_total{route=\"create\",status=\"201\"}"), "{}", metrics.body);
}

#[tokio::test]
async fn with_the_database_away_the_process_lives_is_not_ready_and_still_shows_its_metrics() {
    let api = TestApi::start().await;
    api.store().close().await;

    assert_eq!(api.get("/livez").await.status, 200);
    let ready = api.get("/readyz").await.problem(503, "not-ready");
    assert_eq!(ready["checks"]["database"], "does not answer");
    let metrics = api.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains("tasdiq_callbacks_total"), "{}", metrics.body);
}

#[tokio::test]
async fn a_stopping_process_is_not_ready() {
    let api = TestApi::start().await;

    api.stopping.cancel();

    let ready = api.get("/readyz").await.problem(503, "not-ready");
    assert_eq!(ready["checks"]["process"], "stopping");
}

#[tokio::test]
async fn a_panic_is_a_problem_without_details() {
    let broken =
        poem::endpoint::make(|_| async { if true { panic!("the secret of it") } else { Ok::<_, poem::Error>(()) } });
    let client = poem::test::TestClient::new(broken.with(crate::requests::Requests));

    let answer = send(client.get("/api/orders/1")).await;

    answer.problem(500, "internal");
    assert!(!answer.body.contains("secret"));
}

#[tokio::test]
async fn a_stop_lets_a_running_request_finish_and_then_ends() {
    let api = TestApi::with(|context| context.link_wait = Duration::from_secs(2)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(crate::serve(api.context.clone(), listener, stop.clone(), Duration::from_secs(10)));
    let mut connection = TcpStream::connect(address).await.unwrap();
    let body = r#"{"product_name":"Somsa","amount":"50.00","payment_type":"atmos"}"#;
    let request = format!(
        "POST /api/orders/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    // The order is made; its request waits for the link.
    super::support::eventually("order 1 exists", async || api.get("/api/orders/1").await.status == 200).await;

    stop.cancel();

    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(5), connection.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
}
