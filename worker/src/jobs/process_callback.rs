//! Checks a stored callback's signature again and wakes its order's `settle_order`. Never calls the gateway. Only older
//! releases stage such jobs.

use domain::id::CallbackId;
use store::callbacks;

use crate::failure::{Done, Failure};
use crate::handler::Attempt;
use crate::jobs::settle_order::check_again;

pub(crate) async fn run(attempt: Attempt<'_>, callback_id: CallbackId) -> Result<Done, Failure> {
    let Attempt { context, lease, .. } = attempt;
    let Some(callback) = callbacks::find(&context.store, callback_id).await? else {
        return Ok(Done::NothingToDo); // it was pruned, so its order has long ended
    };
    let Some(order_id) = callback.order_id else {
        return Ok(Done::NothingToDo);
    };
    let _ = check_again(context, &callback);
    callbacks::wake_settlement(&context.store, lease, order_id).await?;
    Ok(Done::Changed)
}
