//! `/_sim/*` of Atmos: operations for tests and developers that no merchant can do at Atmos.

mod tokens;

use std::sync::Arc;

use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Body, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::error;

pub(crate) use self::tokens::{delete_token, get_token, post_token};
use crate::answers::{broken, json};
use crate::atmos::callback::MerchantReply;
use crate::atmos::cards::{GOOD_CARD, OTP, PayingCard};
use crate::atmos::codes::{Code, ResultLanguage};
use crate::atmos::merchant::card_code;
use crate::atmos::payment::StepResult;
use crate::atmos::state::AtmosSandbox;
use crate::atmos::transaction::{CloseReason, PaymentState, Transaction};
use crate::atmos::wire::ResultBody;
use crate::faults::FaultRequest;
use crate::journal::JournalError;
use crate::sim::{bad_request, read_json, read_optional};

/// The result of a simulated payment.
#[derive(Debug, Serialize)]
struct PaymentOutcome {
    transaction_id: i64,
    /// `debited`: money moved. `refused`: the merchant refused, or its answer was unusable. `declined`: the card or its
    /// bank declined. `closed`: the transaction was or became closed, and this call moved no money. `unknown`: anything
    /// else, such as a transaction that does not exist.
    outcome: &'static str,
    result: ResultBody,
    /// The merchant's answer; null if it was not asked.
    callback: Option<MerchantReply>,
}

impl PaymentOutcome {
    fn new(transaction_id: i64, result: &StepResult) -> Self {
        let outcome = match result.code {
            Code::Ok => match result.transaction.as_ref().map(|transaction| transaction.state) {
                Some(PaymentState::Debited) => "debited",
                Some(PaymentState::Closed) => "closed",
                Some(PaymentState::Reversed) => "reversed",
                Some(PaymentState::Draft | PaymentState::Prepaid) | None => "unknown",
            },
            Code::MerchantRefused => "refused",
            Code::InsufficientFunds
            | Code::Internal
            | Code::WrongCard
            | Code::CardExpired
            | Code::CardWithoutSms
            | Code::WrongOtp => "declined",
            Code::Closed => "closed",
            Code::WrongParameters | Code::NotFound | Code::NeverHeardOf => "unknown",
        };
        PaymentOutcome {
            transaction_id,
            outcome,
            result: ResultBody::new(result.code, ResultLanguage::English),
            callback: result.reply,
        }
    }
}

/// The card to pay with; without a body one that pays.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Payer {
    card_number: Option<String>,
    otp: Option<String>,
}

/// `POST /_sim/pay/{transaction_id}`: pays like a customer, and returns the result.
#[poem::handler]
pub(crate) async fn post_pay(
    Data(state): Data<&Arc<AtmosSandbox>>,
    Path(transaction_id): Path<i64>,
    body: Body,
) -> Response {
    let payer: Payer = match read_optional(body).await {
        Ok(payer) => payer,
        Err(fault) => return bad_request(&fault),
    };
    let runner = Arc::clone(state);
    let work = async move { pay(&runner, transaction_id, &payer).await };
    outcome(transaction_id, state.common.run(work).await)
}

async fn pay(state: &Arc<AtmosSandbox>, id: i64, payer: &Payer) -> Result<StepResult, JournalError> {
    let number = payer.card_number.as_deref().unwrap_or(GOOD_CARD);
    let card = match PayingCard::read(number, "3012") {
        Ok(card) => card,
        Err(error) => {
            return Ok(StepResult { code: card_code(error), transaction: None, reply: None });
        }
    };
    let entered = state.prepay(id, card).await?;
    if entered.code != Code::Ok {
        return Ok(entered);
    }
    state.pay(id, payer.otp.as_deref().unwrap_or(OTP)).await
}

/// `POST /_sim/close/{transaction_id}`: ends the draft's lifetime.
#[poem::handler]
pub(crate) async fn post_close(Data(state): Data<&Arc<AtmosSandbox>>, Path(transaction_id): Path<i64>) -> Response {
    let runner = Arc::clone(state);
    let work = async move { runner.give_up(transaction_id, CloseReason::Lapsed).await };
    outcome(transaction_id, state.common.run(work).await)
}

/// `POST /_sim/reverse/{transaction_id}`: the bank returns the money without the merchant's request. The id is the
/// transaction's, not the debit's.
#[poem::handler]
pub(crate) async fn post_reverse(Data(state): Data<&Arc<AtmosSandbox>>, Path(transaction_id): Path<i64>) -> Response {
    let runner = Arc::clone(state);
    let work = async move { runner.reverse(runner.ledger.find(transaction_id)).await };
    outcome(transaction_id, state.common.run(work).await)
}

fn outcome(transaction_id: i64, result: Option<Result<StepResult, JournalError>>) -> Response {
    match result {
        Some(Ok(result)) => json(StatusCode::OK, &PaymentOutcome::new(transaction_id, &result)),
        Some(Err(cause)) => {
            error!(transaction.id = transaction_id, error = %cause, "the ledger failed transaction {transaction_id}");
            broken()
        }
        None => broken(),
    }
}

/// A transaction of the ledger.
#[derive(Debug, Serialize)]
struct LedgerRow {
    transaction_id: i64,
    account: String,
    /// In tiyin.
    amount: i64,
    state: PaymentState,
    /// How often money was taken.
    debits: u32,
    /// How often the merchant requested a reversal, since the sandbox started.
    reversals_asked: u32,
    success_trans_id: Option<i64>,
}

impl From<Transaction> for LedgerRow {
    fn from(transaction: Transaction) -> Self {
        LedgerRow {
            transaction_id: transaction.id,
            account: transaction.account,
            amount: transaction.amount_tiyin,
            state: transaction.state,
            debits: transaction.debits,
            reversals_asked: transaction.reversals_asked,
            success_trans_id: transaction.success_trans_id,
        }
    }
}

/// `GET /_sim/ledger`: every transaction, oldest first, for an audit to compare with the merchant's orders.
#[poem::handler]
pub(crate) async fn get_ledger(Data(state): Data<&Arc<AtmosSandbox>>) -> Response {
    let transactions: Vec<LedgerRow> = state.ledger.transactions().into_iter().map(LedgerRow::from).collect();
    json(StatusCode::OK, &json!({"transactions": transactions}))
}

/// `GET /_sim/callbacks`: the latest callbacks with their answers, oldest first.
#[poem::handler]
pub(crate) async fn get_callbacks(Data(state): Data<&Arc<AtmosSandbox>>) -> Response {
    #[derive(Serialize)]
    struct SentCallbacks<T> {
        callbacks: T,
    }
    let callbacks = state.callbacks.sent();
    json(StatusCode::OK, &SentCallbacks { callbacks })
}

/// `POST /_sim/faults`: switches a fault on.
#[poem::handler]
pub(crate) async fn post_faults(Data(state): Data<&Arc<AtmosSandbox>>, body: Body) -> Response {
    let request: FaultRequest = match read_json(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    match state.faults.add(request) {
        Ok(added) => json(StatusCode::OK, &added),
        Err(cause) => bad_request(&cause.to_string()),
    }
}

/// `GET /_sim/faults`: the active faults, and all known ones.
#[poem::handler]
pub(crate) async fn get_faults(Data(state): Data<&Arc<AtmosSandbox>>) -> Response {
    json(StatusCode::OK, &state.faults.told())
}

/// `DELETE /_sim/faults`: switches every fault off.
#[poem::handler]
pub(crate) async fn delete_faults(Data(state): Data<&Arc<AtmosSandbox>>) -> Response {
    state.faults.clear();
    json(StatusCode::OK, &json!({"active": []}))
}
