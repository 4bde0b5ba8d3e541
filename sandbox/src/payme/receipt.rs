//! A receipt: Payme's record of one payment, and all its changes.

use std::collections::BTreeMap;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

/// After this many milliseconds an unperformed transaction is cancelled (Payme documents, 12 hours).
pub(crate) const LIFETIME_MS: i64 = 43_200_000;

/// The state of a receipt (Payme documents, states of a receipt).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReceiptState {
    /// Made by the payer.
    New,
    /// The transaction is being created at the merchant.
    Creating,
    /// The card is being debited.
    Debiting,
    /// The transaction is being closed at the merchant.
    Closing,
    Paid,
    /// A person at Payme must look: the merchant was silent for long.
    Suspended,
    /// Waits to be cancelled at the merchant.
    CancelQueued,
    /// Waits to be closed at the merchant.
    CloseQueued,
    Canceled,
}

impl ReceiptState {
    /// Payme's number.
    pub(crate) fn number(self) -> i64 {
        match self {
            ReceiptState::New => 0,
            ReceiptState::Creating => 1,
            ReceiptState::Debiting => 2,
            ReceiptState::Closing => 3,
            ReceiptState::Paid => 4,
            ReceiptState::Suspended => 20,
            ReceiptState::CancelQueued => 21,
            ReceiptState::CloseQueued => 30,
            ReceiptState::Canceled => 50,
        }
    }
}

/// One payment.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    /// 24 hex characters; `params.id` of every call.
    pub(crate) id: String,
    pub(crate) cashbox: String,
    pub(crate) account: BTreeMap<String, String>,
    pub(crate) amount_tiyin: i64,
    /// The card's number, masked.
    pub(crate) card: String,
    pub(crate) state: ReceiptState,
    /// Payme's time of creation, `params.time`.
    pub(crate) time_ms: i64,
    /// The merchant's id and time, from its answer to Create.
    pub(crate) created: Option<CreatedAtMerchant>,
    /// The merchant's time, from its answer to Perform.
    pub(crate) perform_time: Option<i64>,
    /// The merchant's time, from its answer to Cancel.
    pub(crate) cancel_time: Option<i64>,
    /// Why it was cancelled, or is to be.
    pub(crate) reason: Option<i64>,
    /// How often money was taken. An audit expects 1 at most.
    pub(crate) debits: u32,
    /// How often money was returned.
    pub(crate) returns: u32,
}

/// What the merchant answered to Create.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CreatedAtMerchant {
    pub(crate) transaction: String,
    pub(crate) create_time: i64,
}

/// A change of a receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum ReceiptChange {
    Made { cashbox: String, account: BTreeMap<String, String>, amount: i64, card: String },
    Moved { state: ReceiptState },
    Created(CreatedAtMerchant),
    Debited,
    Performed { perform_time: i64 },
    CancelQueued { reason: i64 },
    Canceled { reason: i64, cancel_time: Option<i64> },
    Returned,
}

/// One line of the ledger file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReceiptLine {
    pub(crate) receipt_id: String,
    pub(crate) at_ms: i64,
    #[serde(flatten)]
    pub(crate) change: ReceiptChange,
}

impl Receipt {
    /// The receipt of a line that makes one; `None` for other lines.
    pub(crate) fn made(line: &ReceiptLine) -> Option<Self> {
        let ReceiptChange::Made { cashbox, account, amount, card } = &line.change else { return None };
        Some(Receipt {
            id: line.receipt_id.clone(),
            cashbox: cashbox.clone(),
            account: account.clone(),
            amount_tiyin: *amount,
            card: card.clone(),
            state: ReceiptState::New,
            time_ms: line.at_ms,
            created: None,
            perform_time: None,
            cancel_time: None,
            reason: None,
            debits: 0,
            returns: 0,
        })
    }

    /// Applies a change that is already in the ledger file.
    fn make(&mut self, change: &ReceiptChange) {
        match change {
            ReceiptChange::Made { .. } => (),
            ReceiptChange::Moved { state } => self.state = *state,
            ReceiptChange::Created(created) => self.created = Some(created.clone()),
            ReceiptChange::Debited => self.debits = self.debits.saturating_add(1),
            ReceiptChange::Performed { perform_time } => {
                self.perform_time = Some(*perform_time);
                self.state = ReceiptState::Paid;
            }
            ReceiptChange::CancelQueued { reason } => {
                self.reason = Some(*reason);
                self.state = ReceiptState::CancelQueued;
            }
            ReceiptChange::Canceled { reason, cancel_time } => {
                self.reason = Some(*reason);
                self.cancel_time = *cancel_time;
                self.state = ReceiptState::Canceled;
            }
            ReceiptChange::Returned => self.returns = self.returns.saturating_add(1),
        }
    }

    /// The state of the transaction at the merchant, as far as Payme knows; 0 where there is none.
    pub(crate) fn transaction_state(&self) -> i64 {
        match (&self.created, self.state, self.perform_time) {
            (_, ReceiptState::Canceled, Some(_)) => -2,
            (_, _, Some(_)) => 2,
            (None, _, None) => 0,
            (Some(_), ReceiptState::Canceled, None) => -1,
            (Some(_), _, None) => 1,
        }
    }

    /// Whether the payer's money is with the merchant, or on its way there.
    pub(crate) fn has_money(&self) -> bool {
        self.debits > self.returns
    }

    /// Whether a call to the merchant is still to be made: money was taken and not closed, or it is to be cancelled.
    pub(crate) fn waits(&self) -> bool {
        match self.state {
            ReceiptState::CancelQueued | ReceiptState::CloseQueued => true,
            // A Perform may go out early, together with Create.
            ReceiptState::Creating | ReceiptState::Debiting | ReceiptState::Closing => self.has_money(),
            ReceiptState::New | ReceiptState::Paid | ReceiptState::Suspended | ReceiptState::Canceled => false,
        }
    }

    /// The value of the account, for faults and lists; the first field if there are several.
    pub(crate) fn account_value(&self) -> &str {
        self.account.values().next().map_or("", String::as_str)
    }
}

/// A receipt in the ledger: readable at any time, changed only by the holder of its lock.
#[derive(Debug)]
pub(crate) struct ReceiptEntry {
    lock: Mutex<()>,
    receipt: RwLock<Receipt>,
}

impl ReceiptEntry {
    pub(crate) fn new(receipt: Receipt) -> Self {
        ReceiptEntry { lock: Mutex::default(), receipt: RwLock::new(receipt) }
    }

    /// Waits for the lock, which is held while the merchant is called.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().await
    }

    /// The lock, unless a payment is under way.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, ()>> {
        self.lock.try_lock().ok()
    }

    pub(crate) fn snapshot(&self) -> Receipt {
        self.receipt.read().clone()
    }

    /// Applies a change that is already in the ledger file and returns the result.
    pub(crate) fn make(&self, change: &ReceiptChange) -> Receipt {
        let mut receipt = self.receipt.write();
        receipt.make(change);
        receipt.clone()
    }
}
