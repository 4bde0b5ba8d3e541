//! The way of a payment: Check, Create, the debit, Perform; and Cancel, where something goes wrong or money goes back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tracing::{error, info};

use super::card::PayerCard;
use super::faults::SimPaymeFault;
use super::ledger::new_id;
use super::link::CheckoutOrder;
use super::receipt::{CreatedAtMerchant, LIFETIME_MS, Receipt, ReceiptChange, ReceiptEntry, ReceiptState};
use super::state::PaymeSandbox;
use super::wire::{MerchantWord, PaymeMethod, RpcCall, RpcError, check_params, create_params};
use crate::journal::JournalError;

/// Reasons of a cancellation (Payme documents, reasons).
pub(crate) const DEBIT_FAILED: i64 = 2;
const PERFORM_FAILED: i64 = 3;
const TIMEOUT: i64 = 4;
pub(crate) const REFUND: i64 = 5;

/// Waits between repeats of a call that closes or cancels a transaction, after the payer has gone; the last one comes
/// back until [`LAST_REPEAT`]. Payme's own schedule is not published.
const REPEATS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
    Duration::from_secs(30),
];
/// After so many repeats a person at Payme must look.
const LAST_REPEAT: usize = 30;

/// How a payment or a later step ended.
#[derive(Clone, Debug)]
pub(crate) enum PayerEnd {
    /// Performed: the merchant has the money.
    Paid,
    /// The merchant refused in Check or Create.
    Refused(RpcError),
    /// The merchant was silent in Check or Create; no money moved.
    Unavailable(String),
    /// The debit failed.
    Declined,
    /// The payer left after Create.
    Left,
    /// Debited; Perform is still to be sent or repeated.
    Closing,
    /// Debited, refused in Perform, and the money was returned.
    Returned(RpcError),
    /// Cancelled, and the money returned if there was any.
    Canceled,
    /// The merchant refused to cancel: -31007.
    Kept(RpcError),
    /// Cancel is still to be repeated.
    Canceling,
    /// There is nothing to do in this state.
    Nothing,
}

/// The outcome of a step.
#[derive(Clone, Debug)]
pub(crate) struct ReceiptOutcome {
    pub(crate) end: PayerEnd,
    /// `None` if it ended before there was one.
    pub(crate) receipt: Option<Receipt>,
    /// The other payer's Create, where a fault sent one.
    pub(crate) rival: Option<RivalCreate>,
}

/// Another payer's Create for the same order.
#[derive(Clone, Debug)]
pub(crate) struct RivalCreate {
    pub(crate) id: String,
    pub(crate) word: MerchantWord,
}

impl ReceiptOutcome {
    fn new(end: PayerEnd, entry: &ReceiptEntry) -> Self {
        ReceiptOutcome { end, receipt: Some(entry.snapshot()), rival: None }
    }
}

impl PaymeSandbox {
    /// The payer pays: everything from Check to Perform.
    pub(crate) async fn pay(
        self: &Arc<Self>,
        mut order: CheckoutOrder,
        card: &PayerCard,
    ) -> Result<ReceiptOutcome, JournalError> {
        self.alter(&mut order);
        let account = order.account_value().to_owned();
        let strikes = |fault| self.strikes(fault, &account);
        if strikes(SimPaymeFault::CheckSkipped).is_none() {
            let params = check_params(&order.account, order.amount_tiyin);
            let end = match self.caller.call(&RpcCall::new(PaymeMethod::CheckPerform, params, &account)).await {
                MerchantWord::Result(result) if result["allow"] == json!(true) => None,
                MerchantWord::Result(result) => Some(PayerEnd::Unavailable(format!("no `allow` in {result}"))),
                MerchantWord::Error(error) => Some(PayerEnd::Refused(error)),
                MerchantWord::Silence(why) => Some(PayerEnd::Unavailable(why)),
            };
            if let Some(end) = end {
                return Ok(ReceiptOutcome { end, receipt: None, rival: None });
            }
        }
        let entry = self.ledger.add(&order, &card.masked).await?;
        let _lock = entry.lock().await;
        let mut rival = None;
        let ended = self.create(&entry, card.has_money, &mut rival).await?;
        let end = match ended {
            Some(end) => end,
            None if !entry.snapshot().has_money() && strikes(SimPaymeFault::PayerLeaves).is_some() => PayerEnd::Left,
            None => self.debit_and_close(&entry, card.has_money).await?,
        };
        info!(receipt.id = entry.snapshot().id, "a payer's way ended as {end:?}");
        Ok(ReceiptOutcome { rival, ..ReceiptOutcome::new(end, &entry) })
    }

