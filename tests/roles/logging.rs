//! A log must never stop the service: its reader goes away, or lives and does not read; its disk is full; it was closed
//! before we came.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use reqwest::StatusCode;
use tempfile::TempDir;

use super::role::id;
use super::up::Up;
use crate::support::wait::{PATIENCE, wait_until};

/// A pipe by name, with us at its other end.
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
        // For both ways, as opening it for reading alone waits for a writer.
        let end = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        Pipe { path, end: Some(end), _folder: folder }
    }

    fn redirection(&self) -> String {
        format!("2>{}", self.path.display())
    }

    /// Reads what was written so far, which must be something.
    fn read_some(&mut self) -> String {
        let mut bytes = [0; 4_096];
        let read = self.end.as_mut().unwrap().read(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    /// Leaves, as `| head -5` does.
    fn leave(&mut self) {
        self.end = None;
    }
}

/// An order is made, paid and found paid, so that API, webhook, worker and sandbox are all seen at work.
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

/// Lost lines are told by `/readyz`, by the metric, and by `doctor`, which is another process.
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

#[tokio::test]
async fn a_log_whose_reader_does_not_read_holds_up_nothing() {
    let pipe = Pipe::new();
    // Much is said, so that the pipe is full soon.
    let up = Up::start_redirected(&pipe.redirection(), &[("TASDIQ_LOG", "trace")]).await;

    wait_until("the pipe to be full for some seconds", PATIENCE, async || {
        pays(&up).await;
        log_state(&up).await.contains("nothing was taken").then_some(())
    })
    .await;

    pays(&up).await;
    ends_well(up).await;
}

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

/// Shops put a few lines of the log into their reports; the last ones tell how it ended.
#[tokio::test]
async fn the_last_lines_are_written_before_a_process_ends() {
    let mut up = Up::start(&[]).await;

    up.api.role.program.signal("TERM");
    up.api.role.program.wait_exit(PATIENCE).await;

    assert!(up.api.role.program.output().contains("the worker has stopped"), "{}", up.api.role.program.output());
}

/// A command's result is its output: where that cannot be written, it says so and fails.
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
