//! The webhook of Payme: the seven methods of its Merchant API. Every answer has HTTP 200, because Payme takes any other status
//! for a system error; and each comes from our own rows, without any call.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use domain::callback_verdict::CallbackVerdict;
use domain::order::PaymentType;
use domain::shop::ShopName;
use domain::transaction::CallbackFault;
use gateway::Gateway;
use gateway::callback_addresses::{self, AddressCheck};
use gateway::payme::{
    CallId, CancelPolicy, PaymeAnswer, PaymeCall, PaymeFault, PaymeGateway, PaymeRequest, PaymeResult, TIMEOUT_REASON,
    answer_text,
};
use poem::http::{Method, header};
use poem::{Body, Request, Response, handler};
use store::callbacks::{ReceivedBody, Sender};
use store::calls::{self, BeginCall, CabinetRefunds, CallAnswer, CalledAccount, ToldCall, order_named};
use store::{StoreError, fiscal_receipts};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::{
    BODY_LIMIT, BODY_TIME_LIMIT, PerAccount, SignedCallbackLog, TIME_LIMIT, named_shop, refuse_unproven,
    refuse_without_body,
};
use crate::credential::{Credential, ProvenCredential};
use crate::metrics::PaymeOutcome;
use crate::request_body::{self, BodyFault};
use crate::{Api, SharedApi, digest, metrics, sender};

mod statement;

/// Calls without a key of ours that are read at the same time. Further ones are answered at once, with a system error.
const STRANGERS: usize = 32;

/// Calls with the key of one account that are answered at the same time.
const PROVEN: usize = 512;

/// Calls of one account that read or keep something outside of a shared transaction, at the same time: each takes a connection
/// to the database, and the webhooks of other gateways need some too.
const ALONE: usize = 3;

/// The places that calls of Payme take, so that however many come, they take none that others need.
#[derive(Debug)]
pub(crate) struct PaymePlaces {
    strangers: Semaphore,
    accounts: PerAccount<PaymeAccountPlaces>,
}

impl Default for PaymePlaces {
    fn default() -> Self {
        PaymePlaces { strangers: Semaphore::new(STRANGERS), accounts: PerAccount::default() }
    }
}

/// The places of calls with the key of one account.
#[derive(Debug)]
struct PaymeAccountPlaces {
    proven: Semaphore,
    alone: Semaphore,
}

impl Default for PaymeAccountPlaces {
    fn default() -> Self {
        let [proven, alone] = [PROVEN, ALONE].map(Semaphore::new);
        PaymeAccountPlaces { proven, alone }
    }
}

/// An answer and what is counted of it.
struct Answered {
    body: Body,
    verdict: Option<CallbackVerdict>,
    /// The method, if it is one of Payme's and the call has a key of ours.
    method: Option<&'static str>,
    outcome: PaymeOutcome,
}

impl Answered {
    fn new(id: &CallId, answer: &PaymeAnswer, account_field: &str, verdict: Option<CallbackVerdict>) -> Self {
        let outcome = match answer {
            Ok(_) => PaymeOutcome::Done,
            Err(PaymeFault::SystemError) => PaymeOutcome::SystemError,
            Err(_) => PaymeOutcome::Refused,
        };
        Answered { body: answer_text(id, answer, account_field).into(), verdict, method: None, outcome }
    }

    /// A fault that has nothing to do with an order.
    fn fault(id: &CallId, fault: PaymeFault, verdict: Option<CallbackVerdict>) -> Self {
        Answered::new(id, &Err(fault), "", verdict)
    }
}

/// Answers a call, whatever its method, key and body.
#[handler]
pub(crate) async fn answer_call(api: SharedApi<'_>, request: &Request, body: Body) -> Response {
    let began = Instant::now();
    let Answered { body, verdict, method, outcome } = answer(&api, request, body).await;
    if let Some(verdict) = verdict {
        metrics::count_callback(PaymentType::Payme, verdict, began.elapsed());
    }
    metrics::count_payme_call(method, outcome, began.elapsed());
    with_status_200(body)
}

/// The answer to a call that could not be handled: too many of them run, it took too long, or a defect of ours struck.
pub(crate) fn system_error() -> Response {
    with_status_200(Answered::fault(&CallId::default(), PaymeFault::SystemError, None).body)
}

