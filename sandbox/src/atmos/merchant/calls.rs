//! The work and the answer of each call.

use std::sync::Arc;

use super::Call;
use super::fields::{AtmosCallFields, NewDraft};
use crate::atmos::cards::{CardError, OTP, PayingCard};
use crate::atmos::codes::{Code, ResultLanguage};
use crate::atmos::faults::AtmosFault;
use crate::atmos::payment::StepResult;
use crate::atmos::state::AtmosSandbox;
use crate::atmos::transaction::PaymentState;
use crate::atmos::wire::{ApiAnswer, ResultBody, StoreTransaction};
use crate::journal::JournalError;

/// `get`: shows a transaction. It never waits for a running apply.
async fn get(
    state: &AtmosSandbox,
    fields: &AtmosCallFields,
    language: ResultLanguage,
) -> Result<CallResult, JournalError> {
    let entry = match fields.transaction_id(state) {
        Ok(id) => state.ledger.find(id),
        Err(code) => return Ok(Err(code)),
    };
    let Some(entry) = entry else {
        return Ok(Err(Code::NotFound));
    };
    let transaction = state.present(&entry).await?;
    let code = match transaction.state {
        PaymentState::Closed => Code::Closed,
        PaymentState::Debited if state.strikes(AtmosFault::PaidAsClosed, &transaction).is_some() => Code::Closed,
        PaymentState::Draft | PaymentState::Prepaid | PaymentState::Debited | PaymentState::Reversed => Code::Ok,
    };
    let mut shown = StoreTransaction::new(&transaction, &state.common.config);
    if state.strikes(AtmosFault::AmountDiffers, &transaction).is_some() {
        shown.amount = shown.amount.saturating_add(100);
        shown.total = shown.total.saturating_add(100);
    }
    if transaction.state == PaymentState::Debited && state.strikes(AtmosFault::StatusUnknown, &transaction).is_some() {
        shown.status_code = Some("-777");
        shown.status_message = Some("Something new");
    }
    Ok(Ok(ApiAnswer { store_transaction: Some(shown), ..ApiAnswer::bare(code, language) }))
}

/// Does the work of a call and returns its answer.
pub(super) async fn answer(
    call: Call,
    state: &Arc<AtmosSandbox>,
    fields: &AtmosCallFields,
    language: ResultLanguage,
) -> Result<ApiAnswer, JournalError> {
    let answered = match call {
        Call::Create => create(state, fields, language, false).await?,
        Call::CreateWithReceipt => create(state, fields, language, true).await?,
        Call::PreApply => pre_apply(state, fields, language).await?,
        Call::Apply | Call::ApplyWithReceipt => apply(state, fields, language).await?,
        Call::RetryOtp => retry_otp(state, fields, language),
        Call::Get => get(state, fields, language).await?,
        Call::Reverse => reverse(state, fields, language).await?,
    };
    Ok(answered.unwrap_or_else(|code| ApiAnswer::bare(code, language)))
}

/// The answer of a call, or the code with which it is refused.
type CallResult = Result<ApiAnswer, Code>;

async fn create(
    state: &Arc<AtmosSandbox>,
    fields: &AtmosCallFields,
    language: ResultLanguage,
    with_receipt: bool,
) -> Result<CallResult, JournalError> {
    let draft = match NewDraft::read(state, fields, with_receipt) {
        Ok(draft) => draft,
        Err(code) => return Ok(Err(code)),
    };
    let transaction = state.ledger.create(draft.account, draft.amount_tiyin, draft.details, draft.lang).await?;
    if state.strikes(AtmosFault::CallbackEarly, &transaction).is_some() {
        state.prepay(transaction.id, PayingCard::bound()).await?;
        state.pay(transaction.id, OTP).await?;
    }
    Ok(Ok(ApiAnswer {
        transaction_id: Some(transaction.id),
        store_transaction: Some(StoreTransaction::new(&transaction, &state.common.config)),
        ..ApiAnswer::bare(Code::Ok, language)
    }))
}

