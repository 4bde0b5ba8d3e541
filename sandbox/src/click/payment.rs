//! The way of an attempt: Prepare, the debit, Complete (Click documents, SHOP-API).

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tracing::{error, info};

use super::answer::ShopApiReply;
use super::attempt::{AttemptChange, AttemptState, ClickAttempt, Completion};
use super::faults::ClickSimFault;
use super::ledger::AttemptEntry;
use super::payer::{PayMeans, PayerBehaviour};
use super::sending::ShopMessage;
use super::shop_api::PAYMENT_FAILED;
use super::state::ClickSandbox;
use crate::journal::JournalError;

/// How often a Complete is sent until it is answered; Click says "several attempts", and no number.
const COMPLETE_ATTEMPTS: u32 = 3;
/// Short, because the payer waits meanwhile.
const PAUSE_BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);
/// `merchant_prepare_id` in the Complete of an attempt for which the merchant gave none.
const NO_PREPARE_ID: i64 = 0;

/// What the payer's link asks for.
#[derive(Clone, Debug)]
pub(crate) struct LinkedPayment {
    pub(crate) account: String,
    pub(crate) amount_tiyin: i64,
}

/// How an attempt ended, or where it stands.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PayerOutcome {
    /// `debited`: money moved. `returned`: money moved, and went back. `refused`: the merchant refused Prepare, or its
    /// answer was unusable. `declined`: the bank declined. `left`: the payer left after Prepare.
    outcome: &'static str,
    pub(crate) click_trans_id: i64,
    pub(crate) payment_id: i64,
    pub(crate) state: AttemptState,
    pub(crate) completion: Completion,
    /// The merchant's answer to Prepare; null if it was not asked.
    prepare: Option<ShopApiReply>,
    /// The merchant's last answer to Complete; null if none was sent yet.
    complete: Option<ShopApiReply>,
}

impl PayerOutcome {
    fn new(attempt: &ClickAttempt, prepare: Option<ShopApiReply>, complete: Option<ShopApiReply>) -> Self {
        let outcome = match attempt.state {
            AttemptState::Created | AttemptState::Prepared => "left",
            AttemptState::Debited => "debited",
            AttemptState::Reversed => "returned",
            AttemptState::Closed if attempt.merchant_prepare_id.is_none() => "refused",
            AttemptState::Closed => "declined",
        };
        PayerOutcome {
            outcome,
            click_trans_id: attempt.click_trans_id,
            payment_id: attempt.payment_id,
            state: attempt.state,
            completion: attempt.completion,
            prepare,
            complete,
        }
    }

    /// How it ended, in a word.
    pub(crate) fn word(&self) -> &'static str {
        self.outcome
    }
}

impl ClickSandbox {
    /// A payer pays, from Prepare to the answered Complete.
    pub(crate) async fn pay(
        self: &Arc<Self>,
        payment: &LinkedPayment,
        means: PayMeans,
    ) -> Result<PayerOutcome, JournalError> {
        let behaviour = means.behaviour;
        let entry = self.ledger.create(&self.clock, &payment.account, payment.amount_tiyin, means).await?;
        let account = payment.account.as_str();
        if self.strikes(ClickSimFault::PrepareNever, account).is_some() {
            let attempt = self.change(&entry, AttemptChange::Debited).await?;
            return Ok(PayerOutcome::new(&attempt, None, None));
        }
        let prepare = self.tell(&entry.snapshot(), ShopMessage::Prepare).await;
        let Some(merchant_prepare_id) = allowed(prepare.as_ref()) else {
            return self.refused(&entry, prepare).await;
        };
        self.change(&entry, AttemptChange::Prepared { merchant_prepare_id }).await?;

        if behaviour == PayerBehaviour::Leaves || self.strikes(ClickSimFault::PayerLeaves, account).is_some() {
            return Ok(PayerOutcome::new(&entry.snapshot(), prepare, None));
        }
        if behaviour == PayerBehaviour::Declines || self.strikes(ClickSimFault::DebitDeclined, account).is_some() {
            let complete = self.fail(&entry, PAYMENT_FAILED, merchant_prepare_id).await?;
            return Ok(PayerOutcome::new(&entry.snapshot(), prepare, complete));
        }
        self.change(&entry, AttemptChange::Debited).await?;
        let complete = self.complete_as_the_faults_say(&entry).await?;
        if let Some(strike) = self.strikes(ClickSimFault::ReversedLater, account) {
            let (click, entry) = (Arc::clone(self), Arc::clone(&entry));
            self.common.later(strike.delay, async move {
                if let Err(cause) = click.give_back(&entry).await {
                    error!(error = %cause, "the ledger failed a reversal");
                }
            });
        }
        let outcome = PayerOutcome::new(&entry.snapshot(), prepare, complete);
        info!(attempt.id = outcome.click_trans_id, "attempt {} ended as {}", outcome.click_trans_id, outcome.outcome);
        Ok(outcome)
    }

