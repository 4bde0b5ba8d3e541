//! The gateway's settings belong together: whole, or wholly the sandbox's.

use api::KeyStrength;
use config::Environment;
use domain::gateway_rate::GatewayRate;
use domain::order::PaymentType;
use domain::secret::Secret;
use gateway::atmos::AtmosSettings;
use gateway::click::ClickSettings;
use gateway::payme::PaymeSettings;
use url::Url;

use super::components::Config;
use super::known_gateway::{KnownGateway, OfProcess};
use super::role::Role;
use super::{click, payme};
use crate::local_address::{is_loopback, leads_to, local_url};

/// The settings without which the gateway cannot be called.
const NEEDED: [&str; 4] = ["ATMOS_CONSUMER_KEY", "ATMOS_CONSUMER_SECRET", "ATMOS_STORE_ID", "ATMOS_API_KEY"];

/// The sandbox's one terminal.
const SANDBOX_TERMINAL: &str = "1";

/// The least strength of the key that signs callbacks.
const CALLBACK_KEY_STRENGTH: KeyStrength = KeyStrength { characters: 16, different: 6 };

/// The rate limit for the real gateway; there is none for the sandbox.
const GATEWAY_RATE: GatewayRate = GatewayRate { per_second: 20, burst: 40 };

// The addresses of Atmos: its API, its payment pages, and the payment pages for tests with a shop.
const BASE: &str = "https://partner.atmos.uz";
const CHECKOUT: &str = "https://checkout.pays.uz";
const TEST_CHECKOUT: &str = "https://test-checkout.pays.uz";

/// The sandbox's settings, which are the defaults and are published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) atmos: AtmosSettings,
    pub(super) payme: PaymeSettings,
    pub(super) click: ClickSettings,
}

/// Finds the accounts that the variables describe, fills in what follows from their gateways, and checks that the rest fits
/// them. Without any, also in the file of shops, it is the sandbox, with an account at each gateway. `published` are the
/// defaults, hence the sandbox's settings; `in_file` says whether shops in a file have accounts.
pub(super) fn apply(
    env: &mut Environment<'_>,
    config: &mut Config,
    published: &Published,
    in_file: bool,
) -> Vec<KnownGateway> {
    let process = OfProcess { role: config.role, sandbox_listen: config.sandbox.listen };
    // An address on another machine means a certain gateway, so its credentials were forgotten.
    let names_gateway = env.has_read("ATMOS_BASE_URL") && !is_loopback(&config.atmos.base_url);
    let has_atmos = names_gateway || NEEDED.iter().chain(&["ATMOS_TERMINAL_ID"]).any(|name| env.is_set(name));
    let (has_payme, has_click) = (payme::is_given(env), click::is_given(env));
    let has_none = !(has_atmos || has_payme || has_click || in_file);
    if has_none && !config.role.is_scaled_out() {
        return whole_sandbox(env, config, process, published);
    }
    let mut known = Vec::new();
    if has_atmos || has_none {
        config.own_accounts.push(PaymentType::Atmos);
        for name in NEEDED.iter().filter(|name| !env.is_set(name)).collect::<Vec<_>>() {
            env.fault(name, missing(config.role));
        }
        known.push(atmos(env, &mut config.atmos, process, &published.atmos));
    }
    if has_payme {
        config.own_accounts.push(PaymentType::Payme);
        known.push(payme::whole_payme(env, &mut config.payme, process, &published.payme));
    }
    if has_click {
        config.own_accounts.push(PaymentType::Click);
        known.push(click::whole_click(env, &mut config.click, process, &published.click));
    }
    known
}

/// The sandbox's account at each gateway. A sandbox of another address is named for Atmos alone.
fn whole_sandbox(
    env: &mut Environment<'_>,
    config: &mut Config,
    process: OfProcess,
    published: &Published,
) -> Vec<KnownGateway> {
    config.atmos.terminal_id = Some(SANDBOX_TERMINAL.to_owned());
    config.own_accounts.push(PaymentType::Atmos);
    let of_atmos = atmos(env, &mut config.atmos, process, &published.atmos);
    if env.has_read("ATMOS_BASE_URL") && !leads_to(&config.atmos.base_url, process.sandbox_listen) {
        return vec![of_atmos];
    }
    config.own_accounts.extend([PaymentType::Payme, PaymentType::Click]);
    let of_payme = payme::payme(env, &mut config.payme, process, &published.payme);
    let of_click = click::click(env, &mut config.click, process, &published.click);
    vec![of_atmos, of_payme, of_click]
}

/// The same for one account of Atmos, of which all that is needed must be given.
pub(super) fn whole_atmos(
    env: &mut Environment<'_>,
    settings: &mut AtmosSettings,
    process: OfProcess,
    published: &AtmosSettings,
) -> KnownGateway {
    for name in NEEDED.iter().filter(|name| !env.is_set(name)).collect::<Vec<_>>() {
        env.fault(
            name,
            "is missing; the account needs all of ATMOS_CONSUMER_KEY, ATMOS_CONSUMER_SECRET, ATMOS_STORE_ID and \
             ATMOS_API_KEY",
        );
    }
    atmos(env, settings, process, published)
}