async fn pre_apply(
    state: &AtmosSandbox,
    fields: &AtmosCallFields,
    language: ResultLanguage,
) -> Result<CallResult, JournalError> {
    let read = || {
        let id = fields.transaction_id(state)?;
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
    let result = state.prepay(id, card).await?;
    Ok(Ok(answer_result(state, result, language)))
}

/// The code for an invalid card.
pub(crate) fn card_code(error: CardError) -> Code {
    match error {
        CardError::Malformed => Code::WrongParameters,
        CardError::WrongNumber => Code::WrongCard,
    }
}

async fn apply(
    state: &Arc<AtmosSandbox>,
    fields: &AtmosCallFields,
    language: ResultLanguage,
) -> Result<CallResult, JournalError> {
    let read = || {
        let id = fields.transaction_id(state)?;
        let otp = fields.text_or_number("otp").ok_or(Code::WrongParameters)?;
        Ok((id, otp))
    };
    let (id, otp) = match read() {
        Ok(read) => read,
        Err(code) => return Ok(Err(code)),
    };
    let result = state.pay(id, &otp).await?;
    let paid = result.transaction.clone().filter(|_| result.code == Code::Ok);
    let mut answer = answer_result(state, result, language);
    answer.transaction_id = None;
    if let Some(paid) = paid {
        let receipt = paid.success_trans_id.map(|id| format!("{}/ofd/{id}", state.common.public_url));
        answer.store_transaction = Some(StoreTransaction::new(&paid, &state.common.config));
        answer.ofd_url_commission.clone_from(&receipt);
        answer.ofd_url = receipt;
    }
    Ok(Ok(answer))
}

fn retry_otp(state: &AtmosSandbox, fields: &AtmosCallFields, language: ResultLanguage) -> CallResult {
    let id = fields.transaction_id(state)?;
    let transaction = state.ledger.find(id).ok_or(Code::NotFound)?.snapshot();
    let code = match transaction.state {
        PaymentState::Prepaid => Code::Ok,
        // No card was entered, so there is no OTP to send again.
        PaymentState::Draft => Code::WrongParameters,
        PaymentState::Debited | PaymentState::Closed | PaymentState::Reversed => Code::Closed,
    };
    let result = StepResult { code, transaction: Some(transaction), reply: None };
    Ok(answer_result(state, result, language))
}

/// `reverse` takes the debit's id (`success_trans_id`) under the name `transaction_id`; the store is optional.
async fn reverse(
    state: &AtmosSandbox,
    fields: &AtmosCallFields,
    language: ResultLanguage,
) -> Result<CallResult, JournalError> {
    let read = || {
        if fields.has("store_id") {
            fields.check_store(state)?;
        }
        fields.id("transaction_id").ok_or(Code::WrongParameters)
    };
    let success_trans_id = match read() {
        Ok(id) => id,
        Err(code) => return Ok(Err(code)),
    };
    let entry = state.ledger.find_debit(success_trans_id);
    if let Some(entry) = &entry {
        entry.count_reversal();
    }
    let result = state.reverse(entry).await?;
    let mut answer = answer_result(state, result, language);
    answer.transaction_id = answer.transaction_id.map(|_| success_trans_id);
    Ok(Ok(answer))
}

/// The result of a step as JSON. A closed transaction is shown whole, because only that distinguishes a paid one from a
/// canceled one.
fn answer_result(state: &AtmosSandbox, result: StepResult, language: ResultLanguage) -> ApiAnswer {
    let transaction = result.transaction.as_ref();
    ApiAnswer {
        result: ResultBody::new(result.code, language),
        transaction_id: transaction.filter(|_| result.code == Code::Ok).map(|transaction| transaction.id),
        store_transaction: transaction
            .filter(|_| result.code == Code::Closed)
            .map(|transaction| StoreTransaction::new(transaction, &state.common.config)),
        ofd_url: None,
        ofd_url_commission: None,
    }
}
