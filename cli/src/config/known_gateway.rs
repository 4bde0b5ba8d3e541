//! What the rules of a gateway account know of the process, and say of the gateway.

use std::net::SocketAddr;

use super::role::Role;

/// The kind of gateway, as far as the faults allow to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KnownGateway {
    Sandbox,
    Real,
    Unknown,
}

impl KnownGateway {
    /// What is known of the gateways of several accounts. Real money decides.
    pub(super) fn of_all(accounts: &[KnownGateway]) -> Self {
        let any = |gateway| accounts.contains(&gateway);
        match () {
            () if any(KnownGateway::Real) => KnownGateway::Real,
            () if any(KnownGateway::Unknown) || accounts.is_empty() => KnownGateway::Unknown,
            () => KnownGateway::Sandbox,
        }
    }
}

/// What the rules of an account must know of the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfProcess {
    pub(super) role: Role,
    pub(super) sandbox_listen: SocketAddr,
}
