//! `tasdiq gateways …`: whether calls to the gateway leave, and an operator's settings for them.

use std::time::Duration;

use domain::gateway_rate::GatewayRate;
use store::{Store, StoreError, admission, kinds};
use tokio::time::Instant;

use crate::arguments::{GatewaysCommand, Output};
use crate::config::Config;
use crate::database::open_store;
use crate::exit::Exit;
use crate::output::{print, print_json};

mod accounts;
mod older_names;
mod report;

pub(crate) use older_names::run as run_older;
pub(crate) use report::AdmissionReport;

/// Runs one of the commands.
///
/// # Errors
/// The database is away, or a setting of another release cannot be read.
pub(crate) async fn run(config: &Config, command: GatewaysCommand) -> Result<(), Exit> {
    let store = open_store(config).await?;
    let (name, output, done) = match &command {
        GatewaysCommand::List(output) => return accounts::list(config, &store, *output).await,
        GatewaysCommand::Show { gateway, output } => {
            let report = AdmissionReport::read(&store, gateway.name()).await?;
            return Ok(if output.json { print_json(&report) } else { print(&report.text()) }?);
        }
        GatewaysCommand::Pause { gateway, output } => (gateway.name(), *output, pause(&store).await?),
        GatewaysCommand::Resume { gateway, overrides_retry_after, output } => {
            (gateway.name(), *output, resume(&store, gateway.name(), *overrides_retry_after).await?)
        }
        GatewaysCommand::Rate { gateway, rate, output } => {
            (gateway.name(), *output, set_rate(&store, rate.rate()).await?)
        }
        GatewaysCommand::Reset { gateway, output } => (gateway.name(), *output, reset(&store, gateway.name()).await?),
    };
    match output {
        Output { json: true } => Ok(print_json(&followed(&store, name).await?)?),
        Output { json: false } => print_done(&done),
    }
}

fn print_done(done: &str) -> Result<(), Exit> {
    Ok(print(&format!("{done}; every process follows within a second"))?)
}

/// Pauses calls, and answers a message for the operator; as do the others.
async fn pause(store: &Store) -> Result<String, StoreError> {
    admission::pause(store).await?;
    Ok("calls to the gateway are paused: no call leaves, and its work waits, until `tasdiq gateways resume`".to_owned())
}

async fn resume(store: &Store, name: &str, overrides_retry_after: bool) -> Result<String, StoreError> {
    admission::resume(store, overrides_retry_after).await?;
    if overrides_retry_after {
        kinds::run_held_back_soon(store).await?;
    }
    let retry_after = AdmissionReport::read(store, name).await?.retry_after_until();
    Ok(match retry_after {
        Some(until) if !overrides_retry_after => format!(
            "the pause is over, and a circuit breaker that had opened by itself is reset; but NO CALL LEAVES until {until}: \
             the gateway sent a Retry-After; `tasdiq gateways resume --override` lets calls leave all the same"
        ),
        Some(_) | None => {
            "calls to the gateway leave again, and a circuit breaker that had opened by itself is reset".to_owned()
        }
    })
}

async fn set_rate(store: &Store, rate: Option<GatewayRate>) -> Result<String, StoreError> {
    admission::set_rate(store, rate).await?;
    Ok(match rate {
        Some(rate) => format!(
            "the rate limit is {rate} from now on: {} calls per second and {} at once, of all processes together",
            rate.per_second, rate.burst
        ),
        None => "the rate limit is the value of TASDIQ_GATEWAY_RATE again".to_owned(),
    })
}

async fn reset(store: &Store, name: &str) -> Result<String, StoreError> {
    admission::reset_breaker(store).await?;
    let report = AdmissionReport::read(store, name).await?;
    let reset = "the circuit breaker is reset";
    Ok(match (report.paused_since(), report.retry_after_until()) {
        (Some(since), _) => format!(
            "{reset}; but NO CALL LEAVES: an operator has paused calls since {since}; `tasdiq gateways resume` lets them \
             leave again"
        ),
        (None, Some(until)) => format!("{reset}; but NO CALL LEAVES until {until}: the gateway sent a Retry-After"),
        (None, None) => format!("{reset}: all calls leave, and it opens again if the gateway still fails"),
    })
}

/// The processes report what they see within a second or two. A process that hangs reports nothing.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(3);

/// The report once every process sees the new settings, or after three seconds as it is then.
async fn followed(store: &Store, name: &str) -> Result<AdmissionReport, StoreError> {
    let until = Instant::now() + FOLLOWED_WITHIN;
    loop {
        let report = AdmissionReport::read(store, name).await?;
        if report.is_followed() || Instant::now() >= until {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
