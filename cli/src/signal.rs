//! Being asked to stop: once politely, twice at once.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// An end on the spot waits no longer for its log line.
const LAST_LINE: Duration = Duration::from_millis(100);

/// A token that the first SIGTERM or SIGINT cancels. The second ends the process on the spot: nothing is lost by
/// it, for work that was cut off is run again.
///
/// # Errors
/// The system does not let us listen to signals.
pub(crate) fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        loop {
            let (name, code) = tokio::select! {
                _ = terminate.recv() => ("SIGTERM", 143),
                _ = interrupt.recv() => ("SIGINT", 130),
            };
            if first.is_cancelled() {
                warn!("{name} came a second time: ending at once");
                telemetry::flush(LAST_LINE);
                std::process::exit(code);
            }
            // Before the log line: the stop has begun even if the line is lost.
            first.cancel();
            info!("{name} came: finishing what runs; once more ends at once");
        }
    });
    Ok(stop)
}
