//! One variable after the other, with the rules that tie them together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::environment::Environment;
use super::fault::{ConfigFault, ConfigFaults};
use super::local_address::{is_loopback, local_url};
use super::names::reads;
use super::values::KeyStrength;
use super::variables::Variables;
use super::{ApiKey, Config, Role, addresses, atmos, embedded_database, values};
use crate::gateway::atmos::AtmosConfig;
use crate::gateway_rate::GatewayRate;
use crate::secret::Secret;
use crate::store::DatabaseUrl;
use crate::telemetry::LogFormat;

/// The waits of the look schedule (quick while a customer looks on, then ever slower; ARCHITECTURE.md says what it costs).
const SETTLE_SCHEDULE: &str = "0.25,0.5,1,1.5,2,3,4,6,8,10,12,15,20,30,60,120,300,600";

/// What the real gateway is asked at most; unlimited with the sandbox.
const GATEWAY_RATE: GatewayRate = GatewayRate { per_second: 20, burst: 40 };

/// Keys that guard money. A random one of this length has more different signs.
const KEY_STRENGTH: KeyStrength = KeyStrength { characters: 16, different: 8 };

/// Keys that guard a sandbox, such as `demo-key`.
const SANDBOX_KEY_STRENGTH: KeyStrength = KeyStrength { characters: 8, different: 4 };

/// Below the 30 s after which the API calls a request too slow: the order is made, so `create` must tell of it.
const MAX_LINK_WAIT_MS: u64 = 25_000;

impl Config {
    /// Reads the variables that this role uses; `get` answers a variable's value, an empty one counts as unset.
    ///
    /// # Errors
    /// All faults at once. None repeats a value: any value may be a secret that went into the wrong variable.
    pub fn from_environment(role: Role, get: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigFaults> {
        config(Environment::new(role, &get))
    }

    /// Reads all that was given, such as [`Variables::of_this_process`], opens the files of secrets that it names, and
    /// warns of names that look like ours and are not.
    ///
    /// # Errors
    /// As [`Config::from_environment`]; a value of ours that is not UTF-8, and a file that cannot be read, are faults, too.
    pub fn from_variables(role: Role, variables: &Variables) -> Result<Config, ConfigFaults> {
        let (opened, faults) = variables.opened(|name| reads(role, name));
        let get = |name: &str| opened.get(name);
        let mut environment = Environment::new(role, &get);
        for ConfigFault { variable, what } in faults {
            environment.fault(&variable, &what);
        }
        for (name, value) in variables.iter() {
            environment.look_over(&name.to_string_lossy(), value.to_str().is_some());
        }
        Ok(Config { settings: opened.ours(), ..config(environment)? })
    }
}

fn config(mut env: Environment<'_>) -> Result<Config, ConfigFaults> {
    let role = env.role();
    let data_dir = PathBuf::from(env.text("TASDIQ_DATA_DIR").unwrap_or_else(|| "./tasdiq-data".to_owned()));
    let listen = env.listen("TASDIQ_LISTEN", 8000);
    let webhook_listen = env.listen_if_set("TASDIQ_WEBHOOK_LISTEN", 8002);
    let worker_listen = env.listen("TASDIQ_WORKER_LISTEN", 8001);
    let sandbox_listen = env.listen("TASDIQ_SANDBOX_LISTEN", 8100);
    if role == Role::Up && listen == sandbox_listen && listen.port() != 0 {
        env.fault("TASDIQ_SANDBOX_LISTEN", "is the same address as TASDIQ_LISTEN; give the two different ports");
    }
    let others =
        [("TASDIQ_LISTEN", Some(listen)), ("TASDIQ_SANDBOX_LISTEN", (role == Role::Up).then_some(sandbox_listen))];
    for (name, other) in others {
        if other.is_some() && webhook_listen == other && other.is_some_and(|address| address.port() != 0) {
            env.fault("TASDIQ_WEBHOOK_LISTEN", &format!("is the same address as {name}; give the two different ports"));
        }
    }

    let atmos = atmos::read(&mut env, sandbox_listen);
    let is_real = atmos.as_ref().is_some_and(|atmos| !atmos.is_sandbox());
    let api_keys = api_keys(&mut env, atmos.as_ref(), listen);
    let public_url = public_url(&mut env, listen, is_real);
    let is_behind_proxy = public_url.as_ref().is_some_and(|url| url.scheme() == "https");
    let callback_addresses = addresses::read(&mut env, is_behind_proxy);
    let database = database(&mut env, &data_dir);
    let database_connections = env.parsed("TASDIQ_DATABASE_CONNECTIONS", values::database_connections);
    let redis_url = redis_url(&mut env);
    let gateway_rate = env.parsed("TASDIQ_GATEWAY_RATE", str::parse::<GatewayRate>);
    let settle_schedule = env.parsed("TASDIQ_SETTLE_SCHEDULE", values::schedule);
    let settle_schedule = settle_schedule.or_else(|| values::schedule(SETTLE_SCHEDULE).ok()).unwrap_or_default();

    let link_wait = Duration::from_millis(env.number("TASDIQ_LINK_WAIT_MS", 3_000, 0..=MAX_LINK_WAIT_MS));
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
            database_connections,
            redis_url,
            data_dir,
            listen,
            webhook_listen,
            worker_listen,
            sandbox_listen,
            public_url,
            api_keys,
            callback_addresses,
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
            settings: Variables::default(),
        }),
        (_, _, Err(faults)) => Err(faults),
        (_, _, Ok(_)) => Err(ConfigFaults::default()),
    }
}

/// Secure start: an open order API is only for the sandbox on this machine, and for callers on this machine.
fn api_keys(env: &mut Environment<'_>, atmos: Option<&AtmosConfig>, listen: SocketAddr) -> Vec<ApiKey> {
    let is_sandbox = atmos.is_some_and(AtmosConfig::is_sandbox);
    let strength = if is_sandbox { SANDBOX_KEY_STRENGTH } else { KEY_STRENGTH };
    let was_given = env.is_set("TASDIQ_API_KEYS");
    let keys = env.parsed("TASDIQ_API_KEYS", |text| values::api_keys(text, strength)).unwrap_or_default();
    if was_given || !env.role().serves_orders() {
        return keys;
    }
    match atmos {
        Some(atmos)
            if atmos.is_sandbox() && is_loopback(&atmos.base_url) && !listen.ip().to_canonical().is_loopback() =>
        {
            env.fault(
                "TASDIQ_API_KEYS",
                "is missing, and TASDIQ_LISTEN lets other machines in, for which the order API must not be open; set it \
                 to name:key with a key of 8 characters or more, or TASDIQ_LISTEN to 127.0.0.1:8000",
            );
        }
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

fn database(env: &mut Environment<'_>, data_dir: &Path) -> DatabaseUrl {
    let embedded = DatabaseUrl::Sqlite(embedded_database(data_dir));
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
