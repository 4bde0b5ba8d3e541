//! A payment's way from card to debit, the same for the page, the merchant API and `/_sim/pay`.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};

use crate::callback::{AccountField, Question, Reply, SPOILING, Shape, write_body};
use crate::cards::{Behaviour, OTP, PayingCard};
use crate::codes::Code;
use crate::faults::{Fault, Strike, Target};
use crate::gateway::Gateway;
use crate::journal::JournalError;
use crate::transaction::{Change, CloseReason, Entry, State, Transaction};

/// The wrong OTP that closes a transaction.
const LAST_WRONG_OTP: u8 = 3;

/// How a step of a payment ended.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) code: Code,
    /// The transaction after the step; `None` when there is none of that id.
    pub(crate) transaction: Option<Transaction>,
    /// What the merchant answered, if it was asked.
    pub(crate) reply: Option<Reply>,
}

impl Verdict {
    fn new(code: Code, transaction: Transaction) -> Self {
        Self { code, transaction: Some(transaction), reply: None }
    }

    fn not_found() -> Self {
        Self { code: Code::NotFound, transaction: None, reply: None }
    }
}

/// What the merchant's answer, or a fault in its place, means for the debit.
struct Permission {
    allowed: bool,
    reply: Option<Reply>,
    /// The callback that follows when the payer has been answered, and how much later.
    later: Option<(Question, Duration)>,
}

impl Gateway {
    /// The payer enters a card. It may be replaced by another until the debit.
    pub(crate) async fn prepay(&self, id: i64, card: PayingCard) -> Result<Verdict, JournalError> {
        let Some(entry) = self.ledger.find(id) else {
            return Ok(Verdict::not_found());
        };
        let mut turn = entry.turn().await;
        let transaction = self.close_if_over(&entry).await?;
        match transaction.state {
            State::Draft | State::Prepaid => (),
            State::Debited | State::Closed | State::Reversed => {
                return Ok(Verdict::new(Code::Closed, transaction));
            }
        }
        match card.behaviour {
            Behaviour::Expired => return Ok(Verdict::new(Code::CardExpired, transaction)),
            Behaviour::WithoutSms => return Ok(Verdict::new(Code::CardWithoutSms, transaction)),
            Behaviour::Pays | Behaviour::ProcessingError | Behaviour::InsufficientFunds => (),
        }
        let change = Change::Prepaid { card };
        let prepaid = self.ledger.record(&entry, &transaction, change).await?;
        turn.wrong_otps = 0;
        Ok(Verdict::new(Code::Ok, prepaid))
    }

    /// The payer confirms with the OTP: the merchant is asked, and if it allows, the money moves.
    ///
    /// Whoever confirms meanwhile waits for the end of this, and then finds the transaction closed.
    pub(crate) async fn pay(self: &Arc<Self>, id: i64, otp: &str) -> Result<Verdict, JournalError> {
        let Some(entry) = self.ledger.find(id) else {
            return Ok(Verdict::not_found());
        };
        let mut turn = entry.turn().await;
        let transaction = self.close_if_over(&entry).await?;
        let card = match (transaction.state, &transaction.card) {
            (State::Prepaid, Some(card)) => card.clone(),
            (State::Draft | State::Prepaid, _) => {
                return Ok(Verdict::new(Code::WrongParameters, transaction));
            }
            (State::Debited | State::Closed | State::Reversed, _) => {
                return Ok(Verdict::new(Code::Closed, transaction));
            }
        };
        if otp != OTP {
            turn.wrong_otps = turn.wrong_otps.saturating_add(1);
            let after = if turn.wrong_otps >= LAST_WRONG_OTP {
                self.close(&entry, &transaction, CloseReason::WrongOtp).await?
            } else {
                transaction
            };
            return Ok(Verdict::new(Code::WrongOtp, after));
        }

        let permission = self.ask_merchant(&transaction).await;
        let (code, after) = self.debit_if(&permission, &entry, transaction, &card).await?;
        if let Some((question, delay)) = permission.later {
            self.send_callback_later(question, delay);
        }
        if after.state == State::Debited
            && let Some(strike) = self.strikes(Fault::ReversedLater, &after)
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
        Ok(Verdict { code, transaction: Some(after), reply: permission.reply })
    }

