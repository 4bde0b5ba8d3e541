//! The environment, read once into typed values; every fault is reported in one message.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::gateway::atmos::AtmosConfig;
use crate::secret::Secret;

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

/// Which database, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file of ours.
    Sqlite(PathBuf),
    /// A PostgreSQL server; the URL may hold a password, hence a secret.
    Postgres(Secret),
}

/// One caller of the order API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Stands on the orders it makes.
    pub name: String,
    /// What the caller sends as bearer token.
    pub key: Secret,
}

/// Calls to the gateway per second and in a burst, for all processes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayRate {
    /// Sustained calls per second.
    pub per_second: u32,
    /// How many may come at once.
    pub burst: u32,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
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
    /// Redis, or `None` for the queue inside the process.
    pub redis_url: Option<Secret>,
    /// Where embedded parts keep their files.
    pub data_dir: PathBuf,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where a worker answers health and metrics.
    pub worker_listen: SocketAddr,
    /// Where the sandbox listens.
    pub sandbox_listen: SocketAddr,
    /// What customers' browsers and the gateway reach; without a last slash.
    pub public_url: Url,
    /// Who may use the order API; empty means open.
    pub api_keys: Vec<ApiKey>,
    /// How long `create` waits for the payment link.
    pub link_wait: Duration,
    /// How long an order lives without a payment link.
    pub link_ttl: Duration,
    /// How long an order lives from its first payment link on.
    pub payment_ttl: Duration,
    /// Waits between looks after a hint, from `TASDIQ_SETTLE_SCHEDULE`; the last repeats.
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
}
