//! `tasdiq callbacks …`: the callbacks that came, from the gateway or from another sender, and our answers.

use domain::time::{millis, rfc3339};
use serde::Serialize;
use store::callbacks::{self, StoredCallback, Wanted};

use crate::arguments::{CallbacksCommand, CallbacksFilter};
use crate::config::Config;
use crate::database::open_store;
use crate::exit::Exit;
use crate::output::{lines, plain, print, print_json, short, table};

/// A callback as it is printed. Its body stays in the database: it may hold what a log must not.
#[derive(Debug, Serialize)]
struct CallbackLine<'a> {
    #[serde(flatten)]
    callback: &'a StoredCallback,
    received_at: String,
}

/// Runs one of the commands.
///
/// # Errors
/// The database is away, or standard output cannot be written.
pub(crate) async fn run(config: &Config, command: CallbacksCommand) -> Result<(), Exit> {
    let CallbacksCommand::List(CallbacksFilter { verdict, order, since, limit, output }) = command;
    let store = open_store(config).await?;
    let since_ms = store.now_ms() - millis(since);
    let found = callbacks::list(&store, Wanted { verdict, order_id: order, since_ms, limit: limit.into() }).await?;
    if output.json {
        let line = |callback| CallbackLine { callback, received_at: rfc3339(callback.received_at_ms) };
        return Ok(print_json(&found.iter().map(line).collect::<Vec<_>>())?);
    }
    if found.is_empty() {
        return Ok(print("no callbacks")?);
    }
    let mut table = table(&["callback", "received", "verdict", "gateway", "order", "transaction", "times", "from"]);
    for callback in &found {
        table.add_row([
            callback.id.to_string(),
            rfc3339(callback.received_at_ms),
            callback.verdict.to_string(),
            account_or_webhook(callback),
            callback.order_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            callback.transaction_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            callback.seen_count.to_string(),
            short(&plain(callback.address.as_deref().unwrap_or("-")), 45),
        ]);
    }
    Ok(print(&lines(&table))?)
}

/// The account whose key proves it, or the gateway to whose webhook it came.
fn account_or_webhook(callback: &StoredCallback) -> String {
    match (&callback.gateway, callback.webhook) {
        (Some(gateway), _) => plain(&gateway.0),
        (None, Some(webhook)) => webhook.to_string(),
        (None, None) => "-".to_owned(),
    }
}
