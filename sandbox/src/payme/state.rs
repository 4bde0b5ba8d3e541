//! The state of Payme's sandbox.

use std::sync::Arc;

use parking_lot::RwLock;

use super::busy::BusyCode;
use super::caller::MerchantCaller;
use super::faults::SimPaymeFault;
use super::ledger::ReceiptLedger;
use crate::error::SandboxError;
use crate::faults::{FaultTarget, Strike};
use crate::state::SandboxState;

/// The stand-in for Payme.
#[derive(Debug)]
pub(crate) struct PaymeSandbox {
    pub(crate) common: Arc<SandboxState>,
    pub(crate) ledger: ReceiptLedger,
    pub(crate) caller: MerchantCaller,
    /// The transactions that the fault `rival` began beside a payer's own, oldest first.
    pub(crate) rivals: RwLock<Vec<String>>,
    /// Which code it expects for an order that another transaction holds.
    pub(crate) busy_code: RwLock<BusyCode>,
}

impl PaymeSandbox {
    /// Opens the ledger in the data directory.
    pub(crate) fn open(common: Arc<SandboxState>) -> Result<Self, SandboxError> {
        Ok(PaymeSandbox {
            ledger: ReceiptLedger::open(&common.config.data_dir, common.clock.clone())?,
            caller: MerchantCaller::new(&common.config).map_err(SandboxError::CallbackClient)?,
            rivals: RwLock::default(),
            busy_code: RwLock::default(),
            common,
        })
    }

    /// Whether a fault strikes a payer's step on this account.
    pub(crate) fn strikes(&self, fault: SimPaymeFault, account: &str) -> Option<Strike> {
        self.caller.faults.strikes(fault, FaultTarget { call: None, account: Some(account) })
    }
}
