//! A log must never stop the service: its reader goes away, or lives and does not read; its disk is full; it was closed
//! before the program started.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use reqwest::StatusCode;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::role::id;
use crate::support::up::Up;
use crate::support::wait::{PATIENCE, wait_until};

/// A named pipe. The test holds its other end.
struct Pipe {
    path: PathBuf,
    end: Option<File>,
    _folder: TempDir,
}

impl Pipe {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        // For reading and writing: opening it for reading alone would wait for a writer.
        let end = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        Pipe { path, end: Some(end), _folder: folder }
    }

    fn redirection(&self) -> String {
        format!("2>{}", self.path.display())
    }

    /// Reads the bytes written so far. There must be some.
    fn read_some(&mut self) -> String {
        let mut bytes = [0; 4_096];
        let read = self.end.as_mut().unwrap().read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    /// Closes the reading end, as `| head -5` does.
    fn leave(&mut self) {
        self.end = None;
    }
}

/// Makes an order and pays it, which needs API, webhook, worker and sandbox.
async fn pays(up: &Up) {
    let order = id(&up.api.create_order().await);
    let transaction_id = up.api.wait_for_link(order).await;
    assert_eq!(up.sandbox.pay(transaction_id).await, "debited");
    up.api.wait_for(order, "paid").await;
}

/// The log's line of `/readyz`, which must be green.
async fn log_state(up: &Up) -> String {
    let (status, text) = up.api.role.get("/readyz").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let body: serde_json::Value = serde_json::from_str(&text).unwrap();
    body["checks"]["log"].as_str().unwrap().to_owned()
}

/// `/readyz`, the metric and `doctor`, which is another process, report lost lines.
async fn tells_of_lost_lines(up: &Up, cause: &str) {
    wait_until("/readyz to tell of lost lines", PATIENCE, async || {
        log_state(up).await.contains("lines lost").then_some(())
    })
    .await;
    assert!(up.api.role.metric("tasdiq_log_lines_dropped_total", cause).await > 0);
    wait_until("doctor to tell of lost lines", PATIENCE, async || {
        let doctor = up.command(&["doctor"]).await;
        doctor.lines().any(|line| line.starts_with("warn   log") && line.contains("lines lost")).then_some(())
    })
    .await;
}

