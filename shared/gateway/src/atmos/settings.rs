//! How Atmos is reached and who we are there.

use std::fmt;

use config::values;
use domain::gateway_rate::GatewayRate;
use domain::order::GatewayIdentity;
use domain::secret::Secret;
use url::Url;

use crate::setting_checks::{callback_keys, credential, proxy_url};

/// The sandbox's consumer key. Its credentials and its address are the defaults: they are published, hence worthless, and
/// open no door to money. Atmos's own addresses take their place where the credentials are a shop's.
pub const SANDBOX_KEY: &str = "sandbox-key";

config::settings! {
    /// How Atmos is reached and who we are there.
    #[derive(Clone)]
    pub struct AtmosSettings {
        /// The OAuth key. `sandbox-key` means: this is the sandbox, and no money is real.
        #[env("ATMOS_CONSUMER_KEY", default = "sandbox-key", shown = "the sandbox's", check = consumer_key, secret)]
        pub consumer_key: String,

        /// The OAuth secret.
        #[env(
            "ATMOS_CONSUMER_SECRET",
            default = "sandbox-secret",
            shown = "the sandbox's",
            check = secret_credential, secret
        )]
        pub consumer_secret: Secret,

        /// The store's number.
        #[env("ATMOS_STORE_ID", default = "1234", shown = "the sandbox's", check = gateway_number)]
        pub store_id: String,

        /// Needed only if the store has several terminals.
        #[env("ATMOS_TERMINAL_ID", default = none, shown = "the sandbox's; else none", check = gateway_number)]
        pub terminal_id: Option<String>,

        /// Signs callbacks; a second key, after a comma, serves while keys are changed.
        #[env("ATMOS_API_KEY", default = "sandbox-api-key", shown = "the sandbox's", check = callback_keys, secret)]
        pub api_keys: Vec<Secret>,

        /// `True`, `true` or `1`: the default payment page is `https://test-checkout.pays.uz`.
        #[env("ATMOS_TEST_MODE", default = "false", check = values::yes_or_no)]
        pub is_test: bool,

        /// Scheme and host of the API; newer merchants: `https://apigw.atmos.uz`.
        #[env(
            "ATMOS_BASE_URL",
            default = "http://127.0.0.1:8100",
            shown = "`https://partner.atmos.uz`",
            check = base_url
        )]
        pub base_url: Url,

        /// Scheme and host of the payment page; `/invoice/get` is added.
        #[env(
            "ATMOS_CHECKOUT_URL",
            default = "http://127.0.0.1:8100",
            shown = "`https://checkout.pays.uz`",
            check = checkout_url
        )]
        pub checkout_url: Url,

        /// `md5` or `sha256`: the hash of callbacks' signatures.
        #[env("ATMOS_SIGN_ALGORITHM", default = "md5", check = SignAlgorithm::parse)]
        pub sign_algorithm: SignAlgorithm,

        /// An HTTP proxy for calls to Atmos; the system's proxy variables are ignored.
        #[env("ATMOS_PROXY_URL", default = none, check = proxy_url, secret)]
        pub proxy_url: Option<Url>,

        /// Calls per second, and at once, of all processes together; changed at run time by `tasdiq gateways rate`.
        #[env("TASDIQ_GATEWAY_RATE", default = none, shown = "`20/40`; unlimited with the sandbox", check = str::parse)]
        pub rate: Option<GatewayRate>,
    }
}

/// The hash of callback signatures (the Atmos documents give the concatenation and never name the hash;
/// real signatures have 32 hex digits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignAlgorithm {
    /// MD5, the default.
    Md5,
    /// SHA-256.
    Sha256,
}

impl SignAlgorithm {
    /// `md5` or `sha256`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "md5" => Ok(SignAlgorithm::Md5),
            "sha256" => Ok(SignAlgorithm::Sha256),
            _ => Err("is neither md5 nor sha256".to_owned()),
        }
    }
}

impl AtmosSettings {
    /// `sandbox:<store>` with the sandbox's consumer key, else `atmos:<store>`. Hosts do not count: merchants
    /// move between them.
    pub fn identity(&self) -> GatewayIdentity {
        let kind = if self.is_sandbox() { "sandbox" } else { "atmos" };
        GatewayIdentity(format!("{kind}:{}", self.store_id))
    }

    /// Whether this is the sandbox, where no money is real.
    pub fn is_sandbox(&self) -> bool {
        self.consumer_key == SANDBOX_KEY
    }
}

/// The credentials stay out of it, and so do a proxy's.
impl fmt::Debug for AtmosSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtmosSettings")
            .field("identity", &self.identity().0)
            .field("terminal_id", &self.terminal_id)
            .field("sign_algorithm", &self.sign_algorithm)
            .field("host", &self.base_url.host_str())
            .finish_non_exhaustive()
    }
}

fn consumer_key(text: &str) -> Result<String, String> {
    match credential(text)? {
        key if key.contains(':') => Err("holds a colon; the secret belongs into ATMOS_CONSUMER_SECRET".to_owned()),
        key => Ok(key),
    }
}

fn secret_credential(text: &str) -> Result<Secret, String> {
    credential(text).map(Secret::new)
}

/// A store or terminal as the gateway names it, mostly with a number; it stands in page addresses and signatures.
fn gateway_number(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=20).contains(&text.len()) && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("is not written as the gateway gives it: 1 to 20 letters, digits, - or _".to_owned())
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    gateway_url(text, "https://partner.atmos.uz")
}

fn checkout_url(text: &str) -> Result<Url, String> {
    gateway_url(text, "https://checkout.pays.uz")
}

/// Scheme and host of a gateway's service; we add the path.
fn gateway_url(text: &str, example: &str) -> Result<Url, String> {
    let url = values::web_url(text, example)?;
    if url.path() == "/" { Ok(url) } else { Err(format!("has a path, which we add ourselves; write {example}")) }
}
