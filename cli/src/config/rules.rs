//! The rules that tie the settings of several components together.

use api::{ApiSettings, KeyStrength, MAX_API_KEYS};
use config::Environment;
use domain::shop::ShopName;
use store::DatabaseUrl;

use super::components::Config;
use super::file::ShopTables;
use super::gateway::{self, Published};
use super::known_gateway::KnownGateway;
use super::role::Role;
use crate::local_address::{is_loopback, local_base};

/// Keys that guard money. A random one of this length has more different signs.
const KEY_STRENGTH: KeyStrength = KeyStrength { characters: 16, different: 8 };

/// Keys that guard a sandbox, such as `demo-key`.
const SANDBOX_KEY_STRENGTH: KeyStrength = KeyStrength { characters: 8, different: 4 };

/// Fills in the settings that follow from others, and checks that all fit together. `published` is the gateway where no
/// variable is set: the sandbox.
pub(super) fn apply(env: &mut Environment<'_>, config: &mut Config, published: &Published) {
    listeners(env, config);
    let shops = ShopTables::open(env, config);
    let mut accounts = gateway::apply(env, config, published, shops.have_accounts());
    accounts.extend(shops.read(env, config, published));
    if accounts.contains(&KnownGateway::Real) && accounts.contains(&KnownGateway::Sandbox) {
        let what = "names an account of the sandbox beside a real one; the two never belong together, as no money of the \
                    sandbox is real";
        env.fault(if config.own_accounts.is_empty() { "TASDIQ_CONFIG" } else { "ATMOS_CONSUMER_KEY" }, what);
    }
    let gateway = KnownGateway::of_all(&accounts);
    api_keys(env, config, gateway, &shops);
    public_url(env, config, gateway);
    callback_addresses(env, config);
    database(env, config);
    redis(env, config);
}

fn listeners(env: &mut Environment<'_>, config: &Config) {
    let (listen, sandbox) = (config.address.listen, config.sandbox.listen);
    let has_sandbox = config.role == Role::Up;
    if has_sandbox && listen == sandbox && listen.port() != 0 {
        env.fault("TASDIQ_SANDBOX_LISTEN", "is the same address as TASDIQ_LISTEN; give the two different ports");
    }
    let others = [("TASDIQ_LISTEN", Some(listen)), ("TASDIQ_SANDBOX_LISTEN", has_sandbox.then_some(sandbox))];
    for (name, other) in others {
        if other.is_some_and(|other| config.api.webhook_listen == Some(other) && other.port() != 0) {
            let what = format!("is the same address as {name}; give the two different ports");
            env.fault("TASDIQ_WEBHOOK_LISTEN", what);
        }
    }
}

/// Secure start: an open order API is only for the sandbox on this machine, and for callers on this machine.
fn api_keys(env: &mut Environment<'_>, config: &mut Config, gateway: KnownGateway, shops: &ShopTables) {
    let is_sandbox = gateway == KnownGateway::Sandbox;
    let strength = if is_sandbox { SANDBOX_KEY_STRENGTH } else { KEY_STRENGTH };
    config.api.keys = ApiSettings::read_keys(env, &ShopName::default(), strength);
    for (key, fault) in shops.read_shops(env, config, strength) {
        if config
            .api
            .keys
            .iter()
            .any(|other| (other.name == key.name && other.shop != key.shop) || other.key == key.key)
        {
            env.add([fault]);
        }
        config.api.keys.push(key);
    }
    if config.api.keys.len() > MAX_API_KEYS {
        env.fault("TASDIQ_CONFIG", format!("brings the number of API keys above {MAX_API_KEYS}"));
    }
    let are_given = env.is_set("TASDIQ_API_KEYS") || !config.api.keys.is_empty();
    if are_given || !config.role.serves_orders() {
        return;
    }
    if !config.file_shops.is_empty() && env.is_faulty("TASDIQ_CONFIG") {
        return; // A fault of the file may be the reason.
    }
    if !config.file_shops.is_empty() {
        env.fault(
            "TASDIQ_CONFIG",
            "names shops and no API key, so that callers could not be told apart; give each shop api_keys",
        );
        return;
    }
    let is_sandbox_here = is_sandbox && config.sandbox_addresses().iter().all(is_loopback);
    if is_sandbox_here && !config.address.listen.ip().to_canonical().is_loopback() {
        env.fault(
            "TASDIQ_API_KEYS",
            "is missing, and TASDIQ_LISTEN lets other machines in, for which the order API must not be open; set it \
             to name:key with a key of 8 characters or more, or TASDIQ_LISTEN to 127.0.0.1:8000",
        );
    } else if is_sandbox_here {
        env.warn(
            "the order API is open to every caller that reaches it: TASDIQ_API_KEYS is not set, which only the sandbox on \
             this machine allows",
        );
    } else if is_sandbox {
        env.fault(
            "TASDIQ_API_KEYS",
            "is missing, and with the sandbox on another machine the order API must not be open; set it to \
             name:key with a key of 8 characters or more",
        );
    } else {
        env.fault(
            "TASDIQ_API_KEYS",
            "is missing, and with real money the order API must not be open; set it to name:key with a random key \
             of 16 characters or more",
        );
    }
}