    /// The payer changes the link, which nothing signs.
    fn alter(&self, order: &mut CheckoutOrder) {
        let account = order.account_value().to_owned();
        if self.strikes(SimPaymeFault::AmountAltered, &account).is_some() {
            order.amount_tiyin = if order.amount_tiyin > 1 { order.amount_tiyin - 1 } else { 2 };
        }
        if self.strikes(SimPaymeFault::AccountAltered, &account).is_some() {
            order.account.values_mut().for_each(|value| value.push_str("000"));
        }
        if self.strikes(SimPaymeFault::AccountMissing, &account).is_some() {
            order.account = std::mem::take(&mut order.account)
                .into_iter()
                .map(|(field, value)| (format!("not_{field}"), value))
                .collect();
        }
    }

    /// Sends Create; the end if the payment ends here.
    async fn create(
        self: &Arc<Self>,
        entry: &Arc<ReceiptEntry>,
        has_money: bool,
        rival: &mut Option<RivalCreate>,
    ) -> Result<Option<PayerEnd>, JournalError> {
        let receipt = self.ledger.record(entry, moved(ReceiptState::Creating)).await?;
        let account = receipt.account_value().to_owned();
        let create = create_call(&receipt, &receipt.id, receipt.time_ms);
        let word = if self.strikes(SimPaymeFault::Rival, &account).is_some() {
            let id = new_id(receipt.time_ms);
            self.rivals.write().push(id.clone());
            let rivals = create_call(&receipt, &id, receipt.time_ms);
            let (word, other) = tokio::join!(self.caller.call(&create), self.caller.call(&rivals));
            *rival = Some(RivalCreate { id, word: other });
            word
        } else if has_money && self.strikes(SimPaymeFault::PerformEarly, &account).is_some() {
            let perform = perform_call(&receipt);
            // Perform says that the money was taken.
            self.ledger.record(entry, ReceiptChange::Debited).await?;
            tokio::join!(self.caller.call(&create), self.caller.call_once(&perform)).0
        } else {
            self.caller.call(&create).await
        };
        let (state, end) = match word {
            MerchantWord::Result(result) => match created(&result) {
                Some(created) => {
                    self.ledger.record(entry, ReceiptChange::Created(created)).await?;
                    return Ok(None);
                }
                None => {
                    let why = format!("no transaction in state 1 in {result}");
                    (ReceiptState::Suspended, PayerEnd::Unavailable(why))
                }
            },
            MerchantWord::Error(error) => (ReceiptState::Canceled, PayerEnd::Refused(error)),
            MerchantWord::Silence(why) => (ReceiptState::Suspended, PayerEnd::Unavailable(why)),
        };
        // The money is performed or goes back, whatever the answer to Create is.
        if entry.snapshot().has_money() {
            return self.close_or_queue(entry).await.map(Some);
        }
        self.ledger.record(entry, moved(state)).await?;
        Ok(Some(end))
    }

    /// Debits the card and closes the transaction. The caller holds the lock.
    async fn debit_and_close(
        self: &Arc<Self>,
        entry: &Arc<ReceiptEntry>,
        has_money: bool,
    ) -> Result<PayerEnd, JournalError> {
        let receipt = self.ledger.record(entry, moved(ReceiptState::Debiting)).await?;
        let account = receipt.account_value().to_owned();
        if !receipt.has_money() {
            if !has_money || self.strikes(SimPaymeFault::DebitDeclined, &account).is_some() {
                let end = self.cancel(entry, DEBIT_FAILED).await?;
                return Ok(if matches!(end, PayerEnd::Canceled) { PayerEnd::Declined } else { end });
            }
            self.ledger.record(entry, ReceiptChange::Debited).await?;
        }
        if let Some(strike) = self.strikes(SimPaymeFault::PerformLate, &account) {
            self.ledger.record(entry, moved(ReceiptState::CloseQueued)).await?;
            self.go_on_later(entry, strike.delay, 0);
            return Ok(PayerEnd::Closing);
        }
        let end = self.close_or_queue(entry).await?;
        if matches!(end, PayerEnd::Paid)
            && let Some(strike) = self.strikes(SimPaymeFault::RefundedLater, &account)
        {
            let (payme, entry) = (Arc::clone(self), Arc::clone(entry));
            self.common.later(strike.delay, async move {
                if let Err(cause) = payme.give_back(&entry, REFUND).await {
                    error!(error = %cause, "the ledger failed a refund");
                }
            });
        }
        Ok(end)
    }

