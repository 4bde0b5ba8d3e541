//! The settings of one gateway account, whatever its gateway.

use domain::gateway_rate::GatewayRate;
use domain::order::{GatewayIdentity, PaymentType};

use crate::Gateway;
use crate::atmos::{AtmosGateway, AtmosSettings, ClientFault};
use crate::coordination::Coordination;

/// The settings of one gateway account.
#[derive(Clone, Debug)]
pub enum AccountSettings {
    /// Of Atmos, or of the sandbox that speaks like it.
    Atmos(AtmosSettings),
}

impl AccountSettings {
    /// The identity of the account.
    pub fn identity(&self) -> GatewayIdentity {
        match self {
            AccountSettings::Atmos(atmos) => atmos.identity(),
        }
    }

    /// The payment type that is paid through it.
    pub fn payment_type(&self) -> PaymentType {
        match self {
            AccountSettings::Atmos(_) => PaymentType::Atmos,
        }
    }

    /// The rate limit of its calls; `None` is no limit.
    pub fn rate(&self) -> Option<GatewayRate> {
        match self {
            AccountSettings::Atmos(atmos) => atmos.rate,
        }
    }

    /// Prepares calls, which `coordination` admits; connects to nothing yet.
    ///
    /// # Errors
    /// [`ClientFault`]: the HTTP client cannot be made.
    pub fn gateway(&self, coordination: Coordination) -> Result<Gateway, ClientFault> {
        match self {
            AccountSettings::Atmos(atmos) => AtmosGateway::new(atmos.clone(), coordination).map(Gateway::Atmos),
        }
    }
}
