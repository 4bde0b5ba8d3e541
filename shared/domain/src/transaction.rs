//! A payment in a gateway's data, in neutral words: our requests, its answers, and its callbacks.

use crate::id::{OrderId, TransactionId};
use crate::money::Tiyin;
use crate::order::Language;

/// The data that the gateway needs to make a draft.
#[derive(Clone, Debug)]
pub struct DraftRequest {
    /// The order; its number is the `account` that the gateway returns.
    pub order_id: OrderId,
    /// The amount.
    pub amount: Tiyin,
    /// The language of the gateway's descriptions.
    pub language: Language,
}

/// A transaction made at the gateway on which no money has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Its number at the gateway.
    pub transaction_id: TransactionId,
}

/// The gateway's answer to an inquiry about one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionReport {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// The `account` that we sent: the order's number, as text.
    pub account: String,
    /// The store, as text, if the gateway names it.
    pub store_id: Option<String>,
    /// The amount in tiyin that the gateway has. It is not checked yet, so it is no [`Tiyin`].
    pub amount: i64,
    /// The transaction's state.
    pub state: TransactionState,
}

/// The state of a transaction at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionState {
    /// No money has moved, and it may yet be paid.
    Open,
    /// Money moved: `confirmed`, a permanent id, and a status code of success.
    Debited {
        /// The permanent id, needed for a reversal (Atmos: `success_trans_id`).
        success_transaction_id: TransactionId,
    },
    /// Closed without a debit; it can no longer be paid.
    Closed,
    /// Money moved and went back completely.
    Reversed {
        /// The permanent id of the debit, if the gateway still names it.
        success_transaction_id: Option<TransactionId>,
    },
    /// A state that this release does not know; never read as paid or as unpaid.
    Unclear {
        /// The gateway's code, for the operator.
        code: String,
    },
}

/// One line of a gateway's own book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookLine {
    /// The answer that an inquiry about this transaction would bring.
    pub report: TransactionReport,
    /// How often money was taken on it; more than once is an error of the gateway.
    pub debits: u32,
    /// How often we asked for its money to be given back; more than once is an error of ours.
    pub reversals_asked: u32,
}

/// A callback that could be read and whose signature fits one of our keys. Its content is *claimed*: it is not compared
/// with our rows yet. `None` stands for a value that can equal none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The store that it is for, as text.
    pub store_id: String,
    /// The transaction that it asks about; `None` if that is no whole number.
    pub transaction_id: Option<TransactionId>,
    /// The `account` (older: `invoice`) that we sent with the draft: the order's number as text. `None` if it has both,
    /// and they differ.
    pub account: Option<String>,
    /// The amount in tiyin that it wants to debit; `None` if that is no whole number of tiyin.
    pub amount: Option<i64>,
    /// Its signature, in lower case.
    pub signature: String,
}

impl Callback {
    /// Its question, as text. Two bodies have the same question if they differ only in unsigned parts, such as their
    /// time. So a sender who has seen one correctly signed body cannot make many questions of it.
    pub fn question(&self) -> String {
        let text = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let account = self.account.as_ref().map_or_else(|| "-".to_owned(), |account| format!("{account:?}"));
        let (transaction_id, amount) = (text(self.transaction_id.map(|id| id.0)), text(self.amount));
        format!("{:?} {transaction_id} {account} {amount} {}", self.store_id, self.signature)
    }
}

/// Why a callback's body proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackFault {
    /// It is not JSON, or a field is missing or has no usable type.
    #[error("the callback cannot be read")]
    Unreadable,
    /// None of our keys gives this signature.
    #[error("the callback's signature does not fit")]
    BadlySigned,
}
