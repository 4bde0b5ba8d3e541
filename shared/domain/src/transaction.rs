//! A payment as a gateway tells of it, in neutral words: what we ask for, what it answers, and what it asks us.

use crate::id::{OrderId, TransactionId};
use crate::money::Tiyin;
use crate::order::Language;

/// What the gateway must know to make a draft.
#[derive(Clone, Debug)]
pub struct DraftRequest {
    /// The order; its number is the `account` that the gateway echoes.
    pub order_id: OrderId,
    /// How much.
    pub amount: Tiyin,
    /// The language of the gateway's descriptions.
    pub language: Language,
}

/// A transaction made at the gateway on which no money has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The gateway's number of it.
    pub transaction_id: TransactionId,
}

/// The gateway's answer to one inquiry about one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionReport {
    /// Which transaction it speaks of.
    pub transaction_id: TransactionId,
    /// What we sent as `account`: the order's number, as text.
    pub account: String,
    /// The store, as text, where the gateway names it.
    pub store_id: Option<String>,
    /// The amount in tiyin as the gateway has it; not yet believed, hence no [`Tiyin`].
    pub amount: i64,
    /// Where the transaction is.
    pub state: TransactionState,
}

/// Where a transaction is at the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionState {
    /// No money has moved, and it may yet be paid.
    Open,
    /// Money moved: `confirmed`, a permanent id, and a status code that says success.
    Debited {
        /// The permanent id, needed for a reversal (Atmos: `success_trans_id`).
        success_transaction_id: TransactionId,
    },
    /// Closed without a debit; it can no longer be paid.
    Closed,
    /// Money moved and went back wholly.
    Reversed {
        /// The permanent id of the debit, where the gateway still names it.
        success_transaction_id: Option<TransactionId>,
    },
    /// Something this release does not know; never read as paid nor as unpaid.
    Unclear {
        /// The gateway's code, for the operator.
        code: String,
    },
}

/// One line of a gateway's own book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookLine {
    /// What an inquiry about this transaction would report.
    pub report: TransactionReport,
    /// How often money was taken on it; more than once is a fault of the gateway.
    pub debits: u32,
    /// How often we asked for its money to be given back; more than once is a fault of ours.
    pub reversals_asked: u32,
}

/// A callback that could be read and whose signature fits one of our keys. Its content is *claimed*, not
/// yet compared with our rows; what is `None` was said in a way that can equal none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callback {
    /// The store it speaks for, as text.
    pub store_id: String,
    /// The transaction it asks about; `None` where no whole number stands there.
    pub transaction_id: Option<TransactionId>,
    /// The `account` (older: `invoice`) we sent with the draft: the order's number as text. `None` where it has both,
    /// and they differ.
    pub account: Option<String>,
    /// The amount in tiyin it wants to debit; `None` where no whole number of tiyin stands there.
    pub amount: Option<i64>,
    /// Its signature, in lower case.
    pub signature: String,
}

impl Callback {
    /// What it asks, as text: the same for two bodies that differ only in what is not signed, such as the time that they
    /// name. So whoever has seen one rightly signed body cannot make many of it.
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
    /// Not JSON, a field missing, or of no usable type.
    #[error("the callback cannot be read")]
    Unreadable,
    /// No key of ours gives that signature.
    #[error("the callback's signature does not fit")]
    BadlySigned,
}
