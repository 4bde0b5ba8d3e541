//! The gateway's part of the environment: whole, or wholly the sandbox's.

use std::net::SocketAddr;
use std::time::Duration;

use url::Url;

use super::environment::Environment;
use super::local_address::{is_loopback, leads_to, local_url};
use super::values::KeyStrength;
use super::{Role, values};
use crate::gateway::atmos::{AtmosConfig, SignAlgorithm};
use crate::secret::Secret;

/// What a gateway cannot be asked without.
const NEEDED: [&str; 4] = ["ATMOS_CONSUMER_KEY", "ATMOS_CONSUMER_SECRET", "ATMOS_STORE_ID", "ATMOS_API_KEY"];

// The sandbox's credentials are published, hence worthless: they open no door to money.
const SANDBOX_KEY: &str = "sandbox-key";
const SANDBOX_SECRET: &str = "sandbox-secret";
const SANDBOX_STORE: &str = "1234";
const SANDBOX_TERMINAL: &str = "1";
const SANDBOX_API_KEY: &str = "sandbox-api-key";

/// What the key that signs callbacks should have.
const CALLBACK_KEY_STRENGTH: KeyStrength = KeyStrength { characters: 16, different: 6 };

/// Long enough for a slow gateway, short enough that two calls fit into a job's deadline.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The gateway, or `None` where a fault keeps us from knowing which it is.
pub(super) fn read(env: &mut Environment<'_>, sandbox_listen: SocketAddr) -> Option<AtmosConfig> {
    let base_url = env.parsed("ATMOS_BASE_URL", |text| values::gateway_url(text, "https://partner.atmos.uz"));
    let checkout_url = env.parsed("ATMOS_CHECKOUT_URL", |text| values::gateway_url(text, "https://checkout.pays.uz"));
    let is_test = env.parsed("ATMOS_TEST_MODE", values::yes_or_no).unwrap_or(false);
    let sign_algorithm = env.parsed("ATMOS_SIGN_ALGORITHM", values::sign_algorithm).unwrap_or(SignAlgorithm::Md5);
    let proxy_url = env.parsed("ATMOS_PROXY_URL", values::proxy_url);
    let credentials = credentials(env, base_url.as_ref())?;

    let is_sandbox = credentials.consumer_key == SANDBOX_KEY;
    let (default_base, default_checkout) = if is_sandbox {
        let base = base_url.clone().or_else(|| local_url(sandbox_listen))?;
        (base.clone(), base)
    } else {
        let checkout = if is_test { "https://test-checkout.pays.uz" } else { "https://checkout.pays.uz" };
        (Url::parse("https://partner.atmos.uz").ok()?, Url::parse(checkout).ok()?)
    };
    let atmos = AtmosConfig {
        consumer_key: credentials.consumer_key,
        consumer_secret: credentials.consumer_secret,
        store_id: credentials.store_id,
        terminal_id: credentials.terminal_id,
        api_keys: credentials.api_keys,
        sign_algorithm,
        base_url: base_url.unwrap_or(default_base),
        checkout_url: checkout_url.unwrap_or(default_checkout),
        proxy_url,
        call_timeout: CALL_TIMEOUT,
    };
    if is_sandbox {
        check_sandbox(env, &atmos, sandbox_listen);
    } else {
        check_real_gateway(env, &atmos);
    }
    Some(atmos)
}

struct Credentials {
    consumer_key: String,
    consumer_secret: Secret,
    store_id: String,
    terminal_id: Option<String>,
    api_keys: Vec<Secret>,
}

