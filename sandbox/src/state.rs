//! The state shared by all endpoints.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::atmos::callback::CallbackSender;
use crate::atmos::ledger::TransactionLedger;
use crate::atmos::token::TokenIssuer;
use crate::clock::SandboxClock;
use crate::config::SandboxConfig;
use crate::connections::Connections;
use crate::faults::Faults;
use crate::local_url::local_url;

/// The most bytes of a request's body.
pub(crate) const BODY_BYTES: usize = 64 * 1024;

/// The state of a sandbox.
#[derive(Debug)]
pub(crate) struct SandboxState {
    pub(crate) config: SandboxConfig,
    /// The base URL for browsers, without a trailing slash.
    pub(crate) public_url: String,
    pub(crate) clock: SandboxClock,
    pub(crate) ledger: TransactionLedger,
    pub(crate) tokens: TokenIssuer,
    pub(crate) faults: Faults,
    pub(crate) callbacks: CallbackSender,
    pub(crate) connections: Connections,
    /// Work that continues after its caller has hung up.
    pub(crate) tasks: TaskTracker,
    /// Ends work that only waits for its time.
    pub(crate) stopping: CancellationToken,
}

impl SandboxState {
    /// The state of a sandbox that listens on `address`.
    pub(crate) fn new(
        config: SandboxConfig,
        address: SocketAddr,
        ledger: TransactionLedger,
    ) -> Result<Self, reqwest::Error> {
        let public_url = match &config.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => local_url(address),
        };
        Ok(SandboxState {
            public_url,
            tokens: TokenIssuer::new(config.token_mode, config.token_lifetime, ledger.clock.clone()),
            clock: ledger.clock.clone(),
            ledger,
            faults: Faults::default(),
            callbacks: CallbackSender::new(&config)?,
            connections: Connections::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            config,
        })
    }

    /// Runs `work` to its end even if the caller hangs up: closing a browser must not stop a debit half way. `None` if
    /// the work panicked.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.tasks.spawn(work).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_its_caller_has_hung_up() {
        // Another test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().expect("a directory");
        let address = ([127, 0, 0, 1], 0).into();
        let config = SandboxConfig::new(address, directory.path().to_owned(), None);
        let ledger = TransactionLedger::open(directory.path()).expect("a ledger");
        let state = Arc::new(SandboxState::new(config, address, ledger).expect("a gateway"));
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
