//! How Click is reached and who we are there.

use std::fmt;

use config::values;
use domain::gateway_rate::GatewayRate;
use domain::order::GatewayIdentity;
use domain::secret::Secret;
use ipnet::IpNet;
use url::Url;

use crate::callback_addresses::{AddressCheck, address_check, networks};
use crate::setting_checks::{callback_keys, proxy_url};

/// The sandbox's secret key. It is published, hence worthless, and opens no door to money.
pub const SANDBOX_SECRET: &str = "sandbox-click-secret";

/// The rate limit of calls to Click, which publishes none.
const CLICK_RATE: GatewayRate = GatewayRate { per_second: 20, burst: 40 };

config::settings! {
    /// How Click is reached and who we are there.
    #[derive(Clone)]
    pub struct ClickSettings {
        /// The number of the service.
        #[env("CLICK_SERVICE_ID", default = "22222", shown = "the sandbox's", check = click_number)]
        pub service_id: String,

        /// The number of the merchant; it stands in payment links.
        #[env("CLICK_MERCHANT_ID", default = "11111", shown = "the sandbox's", check = click_number)]
        pub merchant_id: String,

        /// The number of the merchant's user, in whose name Click is asked about payments.
        #[env("CLICK_MERCHANT_USER_ID", default = "33333", shown = "the sandbox's", check = click_number)]
        pub merchant_user_id: String,

        /// Signs Click's calls and ours; a second key, after a comma, serves for Click's calls while keys are changed.
        /// `sandbox-click-secret` means: this is the sandbox, and no money is real.
        #[env("CLICK_SECRET_KEY", default = "sandbox-click-secret", shown = "the sandbox's", check = secret_keys, secret)]
        pub secret_keys: Vec<Secret>,

        /// The address of the payment page; `/services/pay` is added.
        #[env(
            "CLICK_PAY_URL",
            default = "http://127.0.0.1:8100/click",
            shown = "`https://my.click.uz`",
            check = pay_url
        )]
        pub pay_url: Url,

        /// The address of the Merchant API; `/v2/merchant` is added.
        #[env(
            "CLICK_API_URL",
            default = "http://127.0.0.1:8100/click",
            shown = "`https://api.click.uz`",
            check = api_url
        )]
        pub api_url: Url,

        /// An HTTP proxy for calls to Click; the system's proxy variables are ignored.
        #[env("CLICK_PROXY_URL", default = none, check = proxy_url, secret)]
        pub proxy_url: Option<Url>,

        /// The networks and addresses of Click, comma-separated; used with `watch` and `refuse`. Click documents none: these
        /// are those that others have seen.
        // Two lists that several integrations, and one, report; they do not overlap. Together they raise fewer false alarms.
        #[env(
            "CLICK_CALLBACK_ADDRESSES",
            default = "213.230.65.140,217.29.119.130/31,217.29.119.132/31,185.8.212.176/29,185.8.212.184/31,185.8.212.186",
            check = networks
        )]
        pub callback_addresses: Vec<IpNet>,

        /// How a correctly signed call from an unlisted address is treated: `off` like any other, `watch` logged, `refuse`
        /// logged and refused.
        #[env(
            "CLICK_CALLBACK_ADDRESS_CHECK",
            default = none,
            shown = "`watch`; `off` with the sandbox",
            check = address_check
        )]
        pub callback_address_check: Option<AddressCheck>,

        /// Codes below 0, comma-separated, by which Click says with HTTP 200 that it has no such payment. Click publishes none:
        /// set only what it has told you, for such an answer frees an order.
        #[env("CLICK_NOT_FOUND_CODES", default = none, check = codes_below_0)]
        pub not_found_codes: Option<Vec<i64>>,

        /// Calls to Click per second, and at once, of all processes together.
        #[env("CLICK_GATEWAY_RATE", default = none, shown = "`20/40`; unlimited with the sandbox", check = str::parse)]
        pub rate: Option<GatewayRate>,
    }
}

impl ClickSettings {
    /// `sandbox-click:<service>` with the sandbox's secret key, else `click:<service>`. Hosts do not count.
    pub fn identity(&self) -> GatewayIdentity {
        let kind = if self.is_sandbox() { "sandbox-click" } else { "click" };
        GatewayIdentity(format!("{kind}:{}", self.service_id))
    }

    /// Whether this is the sandbox, where no money is real.
    pub fn is_sandbox(&self) -> bool {
        self.secret_keys.contains(&Secret::new(SANDBOX_SECRET))
    }

    /// The rate limit of calls to Click, until an operator sets another; the sandbox has none.
    pub fn rate(&self) -> Option<GatewayRate> {
        self.rate.or((!self.is_sandbox()).then_some(CLICK_RATE))
    }

    /// How a correctly signed call from an unlisted address is treated. Click documents no addresses, so by default a list
    /// is for watching only.
    pub fn address_check(&self) -> AddressCheck {
        self.callback_address_check.unwrap_or(if self.is_sandbox() { AddressCheck::Off } else { AddressCheck::Watch })
    }
}

