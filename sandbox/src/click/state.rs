//! The state of the sandbox's Click.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use url::Url;

use super::clock::ClickClock;
use super::faults::ClickSimFault;
use super::ledger::ClickLedger;
use super::sender::ShopApiSender;
use crate::error::SandboxError;
use crate::faults::{FaultTarget, Faults, Strike};
use crate::state::SandboxState;

/// The merchant who owns the one service of this sandbox; `tasdiq` has the same values by default.
pub(crate) const MERCHANT_ID: &str = "11111";
/// The user of the Merchant API.
pub(crate) const MERCHANT_USER_ID: &str = "33333";
/// Signs the calls of both directions.
pub(crate) const SECRET_KEY: &str = "sandbox-click-secret";

/// The stand-in for Click.
#[derive(Debug)]
pub(crate) struct ClickSandbox {
    pub(crate) common: Arc<SandboxState>,
    pub(crate) clock: ClickClock,
    pub(crate) ledger: ClickLedger,
    pub(crate) faults: Faults<ClickSimFault>,
    pub(crate) sender: ShopApiSender,
    addresses: RwLock<Option<ShopAddresses>>,
}

/// The two addresses that a merchant registers for a service (Click documents, SHOP-API).
#[derive(Clone, Debug)]
pub(crate) struct ShopAddresses {
    pub(crate) prepare: Url,
    pub(crate) complete: Url,
}

impl ClickSandbox {
    /// The stand-in of a sandbox with this configuration.
    pub(crate) fn open(common: Arc<SandboxState>) -> Result<Self, SandboxError> {
        let config = &common.config;
        let clock = ClickClock::new(common.clock.clone());
        // A service is off until both addresses are set (Click documents, SHOP-API).
        let addresses = match (&config.click_prepare, &config.click_complete) {
            (Some(prepare), Some(complete)) => {
                Some(ShopAddresses { prepare: prepare.clone(), complete: complete.clone() })
            }
            _ => None,
        };
        let data_dir: PathBuf = config.data_dir.clone();
        Ok(ClickSandbox {
            ledger: ClickLedger::open(&data_dir, clock.now_ms())?,
            faults: Faults::default(),
            sender: ShopApiSender::new(config.callback_timeout).map_err(SandboxError::CallbackClient)?,
            addresses: RwLock::new(addresses),
            clock,
            common,
        })
    }

    /// Calls the merchant at these addresses from now on.
    pub(crate) fn set_addresses(&self, prepare: Url, complete: Url) {
        *self.addresses.write() = Some(ShopAddresses { prepare, complete });
    }

    /// Where to call the merchant; `None` for a service that is off.
    pub(crate) fn addresses(&self) -> Option<ShopAddresses> {
        self.addresses.read().clone()
    }

    /// Whether a fault strikes what belongs to this account.
    pub(crate) fn strikes(&self, fault: ClickSimFault, account: &str) -> Option<Strike> {
        self.faults.strikes(fault, FaultTarget { call: None, account: Some(account) })
    }
}
