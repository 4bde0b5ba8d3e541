//! The gateway accounts of one process.

use std::sync::Arc;

use domain::order::{GatewayIdentity, PaymentType};
use domain::transaction::{Callback, CallbackFault};

use crate::Gateway;
use crate::atmos::{self, AtmosGateway};
use crate::click::{CalledIds, ClickCall, ClickFault, ClickGateway};

/// The gateway accounts of one process, found by identity. An order of an account that is not among them waits for a process
/// that has it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Gateways(Arc<[Gateway]>);

impl Gateways {
    /// The set of these accounts, in this order. Of two with the same identity the first one is taken.
    pub fn new(gateways: impl IntoIterator<Item = Gateway>) -> Self {
        let mut set: Vec<Gateway> = Vec::new();
        for gateway in gateways {
            if set.iter().all(|other| other.identity() != gateway.identity()) {
                set.push(gateway);
            }
        }
        Gateways(set.into())
    }

    /// The account of this identity; `None` if this process does not have it.
    pub fn get(&self, identity: &GatewayIdentity) -> Option<&Gateway> {
        self.iter().find(|gateway| gateway.identity() == identity)
    }

    /// Whether this process has the account of this identity.
    pub fn has(&self, identity: &GatewayIdentity) -> bool {
        self.get(identity).is_some()
    }

    /// All accounts.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Gateway> {
        self.0.iter()
    }

    /// The accounts through which this payment type is paid.
    pub fn of_type(&self, payment_type: PaymentType) -> impl Iterator<Item = &Gateway> {
        self.iter().filter(move |gateway| gateway.payment_type() == payment_type)
    }

    /// The identities of all accounts.
    pub fn identities(&self) -> Vec<GatewayIdentity> {
        self.iter().map(|gateway| gateway.identity().clone()).collect()
    }

    /// Reads a callback of Atmos with the keys of the account whose store it names, and returns that account. A callback that
    /// names no store of ours is checked with the keys of all accounts; its account is the first whose key fits. It is a pure
    /// function and makes no call.
    ///
    /// # Errors
    /// [`CallbackFault`].
    pub fn read_atmos_callback(&self, body: &[u8]) -> Result<(&AtmosGateway, Callback), CallbackFault> {
        let accounts: Vec<&AtmosGateway> = self.iter().filter_map(Gateway::as_atmos).collect();
        atmos::read_callback(&accounts, body)
    }
}

impl Gateways {
    /// Reads a call of Click with the keys of the account whose service it names, and returns that account. It is a pure function
    /// and makes no call.
    ///
    /// # Errors
    /// What is wrong, in Click's order of checks, with the ids that the answer repeats.
    pub fn read_click_call(&self, body: &[u8]) -> Result<(&ClickGateway, ClickCall), (ClickFault, CalledIds)> {
        let accounts: Vec<&ClickGateway> = self.iter().filter_map(Gateway::as_click).collect();
        ClickGateway::read_call(&accounts, body)
    }
}

impl From<Gateway> for Gateways {
    fn from(gateway: Gateway) -> Self {
        Gateways::new([gateway])
    }
}
