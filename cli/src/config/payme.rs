//! Payme's settings belong together: whole, or wholly the sandbox's.

use config::Environment;
use domain::secret::Secret;
use gateway::payme::{PaymeSettings, SANDBOX_KEY, is_sandbox_key};
use url::Url;

use super::known_gateway::{KnownGateway, OfProcess};
use super::role::Role;
use crate::local_address::{is_loopback, leads_to, local_url};

/// The settings without which Payme's calls cannot be taken.
const NEEDED: [&str; 2] = ["PAYME_ID", "PAYME_KEY"];

// Payme's payment pages, for payments and for tests (Payme documents, initialization of a payment).
const CHECKOUT: &str = "https://checkout.paycom.uz";
const TEST_CHECKOUT: &str = "https://test.paycom.uz";

/// The domains of Payme's pages; hosts below these names belong to it, too.
const PAYME_DOMAINS: [&str; 2] = ["paycom.uz", "payme.uz"];

/// Whether an account of Payme is described, as far as that is clear.
pub(super) fn is_given(env: &Environment<'_>) -> bool {
    NEEDED.iter().any(|name| env.is_set(name))
}

/// The same as [`payme`] for an account of which all that is needed must be given.
pub(super) fn whole_payme(
    env: &mut Environment<'_>,
    settings: &mut PaymeSettings,
    process: OfProcess,
    published: &PaymeSettings,
) -> KnownGateway {
    for name in NEEDED {
        if !env.is_set(name) {
            env.fault(name, "is missing; the account needs both of PAYME_ID and PAYME_KEY");
        }
    }
    payme(env, settings, process, published)
}

/// Fills in what follows from the gateway of an account of Payme, and checks that the rest fits it. `published` are the
/// sandbox's settings, which are the defaults.
pub(super) fn payme(
    env: &mut Environment<'_>,
    payme: &mut PaymeSettings,
    process: OfProcess,
    published: &PaymeSettings,
) -> KnownGateway {
    if env.is_faulty("PAYME_KEY") {
        return KnownGateway::Unknown;
    }
    let has_checkout_url = env.has_read("PAYME_CHECKOUT_URL");
    if payme.is_sandbox() {
        if let (false, Some(mut url)) = (has_checkout_url, local_url(process.sandbox_listen)) {
            url.set_path("/payme");
            payme.checkout_url = url;
        }
        if is_of_payme(&payme.checkout_url) {
            env.fault(
                "PAYME_CHECKOUT_URL",
                "is Payme's page while the gateway is the sandbox; leave it out, or set PAYME_KEY to your cashbox's",
            );
        }
        let is_ours = process.role == Role::Up && leads_to(&payme.checkout_url, process.sandbox_listen);
        if is_ours && payme.cashbox_id != published.cashbox_id && !env.is_faulty("PAYME_ID") {
            env.fault("PAYME_ID", format!("does not fit the sandbox, whose own is {}", published.cashbox_id));
        }
        if is_ours && !payme.keys.contains(&Secret::new(SANDBOX_KEY)) {
            env.fault("PAYME_KEY", format!("does not fit the sandbox, whose own is {SANDBOX_KEY}"));
        }
        return KnownGateway::Sandbox;
    }
    let checkout = if payme.is_test { TEST_CHECKOUT } else { CHECKOUT };
    if let (false, Ok(url)) = (has_checkout_url, Url::parse(checkout)) {
        payme.checkout_url = url;
    }
    if payme.keys.iter().any(|key| is_sandbox_key(key.expose())) {
        env.fault("PAYME_KEY", "holds the sandbox's key, which is published, beside another one; take it away");
    }
    if payme.checkout_url.scheme() == "http" && !is_loopback(&payme.checkout_url) {
        env.fault("PAYME_CHECKOUT_URL", "is http, so payments would travel in clear text; use https");
    }
    KnownGateway::Real
}

fn is_of_payme(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    PAYME_DOMAINS
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}