    /// The merchant did not allow the payment. After -9 Click sends a Complete with a cancel mark (Click documents,
    /// answers to Prepare).
    async fn refused(
        self: &Arc<Self>,
        entry: &Arc<AttemptEntry>,
        prepare: Option<ShopApiReply>,
    ) -> Result<PayerOutcome, JournalError> {
        let code = prepare.as_ref().and_then(ShopApiReply::code).filter(|code| *code < 0);
        let complete = match (code, &prepare) {
            (Some(-9), Some(reply)) => {
                let merchant_prepare_id = reply.integer("merchant_prepare_id").unwrap_or(NO_PREPARE_ID);
                self.change(entry, AttemptChange::Closed { code: -9 }).await?;
                // Once: no money moved, and a merchant that keeps no refused attempt knows none to answer about.
                self.tell(&entry.snapshot(), ShopMessage::Failed { merchant_prepare_id, error: -9 }).await
            }
            _ => {
                self.change(entry, AttemptChange::Closed { code: code.unwrap_or(PAYMENT_FAILED) }).await?;
                None
            }
        };
        Ok(PayerOutcome::new(&entry.snapshot(), prepare, complete))
    }

    /// Ends an attempt without money, and tells the merchant until it answers.
    async fn fail(
        self: &Arc<Self>,
        entry: &Arc<AttemptEntry>,
        error: i64,
        merchant_prepare_id: i64,
    ) -> Result<Option<ShopApiReply>, JournalError> {
        self.change(entry, AttemptChange::Closed { code: error }).await?;
        self.tell_until_answered(entry, ShopMessage::Failed { merchant_prepare_id, error }).await
    }

    async fn complete_as_the_faults_say(
        self: &Arc<Self>,
        entry: &Arc<AttemptEntry>,
    ) -> Result<Option<ShopApiReply>, JournalError> {
        let account = entry.snapshot().account;
        if self.strikes(ClickSimFault::CompleteNever, &account).is_some() {
            return Ok(None);
        }
        if let Some(strike) = self.strikes(ClickSimFault::CompleteLate, &account) {
            let (click, entry) = (Arc::clone(self), Arc::clone(entry));
            self.common.later(strike.delay, async move {
                if let Err(cause) = click.complete(&entry).await {
                    error!(error = %cause, "the ledger failed a late Complete");
                }
            });
            return Ok(None);
        }
        self.complete(entry).await
    }

    /// Tells the merchant that the money was taken. An answer of -9 gives it back, because the merchant may answer so
    /// and means that the order is canceled (Click documents, answers to Complete); what Click does then is a guess.
    async fn complete(self: &Arc<Self>, entry: &Arc<AttemptEntry>) -> Result<Option<ShopApiReply>, JournalError> {
        let merchant_prepare_id = entry.snapshot().merchant_prepare_id.unwrap_or(NO_PREPARE_ID);
        let reply = self.tell_until_answered(entry, ShopMessage::Paid { merchant_prepare_id }).await?;
        if reply.as_ref().and_then(ShopApiReply::code) == Some(-9) {
            self.give_back(entry).await?;
        }
        Ok(reply)
    }

