//! Whether the callbacks that woke an inquiry still prove themselves.

use domain::id::CallbackId;
use domain::job::Lease;
use domain::order::PaymentType;
use futures_util::future::try_join_all;
use store::callbacks::{self, KeptBody};
use store::{Store, StoreError, jobs};
use tracing::{error, warn};

use crate::WorkerContext;
use crate::metrics;

/// A callback that woke the inquiry, or why its row cannot be read. `None` if retention has deleted the row.
pub(super) type Woke = Result<Option<KeptBody>, (CallbackId, StoreError)>;

/// Reads the callbacks of these numbers. [`check_all`] reports a row that cannot be read.
///
/// # Errors
/// [`StoreError`] when the database cannot be asked now.
pub(super) async fn read(store: &Store, woken_by: &[i64]) -> Result<Vec<Woke>, StoreError> {
    let one = async |id| match callbacks::find(store, id).await {
        Err(trouble) if trouble.is_passing() => Err(trouble),
        found => Ok(found.map_err(|trouble| (id, trouble))),
    };
    try_join_all(woken_by.iter().map(|id| one(CallbackId(*id)))).await
}

/// Checks the callbacks that woke an inquiry. Once an invalid one was logged, the list is emptied: an inquiry that is
/// tried again for days must not log it each time.
pub(super) async fn check_all(context: &WorkerContext, lease: &Lease, woken_by: &[Woke]) {
    let mut all_prove = true;
    for woke in woken_by {
        all_prove &= match woke {
            Ok(None) => true,
            Ok(Some(callback)) => check_again(context, callback),
            Err((id, trouble)) => {
                warn!(callback.id = %id, error = %trouble, "callback {id} cannot be read and is not checked: {trouble}");
                metrics::count_unproven_callback(PaymentType::Atmos);
                false
            }
        };
    }
    if !all_prove && let Err(trouble) = jobs::forget_woken_by(&context.store, lease).await {
        warn!(error = %trouble, "the unproven callbacks of this job are logged again if this run fails");
    }
}

/// Checks the signature of a stored callback again; returns whether it is still valid. An invalid one is logged and
/// counted, and decides nothing: only the gateway's own answer decides.
pub(crate) fn check_again(context: &WorkerContext, callback: &KeptBody) -> bool {
    let Err(fault) = context.gateways.read_atmos_callback(callback.body.as_bytes()) else { return true };
    // It was valid when it came. Its key was rotated away since, or the row was changed: a person must know.
    let (id, order_id) = (callback.id, callback.order_id.map(|id| id.to_string()));
    error!(callback.id = %id, order.id = order_id, error = %fault, "callback {id} no longer proves itself: {fault}");
    metrics::count_unproven_callback(PaymentType::Atmos);
    false
}
