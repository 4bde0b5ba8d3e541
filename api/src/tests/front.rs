//! Limits for one caller, and the pages shared by all callers.

use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use poem::Body;
use poem::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::support::{TestApi, answer, eventually, send};
use crate::Listeners;
use crate::concurrency_limit::REQUESTS_PER_ADDRESS;

#[tokio::test]
async fn the_description_and_its_page_are_sent_once_compressed_and_then_not_again() {
    let api = TestApi::start().await;

    for (path, least) in [("/docs", 1_000_000), ("/docs/", 1_000_000), ("/openapi.json", 10_000)] {
        let plain = api.get(path).await;
        let packed = api.client.get(path).header("accept-encoding", "br, gzip").send().await.0;

        assert!(plain.status == 200 && plain.body.len() > least, "{path}: {}", plain.body.len());
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept-encoding"));
        assert_eq!(plain.header("cache-control"), "public, max-age=300");
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        let tags = [plain.header("etag").to_owned(), packed.header("etag").unwrap().to_owned()];
        assert_ne!(tags[0], tags[1], "two representations");
        let packed = packed.into_body().into_vec().await.unwrap();
        let mut unpacked = String::new();
        GzDecoder::new(packed.as_slice()).read_to_string(&mut unpacked).unwrap();
        assert!(unpacked == plain.body, "{path}");
        assert!(packed.len() * 3 < plain.body.len(), "{path}: {}", packed.len());
        for (tag, coding) in [(&tags[0], "identity"), (&tags[1], "gzip")] {
            let known = api.client.get(path).header("if-none-match", tag).header("accept-encoding", coding);
            let known = send(known).await;
            assert_eq!((known.status, known.body.as_str()), (304, ""), "{path} {coding}");
            assert_eq!(known.header("etag"), tag);
        }
        let other = send(api.client.get(path).header("if-none-match", "\"something else\"")).await;
        assert_eq!(other.status, 200);
    }
}

#[tokio::test]
async fn an_address_behind_our_proxies_has_so_many_requests_under_way_and_leaves_the_rest_to_others() {
    let api = TestApi::with(|context| {
        context.callback_addresses.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    })
    .await;
    let forwarded = |caller: &'static str| [("x-forwarded-for", caller)];
    let one = forwarded("203.0.113.7");
    let waiting = (0..REQUESTS_PER_ADDRESS).map(|_| {
        // A body that never arrives.
        let body = Body::from_bytes_stream(futures_util::stream::pending::<std::io::Result<Vec<u8>>>());
        api.respond_from("10.0.0.1", poem::http::Request::post("/atmos/webhook/"), &one, body)
    });
    let mut waiting = Box::pin(futures_util::future::join_all(waiting));
    assert!(futures_util::poll!(&mut waiting).is_pending());

    let one_too_many = answer(api.get_from("10.0.0.1", "/livez", &one).await).await;
    let problem = one_too_many.problem(429, "too-many-requests");

    assert!(problem["detail"].as_str().unwrap().contains("running"));
    assert_eq!(api.get_from("10.0.0.1", "/livez", &forwarded("203.0.113.8")).await.status(), StatusCode::OK);
    assert_eq!(api.get_from("10.0.0.1", "/livez", &[]).await.status(), StatusCode::OK, "the proxy's own");
    waiting.await;
    assert_eq!(api.get_from("10.0.0.1", "/livez", &one).await.status(), StatusCode::OK);
}

/// What a browser sends as `Accept`.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[tokio::test]
async fn a_browser_that_comes_without_an_address_is_told_what_is_served_here() {
    let api = TestApi::start().await;
    for (path, accepted, language, headline) in [
        ("/", "", "uz", "Toʻlov xizmati"),
        ("/", "ru-RU,ru;q=0.9", "ru", "Платёжный сервис"),
        ("/", "de, en;q=0.5", "en", "Payment service"),
        ("/?lang=ru", "en", "ru", "Платёжный сервис"),
    ] {
        let request = api.client.get(path).header("accept", BROWSER).header("accept-language", accepted);
        let page = send(request).await;

        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.body.contains(&format!("<html lang=\"{language}\">")), "{}", page.body);
        assert!(page.body.contains(&format!("<h1>{headline}</h1>")) && page.body.contains("href=\"docs\""));
        assert!(!page.body.contains(env!("CARGO_PKG_VERSION")), "a stranger learns no version");
        assert_eq!(page.header("vary"), "accept, accept-language");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    let head = send(api.client.head("/").header("accept", BROWSER)).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    for program in ["", "*/*", "application/json", "text/html;q=0"] {
        let answer = send(api.client.get("/").header("accept", program)).await;
        answer.problem(404, "not-found");
    }
}

async fn said(address: std::net::SocketAddr, request: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(5), connection.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

/// Shows: INVARIANT-25
#[tokio::test]
async fn the_webhooks_own_listener_answers_callbacks_and_health_and_nothing_else() {
    let api = TestApi::start().await;
    let order = api.order().await;
    api.link(&order, 700).await;
    let [all, webhook] =
        [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let address = webhook.local_addr().unwrap();
    let stop = CancellationToken::new();
    let listeners = Listeners { all, webhook: Some(webhook) };
    let grace = Duration::from_secs(1);
    let server = tokio::spawn(crate::serve(api.context.clone(), listeners, stop.clone(), None, grace));
    let body = api.signed(domain::id::TransactionId(700), "1", 5_000);

    let asked = format!(
        "POST /atmos/webhook/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let callback = said(address, &asked).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");

    assert!(callback.starts_with("HTTP/1.1 200") && callback.contains("\"status\":1"), "{callback}");
    assert!(said(address, &get("/livez")).await.starts_with("HTTP/1.1 200"));
    assert!(said(address, &get("/readyz")).await.starts_with("HTTP/1.1 200"));
    for path in ["/api/orders/1", "/docs", "/openapi.json", "/pay/x"] {
        let answer = said(address, &get(path)).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    let metrics = said(address, &get("/metrics")).await;
    assert!(metrics.contains("tasdiq_connections{listener=\"webhook\"} 1"), "{metrics}");
    stop.cancel();
    eventually("the server to end", async || server.is_finished()).await;
}
