//! `/payme/_sim/*`: operations for tests and developers that no merchant can do at Payme.

mod looks;

use std::collections::BTreeMap;
use std::sync::Arc;

use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Body, Endpoint, IntoResponse, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::error;

pub(crate) use self::looks::{post_call, post_fiscal, post_look, post_statement};
use super::busy::BusyCode;
use super::card::{EXPIRY, GOOD_CARD, PayerCard};
use super::link::CheckoutOrder;
use super::paying::{PayerEnd, REFUND, ReceiptOutcome};
use super::receipt::Receipt;
use super::state::PaymeSandbox;
use super::wire::MerchantWord;
use super::words::PayerLanguage;
use crate::answers::{broken, json};
use crate::faults::FaultRequest;
use crate::journal::JournalError;
use crate::sim::{bad_request, read_json, read_optional};

/// The paths that there are, for a caller who took another.
const PATHS: &str = "POST /payme/_sim/pay {\"link\": the checkout link}, POST /payme/_sim/pay/{account} {\"amount\": \
    tiyin}, POST /payme/_sim/refund/{receipt}, POST /payme/_sim/cancel/{receipt} {\"reason\": 3}, POST \
    /payme/_sim/resume/{receipt}, POST /payme/_sim/look/{receipt}, POST /payme/_sim/statement {\"from\", \"to\"}, POST \
    /payme/_sim/fiscal/{receipt}, POST /payme/_sim/call {\"method\", \"params\"}, POST /payme/_sim/check {\"accounts\", \
    \"amount\"}, GET /payme/_sim/ledger, GET /payme/_sim/calls, GET and POST /payme/_sim/busy-code, GET and POST \
    /payme/_sim/clock, GET, POST and DELETE /payme/_sim/faults; for people GET /payme/ and GET /payme/{the link's base64}";

/// Tells a caller with a wrong path or method which there are.
pub(crate) async fn tell_paths<E: Endpoint>(routes: Arc<E>, request: Request) -> poem::Result<Response> {
    let asked = format!("{} {}", request.method(), request.original_uri().path());
    match routes.call(request).await {
        Ok(answer) => Ok(answer.into_response()),
        Err(error) if error.is::<NotFoundError>() || error.is::<MethodNotAllowedError>() => {
            Ok(json(error.status(), &json!({"error": format!("there is no {asked}; there are {PATHS}")})))
        }
        Err(error) => Err(error),
    }
}

/// How a simulated payer pays; by default with a card that pays.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PayRequest {
    /// A checkout link, whole or only its base64.
    link: Option<String>,
    /// In tiyin; without a link.
    amount: Option<i64>,
    card_number: Option<String>,
}

impl PayRequest {
    fn order(&self, payme: &PaymeSandbox, account: Option<String>) -> Result<CheckoutOrder, String> {
        match (account, &self.link, self.amount) {
            (None, Some(link), None) => {
                let encoded = link.rsplit_once('/').map_or(link.as_str(), |(_, encoded)| encoded);
                CheckoutOrder::read(encoded).map_err(|problem| problem.to_string())
            }
            (Some(account), None, Some(amount_tiyin)) if amount_tiyin > 0 => Ok(CheckoutOrder {
                cashbox: payme.common.config.payme_id.clone(),
                account: BTreeMap::from([(payme.common.config.payme_account_field.clone(), account)]),
                amount_tiyin,
                language: PayerLanguage::English,
                return_url: None,
                return_after_ms: 0,
            }),
            _ => Err("a link is not signed and the sandbox knows no order, so the request says what is paid: POST \
                      /payme/_sim/pay {\"link\": the checkout link}, or POST /payme/_sim/pay/{account} {\"amount\": \
                      tiyin above 0}"
                .to_owned()),
        }
    }
}

/// `POST /payme/_sim/pay`: pays by a link like a customer, and returns the outcome.
#[poem::handler]
pub(crate) async fn post_pay(Data(payme): Data<&Arc<PaymeSandbox>>, body: Body) -> Response {
    pay(payme, None, body).await
}

/// `POST /payme/_sim/pay/{account}`: pays an order like a customer, and returns the outcome.
#[poem::handler]
pub(crate) async fn post_pay_account(
    Data(payme): Data<&Arc<PaymeSandbox>>,
    Path(account): Path<String>,
    body: Body,
) -> Response {
    pay(payme, Some(account), body).await
}