    /// Sends Complete until the merchant answers as it may; after several attempts it hangs for a person at Click.
    async fn tell_until_answered(
        self: &Arc<Self>,
        entry: &Arc<AttemptEntry>,
        message: ShopMessage,
    ) -> Result<Option<ShopApiReply>, JournalError> {
        let mut attempts = 0;
        loop {
            let reply = self.tell(&entry.snapshot(), message).await;
            attempts += 1;
            if matches!(reply.as_ref().and_then(ShopApiReply::code), Some(0 | -4 | -9)) {
                self.change(entry, AttemptChange::Completed).await?;
                return Ok(reply);
            }
            if attempts >= COMPLETE_ATTEMPTS || self.common.stopping.is_cancelled() {
                self.change(entry, AttemptChange::Hung).await?;
                return Ok(reply);
            }
            tokio::time::sleep(PAUSE_BETWEEN_ATTEMPTS).await;
        }
    }

    /// A person at Click looks at an attempt that has not ended: one that was left is canceled; one that is paid gets
    /// its Prepare and Complete once more.
    pub(crate) async fn resume(self: &Arc<Self>, entry: &Arc<AttemptEntry>) -> Result<PayerOutcome, JournalError> {
        let attempt = entry.snapshot();
        let (mut prepare, mut complete) = (None, None);
        match (attempt.state, attempt.completion) {
            (AttemptState::Created | AttemptState::Prepared, _) => {
                let prepare_id = attempt.merchant_prepare_id.unwrap_or(NO_PREPARE_ID);
                complete = self.fail(entry, PAYMENT_FAILED, prepare_id).await?;
            }
            (AttemptState::Debited, Completion::Open | Completion::Hangs) => {
                prepare = self.tell(&attempt, ShopMessage::Prepare).await;
                if let Some(merchant_prepare_id) = allowed(prepare.as_ref()) {
                    self.change(entry, AttemptChange::PreparedAgain { merchant_prepare_id }).await?;
                }
                // "Already confirmed": Click finishes the payment, and sends no Complete (Click documents, Prepare).
                if prepare.as_ref().and_then(ShopApiReply::code) == Some(-4) {
                    self.change(entry, AttemptChange::Completed).await?;
                } else {
                    complete = self.complete(entry).await?;
                }
            }
            (AttemptState::Closed, Completion::Hangs) => {
                let merchant_prepare_id = attempt.merchant_prepare_id.unwrap_or(NO_PREPARE_ID);
                let error = attempt.close_code.unwrap_or(PAYMENT_FAILED);
                complete = self.tell_until_answered(entry, ShopMessage::Failed { merchant_prepare_id, error }).await?;
            }
            (AttemptState::Debited | AttemptState::Closed, _) | (AttemptState::Reversed, _) => (),
        }
        Ok(PayerOutcome::new(&entry.snapshot(), prepare, complete))
    }

    /// Gives back what is left of the money; nothing if none was taken.
    pub(crate) async fn give_back(&self, entry: &AttemptEntry) -> Result<PayerOutcome, JournalError> {
        let (attempt, _) = self
            .ledger
            .change(&self.clock, entry, |attempt| match attempt.state {
                AttemptState::Debited => Some(AttemptChange::Returned {
                    amount: attempt.amount_tiyin.saturating_sub(attempt.returned_tiyin),
                }),
                AttemptState::Created | AttemptState::Prepared | AttemptState::Closed | AttemptState::Reversed => None,
            })
            .await?;
        Ok(PayerOutcome::new(&attempt, None, None))
    }

    async fn change(&self, entry: &AttemptEntry, change: AttemptChange) -> Result<ClickAttempt, JournalError> {
        Ok(self.ledger.change(&self.clock, entry, |_| Some(change)).await?.0)
    }
}

/// The `merchant_prepare_id` of an answer that allows the debit.
fn allowed(prepare: Option<&ShopApiReply>) -> Option<i64> {
    let reply = prepare.filter(|reply| reply.code() == Some(0))?;
    reply.integer("merchant_prepare_id")
}
