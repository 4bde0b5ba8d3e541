//! A stand-in for Atmos that runs on a laptop: the same API over real HTTP, a payment page, faults on demand, and a
//! ledger of its own for audits.
//!
//! It checks the rest of the project, so it shares no code with it: signatures, JSON and money rules are implemented
//! here a second time, from Atmos' documentation only.
//!
//! It has no real money, no real cards and no password on `/_sim/`: keep it on loopback, which is its default.

// A test may panic.
#![cfg_attr(test, allow(clippy::expect_used))]

mod answers;
mod atmos;
mod clock;
mod config;
mod connections;
mod error;
mod faults;
mod journal;
mod local_url;
mod state;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use poem::{Endpoint, EndpointExt, Response, Route, Server, get, post};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};
use url::Url;

use crate::atmos::ledger::TransactionLedger;
use crate::atmos::merchant::{Call, MerchantEndpoint};
use crate::atmos::{ledger, page, sim, token};
pub use crate::config::{CallbackHash, SandboxConfig, TokenMode};
use crate::connections::SeveringAcceptor;
pub use crate::error::SandboxError;
use crate::local_url::local_url;
use crate::state::SandboxState;

/// How long running calls may take after [`Sandbox::stop`]; longer ones are cut off.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A running sandbox. Dropping it stops it too, but waits for nothing.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    state: Arc<SandboxState>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Sandbox {
    /// Binds, replays the ledger, and serves in its own task.
    ///
    /// A rustls crypto provider must be installed before, because callbacks may go to `https`.
    ///
    /// # Errors
    /// [`SandboxError`] if the address, the directory or the ledger cannot be used.
    pub async fn start(config: SandboxConfig) -> Result<Self, SandboxError> {
        let listen = config.listen;
        let listener = TcpListener::bind(listen).await.map_err(|source| cannot_bind(listen, source))?;
        let address = listener.local_addr().map_err(|source| cannot_bind(listen, source))?;
        let ledger = open_ledger(config.data_dir.clone()).await?;

        let max_connections = config.max_connections;
        let state = SandboxState::new(config, address, ledger).map_err(SandboxError::CallbackClient)?;
        let state = Arc::new(state);
        let connections = state.connections.clone();
        let acceptor = SeveringAcceptor { listener: Some(listener), address, connections, max_connections };
        if !address.ip().is_loopback() {
            warn!(%address, "the sandbox listens beyond loopback, and /_sim/ needs no password");
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let routes = routes(&state);
        let server = tokio::spawn(async move {
            let signal = async {
                // A dropped sender means stop as well.
                let _ = stopped.await;
            };
            let server = Server::new_with_acceptor(acceptor).name("sandbox");
            if let Err(cause) = server.run_with_graceful_shutdown(routes, signal, Some(STOP_GRACE)).await {
                error!(error = %cause, "the sandbox's server failed");
            }
        });
        info!(%address, "the sandbox is up on {address}");
        Ok(Sandbox { address, state, stop, server })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for programs on this machine: `http://127.0.0.1:8100`.
    pub fn base_url(&self) -> String {
        local_url(self.address)
    }

    /// Sends callbacks to `url` from now on: a test knows its merchant's port only after the merchant has started.
    pub fn set_callback_url(&self, url: Url) {
        self.state.callbacks.set_url(url);
    }

    /// Stops listening, lets running calls finish, and closes the ledger.
    pub async fn stop(self) {
        // An error means that the server has ended already.
        let _ = self.stop.send(());
        self.state.stopping.cancel();
        if let Err(cause) = self.server.await {
            error!(error = %cause, "the sandbox's server panicked");
        }
        self.state.tasks.close();
        if tokio::time::timeout(STOP_GRACE, self.state.tasks.wait()).await.is_err() {
            warn!("a payment was still waiting for the merchant when the sandbox stopped; no money moved");
        }
        let state = self.state;
        if let Err(cause) = tokio::task::spawn_blocking(move || state.ledger.close()).await {
            error!(error = %cause, "could not close the sandbox's ledger");
        }
    }
}

fn cannot_bind(address: SocketAddr, source: io::Error) -> SandboxError {
    match source.kind() {
        io::ErrorKind::AddrInUse => SandboxError::AddressInUse { address },
        _ => SandboxError::CannotBind { address, source },
    }
}

/// A long ledger takes seconds to read, so it is not read on a thread that serves requests.
async fn open_ledger(data_dir: PathBuf) -> Result<TransactionLedger, SandboxError> {
    let path = data_dir.join(ledger::FILE_NAME);
    match tokio::task::spawn_blocking(move || TransactionLedger::open(&data_dir)).await {
        Ok(opened) => opened,
        Err(cause) => Err(SandboxError::DataDirNotWritable { path, source: io::Error::other(cause) }),
    }
}

/// All routes of the sandbox; every other path is 404.
fn routes(state: &Arc<SandboxState>) -> impl Endpoint + use<> {
    let sim = Route::new()
        .at("/pay/:transaction_id", post(sim::post_pay))
        .at("/close/:transaction_id", post(sim::post_close))
        .at("/reverse/:transaction_id", post(sim::post_reverse))
        .at("/ledger", get(sim::get_ledger))
        .at("/callbacks", get(sim::get_callbacks))
        .at("/token", get(sim::get_token).post(sim::post_token).delete(sim::delete_token))
        .at("/clock", get(sim::get_clock).post(sim::post_clock))
        .at("/away", post(sim::post_away))
        .at("/faults", get(sim::get_faults).post(sim::post_faults).delete(sim::delete_faults));
    let mut routes = Route::new()
        .nest("/_sim", sim.around(sim::refuse_other_sites))
        .at("/livez", get(get_livez))
        .at("/token", post(token::post_token))
        .at("/revoke", post(token::post_revoke))
        .at("/invoice/get", get(page::get_invoice))
        .at("/invoice/card", post(page::post_card))
        .at("/invoice/pay", post(page::post_pay))
        .at("/invoice/cancel", post(page::post_cancel))
        .at("/ofd/:success_trans_id", get(page::get_receipt));
    for (call, path) in Call::PATHS {
        let state = Arc::clone(state);
        routes = routes.at(path, post(MerchantEndpoint { call, path, state }));
    }
    routes.data(Arc::clone(state))
}

/// `GET /livez`: the process answers.
#[poem::handler]
fn get_livez() -> Response {
    Response::default()
}
