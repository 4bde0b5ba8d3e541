//! One payment as the sandbox knows it, and every way it can change.

use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use crate::cards::PayingCard;

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Made; no card entered.
    Draft,
    /// A card is entered and its owner was sent an OTP. No money has moved.
    Prepaid,
    /// The money has moved.
    Debited,
    /// Over without money: canceled, lapsed, or too many wrong OTPs.
    Closed,
    /// Debited, and the money was given back.
    Reversed,
}

/// One payment. Its amount is in tiyin and never zero or below.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) id: i64,
    pub(crate) account: String,
    pub(crate) amount_tiyin: i64,
    pub(crate) details: Option<String>,
    pub(crate) created_at_ms: i64,
    pub(crate) state: State,
    pub(crate) card: Option<PayingCard>,
    pub(crate) prepaid_at_ms: Option<i64>,
    pub(crate) debited_at_ms: Option<i64>,
    /// The id a debit gets, by which it is reversed.
    pub(crate) success_trans_id: Option<i64>,
    /// How often money was taken. An audit wants to see 1 at most.
    pub(crate) debits: u32,
    /// How often the merchant asked for the money back, since the sandbox started. An audit wants to see 1 at most.
    pub(crate) reversals_asked: u32,
}

/// What can happen to a transaction; one line of the ledger file each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum Change {
    Created { account: String, amount: i64, details: Option<String> },
    Prepaid { card: PayingCard },
    Debited { success_trans_id: i64 },
    Closed { reason: CloseReason },
    Reversed,
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
        Self {
            id,
            account,
            amount_tiyin,
            details,
            created_at_ms: 0,
            state: State::Draft,
            card: None,
            prepaid_at_ms: None,
            debited_at_ms: None,
            success_trans_id: None,
            debits: 0,
            reversals_asked: 0,
        }
    }

    /// Makes a change that is already in the ledger file. Whether it may be made was decided before it was written.
    fn make(&mut self, change: &Change, at_ms: i64) {
        match change {
            Change::Created { .. } => self.created_at_ms = at_ms,
            Change::Prepaid { card } => {
                self.state = State::Prepaid;
                self.card = Some(card.clone());
                self.prepaid_at_ms = Some(at_ms);
            }
            Change::Debited { success_trans_id } => {
                self.state = State::Debited;
                self.debited_at_ms = Some(at_ms);
                self.success_trans_id = Some(*success_trans_id);
                self.debits = self.debits.saturating_add(1);
            }
            Change::Closed { .. } => self.state = State::Closed,
            Change::Reversed => self.state = State::Reversed,
        }
    }
}

/// A transaction in the ledger: readable at any time, changeable only by whoever holds its turn.
#[derive(Debug)]
pub(crate) struct Entry {
    turn: Mutex<Turn>,
    transaction: RwLock<Transaction>,
}

/// The right to change one transaction. It is held while the merchant is asked, so two applies never both debit.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// Wrong OTPs since the last card; a restart forgets them.
    pub(crate) wrong_otps: u8,
}

impl Entry {
    pub(crate) fn new(transaction: Transaction) -> Self {
        Self { turn: Mutex::default(), transaction: RwLock::new(transaction) }
    }

    /// Waits for the right to change this transaction.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().await
    }

    /// The right to change this transaction, unless somebody has it.
    pub(crate) fn turn_if_free(&self) -> Option<MutexGuard<'_, Turn>> {
        self.turn.try_lock().ok()
    }

    /// The transaction as it is now. Never waits for an apply in flight.
    pub(crate) fn snapshot(&self) -> Transaction {
        self.transaction.read().clone()
    }

    /// The merchant asks for the money back, whatever comes of it.
    pub(crate) fn count_reversal(&self) {
        let mut transaction = self.transaction.write();
        transaction.reversals_asked = transaction.reversals_asked.saturating_add(1);
    }

    /// Makes a change that is already in the ledger file and returns the result.
    pub(crate) fn make(&self, change: &Change, at_ms: i64) -> Transaction {
        let mut transaction = self.transaction.write();
        transaction.make(change, at_ms);
        transaction.clone()
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or_default()
}
