//! Refunds: the plain data of money that is to go back to a customer.

use crate::id::{OrderId, RefundId, TransactionId};
use crate::named_values::named_values;

named_values! {
    /// Where a refund is.
    RefundState {
        /// To be sent, or sent and its outcome to be seen.
        Open = "open",
        /// Nobody knows whether the money went back; a person must look. It may still turn out to be done.
        Review = "review",
        /// The money went back.
        Done = "done",
        /// It was not made, and never will be; another one may be asked for.
        Refused = "refused",
    }
}

impl RefundState {
    /// Whether it holds a part of the order's amount that may still go back: such a refund is the only one of its order.
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
    /// How much, in tiyin.
    pub amount: i64,
    /// Where it is.
    pub state: RefundState,
    /// The transaction that paid.
    pub transaction_id: TransactionId,
    /// The permanent id of its debit, by which the gateway reverses it.
    pub success_transaction_id: TransactionId,
    /// Who asked: the name of an API key (empty where none are configured), or of an operator.
    pub requested_by: String,
    /// Why, in the words of whoever asked.
    pub reason: Option<String>,
    /// From when on the gateway may have it, epoch milliseconds. Whoever finds this set never sends it.
    pub sent_at_ms: Option<i64>,
    /// The gateway's final no; an inquiry must still show that the money is where it was.
    pub refused_code: Option<String>,
    /// Why it was refused, or what is not known of it.
    pub outcome: Option<String>,
    /// When it was asked for, epoch milliseconds.
    pub created_at_ms: i64,
    /// When it ended, epoch milliseconds.
    pub finished_at_ms: Option<i64>,
}
