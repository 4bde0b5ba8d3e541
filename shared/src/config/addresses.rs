//! Which addresses callbacks may come from, and whose word about a sender's address is believed.

use std::net::IpAddr;

use ipnet::IpNet;

use super::environment::Environment;
use super::values;

/// Where Atmos is said to call from (Atmos documents, callback; told by several integrations, seen by none of ours).
const DOCUMENTED: &str = "92.63.207.0/24";

/// What becomes of a rightly signed callback from an address that is not listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressCheck {
    /// Nothing: the signature decides. The default, because a list that is wrong by one network, or a proxy that nobody
    /// thought of, refuses every payment of the shop.
    #[default]
    Off,
    /// It is told, and decided like any other.
    Watch,
    /// It is told, and refused.
    Refuse,
}

/// The addresses callbacks may come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallbackAddresses {
    /// What becomes of the others.
    pub check: AddressCheck,
    /// The gateway's networks.
    pub listed: Vec<IpNet>,
    /// Our own proxies, whose `X-Forwarded-For` is believed; nobody else's is.
    pub trusted_proxies: Vec<IpNet>,
}

impl CallbackAddresses {
    /// Whether the gateway may call from there; an address nobody knows is not listed.
    pub fn lists(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| holds(&self.listed, address))
    }

    /// Whether the sender at this address is a proxy of ours.
    pub fn trusts(&self, address: IpAddr) -> bool {
        holds(&self.trusted_proxies, address)
    }

    /// In a sentence, for `doctor`.
    pub fn describe(&self) -> String {
        let decided = match self.check {
            AddressCheck::Off => "callbacks may come from every address; their signature decides".to_owned(),
            AddressCheck::Watch => {
                format!("callbacks from elsewhere than {} are told, and decided like any other", list(&self.listed))
            }
            AddressCheck::Refuse => {
                format!("callbacks from elsewhere than {} are refused, however signed", list(&self.listed))
            }
        };
        match self.trusted_proxies.as_slice() {
            [] => format!("{decided}; whoever connects is the sender"),
            proxies => format!("{decided}; X-Forwarded-For is believed from {}", list(proxies)),
        }
    }
}

/// An IPv4 address counts as one however the system writes it (`::ffff:92.63.207.1` on a socket for both).
fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

fn list(networks: &[IpNet]) -> String {
    networks.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}

fn address_check(text: &str) -> Result<AddressCheck, String> {
    match text {
        "off" => Ok(AddressCheck::Off),
        "watch" => Ok(AddressCheck::Watch),
        "refuse" => Ok(AddressCheck::Refuse),
        _ => Err("is none of off, watch and refuse".to_owned()),
    }
}

pub(super) fn read(env: &mut Environment<'_>, is_behind_proxy: bool) -> CallbackAddresses {
    let check = env.parsed("ATMOS_CALLBACK_ADDRESS_CHECK", address_check).unwrap_or_default();
    let listed = env.parsed("ATMOS_CALLBACK_ADDRESSES", values::networks);
    let trusted_proxies = env.parsed("TASDIQ_TRUSTED_PROXIES", values::networks).unwrap_or_default();
    if listed.is_some() && check == AddressCheck::Off {
        env.warn(
            "ATMOS_CALLBACK_ADDRESSES is set, and ATMOS_CALLBACK_ADDRESS_CHECK is off: callbacks are taken from every \
             address; set it to watch, and to refuse once nothing of the gateway's is told",
        );
    }
    if check != AddressCheck::Off && trusted_proxies.is_empty() && is_behind_proxy {
        env.warn(
            "TASDIQ_PUBLIC_URL is https, so a proxy stands in front, and every callback seems to come from it: set \
             TASDIQ_TRUSTED_PROXIES to its address, or ATMOS_CALLBACK_ADDRESS_CHECK looks at the wrong one",
        );
    } else if env.role().serves_orders() && trusted_proxies.is_empty() && is_behind_proxy {
        env.warn(
            "TASDIQ_PUBLIC_URL is https, so a proxy stands in front, and every request seems to come from it: set \
             TASDIQ_TRUSTED_PROXIES to its address, or all customers together are limited as one caller",
        );
    }
    let listed = listed.or_else(|| values::networks(DOCUMENTED).ok()).unwrap_or_default();
    CallbackAddresses { check, listed, trusted_proxies }
}
