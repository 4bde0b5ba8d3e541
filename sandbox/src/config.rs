//! What a sandbox can be told before it starts.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// The hash over which Atmos signs its callbacks.
///
/// Atmos' documentation gives the concatenation and never names the hash; a real callback carries 32 hex digits, so MD5
/// is what a merchant should expect (Atmos API, callback field `sign`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignAlgorithm {
    /// 32 hex digits.
    #[default]
    Md5,
    /// 64 hex digits.
    Sha256,
}

/// What a client gets that asks for a token while the last one lives.
///
/// Atmos' gateway looks like WSO2 API Manager, whose releases differ in this (Atmos API, token).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenMode {
    /// The same token, with what is left of its life.
    #[default]
    Reuse,
    /// A new token, and the last one is void at once: whoever still calls with it gets HTTP 401.
    RevokePrevious,
}

/// Everything a sandbox needs to start. [`SandboxConfig::new`] fills in what a laptop wants.
#[derive(Clone)]
pub struct SandboxConfig {
    /// Where to listen; port 0 takes a free one. `/_sim/` asks nobody for a password, so leave this on loopback.
    pub listen: SocketAddr,
    /// The base under which browsers reach this sandbox; without it the bound address,
    /// at loopback where that is every address.
    pub public_url: Option<Url>,
    /// The directory of the ledger file `sandbox-ledger.jsonl`; made if it is missing.
    pub data_dir: PathBuf,
    /// Where callbacks go. Without it payments go through unasked, as they do at Atmos for a store that has no
    /// callback URL registered.
    pub callback_url: Option<Url>,
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
    /// What callbacks are signed with.
    pub api_key: String,
    /// How long an access token lives; less than 1 s is over before it is answered.
    pub token_lifetime: Duration,
    /// What becomes of the last token when another is asked for.
    pub token_mode: TokenMode,
    /// How long a transaction can be paid. Atmos' own limit is not published; a link is said to live about an hour.
    pub draft_lifetime: Duration,
    /// The hash of the callback's signature.
    pub sign_algorithm: SignAlgorithm,
    /// At most so many connections are open; one more closes the one that has been silent for the longest.
    pub places: usize,
}

impl SandboxConfig {
    /// A sandbox with the fixed credentials that `tasdiq` expects of one: key `sandbox-key`, secret `sandbox-secret`,
    /// store `1234`, terminal `1`, API key `sandbox-api-key`.
    pub fn new(listen: SocketAddr, data_dir: PathBuf, callback_url: Option<Url>) -> Self {
        Self {
            listen,
            public_url: None,
            data_dir,
            callback_url,
            callback_timeout: Duration::from_secs(10),
            consumer_key: "sandbox-key".to_owned(),
            consumer_secret: "sandbox-secret".to_owned(),
            store_id: "1234".to_owned(),
            terminal_id: "1".to_owned(),
            places: 256,
            api_key: "sandbox-api-key".to_owned(),
            token_lifetime: Duration::from_secs(3600),
            token_mode: TokenMode::default(),
            draft_lifetime: Duration::from_secs(3600),
            sign_algorithm: SignAlgorithm::default(),
        }
    }
}

impl fmt::Debug for SandboxConfig {
    /// Leaves the secrets out: the configuration ends up in logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SandboxConfig")
            .field("listen", &self.listen)
            .field("data_dir", &self.data_dir)
            .field("callback_url", &self.callback_url)
            .field("store_id", &self.store_id)
            .finish_non_exhaustive()
    }
}
