//! Health checks, metrics, and stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poem::EndpointExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::support::{TestApi, send};
use crate::CallbackAddresses;
use crate::Listeners;

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
    let (senders, routes) = (CallbackAddresses::default(), Arc::default());
    let requests = crate::requests::RequestMiddleware { link_wait: Duration::ZERO, senders, routes };
    let client = poem::test::TestClient::new(broken.with(requests));

    let answer = send(client.get("/api/orders/1")).await;

    answer.problem(500, "internal");
    assert!(!answer.body.contains("secret"));
}

#[tokio::test]
async fn a_stop_lets_a_running_request_finish_and_then_ends() {
    let api = TestApi::start().await;
    let (address, stop, server) = serve(&api, Duration::from_secs(10)).await;
    let mut connection = TcpStream::connect(address).await.unwrap();
    let body = r#"{"product_name":"Somsa","amount":"50.00","payment_type":"atmos"}"#;
    let head = format!(
        "POST /api/orders/create HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    // The server sends this as soon as it reads the body, so the request is running.
    let mut goes_on = [0; 25];
    connection.read_exact(&mut goes_on).await.unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    stop.cancel();
    tokio::time::sleep(Duration::from_millis(300)).await;
    connection.write_all(body.as_bytes()).await.unwrap();

    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(5), connection.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "the port is free again");
}

#[tokio::test]
async fn a_scaled_out_api_is_red_for_a_moment_before_it_closes() {
    let mut api = TestApi::start().await;
    api.context.role = "api";
    let (address, stop, server) = serve(&api, Duration::from_secs(4)).await;

    stop.cancel();
    // Longer than `up` needs to stop, shorter than the second in which `/readyz` is red.
    tokio::time::sleep(Duration::from_millis(300)).await;

    let mut connection = TcpStream::connect(address).await.expect("still taken");
    connection.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("stopping"), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), server).await.unwrap().unwrap();
}

type RunningServer = tokio::task::JoinHandle<()>;

async fn serve(api: &TestApi, grace: Duration) -> (SocketAddr, CancellationToken, RunningServer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let listeners = Listeners { all: listener, webhook: None };
    let server = tokio::spawn(crate::serve(api.context.clone(), listeners, stop.clone(), None, grace));
    (address, stop, server)
}
