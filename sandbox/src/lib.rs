//! Stand-ins for the gateways that run on a laptop: the same wire over real HTTP, a payment page, faults on demand, and
//! a ledger of its own for audits. Atmos's paths stand at the top, Payme's below `/payme/`, Click's below `/click/`.
//!
//! It checks the rest of the project, so it shares no code with it: signatures, JSON and money rules are implemented
//! here a second time, from the gateways' documentation only.
//!
//! It has no real money, no real cards and no password on `/_sim/`: keep it on loopback, which is its default.

// A test may panic.
#![cfg_attr(test, allow(clippy::expect_used))]

mod answers;
mod atmos;
mod check;
mod click;
mod clock;
mod config;
mod connections;
mod error;
mod exchange;
mod faults;
mod journal;
mod local_url;
mod payme;
mod routes;
mod sim;
mod stand_ins;
mod state;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poem::Server;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};
use url::Url;

pub use crate::check::{CheckLine, CheckReport};
pub use crate::click::ClickTester;
pub use crate::config::{CallbackHash, SandboxConfig, TokenMode};
use crate::connections::SeveringAcceptor;
pub use crate::error::SandboxError;
use crate::local_url::local_url;
pub use crate::payme::{BusyCode, PaymeScenarios, RefundPolicy};
use crate::stand_ins::StandIns;
use crate::state::SandboxState;

/// How long running calls may take after [`Sandbox::stop`]; longer ones are cut off.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A running sandbox. Dropping it stops it too, but waits for nothing.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    stand_ins: StandIns,
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
        let max_connections = config.max_connections;
        let stand_ins = open_ledgers(Arc::new(SandboxState::new(config, address))).await?;
        let connections = stand_ins.common.connections.clone();
        let acceptor = SeveringAcceptor { listener: Some(listener), address, connections, max_connections };
        if !address.ip().is_loopback() {
            warn!(%address, "the sandbox listens beyond loopback, and /_sim/ needs no password");
        }
        let (stop, stopped) = oneshot::channel::<()>();
        stand_ins.payme.go_on_after_start();
        let routes = routes::routes(&stand_ins);
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
        Ok(Sandbox { address, stand_ins, stop, server })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for programs on this machine: `http://127.0.0.1:8100`.
    pub fn base_url(&self) -> String {
        local_url(self.address)
    }

    /// Sends Atmos's callbacks to `url` from now on: a test knows its merchant's port only after the merchant has
    /// started.
    pub fn set_callback_url(&self, url: Url) {
        self.stand_ins.atmos.callbacks.set_url(url);
    }

    /// Sends Payme's calls to `url` from now on.
    pub fn set_payme_webhook(&self, url: Url) {
        self.stand_ins.payme.caller.set_url(url);
    }

    /// Sends Click's calls to these addresses from now on.
    pub fn set_click_addresses(&self, prepare: Url, complete: Url) {
        self.stand_ins.click.set_addresses(prepare, complete);
    }

    /// Stops listening, lets running calls finish, and closes the ledger.
    pub async fn stop(self) {
        let common = Arc::clone(&self.stand_ins.common);
        // An error means that the server has ended already.
        let _ = self.stop.send(());
        common.stopping.cancel();
        if let Err(cause) = self.server.await {
            error!(error = %cause, "the sandbox's server panicked");
        }
        common.tasks.close();
        if tokio::time::timeout(STOP_GRACE, common.tasks.wait()).await.is_err() {
            warn!("a payment was still waiting for the merchant when the sandbox stopped; no money moved");
        }
        let stand_ins = self.stand_ins;
        if let Err(cause) = tokio::task::spawn_blocking(move || stand_ins.close()).await {
            error!(error = %cause, "could not close the sandbox's ledgers");
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
async fn open_ledgers(common: Arc<SandboxState>) -> Result<StandIns, SandboxError> {
    let path = common.config.data_dir.clone();
    match tokio::task::spawn_blocking(move || StandIns::open(common)).await {
        Ok(opened) => opened,
        Err(cause) => Err(SandboxError::DataDirNotWritable { path, source: io::Error::other(cause) }),
    }
}
