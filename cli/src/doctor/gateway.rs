//! The gateway, as the processes see it and as this command reaches it.

use std::time::Duration;

use gateway::coordination::Obstacle;
use gateway::{AccountSettings, GatewayError, Gateways};
use process::admission;
use redis_server::RedisServer;
use store::Store;
use telemetry::causes;
use tokio::time::timeout;

use super::check_results::CheckResults;
use crate::config::Config;
use crate::exit::Exit;
use crate::gateways::{AdmissionReport, KnownAccount, KnownAccounts};
use crate::installation::gateway_to_observe;

/// Checks whether calls to each gateway account leave, as the processes see it; this command may see it differently.
pub(super) async fn look_at_admission(config: &Config, store: &Store, results: &mut CheckResults) {
    let known = match KnownAccounts::read(config, store).await {
        Ok(known) => known,
        Err(trouble) => return results.fault("admission", causes(&trouble), "mend the database"),
    };
    for account in &known.accounts {
        match AdmissionReport::read(store, account).await {
            Ok(report) => tell_of_admission(account, &report, results),
            Err(trouble) => results.fault("admission", causes(&trouble), "mend the database"),
        }
    }
}

fn tell_of_admission(account: &KnownAccount, report: &AdmissionReport, results: &mut CheckResults) {
    let account = &account.identity;
    if let Some(since) = report.paused_since() {
        let says = format!("an operator has paused calls to {account} since {since}: links and confirmations wait");
        let act = format!("let calls leave again with `tasdiq gateways resume {account}` when it is time");
        results.warn("admission", says, act);
    }
    let troubles = report.troubles();
    for trouble in &troubles {
        results.warn(
            "admission",
            format!("{account}: {trouble}"),
            "nothing is lost, and it goes on by itself; see `tasdiq gateways show`, and ask the gateway if it lasts",
        );
    }
    if troubles.is_empty() && report.paused_since().is_none() {
        results.ok("admission", format!("nothing holds back calls to {account}; rate limit {}", report.rate_limit()));
    }
}

/// Checks whether this command reaches each gateway account.
pub(super) async fn look_at_gateways(
    config: &Config,
    store: Option<&Store>,
    redis: Option<RedisServer>,
    results: &mut CheckResults,
) {
    for account in config.accounts() {
        look_at_gateway(config, &account, store, redis.clone(), results).await;
    }
}

async fn look_at_gateway(
    config: &Config,
    account: &AccountSettings,
    store: Option<&Store>,
    redis: Option<RedisServer>,
    results: &mut CheckResults,
) {
    let gateway = match gateway_to_observe(config, account, redis) {
        Ok(gateway) => gateway,
        Err(trouble) => {
            let says = match trouble {
                Exit::Configuration(error) => format!("{error:#}"),
                _ => "its client cannot be made".to_owned(),
            };
            return results.fault("gateway", says, "mend that: nothing can be called before");
        }
    };
    let name = format!("{} at {}", gateway.identity(), config.atmos.base_url.as_str().trim_end_matches('/'));
    if let Some(store) = store {
        // `look_at_admission` has reported settings that cannot be read.
        let _ = admission::apply_settings(store, &Gateways::from(gateway.clone())).await;
    }
    let answer = gateway.check_access().await;
    let reachability = match &answer {
        Err(GatewayError::Unreachable(cause)) if !cause.is::<GatewayError>() => Some(look_at_connection(config).await),
        _ => None,
    };
    tell_of_gateway(&name, reachability, answer, results);
}

/// How far a connection to the gateway gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reachability {
    /// The name cannot be resolved here.
    NoAddress { host: String, variable: &'static str },
    /// Nothing listens there.
    NoConnection { host: String, is_sandbox: bool },
    /// A connection can be made; a later step fails.
    Connects { host: String },
}

