//! Connections that try to harm the sandbox.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::TestShop;

const SOON: Duration = Duration::from_secs(5);

async fn closes(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(SOON, stream.read_to_end(&mut Vec::new())).await.is_ok()
}

#[tokio::test]
async fn http_2_is_refused_at_its_first_bytes_however_they_come() {
    let shop = TestShop::configured(|_| ()).await;

    for parts in [&["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"][..], &["P", "RI", " * HTTP/2.0\r\n\r\nSM\r\n\r\n"]] {
        let mut stream = TcpStream::connect(shop.sandbox.address()).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        for part in parts {
            // Writing after the refusal may fail.
            let _ = stream.write_all(part.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        assert!(closes(&mut stream).await, "{parts:?}");
    }
}

#[tokio::test]
async fn held_connections_do_not_keep_out_a_new_one() {
    let shop = TestShop::configured(|config| config.max_connections = 4).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(TcpStream::connect(shop.sandbox.address()).await.expect("a connection"));
    }

    let answer = shop.get("/livez").send().await.expect("an answer");

    assert_eq!(answer.status(), 200);
    assert!(closes(&mut held[0]).await, "it has been silent for the longest");
    let last = held.last_mut().expect("the last");
    assert!(tokio::time::timeout(Duration::from_millis(200), last.read_u8()).await.is_err(), "it is one of four");
}

#[tokio::test]
async fn a_head_without_an_end_is_not_kept() {
    let shop = TestShop::configured(|_| ()).await;
    let mut stream = TcpStream::connect(shop.sandbox.address()).await.expect("a connection");
    stream.write_all(b"GET /livez HTTP/1.1\r\nx-long: ").await.expect("taken");

    // It may be closed before everything is sent.
    let _ = stream.write_all(&[b'x'; 100_000]).await;

    assert!(closes(&mut stream).await, "it waits for more");
}
