//! The gateway, as the processes see it and as this command reaches it.

use domain::order::PaymentType;
use gateway::coordination::Obstacle;
use gateway::{AnswerFault, GatewayError, Gateways};
use process::admission;
use redis_server::RedisServer;
use store::Store;
use telemetry::causes;

use super::check_results::CheckResults;
use super::gateway_place::{GatewayPlace, Reachability};
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
    let shops = config.shops();
    for account in config.accounts() {
        let shop = shops.of_account(&account.identity()).map(|shop| shop.name.clone()).unwrap_or_default();
        let place = GatewayPlace::of(&account, &shop);
        let gateway = match gateway_to_observe(config, &account, redis.clone()) {
            Ok(gateway) => gateway,
            Err(trouble) => {
                let says = match trouble {
                    Exit::Configuration(error) => format!("{}: {error:#}", account.identity()),
                    _ => format!("the client of {} cannot be made", account.identity()),
                };
                results.fault("gateway", says, "mend that: nothing can be called before");
                continue;
            }
        };
        if let Some(store) = store {
            // `look_at_admission` has reported settings that cannot be read.
            let _ = admission::apply_settings(store, &Gateways::from(gateway.clone())).await;
        }
        let address = place.address.as_str().trim_end_matches('/').to_owned();
        let name = match shops.iter().count() > 1 {
            true => format!("{} of the shop {shop} at {address}", account.identity()),
            false => format!("{} at {address}", account.identity()),
        };
        if account.payment_type() == PaymentType::Payme {
            tell_of_page(&name, &place.look_at_connection().await, results);
            continue;
        }
        let answer = gateway.check_access().await;
        let reachability = match &answer {
            Err(GatewayError::Unreachable(cause)) if !cause.is::<GatewayError>() => {
                Some(place.look_at_connection().await)
            }
            _ => None,
        };
        tell_of_gateway(&name, &place, reachability, answer, results);
    }
}

/// Tells of a gateway that is never called: it calls us, and customers go to its page.
pub(super) fn tell_of_page(name: &str, reachability: &Reachability, results: &mut CheckResults) {
    match reachability {
        Reachability::Connects { .. } => {
            results.ok(
                "gateway",
                format!("{name}: its payment page takes connections; Payme calls us and is never called"),
            );
        }
        Reachability::NoAddress { .. } | Reachability::NoConnection { .. } | Reachability::NoSandbox => {
            let says = format!("{name}: its payment page cannot be reached from here; links lead customers there");
            results.warn("gateway", says, reachability.act());
        }
    }
}

pub(super) fn tell_of_gateway(
    name: &str,
    place: &GatewayPlace,
    reachability: Option<Reachability>,
    answer: Result<(), GatewayError>,
    results: &mut CheckResults,
) {
    match answer {
        Ok(()) => results.ok("gateway", format!("{name} lets us in")),
        Err(GatewayError::OutcomeUnknown { fault: fault @ AnswerFault::Code(_), .. }) => {
            let gateway = place.gateway;
            let (says, act) = match &place.not_found_codes {
                None => (
                    format!(
                        "{name} lets us in, and answers a question about no transaction with {fault}, which is new to us"
                    ),
                    format!(
                        "make a small order of your own; if it is not confirmed, ask {gateway} what the code means"
                    ),
                ),
                Some(setting) => (
                    format!(
                        "{name} answers a question about no payment with {fault}, which is new to us: it may not let us in"
                    ),
                    format!(
                        "compare {}, then ask {gateway} what the code means; only if it is \"no such payment\", set {setting}",
                        place.credentials
                    ),
                ),
            };
            results.warn("gateway", says, act);
        }
        // `look_at_admission` has reported it.
        Err(GatewayError::HeldBack { obstacle: Obstacle::Operator, .. }) => {
            let says = format!("{name} was not asked: an operator has paused calls");
            results.warn("gateway", says, "let calls leave with `tasdiq gateways resume` first");
        }
        Err(trouble) => {
            let gateway = place.gateway;
            let wait = "wait, and set a lower rate limit with `tasdiq gateways rate`; if it is known that the gateway is ready \
                        sooner, `tasdiq gateways resume --override`";
            let act = match &trouble {
                GatewayError::NotAdmitted { .. } => {
                    format!("mend {}, and ask {gateway} to admit this host's address", place.credentials)
                }
                GatewayError::Unreachable(_) => match reachability {
                    Some(reachability) => reachability.act(),
                    // It answered, and not with a token; the call itself never left.
                    None => {
                        format!("it runs, and hands out no access token (`/token`): ask again; then ask {gateway}")
                    }
                },
                GatewayError::OutcomeUnknown { fault: AnswerFault::HttpStatus(404), .. } => {
                    format!("something else may answer there: compare {}; then ask {gateway}", place.setting)
                }
                GatewayError::OutcomeUnknown { .. } | GatewayError::Refused { .. } => {
                    format!("ask again; then ask {gateway}")
                }
                GatewayError::Throttled { .. } => wait.to_owned(),
                GatewayError::HeldBack { obstacle, .. } => match obstacle {
                    Obstacle::RateLimit => format!(
                        "ask again later; if it stays so, and {gateway} allows more, raise it with `tasdiq gateways rate`"
                    ),
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
