//! The state of Atmos's sandbox.

use std::path::Path;
use std::sync::Arc;

use crate::atmos::callback::CallbackSender;
use crate::atmos::faults::AtmosFault;
use crate::atmos::ledger::TransactionLedger;
use crate::atmos::token::TokenIssuer;
use crate::error::SandboxError;
use crate::faults::Faults;
use crate::journal::JournalError;
use crate::state::SandboxState;

/// The stand-in for Atmos.
#[derive(Debug)]
pub(crate) struct AtmosSandbox {
    pub(crate) common: Arc<SandboxState>,
    pub(crate) ledger: TransactionLedger,
    pub(crate) tokens: TokenIssuer,
    pub(crate) faults: Faults<AtmosFault>,
    pub(crate) callbacks: CallbackSender,
}

impl AtmosSandbox {
    /// Opens the ledger in `data_dir`.
    pub(crate) fn open(common: Arc<SandboxState>, data_dir: &Path) -> Result<Self, SandboxError> {
        let config = &common.config;
        Ok(AtmosSandbox {
            ledger: TransactionLedger::open(data_dir, common.clock.clone())?,
            tokens: TokenIssuer::new(config.token_mode, config.token_lifetime, common.clock.clone()),
            faults: Faults::default(),
            callbacks: CallbackSender::new(config).map_err(SandboxError::CallbackClient)?,
            common,
        })
    }

    /// Closes the transactions that are over by now; the clock was put forward.
    pub(crate) async fn close_what_is_over(&self) -> Result<(), JournalError> {
        for entry in self.ledger.entries() {
            self.present(&entry).await?;
        }
        Ok(())
    }
}
