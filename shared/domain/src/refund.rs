//! Refunds: the data of money that goes back to a customer.

use crate::id::{OrderId, RefundId, TransactionId};
use crate::named_values::named_values;

named_values! {
    /// The state of a refund.
    RefundState {
        /// Not sent yet, or sent and its outcome not seen yet.
        Open = "open",
        /// Its outcome is unknown; a person must find out. It may still turn out to be done.
        Review = "review",
        /// The money went back.
        Done = "done",
        /// It was not made, and never will be; another one may be asked for.
        Refused = "refused",
    }
}

impl RefundState {
    /// Whether it reserves a part of the order's amount that may still go back. An order has at most one such refund.
    pub fn is_open(self) -> bool {
        match self {
            RefundState::Open | RefundState::Review => true,
            RefundState::Done | RefundState::Refused => false,
        }
    }
}

/// A refund as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Its number.
    pub id: RefundId,
    /// The order whose money goes back.
    pub order_id: OrderId,
    /// The amount in tiyin.
    pub amount: i64,
    /// Its state.
    pub state: RefundState,
    /// The transaction that paid.
    pub transaction_id: TransactionId,
    /// The permanent id of its debit, by which the gateway reverses it.
    pub success_transaction_id: TransactionId,
    /// The requester: the name of an API key (empty if none are configured), or of an operator.
    pub requested_by: String,
    /// The reason, in the requester's words.
    pub reason: Option<String>,
    /// From when on the gateway may have received it, epoch milliseconds. A run that finds this set never sends it.
    pub sent_at_ms: Option<i64>,
    /// The code of the gateway's final no; an inquiry must still show that the money did not move.
    pub refused_code: Option<String>,
    /// Why it was refused, or what is unknown about it.
    pub outcome: Option<String>,
    /// When it was asked for, epoch milliseconds.
    pub created_at_ms: i64,
    /// When it ended, epoch milliseconds.
    pub finished_at_ms: Option<i64>,
}