fn credentials(env: &mut Environment<'_>, base_url: Option<&Url>) -> Option<Credentials> {
    let none_given = NEEDED.iter().all(|name| !env.is_set(name)) && !env.is_set("ATMOS_TERMINAL_ID");
    // An address on another machine means a certain gateway, so its credentials were forgotten.
    let names_gateway = base_url.is_some_and(|url| !is_loopback(url));
    if none_given && !names_gateway && !env.role().is_scaled_out() {
        return Some(Credentials {
            consumer_key: SANDBOX_KEY.to_owned(),
            consumer_secret: Secret::new(SANDBOX_SECRET),
            store_id: SANDBOX_STORE.to_owned(),
            terminal_id: Some(SANDBOX_TERMINAL.to_owned()),
            api_keys: vec![Secret::new(SANDBOX_API_KEY)],
        });
    }
    for name in NEEDED {
        if !env.is_set(name) {
            env.fault(name, missing(env.role()));
        }
    }
    let terminal_id = env.parsed("ATMOS_TERMINAL_ID", values::gateway_number);
    let consumer_key = env.parsed("ATMOS_CONSUMER_KEY", |text| match values::credential(text)? {
        key if key.contains(':') => Err("holds a colon; the secret belongs into ATMOS_CONSUMER_SECRET".to_owned()),
        key => Ok(key),
    });
    let consumer_secret = env.parsed("ATMOS_CONSUMER_SECRET", values::credential);
    let store_id = env.parsed("ATMOS_STORE_ID", values::gateway_number);
    let api_keys = env.parsed("ATMOS_API_KEY", values::callback_keys);
    Some(Credentials {
        consumer_key: consumer_key?,
        // What is missing here is a fault by now; the rest is checked further, so that all faults show at once.
        consumer_secret: Secret::new(consumer_secret.unwrap_or_default()),
        store_id: store_id.unwrap_or_default(),
        terminal_id,
        api_keys: api_keys.unwrap_or_default(),
    })
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
fn check_real_gateway(env: &mut Environment<'_>, atmos: &AtmosConfig) {
    if atmos.consumer_secret == Secret::new(SANDBOX_SECRET) {
        env.fault(
            "ATMOS_CONSUMER_SECRET",
            "is the sandbox's, which everybody knows; set the one of your store, or ATMOS_CONSUMER_KEY to sandbox-key",
        );
    }
    if atmos.api_keys.contains(&Secret::new(SANDBOX_API_KEY)) {
        env.fault(
            "ATMOS_API_KEY",
            "is the sandbox's, with which everybody can sign callbacks; set the one of your store, or \
             ATMOS_CONSUMER_KEY to sandbox-key",
        );
    }
    for (name, url) in [("ATMOS_BASE_URL", &atmos.base_url), ("ATMOS_CHECKOUT_URL", &atmos.checkout_url)] {
        if url.scheme() == "http" && !is_loopback(url) {
            env.fault(name, "is http, so credentials and payments would travel in clear text; use https");
        }
    }
    if atmos.api_keys.iter().any(|key| CALLBACK_KEY_STRENGTH.is_weak(key.expose())) {
        // The gateway gives it, so refusing it would refuse the shop.
        env.warn(
            "ATMOS_API_KEY has a key of fewer than 16 characters, or of fewer than 6 different ones: whoever guesses it \
             can sign callbacks; see that it was copied whole, and ask Atmos for another one",
        );
    }
    if is_loopback(&atmos.checkout_url) {
        env.warn("ATMOS_CHECKOUT_URL is this machine's own address, which customers cannot reach; leave it out");
    }
}

/// Where Atmos has its API and its payment pages; hosts below these names are its own, too.
const ATMOS_DOMAINS: [&str; 3] = ["atmos.uz", "pays.uz", "paymo.uz"];

fn is_of_atmos(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    ATMOS_DOMAINS
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

/// The sandbox's transaction ids mean somebody else's payment to Atmos; and the sandbox that `up` starts knows one
/// store only.
fn check_sandbox(env: &mut Environment<'_>, atmos: &AtmosConfig, sandbox_listen: SocketAddr) {
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
    if env.role() != Role::Up || !leads_to(&atmos.base_url, sandbox_listen) {
        return;
    }
    for (name, expected, fits) in [
        ("ATMOS_CONSUMER_SECRET", SANDBOX_SECRET, atmos.consumer_secret == Secret::new(SANDBOX_SECRET)),
        ("ATMOS_STORE_ID", SANDBOX_STORE, atmos.store_id == SANDBOX_STORE),
        ("ATMOS_API_KEY", SANDBOX_API_KEY, atmos.api_keys.contains(&Secret::new(SANDBOX_API_KEY))),
    ] {
        if !fits {
            env.fault(name, &format!("does not fit the sandbox, whose own is {expected}; unset every ATMOS_ variable"));
        }
    }
}