fn atmos(
    env: &mut Environment<'_>,
    atmos: &mut AtmosSettings,
    process: OfProcess,
    published: &AtmosSettings,
) -> KnownGateway {
    if env.is_faulty("ATMOS_CONSUMER_KEY") {
        return KnownGateway::Unknown;
    }
    let (has_base_url, has_checkout_url) = (env.has_read("ATMOS_BASE_URL"), env.has_read("ATMOS_CHECKOUT_URL"));
    if atmos.is_sandbox() {
        if let (false, Some(url)) = (has_base_url, local_url(process.sandbox_listen)) {
            atmos.base_url = url;
        }
        if !has_checkout_url {
            atmos.checkout_url = atmos.base_url.clone();
        }
        check_sandbox(env, atmos, process, published);
        KnownGateway::Sandbox
    } else {
        let checkout = if atmos.is_test { TEST_CHECKOUT } else { CHECKOUT };
        if let (false, Ok(url)) = (has_base_url, Url::parse(BASE)) {
            atmos.base_url = url;
        }
        if let (false, Ok(url)) = (has_checkout_url, Url::parse(checkout)) {
            atmos.checkout_url = url;
        }
        atmos.rate = atmos.rate.or(Some(GATEWAY_RATE));
        check_real_gateway(env, atmos, published);
        KnownGateway::Real
    }
}

fn missing(role: Role) -> &'static str {
    if role.is_scaled_out() {
        "is missing; the gateway needs all of ATMOS_CONSUMER_KEY, ATMOS_CONSUMER_SECRET, ATMOS_STORE_ID and \
         ATMOS_API_KEY"
    } else {
        "is missing while other ATMOS_ variables are set; set all of ATMOS_CONSUMER_KEY, ATMOS_CONSUMER_SECRET, \
         ATMOS_STORE_ID and ATMOS_API_KEY, or none of them for the sandbox"
    }
}

/// Published credentials and clear text must never meet real money.
fn check_real_gateway(env: &mut Environment<'_>, atmos: &AtmosSettings, published: &AtmosSettings) {
    let has_key = !env.is_faulty("ATMOS_API_KEY");
    if atmos.consumer_secret == published.consumer_secret {
        env.fault(
            "ATMOS_CONSUMER_SECRET",
            "is the sandbox's, which is published; set the one of your store, or ATMOS_CONSUMER_KEY to sandbox-key",
        );
    }
    if atmos.api_keys.iter().any(|key| published.api_keys.contains(key)) {
        env.fault(
            "ATMOS_API_KEY",
            "is the sandbox's, which is published, so that any sender can sign callbacks; set the one of your store, or \
             ATMOS_CONSUMER_KEY to sandbox-key",
        );
    }
    for (name, url) in [("ATMOS_BASE_URL", &atmos.base_url), ("ATMOS_CHECKOUT_URL", &atmos.checkout_url)] {
        if url.scheme() == "http" && !is_loopback(url) {
            env.fault(name, "is http, so credentials and payments would travel in clear text; use https");
        }
    }
    if has_key && atmos.api_keys.iter().any(|key| CALLBACK_KEY_STRENGTH.is_weak(key.expose())) {
        // The gateway gives it, so refusing it would refuse the shop.
        env.warn(
            "ATMOS_API_KEY has a key of fewer than 16 characters, or of fewer than 6 different ones: a person who guesses \
             it can sign callbacks; see that it was copied whole, and ask Atmos for another one",
        );
    }
    if is_loopback(&atmos.checkout_url) {
        env.warn("ATMOS_CHECKOUT_URL is this machine's own address, which customers cannot reach; leave it out");
    }
}

/// The domains of Atmos's API and payment pages; hosts below these names belong to Atmos, too.
const ATMOS_DOMAINS: [&str; 3] = ["atmos.uz", "pays.uz", "paymo.uz"];

fn is_of_atmos(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    ATMOS_DOMAINS
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

/// To Atmos, a transaction id of the sandbox is a payment of another shop; and the sandbox that `up` starts knows one
/// store only.
fn check_sandbox(env: &mut Environment<'_>, atmos: &AtmosSettings, process: OfProcess, sandbox: &AtmosSettings) {
    for (name, url) in [("ATMOS_BASE_URL", &atmos.base_url), ("ATMOS_CHECKOUT_URL", &atmos.checkout_url)] {
        // The page follows the API where it is not set itself; then the API's variable is the one to mend.
        if env.is_set(name) && is_of_atmos(url) {
            env.fault(
                name,
                "is Atmos's page while the gateway is the sandbox, whose transactions Atmos does not know; leave it \
                 out, or set the credentials of your store",
            );
        }
    }
    if process.role != Role::Up || !leads_to(&atmos.base_url, process.sandbox_listen) {
        return;
    }
    let api_keys = sandbox.api_keys.iter().map(Secret::expose).collect::<Vec<_>>().join(",");
    let has_api_keys = sandbox.api_keys.iter().all(|key| atmos.api_keys.contains(key));
    for (name, expected, fits) in [
        ("ATMOS_CONSUMER_SECRET", sandbox.consumer_secret.expose(), atmos.consumer_secret == sandbox.consumer_secret),
        ("ATMOS_STORE_ID", sandbox.store_id.as_str(), atmos.store_id == sandbox.store_id),
        ("ATMOS_API_KEY", api_keys.as_str(), has_api_keys),
    ] {
        if !fits {
            env.fault(name, format!("does not fit the sandbox, whose own is {expected}; unset every ATMOS_ variable"));
        }
    }
}