fn public_url(env: &mut Environment<'_>, config: &mut Config, gateway: KnownGateway) {
    if !env.has_read("TASDIQ_PUBLIC_URL")
        && let Ok(url) = local_base(config.address.listen).parse()
    {
        config.address.public_url = url;
    }
    let sends_customers_there = matches!(config.role, Role::Up | Role::Api | Role::Worker);
    if gateway != KnownGateway::Real || !sends_customers_there || env.is_faulty("TASDIQ_PUBLIC_URL") {
        return;
    }
    let url = config.address.public_url.url();
    if is_loopback(url) {
        env.warn(
            "customers and the gateway cannot reach this machine's own address: set TASDIQ_PUBLIC_URL to the one that \
             they use, such as https://pay.example.uz",
        );
    } else if url.scheme() == "http" {
        env.warn("TASDIQ_PUBLIC_URL is http: order pages and callbacks travel in clear text; use https");
    }
}

fn callback_addresses(env: &mut Environment<'_>, config: &Config) {
    let addresses = &config.callback_addresses;
    let are_checked = addresses.check != api::AddressCheck::Off;
    if env.has_read("ATMOS_CALLBACK_ADDRESSES") && !are_checked {
        env.warn(
            "ATMOS_CALLBACK_ADDRESSES is set, and ATMOS_CALLBACK_ADDRESS_CHECK is off: callbacks are taken from every \
             address; set it to watch, and to refuse once nothing of the gateway's is told",
        );
    }
    if !addresses.trusted_proxies.is_empty() || config.address.public_url.url().scheme() != "https" {
        return;
    }
    if are_checked {
        env.warn(
            "TASDIQ_PUBLIC_URL is https, so a proxy stands in front, and every callback seems to come from it: set \
             TASDIQ_TRUSTED_PROXIES to its address, or ATMOS_CALLBACK_ADDRESS_CHECK looks at the wrong one",
        );
    } else if config.role.serves_orders() {
        env.warn(
            "TASDIQ_PUBLIC_URL is https, so a proxy stands in front, and every request seems to come from it: set \
             TASDIQ_TRUSTED_PROXIES to its address, or all customers together are limited as one caller",
        );
    }
}

fn database(env: &mut Environment<'_>, config: &mut Config) {
    let role = config.role;
    if !env.has_read("DATABASE_URL") {
        config.database.url = DatabaseUrl::embedded(&config.data_dir.path);
    }
    if role.is_scaled_out() && !env.is_set("DATABASE_URL") {
        let what = format!(
            "is missing; {} shares its database with other processes, so set it to postgres://user:password@host/name \
             (`tasdiq up` is the one that needs none)",
            role.command()
        );
        env.fault("DATABASE_URL", what);
    } else if role == Role::Migrate && !env.is_set("DATABASE_URL") {
        env.fault(
            "DATABASE_URL",
            "is missing; set it to the database to prepare, such as postgres://user:password@host/name",
        );
    } else if role.is_scaled_out() && matches!(config.database.url, DatabaseUrl::Sqlite(_)) {
        let what = format!(
            "is SQLite, a file for one process only; {} shares its database with other processes, so set it to \
             postgres://user:password@host/name",
            role.command()
        );
        env.fault("DATABASE_URL", what);
    }
}

fn redis(env: &mut Environment<'_>, config: &Config) {
    let role = config.role;
    if role.is_scaled_out() && !env.is_set("REDIS_URL") {
        let what =
            format!("is missing; {} meets the other processes there, so set it to redis://host:6379", role.command());
        env.fault("REDIS_URL", what);
    }
}