impl Reachability {
    pub(super) fn act(&self) -> String {
        match self {
            Reachability::NoAddress { host, variable } => {
                format!("the name {host} is not known here: mend {variable}, or this machine's name server")
            }
            Reachability::NoConnection { is_sandbox: true, .. } => "start `tasdiq up` or `tasdiq sandbox`".to_owned(),
            Reachability::NoConnection { host, .. } => format!(
                "nothing takes connections at {host}: look at network, proxy and ATMOS_BASE_URL; Atmos admits known \
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

/// Connects to the gateway, or to the proxy before it, without the HTTP client.
pub(super) async fn look_at_connection(config: &Config) -> Reachability {
    let (address, variable) = match &config.atmos.proxy_url {
        Some(proxy) => (proxy, "ATMOS_PROXY_URL"),
        None => (&config.atmos.base_url, "ATMOS_BASE_URL"),
    };
    let host = address.host_str().unwrap_or_default().to_owned();
    let port = address.port_or_known_default().unwrap_or(443);
    let bare = host.trim_matches(|c| c == '[' || c == ']').to_owned();
    let found = timeout(CONNECT_WITHIN, tokio::net::lookup_host((bare.as_str(), port))).await;
    let Ok(Ok(addresses)) = found else { return Reachability::NoAddress { host, variable } };
    for address in addresses {
        if let Ok(Ok(_)) = timeout(CONNECT_WITHIN, tokio::net::TcpStream::connect(address)).await {
            return Reachability::Connects { host };
        }
    }
    Reachability::NoConnection { host, is_sandbox: config.atmos.is_sandbox() }
}

pub(super) fn tell_of_gateway(
    name: &str,
    reachability: Option<Reachability>,
    answer: Result<(), GatewayError>,
    results: &mut CheckResults,
) {
    match answer {
        Ok(()) => results.ok("gateway", format!("{name} lets us in")),
        // A result code comes only after the gateway has accepted our token.
        Err(GatewayError::OutcomeUnknown { what, source: None }) if what.starts_with("code ") => results.warn(
            "gateway",
            format!("{name} lets us in, and answers a question about no transaction with {what}, which is new to us"),
            "make a small order of your own; if it is not confirmed, ask Atmos what the code means",
        ),
        // `look_at_admission` has reported it.
        Err(GatewayError::HeldBack { obstacle: Obstacle::Operator, .. }) => {
            let says = format!("{name} was not asked: an operator has paused calls");
            results.warn("gateway", says, "let calls leave with `tasdiq gateways resume` first");
        }
        Err(trouble) => {
            let wait = "wait, and set a lower rate limit with `tasdiq gateways rate`; if it is known that the gateway is ready \
                        sooner, `tasdiq gateways resume --override`";
            let act = match &trouble {
                GatewayError::NotAdmitted { .. } => {
                    "mend ATMOS_CONSUMER_KEY and ATMOS_CONSUMER_SECRET, and ask Atmos to admit this host's address"
                        .to_owned()
                }
                GatewayError::Unreachable(_) => match reachability {
                    Some(reachability) => reachability.act(),
                    // It answered, and not with a token; the call itself never left.
                    None => "it runs, and hands out no access token (`/token`): ask again; then ask Atmos".to_owned(),
                },
                GatewayError::OutcomeUnknown { .. } | GatewayError::Refused { .. } => {
                    "ask again; then ask Atmos".to_owned()
                }
                GatewayError::Throttled { .. } => wait.to_owned(),
                GatewayError::HeldBack { obstacle, .. } => match obstacle {
                    Obstacle::RateLimit => {
                        "ask again later; if it stays so, and Atmos allows more, raise it with `tasdiq gateways rate`"
                            .to_owned()
                    }
                    Obstacle::RetryAfter => wait.to_owned(),
                    // The calls of this command pass by the breaker.
                    Obstacle::Operator | Obstacle::Breaker { .. } => {
                        "let calls leave again with `tasdiq gateways resume` when it is time".to_owned()
                    }
                },
            };
            results.fault("gateway", format!("{name}: {}", causes(&trouble)), act);
        }
    }
}