    /// Closes the transaction, now or later. The caller holds the lock.
    async fn close_or_queue(self: &Arc<Self>, entry: &Arc<ReceiptEntry>) -> Result<PayerEnd, JournalError> {
        self.ledger.record(entry, moved(ReceiptState::Closing)).await?;
        let end = self.close(entry).await?;
        if entry.snapshot().waits() {
            self.go_on_later(entry, REPEATS[0], 1);
        }
        Ok(end)
    }

    /// Sends Perform for money that was taken. The caller holds the lock.
    async fn close(&self, entry: &ReceiptEntry) -> Result<PayerEnd, JournalError> {
        match self.caller.call(&perform_call(&entry.snapshot())).await {
            MerchantWord::Result(result) if result["state"] == json!(2) => {
                let perform_time = result["perform_time"].as_i64().unwrap_or_default();
                self.ledger.record(entry, ReceiptChange::Performed { perform_time }).await?;
                Ok(PayerEnd::Paid)
            }
            MerchantWord::Error(error) => {
                self.cancel(entry, PERFORM_FAILED).await?;
                Ok(PayerEnd::Returned(error))
            }
            MerchantWord::Result(_) | MerchantWord::Silence(_) => {
                self.ledger.record(entry, moved(ReceiptState::CloseQueued)).await?;
                Ok(PayerEnd::Closing)
            }
        }
    }

    /// Cancels at the merchant, and returns the money if there is any. The caller holds the lock.
    async fn cancel(&self, entry: &ReceiptEntry, reason: i64) -> Result<PayerEnd, JournalError> {
        let was = entry.snapshot();
        let receipt = self.ledger.record(entry, ReceiptChange::CancelQueued { reason }).await?;
        let params = json!({"id": receipt.id, "reason": reason});
        let call = RpcCall::new(PaymeMethod::Cancel, params, receipt.account_value());
        let cancel_time = match self.caller.call(&call).await {
            MerchantWord::Result(result) => result["cancel_time"].as_i64(),
            // The only veto, and only for a performed transaction (Payme documents, CancelTransaction).
            MerchantWord::Error(error) if was.perform_time.is_some() => {
                self.ledger.record(entry, moved(ReceiptState::Paid)).await?;
                return Ok(PayerEnd::Kept(error));
            }
            MerchantWord::Error(_) => None,
            MerchantWord::Silence(_) => return Ok(PayerEnd::Canceling),
        };
        let canceled = self.ledger.record(entry, ReceiptChange::Canceled { reason, cancel_time }).await?;
        if canceled.has_money() {
            self.ledger.record(entry, ReceiptChange::Returned).await?;
        }
        Ok(PayerEnd::Canceled)
    }

    /// A person gives a paid receipt back in the cabinet, or cancels one that is not paid.
    pub(crate) async fn give_back(
        self: &Arc<Self>,
        entry: &Arc<ReceiptEntry>,
        reason: i64,
    ) -> Result<ReceiptOutcome, JournalError> {
        let _lock = entry.lock().await;
        let receipt = entry.snapshot();
        let end = match receipt.state {
            ReceiptState::Canceled => PayerEnd::Nothing,
            ReceiptState::New
            | ReceiptState::Creating
            | ReceiptState::Debiting
            | ReceiptState::Closing
            | ReceiptState::Paid
            | ReceiptState::Suspended
            | ReceiptState::CancelQueued
            | ReceiptState::CloseQueued => self.cancel(entry, reason).await?,
        };
        if matches!(end, PayerEnd::Canceling) {
            self.go_on_later(entry, REPEATS[0], 1);
        }
        Ok(ReceiptOutcome::new(end, entry))
    }