    async fn ask_merchant(&self, transaction: &Transaction) -> Permission {
        if self.strikes(Fault::CallbackNever, transaction).is_some() {
            return Permission { allowed: true, reply: None, later: None };
        }
        let question = self.question(transaction);
        let told = |fault| Question { fault: question.fault.or(Some(fault)), ..question.clone() };
        if let Some(strike) = self.strikes(Fault::CallbackLate, transaction) {
            return Permission { allowed: true, reply: None, later: Some((told(Fault::CallbackLate), strike.delay)) };
        }
        let reply = if self.strikes(Fault::CallbackDoubled, transaction).is_some() {
            let question = told(Fault::CallbackDoubled);
            tokio::join!(self.callbacks.ask(&question), self.callbacks.ask(&question)).0
        } else if let Some(strike) = self.strikes(Fault::CallbackRepeated, transaction) {
            let question = told(Fault::CallbackRepeated);
            let mut reply = None;
            for _ in 0..strike.times {
                reply = self.callbacks.ask(&question).await;
            }
            reply
        } else {
            self.callbacks.ask(&question).await
        };
        let replay = self.strikes(Fault::CallbackReplayed, transaction);
        Permission {
            // Without a registered URL nobody is asked.
            allowed: reply.is_none_or(Reply::allows_debit),
            reply,
            later: replay.map(|strike| (told(Fault::CallbackReplayed), strike.delay)),
        }
    }

    async fn debit_if(
        &self,
        permission: &Permission,
        entry: &Entry,
        transaction: Transaction,
        card: &PayingCard,
    ) -> Result<(Code, Transaction), JournalError> {
        if !permission.allowed && self.strikes(Fault::DebitAlthoughRefused, &transaction).is_none() {
            return Ok((Code::MerchantRefused, transaction));
        }
        if self.strikes(Fault::Lapsed, &transaction).is_some() {
            let closed = self.close(entry, &transaction, CloseReason::Lapsed).await?;
            return Ok((Code::Closed, closed));
        }
        if self.strikes(Fault::DebitDeclined, &transaction).is_some() {
            return Ok((Code::InsufficientFunds, transaction));
        }
        match card.behaviour {
            Behaviour::InsufficientFunds => return Ok((Code::InsufficientFunds, transaction)),
            Behaviour::ProcessingError => return Ok((Code::Internal, transaction)),
            Behaviour::Pays | Behaviour::WithoutSms | Behaviour::Expired => (),
        }
        let change = Change::Debited { success_trans_id: self.ledger.next_success_id() };
        let debited = self.ledger.record(entry, &transaction, change).await?;
        Ok((Code::Ok, debited))
    }

    /// The money has moved; whatever the merchant says is only remembered.
    fn send_callback_later(self: &Arc<Self>, question: Question, delay: Duration) {
        let gateway = Arc::clone(self);
        self.later(delay, async move {
            gateway.callbacks.ask(&question).await;
        });
    }

    fn reverse_later(self: &Arc<Self>, entry: &Arc<Entry>, delay: Duration) {
        let (gateway, entry) = (Arc::clone(self), Arc::clone(entry));
        self.later(delay, async move {
            if let Err(cause) = gateway.reverse(Some(entry)).await {
                error!(error = %cause, "the ledger failed a reversal");
            }
        });
    }

