//! What each call does and answers.

use std::sync::Arc;

use super::Call;
use super::fields::{Fields, NewDraft};
use crate::cards::{CardError, OTP, PayingCard};
use crate::codes::{Code, Language};
use crate::faults::Fault;
use crate::gateway::Gateway;
use crate::journal::JournalError;
use crate::payment::Verdict;
use crate::transaction::State;
use crate::wire::{Answer, ResultBody, StoreTransaction};

/// `get`: the truth about a transaction. It never waits for an apply in flight.
async fn get(gateway: &Gateway, fields: &Fields, language: Language) -> Result<Answered, JournalError> {
    let entry = match fields.transaction_id(gateway) {
        Ok(id) => gateway.ledger.find(id),
        Err(code) => return Ok(Err(code)),
    };
    let Some(entry) = entry else {
        return Ok(Err(Code::NotFound));
    };
    let transaction = gateway.present(&entry).await?;
    let code = match transaction.state {
        State::Closed => Code::Closed,
        State::Debited if gateway.strikes(Fault::PaidAsClosed, &transaction).is_some() => Code::Closed,
        State::Draft | State::Prepaid | State::Debited | State::Reversed => Code::Ok,
    };
    let mut shown = StoreTransaction::new(&transaction, &gateway.config);
    if gateway.strikes(Fault::AmountDiffers, &transaction).is_some() {
        shown.amount = shown.amount.saturating_add(100);
        shown.total = shown.total.saturating_add(100);
    }
    if transaction.state == State::Debited && gateway.strikes(Fault::StatusUnknown, &transaction).is_some() {
        shown.status_code = Some("-777");
        shown.status_message = Some("Something new");
    }
    Ok(Ok(Answer { store_transaction: Some(shown), ..Answer::bare(code, language) }))
}

/// Does what a call asks for, and says how that ended.
pub(super) async fn answer(
    call: Call,
    gateway: &Arc<Gateway>,
    fields: &Fields,
    language: Language,
) -> Result<Answer, JournalError> {
    let answered = match call {
        Call::Create => create(gateway, fields, language, false).await?,
        Call::CreateWithReceipt => create(gateway, fields, language, true).await?,
        Call::PreApply => pre_apply(gateway, fields, language).await?,
        Call::Apply | Call::ApplyWithReceipt => apply(gateway, fields, language).await?,
        Call::RetryOtp => retry_otp(gateway, fields, language),
        Call::Get => get(gateway, fields, language).await?,
        Call::Reverse => reverse(gateway, fields, language).await?,
    };
    Ok(answered.unwrap_or_else(|code| Answer::bare(code, language)))
}

/// What a call answers, or the code with which it is turned away.
type Answered = Result<Answer, Code>;

async fn create(
    gateway: &Arc<Gateway>,
    fields: &Fields,
    language: Language,
    with_receipt: bool,
) -> Result<Answered, JournalError> {
    let draft = match NewDraft::read(gateway, fields, with_receipt) {
        Ok(draft) => draft,
        Err(code) => return Ok(Err(code)),
    };
    let transaction = gateway.ledger.create(draft.account, draft.amount_tiyin, draft.details).await?;
    if gateway.strikes(Fault::CallbackEarly, &transaction).is_some() {
        gateway.prepay(transaction.id, PayingCard::bound()).await?;
        gateway.pay(transaction.id, OTP).await?;
    }
    Ok(Ok(Answer {
        transaction_id: Some(transaction.id),
        store_transaction: Some(StoreTransaction::new(&transaction, &gateway.config)),
        ..Answer::bare(Code::Ok, language)
    }))
}

