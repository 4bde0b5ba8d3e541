//! `tasdiq restored`: a person says that the database has lost commits, so all numbers jump.

use serde_json::json;
use shared::config::Config;

use crate::arguments::Output;
use crate::database::open_store;
use crate::exit::Exit;
use crate::output::{print, print_json};

/// Makes the numbers jump, and says what to do next.
///
/// # Errors
/// The database is away, or lacks the tables of this release.
pub(crate) async fn run(config: &Config, output: Output) -> Result<(), Exit> {
    let store = open_store(config).await?;
    let before = store.numbers().await?;
    let after = store.jump_numbers().await?;
    let next = |name: &str| after.iter().find(|numbers| numbers.name == name).map(|numbers| numbers.next);
    if output.json {
        let numbers = before.iter().map(|old| json!({ "name": old.name, "was": old.next, "next": next(&old.name) }));
        return Ok(print_json(&json!({ "numbers": numbers.collect::<Vec<_>>() }))?);
    }
    let orders = before.iter().find(|old| old.name == "orders").map_or(0, |old| old.next);
    Ok(print(&format!(
        "numbers jump: the next order is {} at the earliest; every process follows within seconds\n\
         what to do next:\n  \
         tasdiq audit          compares all that is left with the gateway\n  \
         tasdiq doctor         tells whether processes and queues are well\n\
         Orders from number {orders} on were made after the backup, and are lost. Find their payments in the gateway's \
         cabinet by account, which is the order's number: deliver by hand, or give the money back there.",
        next("orders").unwrap_or_default(),
    ))?)
}
