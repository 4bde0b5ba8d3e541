//! The state that the sandboxes of all gateways share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::SandboxClock;
use crate::config::SandboxConfig;
use crate::connections::Connections;
use crate::local_url::local_url;

/// The most bytes of a request's body.
pub(crate) const BODY_BYTES: usize = 64 * 1024;

/// What belongs to no single gateway: the listener, the clock, and work that goes on.
#[derive(Debug)]
pub(crate) struct SandboxState {
    pub(crate) config: SandboxConfig,
    /// The base URL for browsers, without a trailing slash.
    pub(crate) public_url: String,
    pub(crate) clock: SandboxClock,
    pub(crate) connections: Connections,
    /// Work that continues after its caller has hung up.
    pub(crate) tasks: TaskTracker,
    /// Ends work that only waits for its time.
    pub(crate) stopping: CancellationToken,
}

impl SandboxState {
    /// The state of a sandbox that listens on `address`.
    pub(crate) fn new(config: SandboxConfig, address: SocketAddr) -> Self {
        let public_url = match &config.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => local_url(address),
        };
        SandboxState {
            public_url,
            clock: SandboxClock::default(),
            connections: Connections::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            config,
        }
    }

    /// Runs `work` to its end even if the caller hangs up: closing a browser must not stop a debit half way. `None` if
    /// the work panicked.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.tasks.spawn(work).await.ok()
    }

    /// Runs `work` after a delay, unless the sandbox stops.
    pub(crate) fn later(&self, delay: Duration, work: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => (),
                () = tokio::time::sleep(delay) => work.await,
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_its_caller_has_hung_up() {
        let address = ([127, 0, 0, 1], 0).into();
        let state = Arc::new(SandboxState::new(SandboxConfig::new(address, "unused".into(), None), address));
        let (done, finished) = oneshot::channel();
        let work = async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = done.send(());
        };

        let caller = tokio::time::timeout(Duration::from_millis(5), state.run(work)).await;

        assert!(caller.is_err(), "the caller is gone before the end");
        assert_eq!(finished.await, Ok(()));
    }
}
