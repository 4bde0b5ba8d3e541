//! The webhook of Click: Prepare and Complete of its SHOP-API. The answer comes from our own rows, without any call.

use std::net::IpAddr;
use std::time::Instant;

use domain::callback_verdict::CallbackVerdict;
use domain::order::PaymentType;
use gateway::callback_addresses::{self, AddressCheck};
use gateway::click::{CalledIds, ClickCall, ClickCode, ClickFault, ClickGateway, ClickStep, ToldOutcome, click_answer};
use poem::web::Json;
use poem::{Body, Request, handler};
use serde_json::Value;
use store::StoreError;
use store::callbacks::{ReceivedBody, Sender};
use store::calls::{self, BeginCall, CallAnswer, CallClaims, CalledAccount, ToldCall, order_named};
use tokio::sync::Semaphore;
use tracing::{error, info, warn};

use super::{
    BODY_LIMIT, BODY_TIME_LIMIT, SignedCallbackLog, TIME_LIMIT, is_of_named_shop, refuse_unproven, refuse_without_body,
};
use crate::credential::{Credential, ProvenCredential};
use crate::problem::{Problem, ProblemType};
use crate::request_body::{self, BodyFault};
use crate::{Api, SharedApi, digest, metrics, sender};

/// Calls with a right signature of one account that are answered at the same time. They share transactions of the database,
/// so they take few connections however many they are.
const PROVEN: usize = 512;

/// The places that calls of one Click account take, so that however many come, they take none that others need.
#[derive(Debug)]
pub(crate) struct ClickPlaces {
    proven: Semaphore,
}

impl Default for ClickPlaces {
    fn default() -> Self {
        ClickPlaces { proven: Semaphore::new(PROVEN) }
    }
}

/// Answers Prepare and Complete with HTTP 200 and Click's code.
///
/// # Errors
/// [`ProblemType::DatabaseUnavailable`] or [`ProblemType::TooSlow`] for a Complete that could not be written: Click sends one
/// without an answer again. [`ProblemType::UnsupportedMediaType`] for a body in a content coding that we do not read.
#[handler]
pub(crate) async fn answer_call(api: SharedApi<'_>, request: &Request, body: Body) -> Result<Json<Value>, Problem> {
    let began = Instant::now();
    let (verdict, answer) = answer(&api, request, body).await?;
    if let Some(verdict) = verdict {
        metrics::count_callback(PaymentType::Click, verdict, began.elapsed());
    }
    Ok(Json(answer))
}

/// The answer, and the verdict if there is one.
async fn answer(api: &Api, request: &Request, body: Body) -> Result<(Option<CallbackVerdict>, Value), Problem> {
    let bytes = match read_body(api, request, body).await? {
        Ok(bytes) => bytes,
        Err(verdict) => return Ok((Some(verdict), click_answer(&CalledIds::default(), ClickCode::FaultyCall, None))),
    };
    let address = sender::sender(request, &api.context.callback_addresses);
    let received = |digest| ReceivedBody { bytes: &bytes, digest, address };
    match api.context.gateways.read_click_call(&bytes) {
        Ok((account, call)) if !is_of_named_shop(api, request, PaymentType::Click, account.identity()) => {
            let fault = ClickFault::ForeignService { is_signed: true };
            let trouble = (CallbackVerdict::OtherStore, "the service of another shop than its address names");
            let verdict = refuse_signed(api, request, trouble);
            Ok((Some(verdict), click_answer(&call.ids, ClickCode::of_fault(fault), None)))
        }
        Ok((account, call)) => {
            ProvenCredential::of(request).record(Credential::Signature);
            let digest = digest::sha256_hex(format!("{} {}", account.identity(), call.question()));
            let sender = check_sender(api, account, address);
            ProvenClick { api, account, call: &call, sender }.answer(received(&digest)).await
        }
        Err((fault, ids)) => {
            let verdict = match fault.callback_fault() {
                Some(fault) => {
                    refuse_unproven(api, PaymentType::Click, fault, received(&digest::sha256_hex(&bytes))).await
                }
                None => refuse_signed(api, request, trouble_of(fault)),
            };
            Ok((Some(verdict), click_answer(&ids, ClickCode::of_fault(fault), None)))
        }
    }
}

