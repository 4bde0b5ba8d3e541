//! Being asked to stop: once politely, twice at once.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

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
                std::process::exit(code);
            }
            info!("{name} came: finishing what runs; once more ends at once");
            first.cancel();
        }
    });
    Ok(stop)
}