fn with_status_200(body: Body) -> Response {
    Response::builder().content_type("application/json; charset=utf-8").body(body)
}

async fn answer(api: &Arc<Api>, request: &Request, body: Body) -> Answered {
    if request.method() != Method::POST {
        let verdict = refuse_without_body(api, PaymentType::Payme, "its method is not POST");
        return Answered::fault(&CallId::default(), PaymeFault::NotPost, Some(verdict));
    }
    // The key is compared first, so that senders of slow bodies without one take no place of Payme's; it is told after the body
    // was read.
    let key = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let account = PaymeGateway::called(key, accounts(api, named_shop(request)));
    let of_account = account.map(|account| api.payme.accounts.of(account.identity()));
    let places = of_account.as_ref().map_or(&api.payme.strangers, |places| &places.proven);
    let Ok(_place) = places.try_acquire() else {
        return Answered::fault(&CallId::default(), PaymeFault::SystemError, None);
    };
    let bytes = match read_body(api, request, body).await {
        Ok(bytes) => bytes,
        Err(answered) => return answered,
    };
    let address = sender::sender(request, &api.context.callback_addresses);
    let received = |digest| ReceivedBody { bytes: &bytes, digest, address };
    let PaymeCall { id, request: asked } = match PaymeCall::read(&bytes) {
        Ok(call) => call,
        Err(fault) => {
            let digest = digest::sha256_hex(&bytes);
            let verdict = refuse_unproven(api, PaymentType::Payme, CallbackFault::Unreadable, received(&digest)).await;
            return Answered::fault(&CallId::default(), fault, Some(verdict));
        }
    };
    let Some(account) = account else {
        let digest = digest::sha256_hex(&bytes);
        let verdict = refuse_unproven(api, PaymentType::Payme, CallbackFault::BadlySigned, received(&digest)).await;
        return Answered::fault(&id, PaymeFault::NotPrivileged, Some(verdict));
    };
    ProvenCredential::of(request).record(Credential::Signature);
    let asked = match asked {
        Ok(asked) => asked,
        Err(fault) => {
            // It is not stored: old templates have a method that brings a password.
            if SignedCallbackLog::may_log(&api.signed_log.of(PaymentType::Payme).refused) {
                warn!(code = fault.code(), "a call of Payme with a right key cannot be read, code {}", fault.code());
            }
            return Answered::fault(&id, fault, Some(CallbackVerdict::Unreadable));
        }
    };
    let call = ProvenCall { api, account, sender: check_sender(api, account, address), id: &id };
    let answered = call.answer(&asked, received(&digest::sha256_hex(question(account, &asked)))).await;
    Answered { method: Some(asked.method()), ..answered }
}

/// The accounts that may be called: all, or the one of the shop that the address names.
fn accounts<'a>(api: &'a Api, shop: Option<&str>) -> Vec<&'a PaymeGateway> {
    let payme = api.context.gateways.iter().filter_map(Gateway::as_payme);
    let Some(shop) = shop else { return payme.collect() };
    let shop = ShopName::parse(shop).ok().and_then(|name| api.context.shops.get(&name));
    let account = shop.and_then(|shop| shop.accounts.get(&PaymentType::Payme));
    payme.filter(|payme| Some(payme.identity()) == account).collect()
}

/// The body; or the answer to one that is too large, broken or slow.
async fn read_body(api: &Api, request: &Request, body: Body) -> Result<Vec<u8>, Answered> {
    let reading = request_body::read(request.headers(), body, BODY_LIMIT);
    let (why, fault) = match tokio::time::timeout(BODY_TIME_LIMIT, reading).await {
        Ok(Ok(bytes)) => return Ok(bytes),
        Ok(Err(BodyFault::TooLarge)) => ("it is above 8 KiB", PaymeFault::NotJson),
        Ok(Err(BodyFault::UnknownCoding)) => ("its content coding is not known", PaymeFault::NotJson),
        Ok(Err(BodyFault::Incomplete)) => ("it broke off", PaymeFault::NotJson),
        Err(_elapsed) => ("it did not come in time", PaymeFault::NotJson),
    };
    let verdict = refuse_without_body(api, PaymentType::Payme, why);
    Err(Answered::fault(&CallId::default(), fault, Some(verdict)))
}