async fn pay(payme: &Arc<PaymeSandbox>, account: Option<String>, body: Body) -> Response {
    let request: PayRequest = match read_optional(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    let order = match request.order(payme, account) {
        Ok(order) if order.cashbox == payme.common.config.payme_id => order,
        Ok(order) => return bad_request(&format!("the cashbox {} is not found or blocked: -31601", order.cashbox)),
        Err(fault) => return bad_request(&fault),
    };
    let number = request.card_number.as_deref().unwrap_or(GOOD_CARD);
    let Some(card) = PayerCard::read(number, EXPIRY) else {
        return bad_request("`card_number` has 16 digits; 8600069195406311 pays, any other has no money");
    };
    let runner = Arc::clone(payme);
    let done = payme.common.run(async move { runner.pay(order, &card).await }).await;
    outcome(payme, done)
}

/// `POST /payme/_sim/refund/{receipt}`: a refund in the cabinet: Cancel with reason 5.
#[poem::handler]
pub(crate) async fn post_refund(Data(payme): Data<&Arc<PaymeSandbox>>, Path(id): Path<String>) -> Response {
    give_back(payme, &id, REFUND).await
}

/// A reason of a cancellation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CabinetCancel {
    reason: Option<i64>,
}

/// `POST /payme/_sim/cancel/{receipt}`: cancels with any reason; 3 if none is given.
#[poem::handler]
pub(crate) async fn post_cancel(Data(payme): Data<&Arc<PaymeSandbox>>, Path(id): Path<String>, body: Body) -> Response {
    match read_optional::<CabinetCancel>(body).await {
        Ok(request) => give_back(payme, &id, request.reason.unwrap_or(3)).await,
        Err(fault) => bad_request(&fault),
    }
}

async fn give_back(payme: &Arc<PaymeSandbox>, id: &str, reason: i64) -> Response {
    let Some(entry) = payme.ledger.find(id) else { return no_receipt(id) };
    let runner = Arc::clone(payme);
    let done = payme.common.run(async move { runner.give_back(&entry, reason).await }).await;
    outcome(payme, done)
}

/// `POST /payme/_sim/resume/{receipt}`: a person at Payme goes on with a suspended receipt.
#[poem::handler]
pub(crate) async fn post_resume(Data(payme): Data<&Arc<PaymeSandbox>>, Path(id): Path<String>) -> Response {
    let Some(entry) = payme.ledger.find(&id) else { return no_receipt(&id) };
    let runner = Arc::clone(payme);
    let done = payme.common.run(async move { runner.resume(&entry).await }).await;
    outcome(payme, done)
}

fn no_receipt(id: &str) -> Response {
    let error = format!("there is no receipt {id:?}; GET /payme/_sim/ledger lists them");
    json(StatusCode::NOT_FOUND, &json!({"error": error}))
}

/// A receipt of the ledger.
#[derive(Debug, Serialize)]
struct ReceiptRow {
    /// `params.id` of every call.
    id: String,
    cashbox: String,
    account: String,
    account_fields: BTreeMap<String, String>,
    /// In tiyin.
    amount: i64,
    /// The card's number, masked.
    card: String,
    /// Payme's time of creation, by which statements are made.
    time: i64,
    /// The transaction's state: 1 created, 2 performed, -1 and -2 cancelled; 0 where there is none.
    state: i64,
    /// The receipt's state, by Payme's numbers.
    receipt_state: i64,
    reason: Option<i64>,
    /// How often money was taken.
    debits: u32,
    /// How often money was returned.
    returns: u32,
    /// The merchant's id, as it answered Create.
    transaction: Option<String>,
    create_time: Option<i64>,
    perform_time: Option<i64>,
    cancel_time: Option<i64>,
}

impl From<Receipt> for ReceiptRow {
    fn from(receipt: Receipt) -> Self {
        ReceiptRow {
            account: receipt.account_value().to_owned(),
            state: receipt.transaction_state(),
            receipt_state: receipt.state.number(),
            id: receipt.id,
            cashbox: receipt.cashbox,
            card: receipt.card,
            account_fields: receipt.account,
            amount: receipt.amount_tiyin,
            time: receipt.time_ms,
            reason: receipt.reason,
            debits: receipt.debits,
            returns: receipt.returns,
            transaction: receipt.created.as_ref().map(|created| created.transaction.clone()),
            create_time: receipt.created.map(|created| created.create_time),
            perform_time: receipt.perform_time,
            cancel_time: receipt.cancel_time,
        }
    }
}

