//! `tasdiq orders refund` and `tasdiq orders cancel`: as a shop may do over HTTP, with the operator's name.

use domain::id::{OrderId, RefundId, TransactionId};
use domain::money::som;
use domain::order::OrderStatus;
use domain::refund::Refund;
use domain::time::rfc3339;
use serde::Serialize;
use serde_json::json;
use store::Store;
use store::orders::{self, Canceled};
use store::refunds::{self, NewRefund, Requested};

use crate::arguments::{Because, Output};
use crate::exit::Exit;
use crate::output::{lines, plain, print, print_json, table};

/// Stages a refund of the whole order; the gateway is asked by a worker.
///
/// # Errors
/// The order cannot be refunded, which is said with what to do instead.
pub(crate) async fn refund(store: &Store, id: OrderId, because: Because, output: Output) -> Result<(), Exit> {
    let order = orders::find(store, id).await?.ok_or_else(|| unknown(id))?;
    let new = NewRefund { order_id: id, amount: order.amount, reason: Some(because.reason), requested_by: because.by };
    let refund = match refunds::request(store, &new, None).await? {
        Requested::New(refund) => refund,
        refused => return Err(not_refundable(id, refused)),
    };
    if output.json {
        return Ok(print_json(&RefundView::from(refund))?);
    }
    let amount = som(refund.amount);
    Ok(print(&format!(
        "refund {} of {amount} soʻm is being made; `tasdiq orders show {id}` tells what becomes of it",
        refund.id
    ))?)
}

/// Calls a pending order off.
///
/// # Errors
/// The order is not pending, which is said with what to do instead.
pub(crate) async fn cancel(store: &Store, id: OrderId, because: Because, output: Output) -> Result<(), Exit> {
    let cause = format!("an operator canceled it ({}): {}", because.by, because.reason);
    match orders::call_off(store, id, &cause).await? {
        Canceled::Done(_) if output.json => {
            Ok(print_json(&json!({ "order_id": id, "status": OrderStatus::Canceled }))?)
        }
        Canceled::Done(_) => Ok(print(&format!("order {id} is canceled"))?),
        Canceled::Refused(order) => Err(not_cancelable(id, order.status)),
        Canceled::Unknown => Err(unknown(id)),
    }
}

fn unknown(id: OrderId) -> Exit {
    Exit::failed(format!("there is no order {id}"))
}

fn not_refundable(id: OrderId, refused: Requested) -> Exit {
    Exit::failed(match refused {
        Requested::New(_) | Requested::Repeated(_) | Requested::KeyReused | Requested::InFlight => {
            format!("order {id} has changed in this moment; try again")
        }
        Requested::UnknownOrder => return unknown(id),
        Requested::NotPaid(status) => match status {
            OrderStatus::Pending => format!("order {id} is pending; `tasdiq orders cancel {id}` calls it off"),
            OrderStatus::Confirming => format!("order {id} is being paid at this moment; try again once it is paid"),
            OrderStatus::Review => format!("order {id} is in review; `tasdiq orders show {id}` tells what was found"),
            OrderStatus::Expired
            | OrderStatus::Canceled
            | OrderStatus::Failed
            | OrderStatus::Paid
            | OrderStatus::Refunded => format!("order {id} is {status}, so that nothing can go back"),
        },
        Requested::InProgress(refund) => {
            format!(
                "refund {} of order {id} is being made; `tasdiq orders show {id}` tells what becomes of it",
                refund.id
            )
        }
        Requested::InReview(refund) => format!(
            "what became of refund {} of order {id} is not known: look in the gateway's cabinet whether the money went back, \
             and `tasdiq orders resolve {id} refunded` or `paid` then",
            refund.id
        ),
        Requested::AlreadyRefunded => format!("order {id} is refunded already"),
        Requested::DebitUnknown => {
            format!("the gateway is being asked for its number of the debit of order {id}; try again soon")
        }
    })
}

fn not_cancelable(id: OrderId, status: OrderStatus) -> Exit {
    Exit::failed(match status {
        OrderStatus::Confirming => format!("order {id} is being paid at this moment; if it is paid, refund it"),
        OrderStatus::Paid => format!("order {id} is paid; `tasdiq orders refund {id}` gives the money back"),
        OrderStatus::Review => format!("order {id} is in review; `tasdiq orders show {id}` tells what was found"),
        OrderStatus::Refunded | OrderStatus::Expired | OrderStatus::Failed => {
            format!("order {id} is {status} and can no longer be paid")
        }
        OrderStatus::Pending | OrderStatus::Canceled => format!("order {id} has changed in this moment; try again"),
    })
}

/// A refund under the names of the order API, and what only operators see.
#[derive(Debug, Serialize)]
pub(crate) struct RefundView {
    refund_id: RefundId,
    order_id: OrderId,
    state: &'static str,
    amount: String,
    transaction_id: TransactionId,
    success_transaction_id: TransactionId,
    requested_by: String,
    reason: Option<String>,
    outcome: Option<String>,
    created_at: String,
    sent_at: Option<String>,
    finished_at: Option<String>,
}

impl From<Refund> for RefundView {
    fn from(refund: Refund) -> Self {
        RefundView {
            refund_id: refund.id,
            order_id: refund.order_id,
            state: refund.state.as_str(),
            amount: som(refund.amount),
            transaction_id: refund.transaction_id,
            success_transaction_id: refund.success_transaction_id,
            requested_by: refund.requested_by,
            reason: refund.reason,
            outcome: refund.outcome,
            created_at: rfc3339(refund.created_at_ms),
            sent_at: refund.sent_at_ms.map(rfc3339),
            finished_at: refund.finished_at_ms.map(rfc3339),
        }
    }
}

/// Refunds as a table.
pub(crate) fn refund_lines(refunds: &[RefundView]) -> String {
    let mut rows = table(&["refund", "state", "amount", "asked for", "by", "reason", "sent", "outcome"]);
    for refund in refunds {
        let text = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), plain);
        rows.add_row([
            refund.refund_id.to_string(),
            refund.state.to_owned(),
            refund.amount.clone(),
            refund.created_at.clone(),
            plain(&refund.requested_by),
            text(&refund.reason),
            text(&refund.sent_at),
            text(&refund.outcome),
        ]);
    }
    lines(&rows)
}
