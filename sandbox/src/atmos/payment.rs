//! The steps of a payment from card to debit, the same for the page, the merchant API and `/_sim/pay`.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};

use crate::atmos::callback::{AccountKey, CallbackRequest, CallbackShape, MerchantReply, SPOILING, write_body};
use crate::atmos::cards::{Behaviour, OTP, PayingCard};
use crate::atmos::codes::Code;
use crate::atmos::faults::AtmosFault;
use crate::atmos::state::AtmosSandbox;
use crate::atmos::transaction::{CloseReason, LedgerEntry, PaymentState, Transaction, TransactionChange};
use crate::faults::{FaultTarget, Strike};
use crate::journal::JournalError;

/// How many wrong OTPs close a transaction.
const LAST_WRONG_OTP: u8 = 3;

/// The result of a step of a payment.
#[derive(Clone, Debug)]
pub(crate) struct StepResult {
    pub(crate) code: Code,
    /// The transaction after the step; `None` if it does not exist.
    pub(crate) transaction: Option<Transaction>,
    /// The merchant's answer, if it was asked.
    pub(crate) reply: Option<MerchantReply>,
}

impl StepResult {
    fn new(code: Code, transaction: Transaction) -> Self {
        StepResult { code, transaction: Some(transaction), reply: None }
    }

    fn not_found() -> Self {
        StepResult { code: Code::NotFound, transaction: None, reply: None }
    }
}

/// Whether the debit is allowed, by the merchant's answer or by a fault.
struct DebitPermission {
    allowed: bool,
    reply: Option<MerchantReply>,
    /// A callback to send after the payer was answered, and the delay.
    later: Option<(CallbackRequest, Duration)>,
}

impl AtmosSandbox {
    /// The payer enters a card. Until the debit, another card may replace it.
    pub(crate) async fn prepay(&self, id: i64, card: PayingCard) -> Result<StepResult, JournalError> {
        let Some(entry) = self.ledger.find(id) else {
            return Ok(StepResult::not_found());
        };
        let mut lock = entry.lock().await;
        let transaction = self.close_if_over(&entry).await?;
        match transaction.state {
            PaymentState::Draft | PaymentState::Prepaid => (),
            PaymentState::Debited | PaymentState::Closed | PaymentState::Reversed => {
                return Ok(StepResult::new(Code::Closed, transaction));
            }
        }
        match card.behaviour {
            Behaviour::Expired => return Ok(StepResult::new(Code::CardExpired, transaction)),
            Behaviour::WithoutSms => return Ok(StepResult::new(Code::CardWithoutSms, transaction)),
            Behaviour::Pays | Behaviour::ProcessingError | Behaviour::InsufficientFunds => (),
        }
        let change = TransactionChange::Prepaid { card };
        let prepaid = self.ledger.record(&entry, &transaction, change).await?;
        lock.wrong_otps = 0;
        Ok(StepResult::new(Code::Ok, prepaid))
    }

    /// The payer confirms with the OTP: the merchant is asked, and if it allows the debit, the money moves.
    ///
    /// Simultaneous confirmations wait for the end of this one and then find the transaction closed.
    pub(crate) async fn pay(self: &Arc<Self>, id: i64, otp: &str) -> Result<StepResult, JournalError> {
        let Some(entry) = self.ledger.find(id) else {
            return Ok(StepResult::not_found());
        };
        let mut lock = entry.lock().await;
        let transaction = self.close_if_over(&entry).await?;
        let card = match (transaction.state, &transaction.card) {
            (PaymentState::Prepaid, Some(card)) => card.clone(),
            (PaymentState::Draft | PaymentState::Prepaid, _) => {
                return Ok(StepResult::new(Code::WrongParameters, transaction));
            }
            (PaymentState::Debited | PaymentState::Closed | PaymentState::Reversed, _) => {
                return Ok(StepResult::new(Code::Closed, transaction));
            }
        };
        if otp != OTP {
            lock.wrong_otps = lock.wrong_otps.saturating_add(1);
            let after = if lock.wrong_otps >= LAST_WRONG_OTP {
                self.close(&entry, &transaction, CloseReason::WrongOtp).await?
            } else {
                transaction
            };
            return Ok(StepResult::new(Code::WrongOtp, after));
        }

        let permission = self.ask_merchant(&transaction).await;
        let (code, after) = self.debit_if(&permission, &entry, transaction, &card).await?;
        if let Some((callback, delay)) = permission.later {
            self.send_callback_later(callback, delay);
        }
        if after.state == PaymentState::Debited
            && let Some(strike) = self.strikes(AtmosFault::ReversedLater, &after)
        {
            self.reverse_later(&entry, strike.delay);
        }
        info!(
            transaction.id = id,
            code = code.text(),
            callback.status = permission.reply.and_then(|reply| reply.status),
            "apply of transaction {id} ended with {}",
            code.text()
        );
        Ok(StepResult { code, transaction: Some(after), reply: permission.reply })
    }