    /// Does something after a while, unless the sandbox is told to stop.
    pub(crate) fn later(&self, delay: Duration, work: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => (),
                () = tokio::time::sleep(delay) => work.await,
            }
        });
    }

    /// The callback for this transaction, spoiled and shaped as the faults want it. Shapes combine with every other fault,
    /// for they spoil nothing.
    fn question(&self, transaction: &Transaction) -> Question {
        let strikes = |fault: &Fault| self.strikes(*fault, transaction).is_some();
        let fault = SPOILING.into_iter().find(strikes);
        let account_field = if strikes(&Fault::CallbackBoth) {
            AccountField::Both
        } else if strikes(&Fault::CallbackInvoice) {
            AccountField::Invoice
        } else {
            AccountField::Account
        };
        let shape = Shape {
            account_field,
            has_numbers: strikes(&Fault::CallbackNumbers),
            is_signed_in_capitals: strikes(&Fault::CallbackUppercaseSign),
            is_form: strikes(&Fault::CallbackForm),
        };
        Question {
            transaction_id: transaction.id,
            account: transaction.account.clone(),
            body: write_body(&self.config, transaction, shape, fault),
            fault,
            is_form: shape.is_form,
            is_from_elsewhere: strikes(&Fault::CallbackOtherAddress),
        }
    }

    /// The transaction as it is now, closed if its lifetime is over. Never waits for an apply in flight.
    pub(crate) async fn present(&self, entry: &Entry) -> Result<Transaction, JournalError> {
        match entry.turn_if_free() {
            Some(_turn) => self.close_if_over(entry).await,
            None => Ok(entry.snapshot()),
        }
    }

    /// Closes a transaction that has not been paid within its lifetime. The caller holds its turn.
    async fn close_if_over(&self, entry: &Entry) -> Result<Transaction, JournalError> {
        let transaction = entry.snapshot();
        let lifetime_ms = i64::try_from(self.config.draft_lifetime.as_millis()).unwrap_or(i64::MAX);
        let is_over = transaction.created_at_ms.saturating_add(lifetime_ms) <= self.clock.now_ms();
        match transaction.state {
            State::Draft | State::Prepaid if is_over => self.close(entry, &transaction, CloseReason::Lapsed).await,
            State::Draft | State::Prepaid | State::Debited | State::Closed | State::Reversed => Ok(transaction),
        }
    }

    /// The payer gives up, or time runs out. Money that has moved stays moved.
    pub(crate) async fn give_up(&self, id: i64, reason: CloseReason) -> Result<Verdict, JournalError> {
        let Some(entry) = self.ledger.find(id) else {
            return Ok(Verdict::not_found());
        };
        let _turn = entry.turn().await;
        let transaction = self.close_if_over(&entry).await?;
        match transaction.state {
            State::Draft | State::Prepaid => {
                let closed = self.close(&entry, &transaction, reason).await?;
                Ok(Verdict::new(Code::Ok, closed))
            }
            State::Debited | State::Closed | State::Reversed => Ok(Verdict::new(Code::Closed, transaction)),
        }
    }

    async fn close(
        &self,
        entry: &Entry,
        transaction: &Transaction,
        reason: CloseReason,
    ) -> Result<Transaction, JournalError> {
        self.ledger.record(entry, transaction, Change::Closed { reason }).await
    }

    /// Gives the money back, once.
    pub(crate) async fn reverse(&self, entry: Option<Arc<Entry>>) -> Result<Verdict, JournalError> {
        let Some(entry) = entry else {
            return Ok(Verdict::not_found());
        };
        let _turn = entry.turn().await;
        let transaction = entry.snapshot();
        match transaction.state {
            State::Debited => {
                let reversed = self.ledger.record(&entry, &transaction, Change::Reversed).await?;
                Ok(Verdict::new(Code::Ok, reversed))
            }
            State::Draft | State::Prepaid | State::Closed | State::Reversed => {
                Ok(Verdict::new(Code::Closed, transaction))
            }
        }
    }

    /// Whether a fault strikes what a payer does to this transaction.
    pub(crate) fn strikes(&self, fault: Fault, transaction: &Transaction) -> Option<Strike> {
        let target = Target { path: None, account: Some(&transaction.account) };
        self.faults.strikes(fault, target)
    }
}
