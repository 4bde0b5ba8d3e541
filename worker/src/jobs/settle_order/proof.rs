//! Whether the callbacks that woke a look still prove themselves.

use store::callbacks::StoredCallback;
use tracing::error;

use crate::WorkerContext;
use crate::metrics;

/// Checks the signature of a stored callback again. One that no longer proves itself is told and counted, and decides
/// nothing: what moves is decided by the gateway's own word in any case.
pub(crate) fn check_again(context: &WorkerContext, callback: &StoredCallback) {
    if let Err(fault) = context.gateway.read_callback(callback.body.as_bytes()) {
        // It was good when it came. Its key was rotated away since, or the row was changed: somebody must know.
        let (id, order_id) = (callback.id, callback.order_id.map(|id| id.to_string()));
        error!(callback.id = %id, order.id = order_id, error = %fault, "callback {id} no longer proves itself: {fault}");
        metrics::count_unproven_callback();
    }
}
