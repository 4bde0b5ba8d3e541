//! Checks that each debit which we allowed has left its traces.

use domain::order::OrderStatus;
use store::auditing::CallbackRecord;

use super::{Case, Difference, Kind};

pub(super) fn check(case: &mut Case<'_>) {
    let record = case.record;
    let entered =
        |status: OrderStatus| record.history.iter().any(|(_, line)| line.to == status && line.from != Some(status));
    let had_effect = entered(OrderStatus::Confirming) || entered(OrderStatus::Paid);
    for callback in &record.callbacks {
        let id = callback.transaction_id;
        if !record.transactions.iter().any(|row| Some(row.transaction_id) == id) {
            let says =
                format!("callback {} was answered with 1, and its transaction is none of the order's", callback.id);
            case.find(Kind::AllowedDraftUnknown, id, says);
        }
        if !had_effect {
            let says = format!("callback {} was answered with 1, and the order's history knows nothing", callback.id);
            case.find(Kind::CallbackWithoutEffect, id, says);
        }
    }
}

/// A callback that was answered with 1, about an order that does not exist.
pub fn callback_without_order(callback: &CallbackRecord) -> Difference {
    Difference {
        kind: Kind::AllowedDraftUnknown,
        order_id: Some(callback.order_id),
        transaction_id: callback.transaction_id,
        job_id: None,
        says: format!("callback {} was answered with 1, and its order does not exist", callback.id),
    }
}