/// The body; or the verdict on one that is too large, broken or slow.
async fn read_body(api: &Api, request: &Request, body: Body) -> Result<Result<Vec<u8>, CallbackVerdict>, Problem> {
    let reading = request_body::read(request.headers(), body, BODY_LIMIT);
    let why = match tokio::time::timeout(BODY_TIME_LIMIT, reading).await {
        Ok(Ok(bytes)) => return Ok(Ok(bytes)),
        Ok(Err(BodyFault::TooLarge)) => "it is above 8 KiB",
        Ok(Err(BodyFault::Incomplete)) => "it broke off",
        Ok(Err(BodyFault::UnknownCoding)) => {
            refuse_without_body(
                api,
                PaymentType::Click,
                "its content coding is not known; it was answered 415 with those that are",
            );
            return Err(Problem::unknown_coding());
        }
        Err(_elapsed) => "it did not come in time",
    };
    Ok(Err(refuse_without_body(api, PaymentType::Click, why)))
}

/// Why a call that a key of ours signed is refused all the same, and what is wrong with it.
fn trouble_of(fault: ClickFault) -> (CallbackVerdict, &'static str) {
    match fault {
        ClickFault::ForeignService { .. } => {
            (CallbackVerdict::OtherStore, "a service that no CLICK_SERVICE_ID names; see whether the setting is right")
        }
        ClickFault::FailedBeforeDebit => {
            (CallbackVerdict::FailureTold, "an error that says that the payment failed, before it was begun")
        }
        ClickFault::UnknownAction | ClickFault::Unreadable | ClickFault::BadlySigned => {
            (CallbackVerdict::Unreadable, "an action that is neither 0 nor 1")
        }
    }
}

/// Refuses a call that a key of ours signed.
fn refuse_signed(api: &Api, request: &Request, trouble: (CallbackVerdict, &'static str)) -> CallbackVerdict {
    ProvenCredential::of(request).record(Credential::Signature);
    let (verdict, what) = trouble;
    if SignedCallbackLog::may_log(&api.signed_log.of(PaymentType::Click).refused) {
        warn!(verdict = %verdict, "a correctly signed call of Click was refused: it has {what}");
    }
    verdict
}

fn busy() -> Problem {
    Problem::new(ProblemType::DatabaseUnavailable, "too many calls of Click are being answered").retry_after(1)
}

/// A call with a right signature.
struct ProvenClick<'a> {
    api: &'a Api,
    account: &'a ClickGateway,
    call: &'a ClickCall,
    sender: Sender,
}

