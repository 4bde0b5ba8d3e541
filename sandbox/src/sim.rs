//! `/_sim/*`: what a test or a curious person may do to the sandbox that no merchant may do to Atmos.
//!
//! It asks nobody for a password, on purpose: a sandbox listens on loopback unless it is told otherwise, and holds no
//! money. Whoever opens it to a network opens this, too. Only pages of other sites are refused, which a developer's
//! browser would let in.

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
use crate::callback::Reply;
use crate::cards::{GOOD_CARD, OTP, PayingCard};
use crate::codes::{Code, Language};
use crate::faults::{Fault, FaultRequest};
use crate::gateway::{BODY_BYTES, Gateway};
use crate::journal::JournalError;
use crate::merchant::{Call, card_code};
use crate::payment::Verdict;
use crate::transaction::{CloseReason, State, Transaction};
use crate::wire::ResultBody;

/// Lets a request pass unless a page of another site may have sent it, from the browser of somebody who develops here.
pub(crate) async fn refuse_other_sites<E: Endpoint>(routes: Arc<E>, request: Request) -> poem::Result<Response> {
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_reading && let Some((status, why)) = refusal(request.headers()) {
        return Ok(json(status, &json!({"error": why})));
    }
    routes.call(request).await.map(IntoResponse::into_response)
}

/// Browsers tell where a request comes from. They send some content types to other sites unasked; of those, curl's own
/// default is taken, for a browser writes no JSON under that name.
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

/// How a simulated payment ended.
#[derive(Debug, Serialize)]
struct Outcome {
    transaction_id: i64,
    /// `debited`: money moved. `refused`: the merchant said no, or nothing usable. `declined`: the card or its bank
    /// said no. `closed`: the transaction was or became closed, and this call moved no money. `unknown`: anything else,
    /// such as a transaction that does not exist.
    outcome: &'static str,
    result: ResultBody,
    /// The merchant's answer; null when it was not asked.
    callback: Option<Reply>,
}

