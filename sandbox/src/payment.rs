//! A payment's way from card to debit, the same for the page, the merchant API and `/_sim/pay`.

use std::sync::Arc;

use tracing::info;

use crate::{
    callback::{AccountField, Reply, Shape},
    cards::{Behaviour, OTP, PayingCard},
    codes::Code,
    faults::{Fault, Target},
    gateway::Gateway,
    journal::JournalError,
    transaction::{Change, CloseReason, Entry, State, Transaction},
};

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
    /// The callback follows when the payer has been answered.
    late: Option<std::time::Duration>,
}

impl Gateway {
    /// The payer enters a card. It may be replaced by another until the debit.
    pub(crate) async fn prepay(&self, id: i64, card: PayingCard) -> Result<Verdict, JournalError> {
        let Some(entry) = self.ledger.find(id) else {
            return Ok(Verdict::not_found());
        };
        let mut turn = entry.turn().await;
        let transaction = entry.snapshot();
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
        let transaction = entry.snapshot();
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
        if let Some(delay) = permission.late {
            self.send_callback_later(after.clone(), delay);
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
            return Permission { allowed: true, reply: None, late: None };
        }
        if let Some(delay) = self.strikes(Fault::CallbackLate, transaction) {
            return Permission { allowed: true, reply: None, late: Some(delay) };
        }
        let fault = [
            Fault::CallbackDoubled,
            Fault::CallbackBadlySigned,
            Fault::CallbackWrongAmount,
            Fault::CallbackWrongStore,
            Fault::CallbackUnknownTransaction,
            Fault::CallbackSlid,
        ]
        .into_iter()
        .find(|fault| self.strikes(*fault, transaction).is_some());
        // Both copies of a doubled callback look the same.
        let shape = self.callback_shape(transaction);
        let ask = || self.callbacks.ask(&self.config, transaction, shape, fault);
        let reply = match fault {
            Some(Fault::CallbackDoubled) => tokio::join!(ask(), ask()).0,
            _ => ask().await,
        };
        Permission {
            // Without a registered URL nobody is asked.
            allowed: reply.is_none_or(Reply::allows_debit),
            reply,
            late: None,
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

    fn send_callback_later(self: &Arc<Self>, transaction: Transaction, delay: std::time::Duration) {
        let gateway = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = gateway.stopping.cancelled() => (),
                () = tokio::time::sleep(delay) => {
                    // The money has moved; whatever the merchant says is only remembered.
                    let shape = gateway.callback_shape(&transaction);
                    gateway.callbacks.ask(&gateway.config, &transaction, shape, Some(Fault::CallbackLate)).await;
                }
            }
        });
    }

    /// How the callback is to be written. It combines with every other fault, for it spoils nothing.
    fn callback_shape(&self, transaction: &Transaction) -> Shape {
        let account_field = if self.strikes(Fault::CallbackBoth, transaction).is_some() {
            AccountField::Both
        } else if self.strikes(Fault::CallbackInvoice, transaction).is_some() {
            AccountField::Invoice
        } else {
            AccountField::Account
        };
        Shape { account_field, has_numbers: self.strikes(Fault::CallbackNumbers, transaction).is_some() }
    }

    /// The payer gives up, or time runs out. Money that has moved stays moved.
    pub(crate) async fn give_up(&self, id: i64, reason: CloseReason) -> Result<Verdict, JournalError> {
        let Some(entry) = self.ledger.find(id) else {
            return Ok(Verdict::not_found());
        };
        let _turn = entry.turn().await;
        let transaction = entry.snapshot();
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
    pub(crate) fn strikes(&self, fault: Fault, transaction: &Transaction) -> Option<std::time::Duration> {
        let target = Target { path: None, account: Some(&transaction.account) };
        self.faults.strikes(fault, target)
    }
}