/// The question of a call, as text: repeats of one call differ in the `id` of JSON-RPC at most.
fn question(account: &PaymeGateway, asked: &PaymeRequest) -> String {
    format!("{} {asked:?}", account.identity())
}

/// A call with a key of ours.
struct ProvenCall<'a> {
    api: &'a Arc<Api>,
    account: &'a PaymeGateway,
    sender: Sender,
    id: &'a CallId,
}

impl ProvenCall<'_> {
    async fn answer(&self, asked: &PaymeRequest, received: ReceivedBody<'_>) -> Answered {
        let field = &self.account.settings().account_field;
        let answered = tokio::time::timeout(TIME_LIMIT, async {
            if let PaymeRequest::Statement { from_ms, to_ms } = asked
                && self.sender == Sender::Heard
            {
                let body = statement::begin(self.api, self.account, self.id, *from_ms..=*to_ms).await?;
                return Ok(Answered { body, verdict: None, method: None, outcome: PaymeOutcome::Done });
            }
            let (answer, verdict) = self.decide(asked, received).await?;
            self.log(asked, verdict, &answer);
            Ok::<_, StoreError>(Answered::new(self.id, &answer, field, verdict))
        });
        let trouble = match answered.await {
            Ok(Ok(answered)) => return answered,
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("it did not answer within {} s", TIME_LIMIT.as_secs()),
        };
        if SignedCallbackLog::may_log(&self.api.signed_log.of(PaymentType::Payme).refused) {
            let method = asked.method();
            warn!(method, error = %trouble, "Payme must repeat {method}, for the database did not do it: {trouble}");
        }
        Answered::fault(self.id, PaymeFault::SystemError, None)
    }

    async fn decide(
        &self,
        asked: &PaymeRequest,
        received: ReceivedBody<'_>,
    ) -> Result<(PaymeAnswer, Option<CallbackVerdict>), StoreError> {
        let (store, account, sender) = (&self.api.context.store, self.called_account(), self.sender);
        let settings = self.account.settings();
        let places = self.api.payme.accounts.of(self.account.identity());
        if self.sender == Sender::TurnedAway && !is_kept(asked) {
            return Ok((Err(PaymeFault::NotPrivileged), Some(CallbackVerdict::OtherAddress)));
        }
        Ok(match asked {
            PaymeRequest::CheckPerform(payment) => {
                let _place = places.alone.acquire().await;
                let order_id = payment.account.value(&settings.account_field).and_then(|named| order_named(&named));
                let verdict = calls::may_pay(store, &account, order_id, payment.amount).await?;
                (PaymeResult::checked_perform(verdict), Some(verdict))
            }
            PaymeRequest::Create { external_id, gateway_at_ms, payment } => {
                let begin = BeginCall {
                    external_id: external_id.clone(),
                    account: payment.account.text().to_owned(),
                    order_id: payment.account.value(&settings.account_field).and_then(|named| order_named(&named)),
                    amount: payment.amount,
                    gateway_at_ms: *gateway_at_ms,
                };
                let CallAnswer { verdict, transaction } =
                    calls::begin(store, &account, &begin, received, sender).await?;
                (PaymeResult::created(verdict, transaction.as_ref()), Some(verdict))
            }
            PaymeRequest::Perform { external_id } => {
                let told = ToldCall { external_id: external_id.clone(), claims: None };
                let CallAnswer { verdict, transaction } =
                    calls::debited(store, &account, &told, received, sender).await?;
                (PaymeResult::performed(verdict, transaction.as_ref()), Some(verdict))
            }
            PaymeRequest::Cancel { external_id, reason } => {
                let told = ToldCall { external_id: external_id.clone(), claims: None };
                let refunds = match settings.refund {
                    CancelPolicy::Accept => CabinetRefunds::Accepted,
                    CancelPolicy::Refuse => CabinetRefunds::Refused,
                };
                let CallAnswer { verdict, transaction } =
                    calls::canceled(store, &account, &told, *reason, refunds, received, sender).await?;
                (PaymeResult::canceled(verdict, transaction.as_ref()), Some(verdict))
            }
            PaymeRequest::Check { external_id } => {
                let _place = places.alone.acquire().await;
                let row = calls::inspect(store, self.account.identity(), external_id).await?;
                let verdict = row.is_none().then_some(CallbackVerdict::UnknownTransaction);
                (PaymeResult::standing(row.as_ref()), verdict)
            }
            PaymeRequest::SetFiscalData { external_id, kind, data } => {
                let _place = places.alone.acquire().await;
                match fiscal_receipts::keep(store, self.account.identity(), external_id, *kind, data).await? {
                    true => (Ok(PaymeResult::kept()), None),
                    false => (Err(PaymeFault::UnknownReceipt), Some(CallbackVerdict::UnknownTransaction)),
                }
            }
            // One from a listed address was answered before.
            PaymeRequest::Statement { .. } => (Err(PaymeFault::NotPrivileged), Some(CallbackVerdict::OtherAddress)),
        })
    }

    fn called_account(&self) -> CalledAccount {
        CalledAccount {
            gateway: self.account.identity().clone(),
            terms: self.account.terms(),
            timeout_code: Some(TIMEOUT_REASON),
            unheard_code: None,
        }
    }

    fn log(&self, asked: &PaymeRequest, verdict: Option<CallbackVerdict>, answer: &PaymeAnswer) {
        let method = asked.method();
        let external_id = match asked {
            PaymeRequest::Create { external_id, .. }
            | PaymeRequest::Perform { external_id }
            | PaymeRequest::Cancel { external_id, .. }
            | PaymeRequest::Check { external_id }
            | PaymeRequest::SetFiscalData { external_id, .. } => external_id.as_str(),
            PaymeRequest::CheckPerform(_) | PaymeRequest::Statement { .. } => "-",
        };
        let (is_allowed, code) = (answer.is_ok(), answer.as_ref().err().map_or(0, PaymeFault::code));
        let log = self.api.signed_log.of(PaymentType::Payme);
        if !SignedCallbackLog::may_log(if is_allowed { &log.allowed } else { &log.refused }) {
            return;
        }
        let verdict = verdict.map_or("-", CallbackVerdict::as_str);
        match is_allowed {
            true => {
                info!(method, external_id, verdict, "{method} of Payme's transaction {external_id}: done, {verdict}")
            }
            false => info!(
                method,
                external_id,
                verdict,
                code,
                "{method} of Payme's transaction {external_id}: refused with code {code}, {verdict}"
            ),
        }
    }
}

