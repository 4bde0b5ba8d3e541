//! A stand-in for Click.

use std::sync::Arc;

use parking_lot::RwLock;
use poem::Route;
use url::Url;

use crate::error::SandboxError;
use crate::state::SandboxState;

/// The stand-in for Click.
#[derive(Debug)]
pub(crate) struct ClickSandbox {
    prepare: RwLock<Option<Url>>,
    complete: RwLock<Option<Url>>,
}

impl ClickSandbox {
    /// The stand-in of a sandbox with this configuration.
    pub(crate) fn open(common: Arc<SandboxState>) -> Result<Self, SandboxError> {
        Ok(ClickSandbox {
            prepare: RwLock::new(common.config.click_prepare.clone()),
            complete: RwLock::new(common.config.click_complete.clone()),
        })
    }

    /// Calls the merchant at these addresses from now on.
    pub(crate) fn set_addresses(&self, prepare: Url, complete: Url) {
        *self.prepare.write() = Some(prepare);
        *self.complete.write() = Some(complete);
    }
}

/// The routes below `/click/`.
pub(crate) fn routes(_click: &Arc<ClickSandbox>) -> Route {
    Route::new()
}
