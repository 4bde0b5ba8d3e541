//! `/click/_sim/*`: operations for tests and developers that no merchant can do at Click.

use std::sync::Arc;

use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::StatusCode;
use poem::web::{Data, Path};
use poem::{Body, Endpoint, IntoResponse, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::error;

use super::attempt::{AttemptState, ClickAttempt, Completion};
use super::page::PaymentLink;
use super::payer::{GOOD_CARD, PayMeans};
use super::payment::{LinkedPayment, PayerOutcome};
use super::state::ClickSandbox;
use super::{soum, tashkent};
use crate::answers::{broken, json};
use crate::faults::FaultRequest;
use crate::journal::JournalError;
pub(crate) use crate::sim::refuse_other_sites;
use crate::sim::{bad_request, read_json, read_optional};

/// The paths that there are, for a caller who took another.
const PATHS: &str = "POST /click/_sim/pay {\"url\": the payment link}, \
    POST /click/_sim/pay/{account} {\"amount\": \"1000.00\"}, POST /click/_sim/resume/{click_trans_id}, \
    POST /click/_sim/reverse/{payment_id}, GET /click/_sim/ledger, GET /click/_sim/calls, \
    POST /click/_sim/check {\"account\", \"amount\"}, GET, POST and DELETE /click/_sim/clock, \
    GET, POST and DELETE /click/_sim/faults; for people GET /click/ and /click/services/pay; \
    for merchants' servers /click/v2/merchant/payment/…";

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
struct PayerRequest {
    /// A payment link, whole.
    url: Option<String>,
    /// In soʻm, such as `1000.00`; without a link.
    amount: Option<String>,
    card_number: Option<String>,
    phone: Option<String>,
}

impl PayerRequest {
    fn payment(&self, service_id: &str, account: Option<String>) -> Result<LinkedPayment, String> {
        match (account, &self.url, &self.amount) {
            (None, Some(url), None) => {
                let link = PaymentLink::read(service_id, url.split_once('?').unwrap_or_default().1.as_bytes())?;
                Ok(link.payment())
            }
            (None, _, _) => Err("a payer follows a link: {\"url\": \"http://…/click/services/pay?…\"}; or name the \
                                 order in the path, POST /click/_sim/pay/{account} {\"amount\": \"1000.00\"}"
                .to_owned()),
            (Some(account), None, Some(amount)) => match soum::read_tiyin(amount) {
                Some(amount_tiyin) => Ok(LinkedPayment { account, amount_tiyin }),
                None => Err("`amount` is in soʻm, such as \"1000.00\", and above 0".to_owned()),
            },
            (Some(_), _, _) => Err("a Click link is not signed and the sandbox knows no order, so the body says what \
                                    is paid: POST /click/_sim/pay/{account} {\"amount\": \"1000.00\"}; or POST \
                                    /click/_sim/pay {\"url\": the payment link}"
                .to_owned()),
        }
    }

    fn means(&self) -> Result<PayMeans, String> {
        match (&self.card_number, &self.phone) {
            (Some(_), Some(_)) => Err("`card_number` or `phone`, not both".to_owned()),
            (None, Some(phone)) => PayMeans::phone(phone).ok_or("`phone` is a number such as 998901234567".to_owned()),
            (card, None) => PayMeans::card(card.as_deref().unwrap_or(GOOD_CARD))
                .ok_or("`card_number` has 16 digits and a right check digit".to_owned()),
        }
    }
}

/// `POST /click/_sim/pay`: pays like a customer who opened the link, and returns the outcome.
#[poem::handler]
pub(crate) async fn post_pay(Data(click): Data<&Arc<ClickSandbox>>, body: Body) -> Response {
    pay(click, None, body).await
}

/// `POST /click/_sim/pay/{account}`: pays an order, without a link.
#[poem::handler]
pub(crate) async fn post_pay_account(
    Data(click): Data<&Arc<ClickSandbox>>,
    Path(account): Path<String>,
    body: Body,
) -> Response {
    pay(click, Some(account), body).await
}

async fn pay(click: &Arc<ClickSandbox>, account: Option<String>, body: Body) -> Response {
    let request: PayerRequest = match read_optional(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    let (payment, means) = match (request.payment(&click.common.config.click_service_id, account), request.means()) {
        (Ok(payment), Ok(means)) => (payment, means),
        (Err(fault), _) | (_, Err(fault)) => return bad_request(&fault),
    };
    let runner = Arc::clone(click);
    outcome(click.common.run(async move { runner.pay(&payment, means).await }).await)
}

/// `POST /click/_sim/resume/{click_trans_id}`: a person at Click looks at an attempt that has not ended.
#[poem::handler]
pub(crate) async fn post_resume(Data(click): Data<&Arc<ClickSandbox>>, Path(id): Path<String>) -> Response {
    let entry = id.parse().ok().and_then(|id| click.ledger.find(id));
    let Some(entry) = entry else {
        return not_found("click_trans_id");
    };
    let runner = Arc::clone(click);
    outcome(click.common.run(async move { runner.resume(&entry).await }).await)
}

/// `POST /click/_sim/reverse/{payment_id}`: the money goes back without the merchant's request.
#[poem::handler]
pub(crate) async fn post_reverse(Data(click): Data<&Arc<ClickSandbox>>, Path(id): Path<String>) -> Response {
    let entry = id.parse().ok().and_then(|id| click.ledger.find_payment(id));
    let Some(entry) = entry else {
        return not_found("payment_id");
    };
    let runner = Arc::clone(click);
    outcome(click.common.run(async move { runner.give_back(&entry).await }).await)
}

fn not_found(id: &str) -> Response {
    let error = format!("the ledger has no such {id}; GET /click/_sim/ledger shows all");
    json(StatusCode::NOT_FOUND, &json!({"error": error}))
}

fn outcome(result: Option<Result<PayerOutcome, JournalError>>) -> Response {
    match result {
        Some(Ok(outcome)) => json(StatusCode::OK, &outcome),
        Some(Err(cause)) => {
            error!(error = %cause, "the ledger failed an attempt");
            broken()
        }
        None => broken(),
    }
}

/// An attempt of the ledger.
#[derive(Debug, Serialize)]
struct AttemptRow {
    click_trans_id: i64,
    click_paydoc_id: i64,
    payment_id: i64,
    account: String,
    /// In tiyin.
    amount: i64,
    state: AttemptState,
    completion: Completion,
    /// How often money was taken.
    debits: u32,
    /// In tiyin.
    returned: i64,
    /// How often the merchant requested a reversal, since the sandbox started.
    reversals_asked: u32,
    merchant_prepare_id: Option<i64>,
    /// In Tashkent.
    created_at: String,
}

impl From<ClickAttempt> for AttemptRow {
    fn from(attempt: ClickAttempt) -> Self {
        AttemptRow {
            click_trans_id: attempt.click_trans_id,
            click_paydoc_id: attempt.click_paydoc_id,
            payment_id: attempt.payment_id,
            account: attempt.account,
            amount: attempt.amount_tiyin,
            state: attempt.state,
            completion: attempt.completion,
            debits: attempt.debits,
            returned: attempt.returned_tiyin,
            reversals_asked: attempt.reversals_asked,
            merchant_prepare_id: attempt.merchant_prepare_id,
            created_at: tashkent::written(attempt.created_at_ms),
        }
    }
}

/// `GET /click/_sim/ledger`: every attempt, oldest first, for an audit to compare with the merchant's orders.
#[poem::handler]
pub(crate) async fn get_ledger(Data(click): Data<&Arc<ClickSandbox>>) -> Response {
    let rows: Vec<AttemptRow> = click.ledger.attempts().into_iter().map(AttemptRow::from).collect();
    json(StatusCode::OK, &json!({"transactions": rows}))
}

/// `GET /click/_sim/calls`: the latest calls to the merchant with their answers, oldest first.
#[poem::handler]
pub(crate) async fn get_calls(Data(click): Data<&Arc<ClickSandbox>>) -> Response {
    json(StatusCode::OK, &json!({"calls": click.sender.sent()}))
}

/// The order with which the tester plays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckRequest {
    account: String,
    /// Another order, for the scenarios of a failed payment.
    failing_account: Option<String>,
    amount: String,
}

/// `POST /click/_sim/check`: plays Click's tester against the merchant.
#[poem::handler]
pub(crate) async fn post_check(Data(click): Data<&Arc<ClickSandbox>>, body: Body) -> Response {
    let request: CheckRequest = match read_json(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    let accounts = [Some(request.account), request.failing_account].into_iter().flatten().collect();
    match click.tester(accounts, &request.amount) {
        Ok(tester) => match tester.run().await {
            Ok(report) => json(StatusCode::OK, &report),
            Err(cause) => {
                error!(error = %cause, "could not make a client for the tester");
                broken()
            }
        },
        Err(fault) => bad_request(&fault),
    }
}

/// How the clock is set; exactly one field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClickClockRequest {
    /// A moment in Tashkent, such as `2026-11-30 23:59:50`.
    now: Option<String>,
    advance_seconds: Option<i64>,
}

/// `GET /click/_sim/clock`: Click's time.
#[poem::handler]
pub(crate) async fn get_clock(Data(click): Data<&Arc<ClickSandbox>>) -> Response {
    json(StatusCode::OK, &told_clock(click))
}

/// `POST /click/_sim/clock`: sets Click's time, forward or back; it goes on from there.
#[poem::handler]
pub(crate) async fn post_clock(Data(click): Data<&Arc<ClickSandbox>>, body: Body) -> Response {
    let request: ClickClockRequest = match read_json(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    let moment = match (&request.now, request.advance_seconds) {
        (Some(text), None) => tashkent::read(text),
        (None, Some(seconds)) => seconds.checked_mul(1000).and_then(|ms| click.clock.now_ms().checked_add(ms)),
        _ => None,
    };
    // Days outside of these years cannot be written.
    let Some(moment) = moment.filter(|moment| tashkent::is_writable(*moment)) else {
        return bad_request("{\"now\": \"2026-11-30 23:59:50\"}, in Tashkent, or {\"advance_seconds\": 3600}");
    };
    click.clock.set(Some(moment));
    json(StatusCode::OK, &told_clock(click))
}

/// `DELETE /click/_sim/clock`: Click's time is the sandbox's again.
#[poem::handler]
pub(crate) async fn delete_clock(Data(click): Data<&Arc<ClickSandbox>>) -> Response {
    click.clock.set(None);
    json(StatusCode::OK, &told_clock(click))
}

fn told_clock(click: &ClickSandbox) -> Value {
    json!({"now": tashkent::written(click.clock.now_ms()), "ahead_seconds": click.clock.ahead_ms() / 1000})
}

/// `POST /click/_sim/faults`: switches a fault on.
#[poem::handler]
pub(crate) async fn post_faults(Data(click): Data<&Arc<ClickSandbox>>, body: Body) -> Response {
    let request: FaultRequest = match read_json(body).await {
        Ok(request) => request,
        Err(fault) => return bad_request(&fault),
    };
    match click.faults.add(request) {
        Ok(added) => json(StatusCode::OK, &added),
        Err(cause) => bad_request(&cause.to_string()),
    }
}

/// `GET /click/_sim/faults`: the active faults, and all known ones.
#[poem::handler]
pub(crate) async fn get_faults(Data(click): Data<&Arc<ClickSandbox>>) -> Response {
    json(StatusCode::OK, &click.faults.told())
}

/// `DELETE /click/_sim/faults`: switches every fault off.
#[poem::handler]
pub(crate) async fn delete_faults(Data(click): Data<&Arc<ClickSandbox>>) -> Response {
    click.faults.clear();
    json(StatusCode::OK, &json!({"active": []}))
}
