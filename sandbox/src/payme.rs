//! A stand-in for Payme.

use std::sync::Arc;

use parking_lot::RwLock;
use poem::Route;
use url::Url;

use crate::error::SandboxError;
use crate::state::SandboxState;

/// The stand-in for Payme.
#[derive(Debug)]
pub(crate) struct PaymeSandbox {
    webhook: RwLock<Option<Url>>,
}

impl PaymeSandbox {
    /// The stand-in of a sandbox with this configuration.
    pub(crate) fn open(common: Arc<SandboxState>) -> Result<Self, SandboxError> {
        Ok(PaymeSandbox { webhook: RwLock::new(common.config.payme_webhook.clone()) })
    }

    /// Calls the merchant at `url` from now on.
    pub(crate) fn set_webhook(&self, url: Url) {
        *self.webhook.write() = Some(url);
    }
}

/// The routes below `/payme/`.
pub(crate) fn routes(_payme: &Arc<PaymeSandbox>) -> Route {
    Route::new()
}