/// The credentials stay out of it, and so do a proxy's.
impl fmt::Debug for ClickSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickSettings")
            .field("identity", &self.identity().0)
            .field("merchant_id", &self.merchant_id)
            .field("host", &self.api_url.host_str())
            .finish_non_exhaustive()
    }
}

/// The longest number that an `i64` holds whatever its digits.
const LONGEST_NUMBER: usize = 18;

/// A service, merchant or user: a whole number (Click documents, request parameters), written plainly.
fn click_number(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match is_plain && (1..=LONGEST_NUMBER).contains(&text.len()) {
        true => Ok(text.to_owned()),
        false => Err("is no whole number as Click gives it, such as 12345".to_owned()),
    }
}

/// An `error_code` of 0 says that a call worked (Click documents, Merchant API), so it is none of these.
fn codes_below_0(text: &str) -> Result<Vec<i64>, String> {
    let code = |code: &str| code.trim().parse().ok().filter(|code: &i64| *code < 0);
    let codes: Option<Vec<i64>> = text.split(',').map(code).collect();
    codes.ok_or_else(|| "is no list of codes below 0, such as -404,-16".to_owned())
}

fn secret_keys(text: &str) -> Result<Vec<Secret>, String> {
    let keys = callback_keys(text)?;
    // A published key beside a real one would sign calls about real payments.
    match keys.len() > 1 && keys.contains(&Secret::new(SANDBOX_SECRET)) {
        true => Err("holds the sandbox's key, which is published, beside another one; take it away".to_owned()),
        false => Ok(keys),
    }
}

fn pay_url(text: &str) -> Result<Url, String> {
    click_url(text, "/services/pay", "https://my.click.uz")
}

fn api_url(text: &str) -> Result<Url, String> {
    click_url(text, "/v2/merchant", "https://api.click.uz")
}

/// The address of a service of Click. It may have a path, as the sandbox's has, but not the one that we add.
fn click_url(text: &str, added: &str, example: &str) -> Result<Url, String> {
    let url = values::web_url(text, example)?;
    match url.path().trim_end_matches('/').ends_with(added) {
        true => Err(format!("has the path {added}, which we add ourselves; write {example}")),
        false => Ok(url),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use config::{Environment, Settings};

    use super::*;

    fn read(variables: &[(&str, &str)]) -> (ClickSettings, Vec<String>) {
        let get = |name: &str| Some(variables.iter().find(|(given, _)| *given == name)?.1.to_owned());
        let mut env = Environment::new(&get);
        let settings = ClickSettings::read(&mut env).unwrap();
        let faults = env.finish().err().into_iter().flat_map(|faults| faults.iter().cloned().collect::<Vec<_>>());
        (settings, faults.map(|fault| fault.to_string()).collect())
    }

    #[test]
    fn without_settings_it_is_the_sandbox() {
        let (settings, faults) = read(&[]);

        assert_eq!(faults, [""; 0]);
        assert_eq!(settings.identity().0, "sandbox-click:22222");
        assert_eq!(settings.address_check(), AddressCheck::Off);
    }

    #[test]
    fn a_key_of_its_own_makes_it_click() {
        let settings = read(&[("CLICK_SERVICE_ID", "12345"), ("CLICK_SECRET_KEY", "SECRET123, SECRET124")]).0;

        assert_eq!(settings.identity().0, "click:12345");
        assert_eq!(settings.secret_keys, ["SECRET123", "SECRET124"].map(Secret::new));
        assert_eq!(settings.address_check(), AddressCheck::Watch);
        assert!(
            settings
                .callback_addresses
                .iter()
                .any(|network| network.contains(&"217.29.119.133".parse::<std::net::IpAddr>().unwrap()))
        );
    }

    #[test]
    fn a_value_that_cannot_be_clicks_is_a_fault() {
        for (name, value) in [
            ("CLICK_SERVICE_ID", "service"),
            ("CLICK_SERVICE_ID", "012"),
            ("CLICK_SERVICE_ID", "1234567890123456789"),
            ("CLICK_MERCHANT_ID", "-1"),
            ("CLICK_MERCHANT_USER_ID", "3 3"),
            ("CLICK_SECRET_KEY", "a,b,c"),
            ("CLICK_SECRET_KEY", "SECRET123,sandbox-click-secret"),
            ("CLICK_PAY_URL", "https://my.click.uz/services/pay/"),
            ("CLICK_API_URL", "https://api.click.uz/v2/merchant"),
            ("CLICK_API_URL", "api.click.uz"),
            ("CLICK_CALLBACK_ADDRESS_CHECK", "on"),
            ("CLICK_NOT_FOUND_CODES", "0"),
            ("CLICK_NOT_FOUND_CODES", "-404,404"),
            ("CLICK_NOT_FOUND_CODES", "-404,"),
        ] {
            assert_eq!(read(&[(name, value)]).1.len(), 1, "{name}={value}");
        }
    }

    #[test]
    fn no_key_is_printed() {
        let settings = read(&[("CLICK_SECRET_KEY", "SECRET123"), ("CLICK_PROXY_URL", "http://me:word@proxy:3128")]).0;

        let printed = format!("{settings:?}");
        assert!(!printed.contains("SECRET123") && !printed.contains("word"), "{printed}");
    }
}
