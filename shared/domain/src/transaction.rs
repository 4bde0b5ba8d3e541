//! A payment in a gateway's data, in neutral words: our requests, its answers, and its callbacks.

use crate::id::{OrderId, TransactionId};
use crate::money::Tiyin;
use crate::named_values::named_values;
use crate::order::{GatewayIdentity, Language};

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
    /// The number that the gateway gives the payment, where it names one although no money has moved (Click documents,
    /// `payment_id`). It is kept, so that a closed transaction can be asked about by it.
    pub unpaid_payment_id: Option<TransactionId>,
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

named_values! {
    /// The state of a transaction when it was last asked about.
    StoredState {
        /// A draft, or not yet known as closed: each inquiry asks about it.
        Open = "open",
        /// Closed and unpaid.
        Closed = "closed",
        /// Money moved.
        Debited = "debited",
        /// Money moved and went back.
        Reversed = "reversed",
    }
}

/// A transaction of one of our orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTransaction {
    /// The gateway account that gave its number.
    pub gateway: GatewayIdentity,
    /// Its number: the gateway's where that is a number that it gives before a payment (Atmos), else one of ours.
    pub transaction_id: TransactionId,
    /// The order it was made for.
    pub order_id: OrderId,
    /// Its amount in tiyin.
    pub amount: i64,
    /// Its state when it was last asked about.
    pub state: StoredState,
    /// The permanent id of its debit; where the gateway names payments that failed, too, also the id of one (Click).
    pub success_transaction_id: Option<TransactionId>,
    /// The amount in tiyin that the gateway named with the debit. It may differ from the order's.
    pub seen_amount: Option<i64>,
    /// When an inquiry last saw its state change, epoch milliseconds.
    pub looked_at_ms: Option<i64>,
    /// Whether a person knows of its debit, or of its unreadable answer, and leaves it as it is.
    pub is_accepted: bool,
    /// When we recorded it, epoch milliseconds.
    pub created_at_ms: i64,
    /// The gateway's own id, where our number is not the gateway's.
    pub external_id: Option<String>,
    /// The `account` of the gateway's call, as it came.
    pub account: Option<String>,
    /// When the gateway says it began the transaction, epoch milliseconds of the gateway's clock.
    pub gateway_at_ms: Option<i64>,
    /// When the gateway told us of its debit, epoch milliseconds.
    pub debited_at_ms: Option<i64>,
    /// When the gateway told us that it is closed or its money went back, epoch milliseconds.
    pub closed_at_ms: Option<i64>,
    /// The gateway's code for that: a reason of Payme, an error of Click.
    pub close_code: Option<i64>,
}

impl StoredTransaction {
    /// When its money was taken, as far as is known, epoch milliseconds: `ended_ms` is when its order became *paid*.
    pub fn paid_at_ms(&self, ended_ms: Option<i64>) -> i64 {
        self.debited_at_ms.or(ended_ms).unwrap_or(self.created_at_ms)
    }

    /// The others of these that are transactions of the same order at the same gateway account.
    pub fn others<'a>(
        &'a self,
        among: impl IntoIterator<Item = &'a StoredTransaction>,
    ) -> impl Iterator<Item = &'a StoredTransaction> {
        among.into_iter().filter(move |other| {
            (other.order_id, &other.gateway) == (self.order_id, &self.gateway)
                && other.transaction_id != self.transaction_id
        })
    }
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