async fn pre_apply(gateway: &Gateway, fields: &Fields, language: Language) -> Result<Answered, JournalError> {
    let read = || {
        let id = fields.transaction_id(gateway)?;
        let number = fields.text_or_number("card_number");
        let expiry = fields.text_or_number("expiry");
        let token = fields.text("card_token").filter(|token| !token.is_empty());
        let card = match (number, expiry, token) {
            (Some(number), Some(expiry), None) => PayingCard::read(&number, &expiry).map_err(card_code)?,
            (None, None, Some(_)) => PayingCard::bound(),
            _ => return Err(Code::WrongParameters),
        };
        Ok((id, card))
    };
    let (id, card) = match read() {
        Ok(read) => read,
        Err(code) => return Ok(Err(code)),
    };
    let verdict = gateway.prepay(id, card).await?;
    Ok(Ok(answer_verdict(gateway, verdict, language)))
}

/// The code for a card that cannot be one.
pub(crate) fn card_code(error: CardError) -> Code {
    match error {
        CardError::Malformed => Code::WrongParameters,
        CardError::WrongNumber => Code::WrongCard,
    }
}

async fn apply(gateway: &Arc<Gateway>, fields: &Fields, language: Language) -> Result<Answered, JournalError> {
    let read = || {
        let id = fields.transaction_id(gateway)?;
        let otp = fields.text_or_number("otp").ok_or(Code::WrongParameters)?;
        Ok((id, otp))
    };
    let (id, otp) = match read() {
        Ok(read) => read,
        Err(code) => return Ok(Err(code)),
    };
    let verdict = gateway.pay(id, &otp).await?;
    let paid = verdict.transaction.clone().filter(|_| verdict.code == Code::Ok);
    let mut answer = answer_verdict(gateway, verdict, language);
    answer.transaction_id = None;
    if let Some(paid) = paid {
        let receipt = paid.success_trans_id.map(|id| format!("{}/ofd/{id}", gateway.public_url));
        answer.store_transaction = Some(StoreTransaction::new(&paid, &gateway.config));
        answer.ofd_url_commission.clone_from(&receipt);
        answer.ofd_url = receipt;
    }
    Ok(Ok(answer))
}

fn retry_otp(gateway: &Gateway, fields: &Fields, language: Language) -> Answered {
    let id = fields.transaction_id(gateway)?;
    let transaction = gateway.ledger.find(id).ok_or(Code::NotFound)?.snapshot();
    let code = match transaction.state {
        State::Prepaid => Code::Ok,
        // No card was entered that an OTP could belong to.
        State::Draft => Code::WrongParameters,
        State::Debited | State::Closed | State::Reversed => Code::Closed,
    };
    let verdict = Verdict { code, transaction: Some(transaction), reply: None };
    Ok(answer_verdict(gateway, verdict, language))
}

/// `reverse` takes the debit's id (`success_trans_id`) under the name `transaction_id`; the store may be left out.
async fn reverse(gateway: &Gateway, fields: &Fields, language: Language) -> Result<Answered, JournalError> {
    let read = || {
        if fields.has("store_id") {
            fields.check_store(gateway)?;
        }
        fields.id("transaction_id").ok_or(Code::WrongParameters)
    };
    let success_trans_id = match read() {
        Ok(id) => id,
        Err(code) => return Ok(Err(code)),
    };
    let entry = gateway.ledger.find_debit(success_trans_id);
    if let Some(entry) = &entry {
        entry.count_reversal();
    }
    let verdict = gateway.reverse(entry).await?;
    let mut answer = answer_verdict(gateway, verdict, language);
    answer.transaction_id = answer.transaction_id.map(|_| success_trans_id);
    Ok(Ok(answer))
}

/// A verdict on the wire. A closed transaction is shown whole: only that tells a paid one from a canceled one.
fn answer_verdict(gateway: &Gateway, verdict: Verdict, language: Language) -> Answer {
    let transaction = verdict.transaction.as_ref();
    Answer {
        result: ResultBody::new(verdict.code, language),
        transaction_id: transaction.filter(|_| verdict.code == Code::Ok).map(|transaction| transaction.id),
        store_transaction: transaction
            .filter(|_| verdict.code == Code::Closed)
            .map(|transaction| StoreTransaction::new(transaction, &gateway.config)),
        ofd_url: None,
        ofd_url_commission: None,
    }
}
