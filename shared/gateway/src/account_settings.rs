//! The settings of one gateway account, whatever its gateway.

use domain::gateway_rate::GatewayRate;
use domain::order::{GatewayIdentity, PaymentType};
use redis_server::RedisServer;

use crate::Gateway;
use crate::atmos::{AtmosGateway, AtmosSettings};
use crate::click::{ClickGateway, ClickSettings};
use crate::coordination::{CoordinatedAccount, Coordination};
use crate::http::ClientFault;
use crate::payme::{PaymeGateway, PaymeSettings};

/// The settings of one gateway account.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a process has a handful of them")]
pub enum AccountSettings {
    /// Of Atmos, or of the sandbox that speaks like it.
    Atmos(AtmosSettings),
    /// Of Payme, or of the sandbox that speaks like it.
    Payme(PaymeSettings),
    /// Of Click, or of the sandbox that speaks like it.
    Click(ClickSettings),
}

impl AccountSettings {
    /// The identity of the account.
    pub fn identity(&self) -> GatewayIdentity {
        match self {
            AccountSettings::Atmos(atmos) => atmos.identity(),
            AccountSettings::Payme(payme) => payme.identity(),
            AccountSettings::Click(click) => click.identity(),
        }
    }

    /// The payment type that is paid through it.
    pub fn payment_type(&self) -> PaymentType {
        match self {
            AccountSettings::Atmos(_) => PaymentType::Atmos,
            AccountSettings::Payme(_) => PaymentType::Payme,
            AccountSettings::Click(_) => PaymentType::Click,
        }
    }

    /// Whether this account is asked about a payment by the order's number alone, and money is real: a payment of an
    /// earlier installation would be taken for one of the order that has this number now (Click documents,
    /// `payment/status_by_mti`: no answer names the attempt or the amount).
    pub fn needs_unused_order_numbers(&self) -> bool {
        match self {
            AccountSettings::Atmos(_) | AccountSettings::Payme(_) => false,
            AccountSettings::Click(click) => !click.is_sandbox(),
        }
    }

    /// The rate limit of its calls; `None` is no limit, as for an account that is never called.
    pub fn rate(&self) -> Option<GatewayRate> {
        match self {
            AccountSettings::Atmos(atmos) => atmos.rate,
            AccountSettings::Payme(_) => None,
            AccountSettings::Click(click) => click.rate(),
        }
    }

    /// The admission of its calls, which processes with the same Redis share; without one this process is alone.
    /// `has_older_names` is said of the one account that a release with one account would have.
    pub fn coordination(&self, redis: Option<RedisServer>, has_older_names: bool) -> Coordination {
        let account = CoordinatedAccount::new(self.payment_type(), self.identity());
        let account = if has_older_names { account.with_older_names() } else { account };
        match redis {
            Some(server) => Coordination::redis(account, server, self.rate()),
            None => Coordination::local(account, self.rate()),
        }
    }

    /// Prepares calls, which `coordination` admits; connects to nothing yet.
    ///
    /// # Errors
    /// [`ClientFault`]: the HTTP client cannot be made.
    pub fn gateway(&self, coordination: Coordination) -> Result<Gateway, ClientFault> {
        match self {
            AccountSettings::Atmos(atmos) => AtmosGateway::new(atmos.clone(), coordination).map(Gateway::Atmos),
            AccountSettings::Payme(payme) => Ok(Gateway::Payme(PaymeGateway::new(payme.clone(), coordination))),
            AccountSettings::Click(click) => ClickGateway::new(click.clone(), coordination).map(Gateway::Click),
        }
    }
}