/// Whether the call is kept, also if its sender is turned away.
fn is_kept(asked: &PaymeRequest) -> bool {
    match asked {
        PaymeRequest::Create { .. } | PaymeRequest::Perform { .. } | PaymeRequest::Cancel { .. } => true,
        PaymeRequest::CheckPerform(_)
        | PaymeRequest::Check { .. }
        | PaymeRequest::Statement { .. }
        | PaymeRequest::SetFiscalData { .. } => false,
    }
}

/// Whether a call with a right key is accepted, by its sender's address.
fn check_sender(api: &Api, account: &PaymeGateway, address: Option<IpAddr>) -> Sender {
    let settings = account.settings();
    let (sender, what_becomes) = match settings.address_check {
        AddressCheck::Off => return Sender::Heard,
        AddressCheck::Watch => (Sender::Heard, "only watched"),
        AddressCheck::Refuse => (Sender::TurnedAway, "refused"),
    };
    if address.is_some_and(|address| callback_addresses::holds(&settings.addresses, address)) {
        return Sender::Heard;
    }
    metrics::count_unlisted(PaymentType::Payme, sender == Sender::TurnedAway);
    if SignedCallbackLog::may_log(&api.signed_log.of(PaymentType::Payme).unlisted) {
        let address = address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
        warn!(
            address,
            "a call with Payme's key came from {address}, which PAYME_CALLBACK_ADDRESSES does not list: {what_becomes}; see \
             whether that is Payme, or a proxy that TASDIQ_TRUSTED_PROXIES should list"
        );
    }
    sender
}