fn outcome(payme: &PaymeSandbox, done: Option<Result<ReceiptOutcome, JournalError>>) -> Response {
    let outcome = match done {
        Some(Ok(outcome)) => outcome,
        Some(Err(cause)) => {
            error!(error = %cause, "the ledger failed a payment");
            return broken();
        }
        None => return broken(),
    };
    let rival = outcome.rival.map(|rival| {
        let (answer, is_as_expected) = match &rival.word {
            MerchantWord::Result(result) => (result.clone(), Value::Null),
            MerchantWord::Error(error) => (json!(error), json!(payme.busy_code.read().accepts(error.code))),
            MerchantWord::Silence(why) => (json!({"silence": why}), Value::Null),
        };
        json!({"id": rival.id, "answer": answer, "has_expected_code": is_as_expected})
    });
    let (name, error) = told(&outcome.end);
    let receipt = outcome.receipt.map(ReceiptRow::from);
    json(StatusCode::OK, &json!({"outcome": name, "error": error, "receipt": receipt, "rival": rival}))
}

/// The outcome's name, and the merchant's error or the reason.
fn told(end: &PayerEnd) -> (&'static str, Value) {
    match end {
        PayerEnd::Paid => ("paid", Value::Null),
        PayerEnd::Refused(error) => ("refused", json!(error)),
        PayerEnd::Unavailable(why) => ("unavailable", json!(why)),
        PayerEnd::Declined => ("declined", Value::Null),
        PayerEnd::Left => ("left", Value::Null),
        PayerEnd::Closing => ("closing", Value::Null),
        PayerEnd::Returned(error) => ("returned", json!(error)),
        PayerEnd::Canceled => ("canceled", Value::Null),
        PayerEnd::Kept(error) => ("kept", json!(error)),
        PayerEnd::Canceling => ("canceling", Value::Null),
        PayerEnd::Nothing => ("nothing", json!("the receipt has ended")),
    }
}

/// `GET /payme/_sim/ledger`: every receipt, oldest first, for an audit to compare with the merchant's orders; and the
/// transactions of rivals since the start, which have no receipt.
#[poem::handler]
pub(crate) async fn get_ledger(Data(payme): Data<&Arc<PaymeSandbox>>) -> Response {
    let receipts = payme.ledger.entries();
    let receipts: Vec<ReceiptRow> = receipts.iter().map(|entry| entry.snapshot().into()).collect();
    json(StatusCode::OK, &json!({"receipts": receipts, "rivals": *payme.rivals.read()}))
}

/// `GET /payme/_sim/calls`: the latest calls with their answers, oldest first.
#[poem::handler]
pub(crate) async fn get_calls(Data(payme): Data<&Arc<PaymeSandbox>>) -> Response {
    #[derive(Serialize)]
    struct SentCalls<T> {
        calls: T,
    }
    json(StatusCode::OK, &SentCalls { calls: payme.caller.calls() })
}

/// Which code is right for a busy order; null for any of the account's range.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BusyRequest {
    code: Option<i64>,
}

/// `GET /payme/_sim/busy-code`: which code is expected for an order that another transaction holds.
#[poem::handler]
pub(crate) async fn get_busy_code(Data(payme): Data<&Arc<PaymeSandbox>>) -> Response {
    json(StatusCode::OK, &json!({"expected": payme.busy_code.read().to_string()}))
}

/// `POST /payme/_sim/busy-code`: sets it.
#[poem::handler]
pub(crate) async fn post_busy_code(Data(payme): Data<&Arc<PaymeSandbox>>, body: Body) -> Response {
    let request: BusyRequest = match read_json(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    *payme.busy_code.write() = request.code.map_or(BusyCode::OfAccount, BusyCode::Exactly);
    json(StatusCode::OK, &json!({"expected": payme.busy_code.read().to_string()}))
}

/// `POST /payme/_sim/faults`: switches a fault on.
#[poem::handler]
pub(crate) async fn post_faults(Data(payme): Data<&Arc<PaymeSandbox>>, body: Body) -> Response {
    let request: FaultRequest = match read_json(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    match payme.caller.faults.add(request) {
        Ok(added) => json(StatusCode::OK, &added),
        Err(cause) => bad_request(&cause.to_string()),
    }
}

/// `GET /payme/_sim/faults`: the active faults, and all known ones.
#[poem::handler]
pub(crate) async fn get_faults(Data(payme): Data<&Arc<PaymeSandbox>>) -> Response {
    json(StatusCode::OK, &payme.caller.faults.told())
}

/// `DELETE /payme/_sim/faults`: switches every fault off.
#[poem::handler]
pub(crate) async fn delete_faults(Data(payme): Data<&Arc<PaymeSandbox>>) -> Response {
    payme.caller.faults.clear();
    json(StatusCode::OK, &json!({"active": []}))
}