impl Outcome {
    fn new(transaction_id: i64, verdict: &Verdict) -> Self {
        let outcome = match verdict.code {
            Code::Ok => match verdict.transaction.as_ref().map(|transaction| transaction.state) {
                Some(State::Debited) => "debited",
                Some(State::Closed) => "closed",
                Some(State::Reversed) => "reversed",
                Some(State::Draft | State::Prepaid) | None => "unknown",
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
        Self {
            transaction_id,
            outcome,
            result: ResultBody::new(verdict.code, Language::English),
            callback: verdict.reply,
        }
    }
}

/// The card to pay with; without a body it is one that pays.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Payer {
    card_number: Option<String>,
    otp: Option<String>,
}

/// `POST /_sim/pay/{transaction_id}`: does what a paying customer does, and answers with the outcome.
#[poem::handler]
pub(crate) async fn post_pay(
    Data(gateway): Data<&Arc<Gateway>>,
    Path(transaction_id): Path<i64>,
    payer: Body,
) -> Response {
    let payer: Payer = match read_wish(payer).await {
        Ok(payer) => payer,
        Err(fault) => return bad_request(&fault),
    };
    let runner = Arc::clone(gateway);
    let work = async move { pay(&runner, transaction_id, &payer).await };
    outcome(transaction_id, gateway.run(work).await)
}

async fn pay(gateway: &Arc<Gateway>, id: i64, payer: &Payer) -> Result<Verdict, JournalError> {
    let number = payer.card_number.as_deref().unwrap_or(GOOD_CARD);
    let card = match PayingCard::read(number, "3012") {
        Ok(card) => card,
        Err(error) => {
            return Ok(Verdict { code: card_code(error), transaction: None, reply: None });
        }
    };
    let entered = gateway.prepay(id, card).await?;
    if entered.code != Code::Ok {
        return Ok(entered);
    }
    gateway.pay(id, payer.otp.as_deref().unwrap_or(OTP)).await
}

/// `POST /_sim/close/{transaction_id}`: the draft's lifetime is over.
#[poem::handler]
pub(crate) async fn post_close(Data(gateway): Data<&Arc<Gateway>>, Path(transaction_id): Path<i64>) -> Response {
    let runner = Arc::clone(gateway);
    let work = async move { runner.give_up(transaction_id, CloseReason::Lapsed).await };
    outcome(transaction_id, gateway.run(work).await)
}

/// `POST /_sim/reverse/{transaction_id}`: the bank gives the money back without the merchant asking for it. Here the
/// transaction's own id is meant, not the debit's.
#[poem::handler]
pub(crate) async fn post_reverse(Data(gateway): Data<&Arc<Gateway>>, Path(transaction_id): Path<i64>) -> Response {
    let runner = Arc::clone(gateway);
    let work = async move { runner.reverse(runner.ledger.find(transaction_id)).await };
    outcome(transaction_id, gateway.run(work).await)
}

fn outcome(transaction_id: i64, verdict: Option<Result<Verdict, JournalError>>) -> Response {
    match verdict {
        Some(Ok(verdict)) => json(StatusCode::OK, &Outcome::new(transaction_id, &verdict)),
        Some(Err(cause)) => {
            error!(transaction.id = transaction_id, error = %cause, "the ledger failed transaction {transaction_id}");
            broken()
        }
        None => broken(),
    }
}

/// A transaction in the book.
#[derive(Debug, Serialize)]
struct BookLine {
    transaction_id: i64,
    account: String,
    /// In tiyin.
    amount: i64,
    state: State,
    /// How often money was taken.
    debits: u32,
    /// How often the merchant asked for the money back, since the sandbox started.
    reversals_asked: u32,
    success_trans_id: Option<i64>,
}

impl From<Transaction> for BookLine {
    fn from(transaction: Transaction) -> Self {
        Self {
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
pub(crate) async fn get_ledger(Data(gateway): Data<&Arc<Gateway>>) -> Response {
    let transactions: Vec<BookLine> = gateway.ledger.transactions().into_iter().map(BookLine::from).collect();
    json(StatusCode::OK, &json!({"transactions": transactions}))
}

/// `GET /_sim/callbacks`: the callbacks sent lately with their answers, oldest first.
#[poem::handler]
pub(crate) async fn get_callbacks(Data(gateway): Data<&Arc<Gateway>>) -> Response {
    #[derive(Serialize)]
    struct Sent<T> {
        callbacks: T,
    }
    let callbacks = gateway.callbacks.sent();
    json(StatusCode::OK, &Sent { callbacks })
}

/// `POST /_sim/faults`: switches a fault on.
#[poem::handler]
pub(crate) async fn post_faults(Data(gateway): Data<&Arc<Gateway>>, wish: Body) -> Response {
    let request: FaultRequest = match read_json(wish).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    match gateway.faults.add(request, &Call::PATHS.map(|(_, path)| path)) {
        Ok(added) => json(StatusCode::OK, &added),
        Err(cause) => bad_request(&cause.to_string()),
    }
}

/// `GET /_sim/faults`: what is switched on, and everything there is.
#[poem::handler]
pub(crate) async fn get_faults(Data(gateway): Data<&Arc<Gateway>>) -> Response {
    let known: Vec<_> = Fault::ALL
        .iter()
        .map(|fault| json!({"fault": fault.name(), "group": fault.group_name(), "description": fault.description()}))
        .collect();
    json(StatusCode::OK, &json!({"active": gateway.faults.active(), "known": known}))
}

/// `DELETE /_sim/faults`: switches every fault off.
#[poem::handler]
pub(crate) async fn delete_faults(Data(gateway): Data<&Arc<Gateway>>) -> Response {
    gateway.faults.clear();
    json(StatusCode::OK, &json!({"active": []}))
}

/// Reads a JSON body; nothing at all is the default.
///
/// # Errors
/// What is wrong with it.
async fn read_wish<T: Default + DeserializeOwned>(body: Body) -> Result<T, String> {
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
