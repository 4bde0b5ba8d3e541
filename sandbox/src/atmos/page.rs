//! The page where a payer enters a card and an OTP. It works without JavaScript.

mod step;
mod view;
mod visit;
mod words;

use std::sync::Arc;

use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Body, Request, Response};
use tracing::error;

use self::step::{PageProblem, PageStep};
use self::view::{ending, note, see_other};
use self::visit::Visit;
use crate::atmos::cards::{CardError, PayingCard};
use crate::atmos::codes::Code;
use crate::atmos::payment::StepResult;
use crate::atmos::state::AtmosSandbox;
use crate::atmos::transaction::{CloseReason, PaymentState, Transaction};
use crate::journal::JournalError;

/// `GET /invoice/get?storeId&transactionId[&redirectLink]`: the page behind a payment link (Atmos API, payment page).
#[poem::handler]
pub(crate) async fn get_invoice(
    Data(state): Data<&Arc<AtmosSandbox>>,
    request: &Request,
) -> Result<Response, PageProblem> {
    let query = request.uri().query().unwrap_or_default();
    let visit = Visit::read(state, query.as_bytes())?;
    let entry = state.ledger.find(visit.transaction_id).ok_or(PageProblem::NoInvoice)?;
    let transaction = match state.present(&entry).await {
        Ok(transaction) => transaction,
        Err(cause) => {
            error!(error = %cause, "the ledger failed a payer");
            return Err(PageProblem::Broken);
        }
    };
    let words = visit.language(&transaction).words();
    let (step, message) = match transaction.state {
        PaymentState::Prepaid if visit.typed("step") == "otp" => (PageStep::Otp, ""),
        PaymentState::Draft | PaymentState::Prepaid => (PageStep::Card, ""),
        PaymentState::Debited | PaymentState::Closed | PaymentState::Reversed => {
            (PageStep::Done, ending(&transaction, words))
        }
    };
    Ok(visit.show(state, &transaction, step, message, StatusCode::OK))
}

/// `POST /invoice/card`: the payer entered a card.
#[poem::handler]
pub(crate) async fn post_card(Data(state): Data<&Arc<AtmosSandbox>>, form: Body) -> Result<Response, PageProblem> {
    let visit = Visit::from_form(state, form).await?;
    let entry = state.ledger.find(visit.transaction_id).ok_or(PageProblem::NoInvoice)?;
    let language = visit.language(&entry.snapshot());
    let words = language.words();
    let complain = |message: &str| {
        Ok(visit.show(state, &entry.snapshot(), PageStep::Card, message, StatusCode::UNPROCESSABLE_ENTITY))
    };
    let Some(expiry_yymm) = expiry_yymm(&visit.typed("expiry")) else {
        return complain(words.wrong_expiry);
    };
    let card = match PayingCard::read(&visit.typed("card_number"), &expiry_yymm) {
        Ok(card) => card,
        Err(CardError::Malformed) => return complain(words.malformed_card),
        Err(CardError::WrongNumber) => return complain(words.wrong_number),
    };
    let (runner, id) = (Arc::clone(state), visit.transaction_id);
    match run(state, async move { runner.prepay(id, card).await }).await? {
        (Code::Ok, _) => see_other(&visit.link(state, PageStep::Otp)),
        (Code::Closed, transaction) => visit.leave(state, &transaction),
        (code, _) => complain(code.description(language)),
    }
}

/// `POST /invoice/pay`: the payer confirms with the OTP. A second click finds the first debit and makes no second one.
#[poem::handler]
pub(crate) async fn post_pay(Data(state): Data<&Arc<AtmosSandbox>>, form: Body) -> Result<Response, PageProblem> {
    let visit = Visit::from_form(state, form).await?;
    let (runner, id, otp) = (Arc::clone(state), visit.transaction_id, visit.typed("otp"));
    let (code, transaction) = run(state, async move { runner.pay(id, &otp).await }).await?;
    let words = visit.language(&transaction).words();
    let (step, message) = match code {
        Code::Ok | Code::Closed => return visit.leave(state, &transaction),
        Code::WrongOtp if transaction.state == PaymentState::Closed => (PageStep::Done, ending(&transaction, words)),
        Code::WrongOtp => (PageStep::Otp, words.wrong_otp),
        Code::MerchantRefused => (PageStep::Otp, words.refused),
        Code::InsufficientFunds => (PageStep::Card, words.no_money),
        Code::Internal => (PageStep::Card, words.bank_failed),
        Code::WrongParameters
        | Code::NotFound
        | Code::WrongCard
        | Code::CardExpired
        | Code::CardWithoutSms
        | Code::NeverHeardOf => (PageStep::Card, words.card_first),
    };
    Ok(visit.show(state, &transaction, step, message, StatusCode::UNPROCESSABLE_ENTITY))
}

/// `POST /invoice/cancel`: the payer gives up, which closes the transaction for good.
#[poem::handler]
pub(crate) async fn post_cancel(Data(state): Data<&Arc<AtmosSandbox>>, form: Body) -> Result<Response, PageProblem> {
    let visit = Visit::from_form(state, form).await?;
    let (runner, id) = (Arc::clone(state), visit.transaction_id);
    let work = async move { runner.give_up(id, CloseReason::Canceled).await };
    let (_, transaction) = run(state, work).await?;
    visit.leave(state, &transaction)
}

/// `GET /ofd/{success_trans_id}`: stands for the fiscal receipt that `apply` links to.
#[poem::handler]
pub(crate) async fn get_receipt(Data(state): Data<&Arc<AtmosSandbox>>, Path(success_trans_id): Path<i64>) -> Response {
    match state.ledger.find_debit(success_trans_id) {
        Some(_) => note(StatusCode::OK, "This would be the fiscal receipt. The sandbox writes none."),
        None => note(StatusCode::NOT_FOUND, "There is no such receipt."),
    }
}

/// Runs a step to its end even if the browser leaves, and returns its code and the transaction.
async fn run(
    state: &Arc<AtmosSandbox>,
    step: impl Future<Output = Result<StepResult, JournalError>> + Send + 'static,
) -> Result<(Code, Transaction), PageProblem> {
    match state.common.run(step).await {
        Some(Ok(result)) => {
            let transaction = result.transaction.ok_or(PageProblem::NoInvoice)?;
            Ok((result.code, transaction))
        }
        Some(Err(cause)) => {
            error!(error = %cause, "the ledger failed a payer");
            Err(PageProblem::Broken)
        }
        None => Err(PageProblem::Broken),
    }
}

/// Converts `MM/YY` or `MMYY`, as people type it, to the API's `YYMM`.
fn expiry_yymm(typed: &str) -> Option<String> {
    let (month, year) = match typed.split_once('/') {
        Some(parts) => parts,
        None => typed.split_at_checked(2)?,
    };
    (month.len() == 2 && year.len() == 2).then(|| format!("{year}{month}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_read_as_people_type_it() {
        assert_eq!(expiry_yymm("07/28").as_deref(), Some("2807"));
        assert_eq!(expiry_yymm("0728").as_deref(), Some("2807"));
        for nonsense in ["", "0", "7/28", "07/2028", "0728/", "үү28"] {
            assert_eq!(expiry_yymm(nonsense), None, "{nonsense}");
        }
    }
}
