//! The gateway, as the processes see it and as this command reaches it.

use std::time::Duration;

use domain::id::TransactionId;
use gateway::coordination::{Obstacle, Urgency};
use gateway::{Gateway, GatewayError};
use process::weather;
use redis_server::RedisServer;
use store::Store;
use telemetry::causes;
use tokio::time::timeout;

use super::findings::Findings;
use crate::config::Config;
use crate::exit::Exit;
use crate::installation::gateway_to_observe;
use crate::weather::Report;

/// No gateway gives this number to a transaction, so asking about it shows whether we are let in, and nothing else.
const NOBODYS: TransactionId = TransactionId(0);

/// How the processes see the gateway, which may be another way than this one.
pub(super) async fn look_at_weather(store: &Store, findings: &mut Findings) {
    let report = match Report::read(store).await {
        Ok(report) => report,
        Err(trouble) => return findings.fault("weather", causes(&trouble), "mend the database"),
    };
    if let Some(since) = report.closed_since() {
        let says = format!("an operator has closed the gateway since {since}: links and confirmations wait");
        findings.warn("weather", says, "let calls through with `tasdiq weather open` when it is time");
    }
    let troubles = report.troubles();
    for trouble in &troubles {
        findings.warn(
            "weather",
            trouble.as_str(),
            "nothing is lost, and it goes on by itself; see `tasdiq weather show`, and ask Atmos if it lasts",
        );
    }
    if troubles.is_empty() && report.closed_since().is_none() {
        findings.ok("weather", format!("calls leave; budget {}", report.budget()));
    }
}

pub(super) async fn look_at_gateway(
    config: &Config,
    store: Option<&Store>,
    redis: Option<RedisServer>,
    findings: &mut Findings,
) {
    let gateway = match gateway_to_observe(config, redis) {
        Ok(gateway) => gateway,
        Err(trouble) => {
            let says = match trouble {
                Exit::Configuration(error) => format!("{error:#}"),
                _ => "its client cannot be made".to_owned(),
            };
            return findings.fault("gateway", says, "mend that: nothing can be called before");
        }
    };
    let name = format!("{} at {}", gateway.identity(), config.atmos.base_url.as_str().trim_end_matches('/'));
    if let Some(store) = store {
        // What cannot be read was told with the weather.
        let _ = weather::heed(store, gateway.coordination()).await;
    }
    let answer = ask(&gateway).await;
    let way = match &answer {
        Err(GatewayError::Unreachable(cause)) if !cause.is::<GatewayError>() => Some(look_at_way(config).await),
        _ => None,
    };
    tell_of_gateway(&name, way, answer, findings);
}

/// How far the way to the gateway goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nobody here knows the name.
    NoAddress { host: String, variable: &'static str },
    /// Nothing takes connections there.
    NoConnection { host: String, is_sandbox: bool },
    /// Something does; what comes after fails.
    Connects { host: String },
}

impl Way {
    pub(super) fn act(&self) -> String {
        match self {
            Way::NoAddress { host, variable } => {
                format!("the name {host} is not known here: mend {variable}, or this machine's name server")
            }
            Way::NoConnection { is_sandbox: true, .. } => "start `tasdiq up` or `tasdiq sandbox`".to_owned(),
            Way::NoConnection { host, .. } => format!(
                "nothing takes connections at {host}: look at network, proxy and ATMOS_BASE_URL; Atmos admits known \
                 addresses only"
            ),
            Way::Connects { host } => format!(
                "{host} takes connections, so it is what comes after: with https its certificate and this machine's root \
                 certificates and clock, with a proxy its rules"
            ),
        }
    }
}

/// Nobody waits longer for a name or a connection.
const WAY_WITHIN: Duration = Duration::from_secs(5);

/// Goes the way to the gateway, or to the proxy before it, by itself.
pub(super) async fn look_at_way(config: &Config) -> Way {
    let (address, variable) = match &config.atmos.proxy_url {
        Some(proxy) => (proxy, "ATMOS_PROXY_URL"),
        None => (&config.atmos.base_url, "ATMOS_BASE_URL"),
    };
    let host = address.host_str().unwrap_or_default().to_owned();
    let port = address.port_or_known_default().unwrap_or(443);
    let bare = host.trim_matches(|c| c == '[' || c == ']').to_owned();
    let found = timeout(WAY_WITHIN, tokio::net::lookup_host((bare.as_str(), port))).await;
    let Ok(Ok(addresses)) = found else { return Way::NoAddress { host, variable } };
    for address in addresses {
        if let Ok(Ok(_)) = timeout(WAY_WITHIN, tokio::net::TcpStream::connect(address)).await {
            return Way::Connects { host };
        }
    }
    Way::NoConnection { host, is_sandbox: config.atmos.is_sandbox() }
}

pub(super) fn tell_of_gateway(name: &str, way: Option<Way>, answer: Result<(), GatewayError>, findings: &mut Findings) {
    match answer {
        Ok(()) => findings.ok("gateway", format!("{name} lets us in")),
        // A result code comes from behind the door.
        Err(GatewayError::OutcomeUnknown { what, source: None }) if what.starts_with("code ") => findings.warn(
            "gateway",
            format!("{name} lets us in, and answers a question about no transaction with {what}, which is new to us"),
            "make a small order of your own; if it is not confirmed, ask Atmos what the code means",
        ),
        // Told with the weather.
        Err(GatewayError::HeldBack { obstacle: Obstacle::Operator, .. }) => {
            findings.warn("gateway", format!("{name} was not asked: it is closed"), "let calls through first");
        }
        Err(trouble) => {
            let patience = "wait, and set a lower rate with `tasdiq weather set --rate`; if it is known that the gateway is \
                            ready sooner, `tasdiq weather open --override`";
            let act = match &trouble {
                GatewayError::NotAdmitted { .. } => {
                    "mend ATMOS_CONSUMER_KEY and ATMOS_CONSUMER_SECRET, and ask Atmos to admit this host's address".to_owned()
                }
                GatewayError::Unreachable(_) => match way {
                    Some(way) => way.act(),
                    // It answered, and not with a token; the call itself never left.
                    None => "it runs, and hands out no access token (`/token`): ask again; then ask Atmos".to_owned(),
                },
                GatewayError::OutcomeUnknown { .. } | GatewayError::Refused { .. } => "ask again; then ask Atmos".to_owned(),
                GatewayError::Throttled { .. } => patience.to_owned(),
                GatewayError::HeldBack { obstacle, .. } => match obstacle {
                    Obstacle::Budget => {
                        "ask again later; if it stays so, and Atmos allows more, raise it with `tasdiq weather set --rate`".to_owned()
                    }
                    Obstacle::RetryAfter => patience.to_owned(),
                    // These calls pass the breaker by.
                    Obstacle::Operator | Obstacle::Breaker { .. } => {
                        "let calls through with `tasdiq weather open` when it is time".to_owned()
                    }
                },
            };
            findings.fault("gateway", format!("{name}: {}", causes(&trouble)), act);
        }
    }
}

/// Asks a question that cannot matter. Being told that there is no such transaction is being let in.
async fn ask(gateway: &Gateway) -> Result<(), GatewayError> {
    match gateway.inquire(NOBODYS, Urgency::Later).await {
        Ok(_) | Err(GatewayError::Refused { .. }) => Ok(()),
        Err(trouble) => Err(trouble),
    }
}