    /// Goes on where a receipt stands: a suspended one is created and debited, a debited one closed, one that is to be
    /// cancelled cancelled.
    pub(crate) async fn resume(self: &Arc<Self>, entry: &Arc<ReceiptEntry>) -> Result<ReceiptOutcome, JournalError> {
        let _lock = entry.lock().await;
        let receipt = entry.snapshot();
        let end = match receipt.state {
            ReceiptState::Paid | ReceiptState::Canceled => PayerEnd::Nothing,
            _ if receipt.reason.is_some() => self.cancel(entry, receipt.reason.unwrap_or(REFUND)).await?,
            _ if receipt.has_money() => self.close(entry).await?,
            _ if receipt.created.is_some() => self.debit_and_close(entry, true).await?,
            _ => match self.create(entry, true, &mut None).await? {
                Some(end) => end,
                None => self.debit_and_close(entry, true).await?,
            },
        };
        Ok(ReceiptOutcome::new(end, entry))
    }

    /// Goes on after a delay, and again after longer ones while the merchant is silent.
    pub(crate) fn go_on_later(self: &Arc<Self>, entry: &Arc<ReceiptEntry>, delay: Duration, repeat: usize) {
        let (payme, entry) = (Arc::clone(self), Arc::clone(entry));
        self.common.later(delay, async move {
            let waits = || entry.snapshot().waits();
            if !waits() {
                return;
            }
            if let Err(cause) = payme.resume(&entry).await {
                error!(error = %cause, "the ledger failed a repeated call");
            }
            if waits() && repeat < LAST_REPEAT {
                let delay = REPEATS.get(repeat).or(REPEATS.last()).copied().unwrap_or_default();
                payme.go_on_later(&entry, delay, repeat + 1);
            } else if waits() {
                let _lock = entry.lock().await;
                if let Err(cause) = payme.ledger.record(&entry, moved(ReceiptState::Suspended)).await {
                    error!(error = %cause, "the ledger failed a receipt that has no answer");
                }
            }
        });
    }

    /// Goes on with everything that the last process left in the middle.
    pub(crate) fn go_on_after_start(self: &Arc<Self>) {
        for entry in self.ledger.entries() {
            if entry.snapshot().waits() {
                self.go_on_later(&entry, Duration::ZERO, 0);
            }
        }
    }

    /// Cancels the transactions that were created 12 hours ago and never performed; the clock was put forward.
    pub(crate) async fn end_what_is_over(&self) -> Result<(), JournalError> {
        let now_ms = self.common.clock.now_ms();
        for entry in self.ledger.entries() {
            let receipt = entry.snapshot();
            let is_over = now_ms.saturating_sub(receipt.time_ms) > LIFETIME_MS;
            let is_open = receipt.transaction_state() == 1 && receipt.debits == 0;
            let Some(_lock) = entry.try_lock().filter(|_| is_over && is_open) else { continue };
            if self.strikes(SimPaymeFault::TimeoutUntold, receipt.account_value()).is_some() {
                let untold = ReceiptChange::Canceled { reason: TIMEOUT, cancel_time: None };
                self.ledger.record(&entry, untold).await?;
            } else {
                self.cancel(&entry, TIMEOUT).await?;
            }
        }
        Ok(())
    }
}

fn moved(state: ReceiptState) -> ReceiptChange {
    ReceiptChange::Moved { state }
}

fn create_call(receipt: &Receipt, id: &str, time_ms: i64) -> RpcCall {
    let params = create_params(id, time_ms, &receipt.account, receipt.amount_tiyin);
    RpcCall::new(PaymeMethod::Create, params, receipt.account_value())
}

fn perform_call(receipt: &Receipt) -> RpcCall {
    RpcCall::new(PaymeMethod::Perform, json!({"id": receipt.id}), receipt.account_value())
}

/// Reads the answer to Create: a transaction in state 1.
fn created(result: &Value) -> Option<CreatedAtMerchant> {
    let transaction = match &result["transaction"] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let create_time = result["create_time"].as_i64()?;
    (result["state"] == json!(1)).then_some(CreatedAtMerchant { transaction, create_time })
}
