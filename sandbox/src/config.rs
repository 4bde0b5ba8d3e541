//! The configuration of a sandbox.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// The hash with which Atmos signs its callbacks.
///
/// Atmos' documentation describes the concatenation but never names the hash. A real callback has 32 hexadecimal
/// digits, so a merchant should expect MD5 (Atmos API, callback field `sign`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallbackHash {
    /// 32 hex digits.
    #[default]
    Md5,
    /// 64 hex digits.
    Sha256,
}

/// The token for a client that asks while its last token is still valid.
///
/// Atmos' gateway looks like WSO2 API Manager, whose releases differ in this (Atmos API, token).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenMode {
    /// The same token, with its remaining lifetime.
    #[default]
    Reuse,
    /// A new token; the last one is void at once, and calls with it get HTTP 401.
    RevokePrevious,
}

/// Everything a sandbox needs to start. [`SandboxConfig::new`] sets the values for a laptop.
#[derive(Clone)]
pub struct SandboxConfig {
    /// The address to listen on; port 0 takes a free one. `/_sim/` needs no password, so keep it on loopback.
    pub listen: SocketAddr,
    /// The base URL for browsers. Default: the bound address; loopback if that is every address.
    pub public_url: Option<Url>,
    /// The directory of the ledger files, such as `sandbox-ledger.jsonl`; it is created if it is missing.
    pub data_dir: PathBuf,
    /// Where Atmos sends callbacks. Without it payments succeed without a callback, as at Atmos for a store that has no
    /// callback URL registered.
    pub callback_url: Option<Url>,
    /// Where Payme calls the merchant: the endpoint of its Merchant API. Without it nothing can be paid at Payme, as for
    /// a cashbox without an endpoint.
    pub payme_webhook: Option<Url>,
    /// The id of the one cashbox at Payme.
    pub payme_id: String,
    /// The cashbox's key: the password of every call to the merchant.
    pub payme_key: String,
    /// The name of the cashbox's account field.
    pub payme_account_field: String,
    /// The number of the one service at Click.
    pub click_service_id: String,
    /// Where Click calls the merchant first. Without it nothing can be paid at Click.
    pub click_prepare: Option<Url>,
    /// Where Click calls the merchant after the debit.
    pub click_complete: Option<Url>,
    /// How long the merchant may take to answer a callback.
    pub callback_timeout: Duration,
    /// User name for `/token`.
    pub consumer_key: String,
    /// Password for `/token`.
    pub consumer_secret: String,
    /// The one store of this sandbox.
    pub store_id: String,
    /// The one terminal of that store.
    pub terminal_id: String,
    /// The key that signs callbacks.
    pub api_key: String,
    /// The lifetime of an access token; one of less than 1 s is expired at once.
    pub token_lifetime: Duration,
    /// Whether a second token request gets the same token or a new one.
    pub token_mode: TokenMode,
    /// How long a transaction can be paid. Atmos' own limit is not published; a link is said to live about an hour.
    pub draft_lifetime: Duration,
    /// The hash of the callback's signature.
    pub sign_algorithm: CallbackHash,
    /// The most open connections; one more closes the connection that has been silent for the longest time.
    pub max_connections: usize,
}

impl SandboxConfig {
    /// A sandbox with the fixed credentials that `tasdiq` expects: key `sandbox-key`, secret `sandbox-secret`, store
    /// `1234`, terminal `1`, API key `sandbox-api-key`; at Payme the cashbox `64a1f0c2b7e8d9034f5a6b7c` with the key
    /// `sandbox-payme-key` and the account field `order_id`.
    pub fn new(listen: SocketAddr, data_dir: PathBuf, callback_url: Option<Url>) -> Self {
        SandboxConfig {
            listen,
            public_url: None,
            data_dir,
            callback_url,
            payme_webhook: None,
            payme_id: "64a1f0c2b7e8d9034f5a6b7c".to_owned(),
            payme_key: "sandbox-payme-key".to_owned(),
            payme_account_field: "order_id".to_owned(),
            click_service_id: "22222".to_owned(),
            click_prepare: None,
            click_complete: None,
            callback_timeout: Duration::from_secs(10),
            consumer_key: "sandbox-key".to_owned(),
            consumer_secret: "sandbox-secret".to_owned(),
            store_id: "1234".to_owned(),
            terminal_id: "1".to_owned(),
            max_connections: 256,
            api_key: "sandbox-api-key".to_owned(),
            token_lifetime: Duration::from_secs(3600),
            token_mode: TokenMode::default(),
            draft_lifetime: Duration::from_secs(3600),
            sign_algorithm: CallbackHash::default(),
        }
    }
}

impl fmt::Debug for SandboxConfig {
    /// Leaves the secrets out, because the configuration is logged.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SandboxConfig")
            .field("listen", &self.listen)
            .field("data_dir", &self.data_dir)
            .field("callback_url", &self.callback_url)
            .field("payme_webhook", &self.payme_webhook)
            .field("payme_id", &self.payme_id)
            .field("click_service_id", &self.click_service_id)
            .field("click_prepare", &self.click_prepare)
            .field("click_complete", &self.click_complete)
            .field("store_id", &self.store_id)
            .finish_non_exhaustive()
    }
}