    async fn ask_merchant(&self, transaction: &Transaction) -> DebitPermission {
        if self.strikes(AtmosFault::CallbackNever, transaction).is_some() {
            return DebitPermission { allowed: true, reply: None, later: None };
        }
        let callback = self.callback_for(transaction);
        let told = |fault| CallbackRequest { fault: callback.fault.or(Some(fault)), ..callback.clone() };
        if let Some(strike) = self.strikes(AtmosFault::CallbackLate, transaction) {
            return DebitPermission {
                allowed: true,
                reply: None,
                later: Some((told(AtmosFault::CallbackLate), strike.delay)),
            };
        }
        let reply = if self.strikes(AtmosFault::CallbackDoubled, transaction).is_some() {
            let callback = told(AtmosFault::CallbackDoubled);
            tokio::join!(self.callbacks.ask(&callback), self.callbacks.ask(&callback)).0
        } else if let Some(strike) = self.strikes(AtmosFault::CallbackRepeated, transaction) {
            let callback = told(AtmosFault::CallbackRepeated);
            let mut reply = None;
            for _ in 0..strike.times {
                reply = self.callbacks.ask(&callback).await;
            }
            reply
        } else {
            self.callbacks.ask(&callback).await
        };
        let replay = self.strikes(AtmosFault::CallbackReplayed, transaction);
        DebitPermission {
            // Without a registered URL no callback is sent.
            allowed: reply.is_none_or(MerchantReply::allows_debit),
            reply,
            later: replay.map(|strike| (told(AtmosFault::CallbackReplayed), strike.delay)),
        }
    }

    async fn debit_if(
        &self,
        permission: &DebitPermission,
        entry: &LedgerEntry,
        transaction: Transaction,
        card: &PayingCard,
    ) -> Result<(Code, Transaction), JournalError> {
        if !permission.allowed && self.strikes(AtmosFault::DebitAlthoughRefused, &transaction).is_none() {
            return Ok((Code::MerchantRefused, transaction));
        }
        if self.strikes(AtmosFault::Lapsed, &transaction).is_some() {
            let closed = self.close(entry, &transaction, CloseReason::Lapsed).await?;
            return Ok((Code::Closed, closed));
        }
        if self.strikes(AtmosFault::DebitDeclined, &transaction).is_some() {
            return Ok((Code::InsufficientFunds, transaction));
        }
        match card.behaviour {
            Behaviour::InsufficientFunds => return Ok((Code::InsufficientFunds, transaction)),
            Behaviour::ProcessingError => return Ok((Code::Internal, transaction)),
            Behaviour::Pays | Behaviour::WithoutSms | Behaviour::Expired => (),
        }
        let change = TransactionChange::Debited { success_trans_id: self.ledger.next_success_id() };
        let debited = self.ledger.record(entry, &transaction, change).await?;
        Ok((Code::Ok, debited))
    }

    /// The money has already moved, so the merchant's answer is only remembered.
    fn send_callback_later(self: &Arc<Self>, callback: CallbackRequest, delay: Duration) {
        let state = Arc::clone(self);
        self.common.later(delay, async move {
            state.callbacks.ask(&callback).await;
        });
    }

    fn reverse_later(self: &Arc<Self>, entry: &Arc<LedgerEntry>, delay: Duration) {
        let (state, entry) = (Arc::clone(self), Arc::clone(entry));
        self.common.later(delay, async move {
            if let Err(cause) = state.reverse(Some(entry)).await {
                error!(error = %cause, "the ledger failed a reversal");
            }
        });
    }

