//! Re-checks a stored callback's signature and wakes its order's `settle_order`; never calls the gateway.

use shared::id::CallbackId;
use shared::store::callbacks;
use tracing::error;

use crate::failure::{Done, Failure};
use crate::handler::Attempt;
use crate::metrics;

pub(crate) async fn run(attempt: Attempt<'_>, callback_id: CallbackId) -> Result<Done, Failure> {
    let Attempt { context, lease, .. } = attempt;
    let Some(callback) = callbacks::find(&context.store, callback_id).await? else {
        return Ok(Done::NothingToDo); // pruned: nobody waits for it any more
    };
    let Some(order_id) = callback.order_id else {
        return Ok(Done::NothingToDo);
    };
    if let Err(fault) = context.gateway.read_callback(callback.body.as_bytes()) {
        // It was good when it came. Its key was rotated away since, or the row was changed: somebody must know, and
        // the gateway's own word decides about the money in any case.
        error!(callback.id = %callback_id, order.id = %order_id, error = %fault, "callback {callback_id} no longer proves itself: {fault}");
        metrics::count_unproven_callback();
    }
    let look = callbacks::wake_settlement(&context.store, lease, order_id).await?;
    Ok(look.map_or(Done::Changed, Done::Then))
}
