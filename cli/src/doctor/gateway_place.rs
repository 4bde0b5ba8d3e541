//! Where the gateway of an account is, how it is set, and how far a connection to it gets.

use std::time::Duration;

use domain::shop::ShopName;
use gateway::AccountSettings;
use tokio::time::timeout;
use url::Url;

/// The gateway of one account of one shop, as its settings describe it.
#[derive(Clone, Debug)]
pub(super) struct GatewayPlace {
    /// Its name, for people.
    pub(super) gateway: &'static str,
    /// Where it is called; where it is never called, the page to which customers are sent.
    pub(super) address: Url,
    /// The settings with which we prove ourselves there, as they are written for this shop.
    pub(super) credentials: String,
    /// The setting of `address`.
    pub(super) setting: String,
    /// The proxy for calls, and its setting.
    proxy: Option<(Url, String)>,
    is_sandbox: bool,
    /// The setting of the codes that mean "no such payment"; `None` where a code of its own comes only after it has accepted
    /// our token.
    pub(super) not_found_codes: Option<String>,
}

impl GatewayPlace {
    pub(super) fn of(account: &AccountSettings, shop: &ShopName) -> Self {
        let written = |variable: &str| match *shop == ShopName::default() {
            true => variable.to_owned(),
            false => format!("{} of the shop {shop} in TASDIQ_CONFIG", variable.to_lowercase()),
        };
        match account {
            AccountSettings::Atmos(atmos) => GatewayPlace {
                gateway: "Atmos",
                address: atmos.base_url.clone(),
                credentials: format!("{} and {}", written("ATMOS_CONSUMER_KEY"), written("ATMOS_CONSUMER_SECRET")),
                setting: written("ATMOS_BASE_URL"),
                proxy: atmos.proxy_url.clone().map(|proxy| (proxy, written("ATMOS_PROXY_URL"))),
                is_sandbox: atmos.is_sandbox(),
                not_found_codes: None,
            },
            AccountSettings::Payme(payme) => GatewayPlace {
                gateway: "Payme",
                address: payme.checkout_url.clone(),
                credentials: written("PAYME_KEY"),
                setting: written("PAYME_CHECKOUT_URL"),
                proxy: None,
                is_sandbox: payme.is_sandbox(),
                not_found_codes: None,
            },
            AccountSettings::Click(click) => GatewayPlace {
                gateway: "Click",
                address: click.api_url.clone(),
                credentials: format!("{} and {}", written("CLICK_MERCHANT_USER_ID"), written("CLICK_SECRET_KEY")),
                setting: written("CLICK_API_URL"),
                proxy: click.proxy_url.clone().map(|proxy| (proxy, written("CLICK_PROXY_URL"))),
                is_sandbox: click.is_sandbox(),
                not_found_codes: Some(written("CLICK_NOT_FOUND_CODES")),
            },
        }
    }

    /// Connects to the gateway, or to the proxy before it, without the HTTP client.
    pub(super) async fn look_at_connection(&self) -> Reachability {
        let (address, setting) = match &self.proxy {
            Some((proxy, setting)) => (proxy, setting),
            None => (&self.address, &self.setting),
        };
        let host = address.host_str().unwrap_or_default().to_owned();
        let port = address.port_or_known_default().unwrap_or(443);
        let bare = host.trim_matches(|c| c == '[' || c == ']').to_owned();
        let found = timeout(CONNECT_WITHIN, tokio::net::lookup_host((bare.as_str(), port))).await;
        let Ok(Ok(addresses)) = found else { return Reachability::NoAddress { host, setting: setting.clone() } };
        for address in addresses {
            if let Ok(Ok(_)) = timeout(CONNECT_WITHIN, tokio::net::TcpStream::connect(address)).await {
                return Reachability::Connects { host };
            }
        }
        match self.is_sandbox {
            true => Reachability::NoSandbox,
            false => Reachability::NoConnection { host, setting: self.setting.clone(), gateway: self.gateway },
        }
    }
}

/// How far a connection to the gateway gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reachability {
    /// The name cannot be resolved here.
    NoAddress { host: String, setting: String },
    /// Nothing listens there.
    NoConnection { host: String, setting: String, gateway: &'static str },
    /// Nothing listens there, and it would be the sandbox.
    NoSandbox,
    /// A connection can be made; a later step fails.
    Connects { host: String },
}

impl Reachability {
    pub(super) fn act(&self) -> String {
        match self {
            Reachability::NoAddress { host, setting } => {
                format!("the name {host} is not known here: mend {setting}, or this machine's name server")
            }
            Reachability::NoSandbox => "start `tasdiq up` or `tasdiq sandbox`".to_owned(),
            Reachability::NoConnection { host, setting, gateway } => format!(
                "nothing takes connections at {host}: look at network, proxy and {setting}; {gateway} admits known \
                 addresses only"
            ),
            Reachability::Connects { host } => format!(
                "{host} takes connections, so it is what comes after: with https its certificate and this machine's root \
                 certificates and clock, with a proxy its rules"
            ),
        }
    }
}

/// The longest wait for a name or a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
