//! The account whose calls a coordination admits, and the names under which the processes share its state.

use domain::order::{GatewayIdentity, PaymentType};

/// The Redis key of an account's admission. A process of a release that had one account uses it, and must share rate limit
/// and breaker with a newer process. It can be dropped once no such release runs any more.
const OLDER_KEY: &str = "gateway-weather";

/// The account whose calls a coordination admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatedAccount {
    identity: GatewayIdentity,
    payment_type: PaymentType,
    has_older_names: bool,
}

impl CoordinatedAccount {
    /// The account of this identity, which this payment type is paid through.
    pub fn new(payment_type: PaymentType, identity: GatewayIdentity) -> Self {
        CoordinatedAccount { identity, payment_type, has_older_names: false }
    }

    /// The same account with the names that a release with one account uses for its one. At most one account of an
    /// installation has them.
    #[must_use]
    pub fn with_older_names(self) -> Self {
        CoordinatedAccount { has_older_names: true, ..self }
    }

    /// Its identity.
    pub fn identity(&self) -> &GatewayIdentity {
        &self.identity
    }

    /// Whether its state has the names that a release with one account uses.
    pub fn has_older_names(&self) -> bool {
        self.has_older_names
    }

    /// The label `gateway` of its metrics.
    pub(crate) fn gateway_label(&self) -> &'static str {
        self.payment_type.as_str()
    }

    /// The name of the Redis hash that holds its admission.
    pub(super) fn key(&self) -> String {
        match self.has_older_names {
            true => OLDER_KEY.to_owned(),
            false => format!("gateway-admission:{}", self.identity),
        }
    }
}
