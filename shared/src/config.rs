//! The environment, read once into typed values; every fault is reported in one message.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::gateway::atmos::AtmosConfig;
use crate::gateway_rate::GatewayRate;
use crate::secret::Secret;
use crate::store::DatabaseUrl;
use crate::telemetry::LogFormat;

mod addresses;
mod atmos;
mod environment;
mod fault;
mod local_address;
mod names;
mod read;
mod role;
mod values;
mod variables;

pub use addresses::{AddressCheck, CallbackAddresses};
pub use fault::{ConfigFault, ConfigFaults};
pub use local_address::local_base;
use local_address::{leads_to, local_url};
pub use role::Role;
pub use variables::Variables;

/// The name of the embedded database in the data directory.
const DATABASE_FILE: &str = "tasdiq.db";

/// One caller of the order API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Stands on the orders it makes.
    pub name: String,
    /// What the caller sends as bearer token.
    pub key: Secret,
}

/// Everything the environment says.
#[derive(Clone, Debug)]
pub struct Config {
    /// What this process is.
    pub role: Role,
    /// The gateway.
    pub atmos: AtmosConfig,
    /// The database.
    pub database: DatabaseUrl,
    /// Connections of this process to PostgreSQL; `None` for what its role needs as a rule.
    pub database_connections: Option<u32>,
    /// Redis, or `None` for the queue inside the process.
    pub redis_url: Option<Secret>,
    /// Where embedded parts keep their files.
    pub data_dir: PathBuf,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where callbacks alone are taken, beside `listen`, if anywhere.
    pub webhook_listen: Option<SocketAddr>,
    /// Where a worker answers health and metrics.
    pub worker_listen: SocketAddr,
    /// Where the sandbox listens.
    pub sandbox_listen: SocketAddr,
    /// What customers' browsers and the gateway reach; without a last slash.
    pub public_url: Url,
    /// Who may use the order API; empty means open.
    pub api_keys: Vec<ApiKey>,
    /// The addresses callbacks may come from.
    pub callback_addresses: CallbackAddresses,
    /// How long `create` waits for the payment link.
    pub link_wait: Duration,
    /// How long an order lives without a payment link.
    pub link_ttl: Duration,
    /// How long an order lives from its first payment link on.
    pub payment_ttl: Duration,
    /// How long after a hint looks come, from `TASDIQ_SETTLE_SCHEDULE`; the last repeats.
    pub settle_schedule: Vec<Duration>,
    /// How often `sweep` runs.
    pub sweep_every: Duration,
    /// How long a stop waits for running work.
    pub stop_grace: Duration,
    /// The budget of gateway calls; `None` is unlimited.
    pub gateway_rate: Option<GatewayRate>,
    /// The log filter.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// What is odd but no fault, in sentences for the log; nothing here is secret.
    pub warnings: Vec<String>,
    /// The variables that all this was read from, those of files among them.
    pub settings: Variables,
}

impl Config {
    /// Whether this process brings its own sandbox: `up` with the sandbox's key, unless `ATMOS_BASE_URL` says
    /// that the sandbox is somewhere else.
    pub fn starts_sandbox(&self) -> bool {
        self.role == Role::Up && self.atmos.is_sandbox() && leads_to(&self.atmos.base_url, self.sandbox_listen)
    }

    /// The variable that says which database it is; in the data directory it is that directory's.
    pub fn database_variable(&self) -> &'static str {
        match &self.database {
            DatabaseUrl::Sqlite(path) if *path == embedded_database(&self.data_dir) => "TASDIQ_DATA_DIR",
            DatabaseUrl::Sqlite(_) | DatabaseUrl::Postgres(_) => "DATABASE_URL",
        }
    }

    /// The public address as text without a last slash, so that `/pay/…` can be added.
    pub fn public_base(&self) -> &str {
        self.public_url.as_str().trim_end_matches('/')
    }

    /// Takes the address at which the API really listens: after port 0, the system's choice is the port.
    pub fn api_listens_at(&mut self, bound: SocketAddr) {
        if local_url(self.listen).as_ref() == Some(&self.public_url)
            && let Some(url) = local_url(bound)
        {
            self.public_url = url;
        }
        self.listen = bound;
    }

    /// Takes the address at which our own sandbox really listens.
    pub fn sandbox_listens_at(&mut self, bound: SocketAddr) {
        if self.starts_sandbox()
            && let Some(url) = local_url(bound)
        {
            if self.atmos.checkout_url == self.atmos.base_url {
                self.atmos.checkout_url = url.clone();
            }
            self.atmos.base_url = url;
        }
        self.sandbox_listen = bound;
    }
}

/// The database that lies in a data directory.
fn embedded_database(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE_FILE)
}

#[cfg(test)]
mod tests;
