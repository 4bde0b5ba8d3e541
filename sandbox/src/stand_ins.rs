//! The stand-ins that one sandbox has, one for each gateway.

use std::path::PathBuf;
use std::sync::Arc;

use crate::atmos::AtmosSandbox;
use crate::click::ClickSandbox;
use crate::error::SandboxError;
use crate::journal::JournalError;
use crate::payme::PaymeSandbox;
use crate::state::SandboxState;

/// All stand-ins of a sandbox.
#[derive(Clone, Debug)]
pub(crate) struct StandIns {
    pub(crate) common: Arc<SandboxState>,
    pub(crate) atmos: Arc<AtmosSandbox>,
    pub(crate) payme: Arc<PaymeSandbox>,
    pub(crate) click: Arc<ClickSandbox>,
}

impl StandIns {
    /// Opens the ledgers. A long one takes seconds to read, so call it where waiting is allowed.
    pub(crate) fn open(common: Arc<SandboxState>) -> Result<Self, SandboxError> {
        let data_dir: PathBuf = common.config.data_dir.clone();
        Ok(StandIns {
            atmos: Arc::new(AtmosSandbox::open(Arc::clone(&common), &data_dir)?),
            payme: Arc::new(PaymeSandbox::open(Arc::clone(&common))?),
            click: Arc::new(ClickSandbox::open(Arc::clone(&common))?),
            common,
        })
    }

    /// Ends what is over by now; the clock was put forward.
    pub(crate) async fn end_what_is_over(&self) -> Result<(), JournalError> {
        self.atmos.close_what_is_over().await?;
        self.payme.end_what_is_over().await
    }

    /// Closes the ledgers.
    pub(crate) fn close(&self) {
        self.atmos.ledger.close();
        self.payme.ledger.close();
        self.click.ledger.close();
    }
}
