//! The environment, read once into typed values; every fault is reported in one message.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::gateway::atmos::AtmosConfig;
use crate::secret::Secret;

mod atmos;
mod environment;
mod values;

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
        read(Environment::new(role, &get))
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
        read(environment)
    }

    /// Whether this process brings its own sandbox: `up` with the sandbox's key, unless `ATMOS_BASE_URL` says
    /// that the sandbox is somewhere else.
    pub fn starts_sandbox(&self) -> bool {
        self.role == Role::Up && self.atmos.is_sandbox() && leads_to(&self.atmos.base_url, self.sandbox_listen)
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

/// The name of the embedded database in the data directory.
const DATABASE_FILE: &str = "tasdiq.db";

/// The waits of the look schedule (DESIGN: quick while a customer looks on, then ever slower).
const SETTLE_SCHEDULE: &str = "0.25,0.5,1,2,4,8,15,30,60,120,300,600";

/// What the real gateway is asked at most; unlimited with the sandbox.
const GATEWAY_RATE: GatewayRate = GatewayRate { per_second: 20, burst: 40 };

fn read(mut env: Environment<'_>) -> Result<Config, ConfigFaults> {
    let role = env.role();
    let data_dir = PathBuf::from(env.text("TASDIQ_DATA_DIR").unwrap_or_else(|| "./tasdiq-data".to_owned()));
    let listen = env.listen("TASDIQ_LISTEN", 8000);
    let worker_listen = env.listen("TASDIQ_WORKER_LISTEN", 8001);
    let sandbox_listen = env.listen("TASDIQ_SANDBOX_LISTEN", 8100);
    if role == Role::Up && listen == sandbox_listen && listen.port() != 0 {
        env.fault("TASDIQ_SANDBOX_LISTEN", "is the same address as TASDIQ_LISTEN; give the two different ports");
    }

    let atmos = atmos::read(&mut env, sandbox_listen);
    let is_real = atmos.as_ref().is_some_and(|atmos| !atmos.is_sandbox());
    let api_keys = api_keys(&mut env, atmos.as_ref());
    let public_url = public_url(&mut env, listen, is_real);
    let database = database(&mut env, &data_dir);
    let redis_url = redis_url(&mut env);
    let gateway_rate = env.parsed("TASDIQ_GATEWAY_RATE", values::gateway_rate);
    let settle_schedule = env.parsed("TASDIQ_SETTLE_SCHEDULE", values::schedule);
    let settle_schedule = settle_schedule.or_else(|| values::schedule(SETTLE_SCHEDULE).ok()).unwrap_or_default();

    let link_wait = Duration::from_millis(env.number("TASDIQ_LINK_WAIT_MS", 3_000, 0..=30_000));
    let link_ttl = Duration::from_secs(3_600 * env.number("TASDIQ_LINK_TTL_HOURS", 24, 1..=720));
    let payment_ttl = Duration::from_secs(60 * env.number("TASDIQ_PAYMENT_TTL_MINUTES", 30, 1..=10_080));
    let sweep_every = Duration::from_secs(env.number("TASDIQ_SWEEP_SECONDS", 60, 1..=3_600));
    let stop_grace = Duration::from_secs(env.number("TASDIQ_STOP_GRACE_SECONDS", 25, 1..=600));
    let log = env.parsed("TASDIQ_LOG", values::log_filter).unwrap_or_else(|| "info".to_owned());
    let log_format = env.parsed("TASDIQ_LOG_FORMAT", values::log_format).unwrap_or(LogFormat::Text);

    // Without a fault the two are there; the pattern keeps us from making them up where there was one.
    match (atmos, public_url, env.finish()) {
        (Some(atmos), Some(public_url), Ok(warnings)) => Ok(Config {
            role,
            atmos,
            database,
            redis_url,
            data_dir,
            listen,
            worker_listen,
            sandbox_listen,
            public_url,
            api_keys,
            link_wait,
            link_ttl,
            payment_ttl,
            settle_schedule,
            sweep_every,
            stop_grace,
            gateway_rate: gateway_rate.or(is_real.then_some(GATEWAY_RATE)),
            log,
            log_format,
            warnings,
        }),
        (_, _, Err(faults)) => Err(faults),
        (_, _, Ok(_)) => Err(ConfigFaults::default()),
    }
}

/// Secure start: an open order API is only for the sandbox on this machine.
fn api_keys(env: &mut Environment<'_>, atmos: Option<&AtmosConfig>) -> Vec<ApiKey> {
    let is_sandbox = atmos.is_some_and(AtmosConfig::is_sandbox);
    let shortest = if is_sandbox { 8 } else { 16 };
    let was_given = env.is_set("TASDIQ_API_KEYS");
    let keys = env.parsed("TASDIQ_API_KEYS", |text| values::api_keys(text, shortest)).unwrap_or_default();
    if was_given || !env.role().serves_orders() {
        return keys;
    }
    match atmos {
        Some(atmos) if atmos.is_sandbox() && is_loopback(&atmos.base_url) => env.warn(
            "the order API is open to whoever reaches it: TASDIQ_API_KEYS is not set, which only the sandbox on this \
             machine allows",
        ),
        Some(atmos) if atmos.is_sandbox() => env.fault(
            "TASDIQ_API_KEYS",
            "is missing, and with the sandbox on another machine the order API must not be open; set it to \
             name:key with a key of 8 characters or more",
        ),
        Some(_) | None => env.fault(
            "TASDIQ_API_KEYS",
            "is missing, and with real money the order API must not be open; set it to name:key with a random key \
             of 16 characters or more",
        ),
    }
    keys
}

fn public_url(env: &mut Environment<'_>, listen: SocketAddr, is_real: bool) -> Option<Url> {
    let url = if env.is_set("TASDIQ_PUBLIC_URL") {
        env.parsed("TASDIQ_PUBLIC_URL", values::public_url)?
    } else {
        local_url(listen)?
    };
    let sends_customers_there = matches!(env.role(), Role::Up | Role::Api | Role::Worker);
    if is_real && sends_customers_there && is_loopback(&url) {
        env.warn(
            "customers and the gateway cannot reach this machine's own address: set TASDIQ_PUBLIC_URL to the one that \
             they use, such as https://pay.example.uz",
        );
    } else if is_real && sends_customers_there && url.scheme() == "http" {
        env.warn("TASDIQ_PUBLIC_URL is http: order pages and callbacks travel in clear text; use https");
    }
    Some(url)
}

fn database(env: &mut Environment<'_>, data_dir: &std::path::Path) -> DatabaseUrl {
    let embedded = DatabaseUrl::Sqlite(data_dir.join(DATABASE_FILE));
    let role = env.role();
    if !env.is_set("DATABASE_URL") {
        if role.is_scaled_out() {
            env.fault(
                "DATABASE_URL",
                &format!(
                    "is missing; {} shares its database with other processes, so set it to \
                     postgres://user:password@host/name (`tasdiq up` is the one that needs none)",
                    role.command()
                ),
            );
        } else if role == Role::Migrate {
            env.fault(
                "DATABASE_URL",
                "is missing; set it to the database to prepare, such as postgres://user:password@host/name",
            );
        }
        return embedded;
    }
    let Some(database) = env.parsed("DATABASE_URL", values::database) else { return embedded };
    if role.is_scaled_out() && matches!(database, DatabaseUrl::Sqlite(_)) {
        env.fault(
            "DATABASE_URL",
            &format!(
                "is SQLite, a file for one process only; {} shares its database with other processes, so set it to \
                 postgres://user:password@host/name",
                role.command()
            ),
        );
    }
    database
}

fn redis_url(env: &mut Environment<'_>) -> Option<Secret> {
    let role = env.role();
    if role.is_scaled_out() && !env.is_set("REDIS_URL") {
        env.fault(
            "REDIS_URL",
            &format!("is missing; {} meets the other processes there, so set it to redis://host:6379", role.command()),
        );
    }
    env.parsed("REDIS_URL", values::redis_url)
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

/// How this machine itself reaches what listens at `address`; "every address" is reached at loopback.
fn local_url(address: SocketAddr) -> Option<Url> {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    Url::parse(&format!("http://{}", SocketAddr::new(ip, address.port()))).ok()
}

#[cfg(test)]
mod tests;
