//! What all endpoints share.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::callback::Callbacks;
use crate::clock::Clock;
use crate::config::SandboxConfig;
use crate::connections::Connections;
use crate::faults::Faults;
use crate::ledger::Ledger;
use crate::local_url::local_url;
use crate::token::Tokens;

/// The largest request that is read.
pub(crate) const BODY_BYTES: usize = 64 * 1024;

/// The inside of a sandbox.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) config: SandboxConfig,
    /// Where browsers reach it; no slash at the end.
    pub(crate) public_url: String,
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) tokens: Tokens,
    pub(crate) faults: Faults,
    pub(crate) callbacks: Callbacks,
    pub(crate) connections: Connections,
    /// Work that goes on when whoever asked for it has hung up.
    pub(crate) tasks: TaskTracker,
    /// Ends what only waits for its time.
    pub(crate) stopping: CancellationToken,
}

impl Gateway {
    /// The inside of a sandbox that listens on `address`.
    pub(crate) fn new(config: SandboxConfig, address: SocketAddr, ledger: Ledger) -> Result<Self, reqwest::Error> {
        let public_url = match &config.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            None => local_url(address),
        };
        Ok(Self {
            public_url,
            tokens: Tokens::new(config.token_mode, config.token_lifetime, ledger.clock.clone()),
            clock: ledger.clock.clone(),
            ledger,
            faults: Faults::default(),
            callbacks: Callbacks::new(&config)?,
            connections: Connections::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            config,
        })
    }

    /// Runs `work` to its end even if the caller hangs up meanwhile: a debit does not stop half way because a browser
    /// was closed. `None` when the work panicked.
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
        let ledger = Ledger::open(directory.path()).expect("a ledger");
        let gateway = Arc::new(Gateway::new(config, address, ledger).expect("a gateway"));
        let (done, finished) = oneshot::channel();
        let work = async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = done.send(());
        };

        let caller = tokio::time::timeout(Duration::from_millis(5), gateway.run(work)).await;

        assert!(caller.is_err(), "the caller is gone before the end");
        assert_eq!(finished.await, Ok(()));
    }
}
