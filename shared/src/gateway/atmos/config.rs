//! How Atmos is reached.

use std::fmt;
use std::time::Duration;

use url::Url;

use crate::order::GatewayIdentity;
use crate::secret::Secret;

/// How Atmos is reached and who we are there.
#[derive(Clone)]
pub struct AtmosConfig {
    /// The OAuth consumer key; `sandbox-key` is the sandbox's, and means that no money is real.
    pub consumer_key: String,
    /// The OAuth consumer secret.
    pub consumer_secret: Secret,
    /// The store's number as text.
    pub store_id: String,
    /// The terminal, needed only where the store has more than one.
    pub terminal_id: Option<String>,
    /// What signs callbacks: the present key first, then those that still serve during a rotation.
    pub api_keys: Vec<Secret>,
    /// The hash of callback signatures.
    pub sign_algorithm: SignAlgorithm,
    /// Scheme and host of the API.
    pub base_url: Url,
    /// Scheme and host of the payment page; `/invoice/get` is added.
    pub checkout_url: Url,
    /// An outbound proxy; the system's proxy variables are ignored.
    pub proxy_url: Option<Url>,
    /// How long one call may take.
    pub call_timeout: Duration,
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

impl AtmosConfig {
    /// `sandbox:<store>` with the sandbox's consumer key, else `atmos:<store>`. Hosts do not count: merchants
    /// move between them.
    pub fn identity(&self) -> GatewayIdentity {
        let kind = if self.is_sandbox() { "sandbox" } else { "atmos" };
        GatewayIdentity(format!("{kind}:{}", self.store_id))
    }

    /// Whether this is the sandbox, where no money is real.
    pub fn is_sandbox(&self) -> bool {
        self.consumer_key == "sandbox-key"
    }
}

/// The credentials stay out of it, and so do a proxy's.
impl fmt::Debug for AtmosConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtmosConfig")
            .field("identity", &self.identity().0)
            .field("terminal_id", &self.terminal_id)
            .field("sign_algorithm", &self.sign_algorithm)
            .field("host", &self.base_url.host_str())
            .field("call_timeout", &self.call_timeout)
            .finish_non_exhaustive()
    }
}
