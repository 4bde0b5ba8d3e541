//! The stand-ins that one sandbox has, one for each gateway, and all their routes.

use std::path::PathBuf;
use std::sync::Arc;

use poem::{Endpoint, EndpointExt, Response, get, post};

use crate::atmos::{self, AtmosSandbox};
use crate::click::{self, ClickSandbox};
use crate::error::SandboxError;
use crate::journal::JournalError;
use crate::payme::{self, PaymeSandbox};
use crate::sim;
use crate::state::SandboxState;

/// All stand-ins of a sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Gateways {
    pub(crate) common: Arc<SandboxState>,
    pub(crate) atmos: Arc<AtmosSandbox>,
    pub(crate) payme: Arc<PaymeSandbox>,
    pub(crate) click: Arc<ClickSandbox>,
}

impl Gateways {
    /// Opens the ledgers. A long one takes seconds to read, so call it where waiting is allowed.
    pub(crate) fn open(common: Arc<SandboxState>) -> Result<Self, SandboxError> {
        let data_dir: PathBuf = common.config.data_dir.clone();
        Ok(Gateways {
            atmos: Arc::new(AtmosSandbox::open(Arc::clone(&common), &data_dir)?),
            payme: Arc::new(PaymeSandbox::open(Arc::clone(&common))?),
            click: Arc::new(ClickSandbox::open(Arc::clone(&common))?),
            common,
        })
    }

    /// Ends what is over by now; the clock was put forward.
    pub(crate) async fn end_what_is_over(&self) -> Result<(), JournalError> {
        self.atmos.close_what_is_over().await
    }

    /// Closes the ledgers.
    pub(crate) fn close(&self) {
        self.atmos.ledger.close();
    }

    /// All routes: those of Atmos at the top, as Atmos has them; the others below their names. Every other path is 404.
    pub(crate) fn routes(&self) -> impl Endpoint + use<> {
        let sim = atmos::sim_routes()
            .at("/clock", get(sim::get_clock).post(sim::post_clock))
            .at("/away", post(sim::post_away));
        atmos::routes(&self.atmos)
            .nest("/_sim", sim.around(sim::refuse_other_sites))
            .nest("/payme", payme::routes(&self.payme))
            .nest("/click", click::routes(&self.click))
            .at("/livez", get(get_livez))
            .data(Arc::clone(&self.atmos))
            .data(self.clone())
    }
}

/// `GET /livez`: the process answers.
#[poem::handler]
fn get_livez() -> Response {
    Response::default()
}