impl ProvenClick<'_> {
    async fn answer(&self, received: ReceivedBody<'_>) -> Result<(Option<CallbackVerdict>, Value), Problem> {
        let places = self.api.click.of(self.account.identity());
        let Ok(_place) = places.proven.try_acquire() else {
            return self.not_written(busy());
        };
        let CallAnswer { verdict, transaction } = match tokio::time::timeout(TIME_LIMIT, self.decide(received)).await {
            Ok(Ok(decided)) => decided,
            // A defect of ours is no verdict either: Click must call again, and we must notice it.
            Ok(Err(error)) if error.is_passing() => return self.not_written(error.into()),
            Ok(Err(error)) => {
                return self.not_written(Problem::from(error).with_type(ProblemType::DatabaseUnavailable));
            }
            Err(_elapsed) => return self.not_written(Problem::too_slow(TIME_LIMIT.as_secs())),
        };
        let ClickCall { ids, step, amount, .. } = self.call;
        let code = ClickCode::of_verdict(*step, verdict, transaction.as_ref(), *amount);
        self.log(verdict, code);
        Ok((Some(verdict), click_answer(ids, code, transaction.map(|row| row.transaction_id))))
    }

    /// Our database did not do it. A Prepare gets −7, Click's word for that: nothing is debited, and the payer is told at once.
    /// After a debit an answer may not be an error but for −4 and −9 (Click documents, Complete), while a Complete without an
    /// answer is sent again: so it gets none that Click could read.
    fn not_written(&self, problem: Problem) -> Result<(Option<CallbackVerdict>, Value), Problem> {
        match self.call.step {
            ClickStep::Prepare => {
                if SignedCallbackLog::may_log(&self.api.signed_log.of(PaymentType::Click).refused) {
                    warn!(
                        "a Prepare of Click's attempt {} was refused: our database did not do it",
                        self.call.external_id
                    );
                }
                Ok((None, click_answer(&self.call.ids, ClickCode::NotWritten, None)))
            }
            ClickStep::Complete { .. } => Err(problem),
        }
    }

    async fn decide(&self, received: ReceivedBody<'_>) -> Result<CallAnswer, StoreError> {
        let (store, call) = (&self.api.context.store, self.call);
        let account = CalledAccount {
            gateway: self.account.identity().clone(),
            terms: self.account.terms(),
            timeout_code: None,
            unheard_code: Some(i64::from(ClickCode::NotWritten.number())),
        };
        let ClickStep::Complete { transaction_id, outcome } = call.step else {
            let begin = BeginCall {
                external_id: call.external_id.clone(),
                account: call.account.clone(),
                order_id: order_named(&call.account),
                amount: call.amount,
                gateway_at_ms: call.signed_at_ms.unwrap_or_else(|| store.now_ms()),
            };
            return calls::begin(store, &account, &begin, received, self.sender).await;
        };
        let claims = CallClaims {
            account: call.account.clone(),
            order_id: order_named(&call.account),
            transaction_id,
            amount: call.amount,
        };
        let told = ToldCall { external_id: call.external_id.clone(), claims: Some(claims) };
        match outcome {
            ToldOutcome::Debited => calls::debited(store, &account, &told, received, self.sender).await,
            ToldOutcome::Failed { code } => calls::failed(store, &account, &told, code, received, self.sender).await,
        }
    }

    fn log(&self, verdict: CallbackVerdict, code: ClickCode) {
        let log = self.api.signed_log.of(PaymentType::Click);
        let is_success = code == ClickCode::Success;
        if !SignedCallbackLog::may_log(if is_success { &log.allowed } else { &log.refused }) {
            return;
        }
        let (external_id, account, number) = (&self.call.external_id, &self.call.account, code.number());
        let (step, is_debit) = match self.call.step {
            ClickStep::Prepare => ("Prepare", false),
            ClickStep::Complete { outcome: ToldOutcome::Debited, .. } => ("Complete after a debit", true),
            ClickStep::Complete { outcome: ToldOutcome::Failed { .. }, .. } => ("Complete without a debit", false),
        };
        match (is_debit, is_success) {
            (false, _) if code == ClickCode::AlreadyPaid && self.call.step != ClickStep::Prepare => warn!(
                external_id, account, verdict = %verdict, code = number,
                "{step} of Click's attempt {external_id} for order {account} contradicts an earlier one after a debit: {verdict}, \
                 answered {number}"
            ),
            // An honest sender cannot: money was taken for something that we never prepared.
            (true, false) => error!(
                external_id, account, verdict = %verdict, code = number,
                "{step} of Click's attempt {external_id} fits no transaction that we prepared: {verdict}, answered {number}"
            ),
            _ => info!(
                external_id, account, verdict = %verdict, code = number,
                "{step} of Click's attempt {external_id} for order {account}: {verdict}, answered {number}"
            ),
        }
    }
}

/// Whether a correctly signed call is accepted, by its sender's address.
fn check_sender(api: &Api, account: &ClickGateway, address: Option<IpAddr>) -> Sender {
    let settings = account.settings();
    let (sender, what_becomes) = match settings.address_check() {
        AddressCheck::Off => return Sender::Heard,
        AddressCheck::Watch => (Sender::Heard, "only watched"),
        AddressCheck::Refuse => (Sender::TurnedAway, "refused"),
    };
    if address.is_some_and(|address| callback_addresses::holds(&settings.callback_addresses, address)) {
        return Sender::Heard;
    }
    metrics::count_unlisted(PaymentType::Click, sender == Sender::TurnedAway);
    if SignedCallbackLog::may_log(&api.signed_log.of(PaymentType::Click).unlisted) {
        let address = address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
        warn!(
            address,
            "a correctly signed call of Click came from {address}, which CLICK_CALLBACK_ADDRESSES does not list: {what_becomes}; \
             see whether that is Click, or a proxy that TASDIQ_TRUSTED_PROXIES should list"
        );
    }
    sender
}
