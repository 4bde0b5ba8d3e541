//! Click's settings belong together: whole, or wholly the sandbox's.

use config::Environment;
use gateway::click::ClickSettings;
use url::Url;

use super::known_gateway::{KnownGateway, OfProcess};
use super::role::Role;
use crate::local_address::{is_loopback, leads_to, local_url};

/// The settings without which Click's calls cannot be taken, and Click cannot be asked.
const NEEDED: [&str; 4] = ["CLICK_SERVICE_ID", "CLICK_MERCHANT_ID", "CLICK_MERCHANT_USER_ID", "CLICK_SECRET_KEY"];

// Click's payment page and its Merchant API (Click documents, payment link and Merchant API).
const PAY: &str = "https://my.click.uz";
const API: &str = "https://api.click.uz";

/// The domain of Click's pages and services; hosts below it belong to it, too.
const CLICK_DOMAIN: &str = "click.uz";

/// Whether an account of Click is described, as far as that is clear.
pub(super) fn is_given(env: &Environment<'_>) -> bool {
    NEEDED.iter().any(|name| env.is_set(name))
}

/// The same as [`click`] for an account of which all that is needed must be given.
pub(super) fn whole_click(
    env: &mut Environment<'_>,
    settings: &mut ClickSettings,
    process: OfProcess,
    published: &ClickSettings,
) -> KnownGateway {
    for name in NEEDED {
        if !env.is_set(name) {
            env.fault(
                name,
                "is missing; the account needs all of CLICK_SERVICE_ID, CLICK_MERCHANT_ID, CLICK_MERCHANT_USER_ID and \
                 CLICK_SECRET_KEY",
            );
        }
    }
    click(env, settings, process, published)
}

/// Fills in what follows from the gateway of an account of Click, and checks that the rest fits it. `published` are the
/// sandbox's settings, which are the defaults.
pub(super) fn click(
    env: &mut Environment<'_>,
    click: &mut ClickSettings,
    process: OfProcess,
    published: &ClickSettings,
) -> KnownGateway {
    if env.is_faulty("CLICK_SECRET_KEY") {
        return KnownGateway::Unknown;
    }
    let (has_pay_url, has_api_url) = (env.has_read("CLICK_PAY_URL"), env.has_read("CLICK_API_URL"));
    if click.is_sandbox() {
        if let Some(mut url) = local_url(process.sandbox_listen) {
            url.set_path("/click");
            if !has_pay_url {
                click.pay_url = url.clone();
            }
            if !has_api_url {
                click.api_url = url;
            }
        }
        for (name, url) in [("CLICK_PAY_URL", &click.pay_url), ("CLICK_API_URL", &click.api_url)] {
            if is_of_click(url) {
                env.fault(
                    name,
                    "is Click's own while the gateway is the sandbox; leave it out, or set CLICK_SECRET_KEY to your service's",
                );
            }
        }
        let is_ours = process.role == Role::Up && leads_to(&click.api_url, process.sandbox_listen);
        for (name, own, sandbox) in [
            ("CLICK_SERVICE_ID", &click.service_id, &published.service_id),
            ("CLICK_MERCHANT_ID", &click.merchant_id, &published.merchant_id),
            ("CLICK_MERCHANT_USER_ID", &click.merchant_user_id, &published.merchant_user_id),
        ] {
            if is_ours && own != sandbox && !env.is_faulty(name) {
                env.fault(name, format!("does not fit the sandbox, whose own is {sandbox}"));
            }
        }
        return KnownGateway::Sandbox;
    }
    if let (false, Ok(url)) = (has_pay_url, Url::parse(PAY)) {
        click.pay_url = url;
    }
    if let (false, Ok(url)) = (has_api_url, Url::parse(API)) {
        click.api_url = url;
    }
    for (name, url) in [("CLICK_PAY_URL", &click.pay_url), ("CLICK_API_URL", &click.api_url)] {
        if url.scheme() == "http" && !is_loopback(url) {
            env.fault(name, "is http, so credentials and payments would travel in clear text; use https");
        }
    }
    KnownGateway::Real
}

fn is_of_click(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    host.strip_suffix(CLICK_DOMAIN).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}
