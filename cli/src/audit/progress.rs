//! What a long run is at, on standard error.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// A run that is over by then says nothing.
const FIRST_AFTER: Duration = Duration::from_secs(2);

const EVERY: Duration = Duration::from_secs(3);

/// Prints every few seconds what was told last. Dropping it ends that.
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

    /// What the run is at from now on.
    pub(super) fn tell(&self, line: String) {
        *self.now.lock() = line;
    }
}

impl Drop for AuditProgress {
    fn drop(&mut self) {
        self.printing.abort();
    }
}
