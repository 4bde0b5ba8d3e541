//! `/_sim/*`: operations for tests and developers that no merchant can do at Atmos.
//!
//! There is no password, on purpose: a sandbox holds no money, and listens on loopback unless configured otherwise.
//! Opening the sandbox to a network opens this too. Only pages of other sites are refused, because a developer's
//! browser would let them in.

mod settings;

use std::sync::Arc;

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::web::{Data, Path};
use poem::{Body, Endpoint, IntoResponse, Request, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::error;

pub(crate) use self::settings::{delete_token, get_clock, get_token, post_away, post_clock, post_token};
use crate::answers::{broken, json};
use crate::atmos::callback::MerchantReply;
use crate::atmos::cards::{GOOD_CARD, OTP, PayingCard};
use crate::atmos::codes::{Code, ResultLanguage};
use crate::atmos::merchant::{Call, card_code};
use crate::atmos::payment::StepResult;
use crate::atmos::transaction::{CloseReason, PaymentState, Transaction};
use crate::atmos::wire::ResultBody;
use crate::faults::{Fault, FaultRequest};
use crate::journal::JournalError;
use crate::state::{BODY_BYTES, SandboxState};

/// Refuses a request that a page of another site may have sent from a developer's browser.
pub(crate) async fn refuse_other_sites<E: Endpoint>(routes: Arc<E>, request: Request) -> poem::Result<Response> {
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_reading && let Some((status, why)) = refusal(request.headers()) {
        return Ok(json(status, &json!({"error": why})));
    }
    routes.call(request).await.map(IntoResponse::into_response)
}

/// Browsers say where a request comes from. Some content types they send to other sites without asking; of those only
/// curl's default is accepted, because a browser writes no JSON under that name.
fn refusal(headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    if text(HeaderName::from_static("sec-fetch-site")).is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Some((StatusCode::FORBIDDEN, "this comes from a page of another site"));
    }
    let host = text(header::HOST).unwrap_or_default();
    if text(header::ORIGIN)
        .is_some_and(|origin| !["http", "https"].iter().any(|way| origin == format!("{way}://{host}")))
    {
        return Some((StatusCode::FORBIDDEN, "this comes from a page of another site"));
    }
    let content_type = text(header::CONTENT_TYPE)?.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_taken = matches!(content_type.as_str(), "application/json" | "application/x-www-form-urlencoded");
    (!is_taken).then_some((StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body's content type is application/json"))
}

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
    Data(state): Data<&Arc<SandboxState>>,
    Path(transaction_id): Path<i64>,
    body: Body,
) -> Response {
    let payer: Payer = match read_optional(body).await {
        Ok(payer) => payer,
        Err(fault) => return bad_request(&fault),
    };
    let runner = Arc::clone(state);
    let work = async move { pay(&runner, transaction_id, &payer).await };
    outcome(transaction_id, state.run(work).await)
}

async fn pay(state: &Arc<SandboxState>, id: i64, payer: &Payer) -> Result<StepResult, JournalError> {
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
pub(crate) async fn post_close(Data(state): Data<&Arc<SandboxState>>, Path(transaction_id): Path<i64>) -> Response {
    let runner = Arc::clone(state);
    let work = async move { runner.give_up(transaction_id, CloseReason::Lapsed).await };
    outcome(transaction_id, state.run(work).await)
}

/// `POST /_sim/reverse/{transaction_id}`: the bank returns the money without the merchant's request. The id is the
/// transaction's, not the debit's.
#[poem::handler]
pub(crate) async fn post_reverse(Data(state): Data<&Arc<SandboxState>>, Path(transaction_id): Path<i64>) -> Response {
    let runner = Arc::clone(state);
    let work = async move { runner.reverse(runner.ledger.find(transaction_id)).await };
    outcome(transaction_id, state.run(work).await)
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
pub(crate) async fn get_ledger(Data(state): Data<&Arc<SandboxState>>) -> Response {
    let transactions: Vec<LedgerRow> = state.ledger.transactions().into_iter().map(LedgerRow::from).collect();
    json(StatusCode::OK, &json!({"transactions": transactions}))
}

/// `GET /_sim/callbacks`: the latest callbacks with their answers, oldest first.
#[poem::handler]
pub(crate) async fn get_callbacks(Data(state): Data<&Arc<SandboxState>>) -> Response {
    #[derive(Serialize)]
    struct SentCallbacks<T> {
        callbacks: T,
    }
    let callbacks = state.callbacks.sent();
    json(StatusCode::OK, &SentCallbacks { callbacks })
}

/// `POST /_sim/faults`: switches a fault on.
#[poem::handler]
pub(crate) async fn post_faults(Data(state): Data<&Arc<SandboxState>>, body: Body) -> Response {
    let request: FaultRequest = match read_json(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    match state.faults.add(request, &Call::PATHS.map(|(_, path)| path)) {
        Ok(added) => json(StatusCode::OK, &added),
        Err(cause) => bad_request(&cause.to_string()),
    }
}

/// `GET /_sim/faults`: the active faults, and all known ones.
#[poem::handler]
pub(crate) async fn get_faults(Data(state): Data<&Arc<SandboxState>>) -> Response {
    let known: Vec<_> = Fault::ALL
        .iter()
        .map(|fault| json!({"fault": fault.name(), "group": fault.group_name(), "description": fault.description()}))
        .collect();
    json(StatusCode::OK, &json!({"active": state.faults.active(), "known": known}))
}

/// `DELETE /_sim/faults`: switches every fault off.
#[poem::handler]
pub(crate) async fn delete_faults(Data(state): Data<&Arc<SandboxState>>) -> Response {
    state.faults.clear();
    json(StatusCode::OK, &json!({"active": []}))
}

/// Reads a JSON body; an empty one is the default.
///
/// # Errors
/// The fault of the body.
async fn read_optional<T: Default + DeserializeOwned>(body: Body) -> Result<T, String> {
    let bytes = read_bytes(body).await?;
    if bytes.is_empty() { Ok(T::default()) } else { parse(&bytes) }
}

async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, String> {
    parse(&read_bytes(body).await?)
}

async fn read_bytes(body: Body) -> Result<Vec<u8>, String> {
    let bytes = body.into_bytes_limit(BODY_BYTES).await;
    bytes.map(|bytes| bytes.to_vec()).map_err(|_| "the body cannot be read".to_owned())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|cause| cause.to_string())
}

fn bad_request(error: &str) -> Response {
    json(StatusCode::BAD_REQUEST, &json!({"error": error}))
}
