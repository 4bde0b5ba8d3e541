//! `tasdiq weather …`, the name of `tasdiq gateways …` in older releases. It stays for one release: scripts call it, and
//! read the JSON with its old names.

use serde_json::{Map, Value};
use store::Store;

use super::accounts::{KnownAccount, KnownAccounts};
use super::{AdmissionReport, followed, pause, print_done, resume, set_rate};
use crate::arguments::WeatherCommand;
use crate::config::Config;
use crate::database::open_store;
use crate::exit::Exit;
use crate::output::{print, print_json};

/// The names in the JSON, now and then.
const NAMES: [(&str, &str); 4] = [
    ("is_paused", "is_closed_by_operator"),
    ("paused_at", "closed_at"),
    ("rate_limit", "budget"),
    ("retry_after_until", "patience_until"),
];

/// Runs one of the commands.
///
/// # Errors
/// As [`super::run`].
pub(crate) async fn run(config: &Config, command: WeatherCommand) -> Result<(), Exit> {
    let store = open_store(config).await?;
    let known = KnownAccounts::read(config, &store).await?;
    let account = known.older()?;
    let (output, done) = match command {
        WeatherCommand::Show(output) => {
            let report = AdmissionReport::read(&store, account).await?;
            let older = with_older_names(&report)?;
            return Ok(if output.json { print_json(&older) } else { print(&report.text()) }?);
        }
        WeatherCommand::Set { rate, output } => (output, set_rate(&store, account, rate.rate()).await?),
        WeatherCommand::Close(output) => (output, pause(&store, account).await?),
        WeatherCommand::Open { overrides_retry_after, output } => {
            (output, resume(&store, account, overrides_retry_after).await?)
        }
    };
    if output.json { print_followed(&store, account).await } else { print_done(&done) }
}

async fn print_followed(store: &Store, account: &KnownAccount) -> Result<(), Exit> {
    let report = followed(store, account).await?;
    Ok(print_json(&with_older_names(&report)?)?)
}

fn with_older_names(report: &AdmissionReport) -> anyhow::Result<Value> {
    let Value::Object(mut fields) = serde_json::to_value(report)? else { return Ok(Value::Null) };
    fields.remove("gateway");
    fields.remove("account");
    Ok(renamed(Value::Object(fields)))
}

fn renamed(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let older =
                |name: String| NAMES.iter().find(|(now, _)| *now == name).map_or(name, |(_, then)| (*then).to_owned());
            Value::Object(fields.into_iter().map(|(name, value)| (older(name), renamed(value))).collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(renamed).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
