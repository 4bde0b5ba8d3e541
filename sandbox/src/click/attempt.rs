//! One attempt to pay at Click, and all its changes.

use serde::{Deserialize, Serialize};

use super::payer::PayMeans;
use super::shop_api::PAYMENT_FAILED;

/// Where an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AttemptState {
    /// The payer pressed "pay"; the merchant has not allowed it.
    Created,
    /// The merchant answered Prepare with 0. No money has moved.
    Prepared,
    /// The money has moved.
    Debited,
    /// It ended without money.
    Closed,
    /// Debited, and the whole money was returned.
    Reversed,
}

/// What became of Complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Completion {
    /// Not answered yet, or not sent.
    #[default]
    Open,
    /// The merchant answered as documented.
    Answered,
    /// It was not answered after several attempts; a person at Click looks at it.
    Hangs,
}

/// One attempt. Amounts are in tiyin.
#[derive(Clone, Debug)]
pub(crate) struct ClickAttempt {
    pub(crate) click_trans_id: i64,
    pub(crate) click_paydoc_id: i64,
    /// The id in the Merchant API. Click does not say that it equals one of the two others, so here it does not.
    pub(crate) payment_id: i64,
    pub(crate) account: String,
    pub(crate) amount_tiyin: i64,
    pub(crate) means: PayMeans,
    pub(crate) created_at_ms: i64,
    pub(crate) state: AttemptState,
    pub(crate) completion: Completion,
    /// As the merchant gave it.
    pub(crate) merchant_prepare_id: Option<i64>,
    pub(crate) debited_at_ms: Option<i64>,
    /// How often money was taken. An audit expects 1 at most.
    pub(crate) debits: u32,
    /// The merchant's or the bank's code, if the attempt was closed.
    pub(crate) close_code: Option<i64>,
    pub(crate) returned_tiyin: i64,
    /// How often the merchant requested a reversal since the sandbox started.
    pub(crate) reversals_asked: u32,
}

/// A change of an attempt; one line of the ledger file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum AttemptChange {
    Created(NewAttempt),
    Prepared {
        merchant_prepare_id: i64,
    },
    /// A repeated Prepare after the debit.
    PreparedAgain {
        merchant_prepare_id: i64,
    },
    Debited,
    Closed {
        code: i64,
    },
    Completed,
    Hung,
    Returned {
        amount: i64,
    },
}

/// What an attempt begins with; its amount is in tiyin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NewAttempt {
    pub(crate) click_paydoc_id: i64,
    pub(crate) payment_id: i64,
    pub(crate) account: String,
    pub(crate) amount: i64,
    pub(crate) means: PayMeans,
}

impl ClickAttempt {
    /// A new attempt.
    pub(super) fn new(click_trans_id: i64, new: NewAttempt, at_ms: i64) -> Self {
        ClickAttempt {
            click_trans_id,
            click_paydoc_id: new.click_paydoc_id,
            payment_id: new.payment_id,
            account: new.account,
            amount_tiyin: new.amount,
            means: new.means,
            created_at_ms: at_ms,
            state: AttemptState::Created,
            completion: Completion::Open,
            merchant_prepare_id: None,
            debited_at_ms: None,
            debits: 0,
            close_code: None,
            returned_tiyin: 0,
            reversals_asked: 0,
        }
    }

    /// Applies a change that is already in the ledger file; it was checked before it was written.
    pub(super) fn make(&mut self, change: &AttemptChange, at_ms: i64) {
        match change {
            AttemptChange::Created(_) => (),
            AttemptChange::Prepared { merchant_prepare_id } => {
                self.state = AttemptState::Prepared;
                self.merchant_prepare_id = Some(*merchant_prepare_id);
            }
            AttemptChange::PreparedAgain { merchant_prepare_id } => {
                self.merchant_prepare_id = Some(*merchant_prepare_id);
            }
            AttemptChange::Debited => {
                self.state = AttemptState::Debited;
                self.debited_at_ms = Some(at_ms);
                self.debits = self.debits.saturating_add(1);
            }
            AttemptChange::Closed { code } => {
                self.state = AttemptState::Closed;
                self.close_code = Some(*code);
            }
            AttemptChange::Completed => self.completion = Completion::Answered,
            AttemptChange::Hung => self.completion = Completion::Hangs,
            AttemptChange::Returned { amount } => {
                self.returned_tiyin = self.returned_tiyin.saturating_add(*amount);
                if self.returned_tiyin >= self.amount_tiyin {
                    self.state = AttemptState::Reversed;
                }
            }
        }
    }

    /// `payment_status` of the Merchant API: below 0 error, 0 created, 1 in processing, 2 paid (Click documents, CLICK
    /// Pass). How a reversed payment looks is not documented; here it is an error of its own.
    pub(crate) fn payment_status(&self) -> i64 {
        match self.state {
            AttemptState::Created => 0,
            AttemptState::Prepared => 1,
            AttemptState::Debited => 2,
            AttemptState::Closed => self.close_code.filter(|code| *code < 0).unwrap_or(PAYMENT_FAILED),
            AttemptState::Reversed => REVERSED,
        }
    }
}

/// `payment_status` of a reversed payment: a guess.
pub(crate) const REVERSED: i64 = -99;
