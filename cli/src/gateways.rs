//! `tasdiq gateways …`: whether calls to the gateway leave, and an operator's settings for them.

use std::time::Duration;

use domain::gateway_rate::GatewayRate;
use store::{Store, StoreError, admission, kinds};
use tokio::time::Instant;

use crate::arguments::{GatewaysCommand, NamedAccount, Output};
use crate::config::Config;
use crate::database::open_store;
use crate::exit::Exit;
use crate::output::{print, print_json};

mod accounts;
mod list;
mod older_names;
mod report;

pub(crate) use accounts::{KnownAccount, KnownAccounts};
pub(crate) use older_names::run as run_older;
pub(crate) use report::AdmissionReport;

/// Runs one of the commands.
///
/// # Errors
/// The database is away, or a setting of another release cannot be read.
pub(crate) async fn run(config: &Config, command: GatewaysCommand) -> Result<(), Exit> {
    let store = open_store(config).await?;
    let known = KnownAccounts::read(config, &store).await?;
    let one = |named: &NamedAccount| known.one(named.name());
    let (account, output, done) = match &command {
        GatewaysCommand::List(output) => return list::list(config, &store, &known, *output).await,
        GatewaysCommand::Show { account, output } => {
            return show(&store, &known.named(account.name())?, *output).await;
        }
        GatewaysCommand::Pause { account, output } => {
            let account = one(account)?;
            (account, *output, pause(&store, account).await?)
        }
        GatewaysCommand::Resume { account, overrides_retry_after, output } => {
            let account = one(account)?;
            (account, *output, resume(&store, account, *overrides_retry_after).await?)
        }
        GatewaysCommand::Rate { account, rate, output } => {
            let account = one(account)?;
            (account, *output, set_rate(&store, account, rate.rate()).await?)
        }
        GatewaysCommand::Reset { account, output } => {
            let account = one(account)?;
            (account, *output, reset(&store, account).await?)
        }
    };
    match output {
        Output { json: true } => Ok(print_json(&followed(&store, account).await?)?),
        Output { json: false } => print_done(&done),
    }
}

/// Shows the accounts one after the other; for machines an array, where there are several.
async fn show(store: &Store, accounts: &[&KnownAccount], output: Output) -> Result<(), Exit> {
    let mut reports = Vec::new();
    for account in accounts {
        reports.push(AdmissionReport::read(store, account).await?);
    }
    Ok(match (output.json, reports.as_slice()) {
        (true, [report]) => print_json(report),
        (true, reports) => print_json(&reports),
        (false, reports) => print(&reports.iter().map(AdmissionReport::text).collect::<Vec<_>>().join("\n\n")),
    }?)
}

fn print_done(done: &str) -> Result<(), Exit> {
    Ok(print(&format!("{done}; every process follows within a second"))?)
}

/// Pauses calls, and answers a message for the operator; as do the others.
async fn pause(store: &Store, account: &KnownAccount) -> Result<String, StoreError> {
    admission::pause(store, &account.rows()).await?;
    let is_called = account.is_called();
    let account = &account.identity;
    if !is_called {
        return Ok(format!(
            "{account} is paused; but it is never called, so its payments go on: Payme calls us, and each call is answered. \
             `tasdiq gateways resume {account}` ends the pause"
        ));
    }
    Ok(format!(
        "calls to {account} are paused: no call leaves, and its work waits, until `tasdiq gateways resume {account}`"
    ))
}

async fn resume(store: &Store, account: &KnownAccount, overrides_retry_after: bool) -> Result<String, StoreError> {
    admission::resume(store, &account.rows(), overrides_retry_after).await?;
    if overrides_retry_after {
        kinds::run_held_back_soon(store).await?;
    }
    let retry_after = AdmissionReport::read(store, account).await?.retry_after_until();
    Ok(match retry_after {
        Some(until) if !overrides_retry_after => format!(
            "the pause is over, and a circuit breaker that had opened by itself is reset; but NO CALL LEAVES until {until}: \
             the gateway sent a Retry-After; `tasdiq gateways resume {} --override` lets calls leave all the same",
            account.identity
        ),
        Some(_) | None => {
            format!(
                "calls to {} leave again, and a circuit breaker that had opened by itself is reset",
                account.identity
            )
        }
    })
}

async fn set_rate(store: &Store, account: &KnownAccount, rate: Option<GatewayRate>) -> Result<String, StoreError> {
    admission::set_rate(store, &account.rows(), rate).await?;
    let is_called = account.is_called();
    let account = &account.identity;
    if !is_called {
        return Ok(format!("{account} is never called, so a rate limit changes nothing: Payme calls us"));
    }
    Ok(match rate {
        Some(rate) => format!(
            "the rate limit of {account} is {rate} from now on: {} calls per second and {} at once, of all processes together",
            rate.per_second, rate.burst
        ),
        None => format!("the rate limit of {account} is the configured one again"),
    })
}

async fn reset(store: &Store, account: &KnownAccount) -> Result<String, StoreError> {
    admission::reset_breaker(store, &account.rows()).await?;
    let report = AdmissionReport::read(store, account).await?;
    let account = &account.identity;
    let reset = format!("the circuit breaker of {account} is reset");
    Ok(match (report.paused_since(), report.retry_after_until()) {
        (Some(since), _) => format!(
            "{reset}; but NO CALL LEAVES: an operator has paused calls since {since}; `tasdiq gateways resume {account}` \
             lets them leave again"
        ),
        (None, Some(until)) => format!("{reset}; but NO CALL LEAVES until {until}: the gateway sent a Retry-After"),
        (None, None) => format!("{reset}: all calls leave, and it opens again if the gateway still fails"),
    })
}

/// The processes report what they see within a second or two. A process that hangs reports nothing.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(3);

/// The report once every process sees the new settings, or after three seconds as it is then.
async fn followed(store: &Store, account: &KnownAccount) -> Result<AdmissionReport, StoreError> {
    let until = Instant::now() + FOLLOWED_WITHIN;
    loop {
        let report = AdmissionReport::read(store, account).await?;
        if report.is_followed() || Instant::now() >= until {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
