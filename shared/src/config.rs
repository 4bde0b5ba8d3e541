//! The environment, read once into typed values; every fault is reported in one message.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
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
mod read;
mod values;

pub use addresses::{AddressCheck, CallbackAddresses};
use environment::Environment;
pub use environment::{ConfigFault, ConfigFaults};

/// What this process is going to be; decides what the environment must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything in one process, with embedded parts where no URL says otherwise.
    Up,
    /// The API of a scaled-out installation.
    Api,
    /// A worker of a scaled-out installation.
    Worker,
    /// The sandbox alone.
    Sandbox,
    /// Prepares the database.
    Migrate,
    /// A command that looks into an installation: doctor, jobs, orders.
    Operator,
}

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
}

impl Role {
    /// The command that starts it, for messages.
    pub fn command(self) -> &'static str {
        match self {
            Role::Up => "tasdiq up",
            Role::Api => "tasdiq api",
            Role::Worker => "tasdiq worker",
            Role::Sandbox => "tasdiq sandbox",
            Role::Migrate => "tasdiq migrate",
            Role::Operator => "this command",
        }
    }

    /// Whether it is one of several processes, which can only meet in servers.
    fn is_scaled_out(self) -> bool {
        matches!(self, Role::Api | Role::Worker)
    }

    /// Whether it serves the order API.
    fn serves_orders(self) -> bool {
        matches!(self, Role::Up | Role::Api)
    }
}

impl Config {
    /// Reads the variables that this role uses; `get` answers a variable's value, an empty one counts as unset.
    ///
    /// # Errors
    /// All faults at once. None repeats a value: any value may be a secret that went into the wrong variable.
    pub fn from_environment(role: Role, get: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigFaults> {
        read::config(Environment::new(role, &get))
    }

    /// Reads a whole environment, such as `std::env::vars_os()`, and warns of names that look like ours and are not.
    ///
    /// # Errors
    /// As [`Config::from_environment`]; a value of ours that is not UTF-8 is a fault, too.
    pub fn from_variables(
        role: Role,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, ConfigFaults> {
        let variables: Vec<(OsString, OsString)> = variables.into_iter().collect();
        let get = |name: &str| {
            let (_, value) = variables.iter().find(|(given, _)| given == name)?;
            Some(value.to_string_lossy().into_owned())
        };
        let mut environment = Environment::new(role, &get);
        for (name, value) in &variables {
            environment.look_over(&name.to_string_lossy(), value.to_str().is_some());
        }
        read::config(environment)
    }

    /// Whether this process brings its own sandbox: `up` with the sandbox's key, unless `ATMOS_BASE_URL` says
    /// that the sandbox is somewhere else.
    pub fn starts_sandbox(&self) -> bool {
        self.role == Role::Up && self.atmos.is_sandbox() && leads_to(&self.atmos.base_url, self.sandbox_listen)
    }

    /// The variable that says which database it is; in the data directory it is that directory's.
    pub fn database_variable(&self) -> &'static str {
        match &self.database {
            DatabaseUrl::Sqlite(path) if *path == read::embedded_database(&self.data_dir) => "TASDIQ_DATA_DIR",
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

/// Whether the URL leads to this machine and no further.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Whether the URL leads to what listens at `address` on this machine.
fn leads_to(url: &Url, address: SocketAddr) -> bool {
    let is_local = address.ip().is_loopback() || address.ip().is_unspecified();
    let by_another_name = is_local && is_loopback(url) && url.port_or_known_default() == Some(address.port());
    url.scheme() == "http" && (by_another_name || local_url(address).as_ref() == Some(url))
}

/// How this machine itself reaches what listens at `address`; "every address" is reached at loopback. Without a
/// last slash, such as `http://127.0.0.1:8000`.
pub fn local_base(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

fn local_url(address: SocketAddr) -> Option<Url> {
    Url::parse(&local_base(address)).ok()
}

#[cfg(test)]
mod tests;
