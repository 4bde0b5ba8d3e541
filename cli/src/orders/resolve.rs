//! `tasdiq orders resolve`: a person's decision about an order, with name and reason.

use serde_json::json;
use store::Store;
use store::reviewing::{self, Decision, Resolved};

use crate::arguments::ResolveArguments;
use crate::exit::Exit;
use crate::output::{plain, print, print_json};

/// Carries the decision out.
///
/// # Errors
/// The database is away, there is no such order, or it cannot be resolved so.
pub(super) async fn run(store: &Store, arguments: ResolveArguments) -> Result<(), Exit> {
    let ResolveArguments { id, status, by, reason, transaction_id, findings, output } = arguments;
    let decision = Decision { status, by, reason, transaction_id, findings };
    let (what, says) = match reviewing::resolve(store, id, &decision).await? {
        Resolved::Asked(transaction_id) => (
            json!({ "asked_about": transaction_id }),
            format!(
                "the gateway will be asked about transaction {transaction_id}; order {id} is paid once it shows the debit, \
                 and `tasdiq orders show {id}` tells what it said"
            ),
        ),
        Resolved::Settled(status) => {
            (json!({ "status": status }), format!("order {id} is {status}, and waits for no person"))
        }
        Resolved::TakenBack => (json!({ "status": "review" }), format!("order {id} waits for a decision again")),
        Resolved::Unknown => return Err(Exit::failed(format!("there is no order {id}"))),
        Resolved::Refused(why) => return Err(Exit::failed(format!("order {id} stays as it is: {}", plain(&why)))),
    };
    if !output.json {
        return Ok(print(&says)?);
    }
    let mut document = json!({ "order_id": id });
    if let (Some(document), Some(what)) = (document.as_object_mut(), what.as_object()) {
        document.extend(what.clone());
    }
    Ok(print_json(&document)?)
}
