//! `tasdiq restored`: a person says that the database has lost commits, so all numbers jump.

use serde_json::json;
use store::auditing;

use crate::arguments::Output;
use crate::config::Config;
use crate::database::{keep_order_numbers_apart, open_store};
use crate::exit::Exit;
use crate::output::{print, print_json};

/// Makes the numbers jump, and says what to do next.
///
/// # Errors
/// The database is away, or lacks the tables of this release.
pub(crate) async fn run(config: &Config, output: Output) -> Result<(), Exit> {
    let store = open_store(config).await?;
    keep_order_numbers_apart(config, &store);
    let before = store.numbers().await?;
    let after = store.jump_numbers().await?;
    let next = |name: &str| after.iter().find(|numbers| numbers.name == name).map(|numbers| numbers.next);
    if output.json {
        let numbers = before.iter().map(|old| json!({ "name": old.name, "was": old.next, "next": next(&old.name) }));
        return Ok(print_json(&json!({ "numbers": numbers.collect::<Vec<_>>() }))?);
    }
    let highest = auditing::highest_order(&store).await?;
    Ok(print(&format!(
        "numbers jump: the next order is {} at the earliest; every process follows within seconds\n\
         what to do next:\n  \
         tasdiq audit          compares all that is left with the gateway\n  \
         tasdiq doctor         tells whether processes and queues are well\n\
         An order that the shop or the gateway's cabinet knows, and `tasdiq orders show` does not, is lost; the highest \
         order that is left is {highest}. Find the payments of lost orders in the cabinet by account, which is the order's \
         number: deliver by hand, or give the money back there.",
        next("orders").unwrap_or_default(),
    ))?)
}
