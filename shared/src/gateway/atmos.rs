//! Atmos: its wire format, its token, its signatures.

use std::time::Duration;

use url::Url;

use super::{Callback, CallbackFault, Draft, DraftRequest, GatewayError, TransactionReport};
use crate::id::TransactionId;
use crate::order::GatewayIdentity;
use crate::secret::Secret;

mod callback;
mod sign;

/// How Atmos is reached and who we are there.
#[derive(Clone, Debug)]
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

/// The client for Atmos; cheap to clone, shared by all jobs of a process.
#[derive(Clone, Debug)]
pub struct AtmosGateway {
    config: std::sync::Arc<AtmosConfig>,
    identity: GatewayIdentity,
}

#[allow(clippy::todo, missing_docs, clippy::unused_async, unused_variables)]
impl AtmosGateway {
    pub fn identity(&self) -> &GatewayIdentity {
        &self.identity
    }
    pub fn store_id(&self) -> &str {
        &self.config.store_id
    }
    pub async fn create_draft(&self, request: &DraftRequest) -> Result<Draft, GatewayError> {
        todo!()
    }
    pub fn payment_url(&self, transaction_id: TransactionId, return_url: &str) -> String {
        todo!()
    }
    pub async fn look(&self, transaction_id: TransactionId) -> Result<TransactionReport, GatewayError> {
        todo!()
    }
    pub fn read_callback(&self, body: &[u8]) -> Result<Callback, CallbackFault> {
        callback::read(&self.config, body)
    }
    pub fn sign_callback(&self, transaction_id: TransactionId, account: &str, amount: i64) -> String {
        callback::write(&self.config, transaction_id, account, amount)
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
mod tests;