async fn ends_well(mut up: Up) {
    up.api.role.program.signal("TERM");
    let status = up.api.role.program.wait_exit(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{}", up.api.role.program.output());
}

/// Shows: INVARIANT-24
#[tokio::test]
async fn a_log_whose_reader_goes_away_stops_nothing() {
    let mut pipe = Pipe::new();
    let up = Up::start_redirected(&pipe.redirection(), &[]).await;
    pays(&up).await;
    assert!(pipe.read_some().contains("INFO"));
    assert_eq!(log_state(&up).await, "ok");

    pipe.leave();

    pays(&up).await;
    tells_of_lost_lines(&up, "not_written").await;
    ends_well(up).await;
}

/// Shows: INVARIANT-24
#[tokio::test]
async fn a_log_whose_reader_does_not_read_holds_up_nothing() {
    let pipe = Pipe::new();
    // At level trace the pipe is full soon.
    let up = Up::start_redirected(&pipe.redirection(), &[("TASDIQ_LOG", "trace")]).await;

    wait_until("the pipe to be full for some seconds", PATIENCE, async || {
        pays(&up).await;
        log_state(&up).await.contains("nothing was taken").then_some(())
    })
    .await;

    pays(&up).await;
    ends_well(up).await;
}

/// Shows: INVARIANT-24
#[tokio::test]
async fn a_service_whose_log_is_full_or_closed_starts_and_works() {
    for redirection in ["2>/dev/full", "2>&-", ">/dev/full 2>/dev/full", ">&- 2>&-"] {
        let up = Up::start_redirected(redirection, &[]).await;

        pays(&up).await;
        if redirection.contains("2>/dev/full") {
            tells_of_lost_lines(&up, "not_written").await;
        }
        ends_well(up).await;
    }
}

/// Shops put a few lines of the log into their reports. The last lines tell how it ended.
#[tokio::test]
async fn the_last_lines_are_written_before_a_process_ends() {
    let mut up = Up::start(&[]).await;

    up.api.role.program.signal("TERM");
    up.api.role.program.wait_exit(PATIENCE).await;

    assert!(up.api.role.program.output().contains("the worker has stopped"), "{}", up.api.role.program.output());
}

/// The result of a command is its output. If the output cannot be written, the command says so and fails.
#[tokio::test]
async fn a_command_whose_output_cannot_be_written_fails_and_one_whose_log_cannot_does_not() {
    let up = Up::start(&[]).await;
    let ending = async |redirection: &str| {
        let arguments = ["jobs", "list"];
        let mut command =
            crate::support::program::Program::start_redirected(redirection, &arguments, &up.environment());
        let status = command.wait_exit(Duration::from_secs(20)).await;
        (status.code(), command.output())
    };

    let (code, output) = ending(">/dev/full").await;
    assert_eq!(code, Some(1));
    assert!(output.contains("cannot print: No space left on device"), "{output}");
    for redirection in ["2>/dev/full", "2>&-"] {
        assert_eq!(ending(redirection).await.0, Some(0), "{redirection}");
    }
}

/// The log without its first `before` bytes.
fn written_since(up: &Up, before: usize) -> String {
    up.api.role.program.output().split_off(before)
}

/// Refused requests need no key, and so must not fill a disk.
/// Shows: INVARIANT-18
#[tokio::test]
async fn refused_requests_fill_no_log_and_orders_are_still_told() {
    let up = Up::start(&[]).await;
    let before = up.api.role.program.output().len();
    let address = up.api.role.url.strip_prefix("http://").unwrap().to_owned();

    for _ in 0..1_000 {
        assert_eq!(up.api.role.get("/nope").await.0, StatusCode::NOT_FOUND);
    }
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let request = format!("{} /nope HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "X".repeat(300_000));
    // The request may be refused before all of it was sent.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
    pays(&up).await;

    let log = written_since(&up, before);
    assert!(log.len() < 100_000, "{} bytes", log.len());
    assert_eq!(log.matches("GET /nope 404").count(), 120);
    assert!(log.contains("POST /api/orders/create 201") && log.contains("is paid"), "{log}");
}

/// After a leak it must be possible to say which caller asked for which order.
#[tokio::test]
async fn an_access_line_tells_the_senders_address_and_the_name_of_the_key_and_neither_key_nor_token() {
    const KEY: &str = "0f8b7c6d5e4a39281706f5e4d3c2b1a0";
    let keys = format!("shop:{KEY}");
    let up = Up::start(&[("TASDIQ_API_KEYS", &keys), ("TASDIQ_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let client = crate::support::role::client();
    let url = &up.api.role.url;
    let body = serde_json::json!({ "product_name": "Tea", "amount": "50.00", "payment_type": "atmos" });
    let request = client.post(format!("{url}/api/orders/create")).bearer_auth(KEY).json(&body);
    let order: serde_json::Value =
        request.header("X-Forwarded-For", "203.0.113.7").send().await.unwrap().json().await.unwrap();
    let token = order["order_token"].as_str().unwrap();

    for path in [
        format!("/api/orders/1?token={token}"),
        format!("/api/orders/1/events&token={token}"),
        format!("/api/orders/1/events%3Ftoken={token}"),
        format!("/pay%2F{token}"),
        format!("/pay/{token}"),
        format!("/pay/{token}/return"),
        format!("/x/%25{:x}{}", token.as_bytes()[0], &token[1..]),
    ] {
        up.api.role.get(&path).await;
    }

    let output = up.api.role.program.output();
    let created = output.lines().find(|line| line.contains("POST /api/orders/create 201")).unwrap();
    assert!(created.contains("client=203.0.113.7") && created.contains(r#"api_key="shop""#), "{created}");
    let paid = output.lines().find(|line| line.contains("GET /pay/[redacted]/return 200")).unwrap();
    assert!(paid.contains("client=127.0.0.1") && !paid.contains("api_key"), "{paid}");
    assert!(!output.contains(&token[1..]), "{output}");
    assert!(!output.contains(KEY), "{output}");
}

/// One signature fits several bodies, and a person who has seen one can send it for ever.
#[tokio::test]
async fn a_captured_callback_that_is_sent_again_and_again_fills_no_log() {
    let up = Up::start(&[]).await;
    let sign = ["callback", "sign", "--transaction-id", "777", "--account", "1", "--amount", "50.00"];
    let body = up.command(&sign).await;
    let before = up.api.role.program.output().len();
    let client = crate::support::role::client();
    let send = || client.post(format!("{}/atmos/webhook/", up.api.role.url)).body(body.trim().to_owned()).send();

    for _ in 0..50 {
        for answer in futures_util::future::join_all((0..10).map(|_| send())).await {
            assert_eq!(answer.unwrap().status(), StatusCode::OK);
        }
    }
    pays(&up).await;

    let log = written_since(&up, before);
    assert_eq!(log.matches("does not fit our rows").count(), 300);
    assert!(log.contains("the gateway may debit") && log.contains("is paid"), "{log}");
}
