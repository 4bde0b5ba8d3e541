//! One payment in the sandbox, and all its changes.

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use crate::atmos::cards::PayingCard;
use crate::atmos::codes::ResultLanguage;

/// The state of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PaymentState {
    /// Made; no card entered.
    Draft,
    /// A card was entered, and its owner got an OTP. No money has moved.
    Prepaid,
    /// The money has moved.
    Debited,
    /// Ended without money: canceled, lapsed, or too many wrong OTPs.
    Closed,
    /// Debited, and the money was returned.
    Reversed,
}

/// One payment. Its amount is in tiyin and never zero or below.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) id: i64,
    pub(crate) account: String,
    pub(crate) amount_tiyin: i64,
    pub(crate) details: Option<String>,
    /// The language in which the merchant wanted the draft; `None` if it named none.
    pub(crate) language: Option<ResultLanguage>,
    pub(crate) created_at_ms: i64,
    pub(crate) state: PaymentState,
    pub(crate) card: Option<PayingCard>,
    pub(crate) prepaid_at_ms: Option<i64>,
    pub(crate) debited_at_ms: Option<i64>,
    /// The id of the debit, by which it is reversed.
    pub(crate) success_trans_id: Option<i64>,
    /// How often money was taken. An audit expects 1 at most.
    pub(crate) debits: u32,
    /// How often the merchant requested a reversal since the sandbox started. An audit expects 1 at most.
    pub(crate) reversals_asked: u32,
}

/// A change of a transaction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum TransactionChange {
    Created {
        account: String,
        amount: i64,
        details: Option<String>,
        /// Missing in lines of earlier releases.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lang: Option<String>,
    },
    Prepaid {
        card: PayingCard,
    },
    Debited {
        success_trans_id: i64,
    },
    Closed {
        reason: CloseReason,
    },
    Reversed,
}

/// One line of the ledger file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct JournalLine {
    pub(crate) transaction_id: i64,
    pub(crate) at_ms: i64,
    #[serde(flatten)]
    pub(crate) change: TransactionChange,
}

/// Why a transaction ended without money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CloseReason {
    Canceled,
    Lapsed,
    WrongOtp,
}

impl Transaction {
    /// A new draft.
    pub(crate) fn draft(id: i64, account: String, amount_tiyin: i64, details: Option<String>) -> Self {
        Transaction {
            id,
            account,
            amount_tiyin,
            details,
            language: None,
            created_at_ms: 0,
            state: PaymentState::Draft,
            card: None,
            prepaid_at_ms: None,
            debited_at_ms: None,
            success_trans_id: None,
            debits: 0,
            reversals_asked: 0,
        }
    }

    /// Applies a change that is already in the ledger file; it was checked before it was written.
    fn make(&mut self, change: &TransactionChange, at_ms: i64) {
        match change {
            TransactionChange::Created { lang, .. } => {
                self.created_at_ms = at_ms;
                self.language = lang.as_deref().and_then(ResultLanguage::read);
            }
            TransactionChange::Prepaid { card } => {
                self.state = PaymentState::Prepaid;
                self.card = Some(card.clone());
                self.prepaid_at_ms = Some(at_ms);
            }
            TransactionChange::Debited { success_trans_id } => {
                self.state = PaymentState::Debited;
                self.debited_at_ms = Some(at_ms);
                self.success_trans_id = Some(*success_trans_id);
                self.debits = self.debits.saturating_add(1);
            }
            TransactionChange::Closed { .. } => self.state = PaymentState::Closed,
            TransactionChange::Reversed => self.state = PaymentState::Reversed,
        }
    }
}

/// A transaction in the ledger: readable at any time, changed only by the holder of its lock.
#[derive(Debug)]
pub(crate) struct LedgerEntry {
    lock: Mutex<TransactionLock>,
    transaction: RwLock<Transaction>,
}

/// The data under the lock of a transaction. The lock is held while the merchant is asked, so that two applies never
/// both debit.
#[derive(Debug, Default)]
pub(crate) struct TransactionLock {
    /// Wrong OTPs since the last card; a restart forgets them.
    pub(crate) wrong_otps: u8,
}

impl LedgerEntry {
    pub(crate) fn new(transaction: Transaction) -> Self {
        LedgerEntry { lock: Mutex::default(), transaction: RwLock::new(transaction) }
    }

    /// Waits for the lock of this transaction.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, TransactionLock> {
        self.lock.lock().await
    }

    /// The lock of this transaction, unless another caller holds it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, TransactionLock>> {
        self.lock.try_lock().ok()
    }

    /// The current transaction. Never waits for a running apply.
    pub(crate) fn snapshot(&self) -> Transaction {
        self.transaction.read().clone()
    }

    /// Counts a reversal requested by the merchant, whatever its result.
    pub(crate) fn count_reversal(&self) {
        let mut transaction = self.transaction.write();
        transaction.reversals_asked = transaction.reversals_asked.saturating_add(1);
    }

    /// Applies a change that is already in the ledger file and returns the result.
    pub(crate) fn make(&self, change: &TransactionChange, at_ms: i64) -> Transaction {
        let mut transaction = self.transaction.write();
        transaction.make(change, at_ms);
        transaction.clone()
    }
}