    /// The callback for this transaction, changed and formatted as the faults say. Forms combine with every other
    /// fault, because they change no value.
    fn callback_for(&self, transaction: &Transaction) -> CallbackRequest {
        let strikes = |fault: &AtmosFault| self.strikes(*fault, transaction).is_some();
        let fault = SPOILING.into_iter().find(strikes);
        let account_key = if strikes(&AtmosFault::CallbackBoth) {
            AccountKey::Both
        } else if strikes(&AtmosFault::CallbackInvoice) {
            AccountKey::Invoice
        } else {
            AccountKey::Account
        };
        let shape = CallbackShape {
            account_key,
            has_numbers: strikes(&AtmosFault::CallbackNumbers),
            is_signed_in_capitals: strikes(&AtmosFault::CallbackUppercaseSign),
            is_form: strikes(&AtmosFault::CallbackForm),
        };
        CallbackRequest {
            transaction_id: transaction.id,
            account: transaction.account.clone(),
            body: write_body(&self.common.config, transaction, shape, fault),
            fault,
            is_form: shape.is_form,
            is_from_elsewhere: strikes(&AtmosFault::CallbackOtherAddress),
        }
    }

    /// The current transaction, closed if its lifetime is over. Never waits for a running apply.
    pub(crate) async fn present(&self, entry: &LedgerEntry) -> Result<Transaction, JournalError> {
        match entry.try_lock() {
            Some(_lock) => self.close_if_over(entry).await,
            None => Ok(entry.snapshot()),
        }
    }

    /// Closes a transaction that was not paid within its lifetime. The caller holds its lock.
    async fn close_if_over(&self, entry: &LedgerEntry) -> Result<Transaction, JournalError> {
        let transaction = entry.snapshot();
        let lifetime_ms = i64::try_from(self.common.config.draft_lifetime.as_millis()).unwrap_or(i64::MAX);
        let is_over = transaction.created_at_ms.saturating_add(lifetime_ms) <= self.common.clock.now_ms();
        match transaction.state {
            PaymentState::Draft | PaymentState::Prepaid if is_over => {
                self.close(entry, &transaction, CloseReason::Lapsed).await
            }
            PaymentState::Draft
            | PaymentState::Prepaid
            | PaymentState::Debited
            | PaymentState::Closed
            | PaymentState::Reversed => Ok(transaction),
        }
    }

    /// The payer gives up, or the time is over. Money that has moved stays moved.
    pub(crate) async fn give_up(&self, id: i64, reason: CloseReason) -> Result<StepResult, JournalError> {
        let Some(entry) = self.ledger.find(id) else {
            return Ok(StepResult::not_found());
        };
        let _lock = entry.lock().await;
        let transaction = self.close_if_over(&entry).await?;
        match transaction.state {
            PaymentState::Draft | PaymentState::Prepaid => {
                let closed = self.close(&entry, &transaction, reason).await?;
                Ok(StepResult::new(Code::Ok, closed))
            }
            PaymentState::Debited | PaymentState::Closed | PaymentState::Reversed => {
                Ok(StepResult::new(Code::Closed, transaction))
            }
        }
    }

    async fn close(
        &self,
        entry: &LedgerEntry,
        transaction: &Transaction,
        reason: CloseReason,
    ) -> Result<Transaction, JournalError> {
        self.ledger.record(entry, transaction, TransactionChange::Closed { reason }).await
    }

    /// Returns the money, once.
    pub(crate) async fn reverse(&self, entry: Option<Arc<LedgerEntry>>) -> Result<StepResult, JournalError> {
        let Some(entry) = entry else {
            return Ok(StepResult::not_found());
        };
        let _lock = entry.lock().await;
        let transaction = entry.snapshot();
        match transaction.state {
            PaymentState::Debited => {
                let reversed = self.ledger.record(&entry, &transaction, TransactionChange::Reversed).await?;
                Ok(StepResult::new(Code::Ok, reversed))
            }
            PaymentState::Draft | PaymentState::Prepaid | PaymentState::Closed | PaymentState::Reversed => {
                Ok(StepResult::new(Code::Closed, transaction))
            }
        }
    }

    /// Whether a fault strikes a payer's step on this transaction.
    pub(crate) fn strikes(&self, fault: AtmosFault, transaction: &Transaction) -> Option<Strike> {
        let target = FaultTarget { call: None, account: Some(&transaction.account) };
        self.faults.strikes(fault, target)
    }
}
