//! The progress of a long run, on standard error.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// A shorter run prints nothing.
const FIRST_AFTER: Duration = Duration::from_secs(2);

const EVERY: Duration = Duration::from_secs(3);

/// Prints the latest progress every few seconds, until it is dropped.
pub(super) struct AuditProgress {
    now: Arc<Mutex<String>>,
    printing: AbortHandle,
}

impl AuditProgress {
    pub(super) fn start() -> Self {
        let now = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&now);
        let printing = tokio::spawn(async move {
            tokio::time::sleep(FIRST_AFTER).await;
            loop {
                let line = shown.lock().clone();
                telemetry::say(&format!("audit: {line}"));
                tokio::time::sleep(EVERY).await;
            }
        });
        AuditProgress { now, printing: printing.abort_handle() }
    }

    /// Sets the progress to print from now on.
    pub(super) fn tell(&self, line: String) {
        *self.now.lock() = line;
    }
}

impl Drop for AuditProgress {
    fn drop(&mut self) {
        self.printing.abort();
    }
}
