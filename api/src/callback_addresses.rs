//! The addresses from which callbacks may come, and the proxies whose `X-Forwarded-For` is trusted.

use std::net::IpAddr;

use gateway::callback_addresses::{AddressCheck, address_check, holds, networks};
use ipnet::IpNet;

config::settings! {
    /// The addresses from which callbacks may come.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct CallbackAddresses {
        /// How a correctly signed callback from an unlisted address is treated: `off` like any other, `watch` logged,
        /// `refuse` logged and refused.
        #[env("ATMOS_CALLBACK_ADDRESS_CHECK", default = "off", check = address_check)]
        pub check: AddressCheck,

        /// The networks and addresses of Atmos, comma-separated; used with `watch` and `refuse`.
        // The network from which Atmos is said to call (Atmos documents, callback; reported by several integrations,
        // not yet observed by us).
        #[env("ATMOS_CALLBACK_ADDRESSES", default = "92.63.207.0/24", check = networks)]
        pub listed: Vec<IpNet>,

        /// Networks and addresses of your own proxies, comma-separated. Only their `X-Forwarded-For` is trusted: it names
        /// the sender of a request.
        #[env("TASDIQ_TRUSTED_PROXIES", default = "", shown = "none", check = proxies)]
        pub trusted_proxies: Vec<IpNet>,
    }
}

impl CallbackAddresses {
    /// Whether the gateway may call from this address; an unknown address is not listed.
    pub fn lists(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| holds(&self.listed, address))
    }

    /// Whether this address is one of our own proxies.
    pub fn trusts(&self, address: IpAddr) -> bool {
        holds(&self.trusted_proxies, address)
    }

    /// A sentence for `tasdiq doctor`.
    pub fn describe(&self) -> String {
        let decided = match self.check {
            AddressCheck::Off => "callbacks may come from every address; their signature decides".to_owned(),
            AddressCheck::Watch => {
                format!(
                    "callbacks from other addresses than {} are logged, and decided like any other",
                    list(&self.listed)
                )
            }
            AddressCheck::Refuse => {
                format!(
                    "callbacks from other addresses than {} are refused, also if correctly signed",
                    list(&self.listed)
                )
            }
        };
        match self.trusted_proxies.as_slice() {
            [] => format!("{decided}; the peer of the connection is the sender"),
            proxies => format!("{decided}; X-Forwarded-For is trusted from {}", list(proxies)),
        }
    }
}

fn list(networks: &[IpNet]) -> String {
    networks.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}

fn proxies(text: &str) -> Result<Vec<IpNet>, String> {
    if text.is_empty() { Ok(Vec::new()) } else { networks(text) }
}
