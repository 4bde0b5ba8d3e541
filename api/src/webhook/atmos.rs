//! The webhook of Atmos: before a debit Atmos asks for permission. The answer comes from our own rows, without any call.

use std::net::IpAddr;
use std::time::Instant;

use domain::callback_verdict::CallbackVerdict;
use domain::order::PaymentType;
use domain::transaction::Callback;
use gateway::atmos::{AtmosGateway, callback_answer};
use poem::web::Json;
use poem::{Body, Request, handler};
use serde_json::Value;
use store::callbacks::{self, ReceivedBody, Sender};
use tracing::{info, warn};

use super::{
    BODY_LIMIT, BODY_TIME_LIMIT, SignedCallbackLog, TIME_LIMIT, is_of_named_shop, refuse_unproven, refuse_without_body,
};
use crate::AddressCheck;
use crate::credential::{Credential, ProvenCredential};
use crate::problem::{Problem, ProblemType};
use crate::request_body::{self, BodyFault};
use crate::{Api, SharedApi, digest, metrics, sender};

/// Answers a callback: HTTP 200 with `status` 1 or 0; 503 only if the database does not answer, and 415 for a body in a
/// content coding that we do not read.
///
/// # Errors
/// [`ProblemType::DatabaseUnavailable`] or [`ProblemType::TooSlow`]: nothing was decided, so the gateway asks again.
/// [`ProblemType::UnsupportedMediaType`]: nothing was decided either, and the answer lists the codings that we read.
#[handler]
pub(crate) async fn post_callback(api: SharedApi<'_>, request: &Request, body: Body) -> Result<Json<Value>, Problem> {
    let began = Instant::now();
    let address = sender::sender(request, &api.context.callback_addresses);
    let verdict = judge(&api, address, request, body).await?;
    metrics::count_callback(PaymentType::Atmos, verdict, began.elapsed());
    if !matches!(verdict, CallbackVerdict::Unreadable | CallbackVerdict::BadlySigned) {
        ProvenCredential::of(request).record(Credential::Signature);
    }
    Ok(Json(callback_answer(verdict)))
}

async fn judge(api: &Api, address: Option<IpAddr>, request: &Request, body: Body) -> Result<CallbackVerdict, Problem> {
    let reading = request_body::read(request.headers(), body, BODY_LIMIT);
    let bytes = match tokio::time::timeout(BODY_TIME_LIMIT, reading).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(BodyFault::TooLarge)) => return Ok(refuse_without_body(api, PaymentType::Atmos, "it is above 8 KiB")),
        Ok(Err(BodyFault::Incomplete)) => return Ok(refuse_without_body(api, PaymentType::Atmos, "it broke off")),
        Ok(Err(BodyFault::UnknownCoding)) => {
            refuse_without_body(
                api,
                PaymentType::Atmos,
                "its content coding is not known; it was answered 415 with those that are",
            );
            return Err(Problem::unknown_coding());
        }
        Err(_elapsed) => return Ok(refuse_without_body(api, PaymentType::Atmos, "it did not come in time")),
    };
    let received = |digest| ReceivedBody { bytes: &bytes, digest, address };
    match api.context.gateways.read_atmos_callback(&bytes) {
        Ok((account, _)) if !is_of_named_shop(api, request, PaymentType::Atmos, account.identity()) => {
            if SignedCallbackLog::may_log(&api.signed_log.of(PaymentType::Atmos).refused) {
                warn!(
                    "a correctly signed callback was refused: it has the store of another shop than its address names"
                );
            }
            Ok(CallbackVerdict::OtherStore)
        }
        Ok((account, callback)) => {
            let digest = digest::sha256_hex(callback.question());
            tokio::time::timeout(TIME_LIMIT, answer(api, account, &callback, received(&digest)))
                .await
                .map_err(|_elapsed| Problem::too_slow(TIME_LIMIT.as_secs()))?
        }
        Err(fault) => Ok(refuse_unproven(api, PaymentType::Atmos, fault, received(&digest::sha256_hex(&bytes))).await),
    }
}

async fn answer(
    api: &Api,
    gateway: &AtmosGateway,
    callback: &Callback,
    received: ReceivedBody<'_>,
) -> Result<CallbackVerdict, Problem> {
    let store = &api.context.store;
    let sender = check_sender(api, received.address);
    let verdict = callbacks::answer(
        store,
        gateway.identity(),
        gateway.store_id(),
        gateway.terms().debit_within,
        callback,
        received,
        sender,
    )
    .await
    .map_err(|error| match error.is_passing() {
        true => Problem::from(error),
        // A defect of ours is no verdict either: the gateway must ask again, and we must notice it.
        false => Problem::from(error).with_type(ProblemType::DatabaseUnavailable),
    })?;
    let transaction_id = callback.transaction_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let account = callback.account.as_deref().unwrap_or("-");
    let lines = if verdict.allows() {
        &api.signed_log.of(PaymentType::Atmos).allowed
    } else {
        &api.signed_log.of(PaymentType::Atmos).refused
    };
    if !SignedCallbackLog::may_log(lines) {
        return Ok(verdict);
    }
    match verdict {
        CallbackVerdict::Allowed | CallbackVerdict::AlreadyPaid => info!(
            transaction.id = %transaction_id, order.id = %account, verdict = %verdict,
            "the gateway may debit transaction {transaction_id} for order {account}: {verdict}"
        ),
        CallbackVerdict::SecondTransaction | CallbackVerdict::Late | CallbackVerdict::NotPayable => info!(
            transaction.id = %transaction_id, order.id = %account, verdict = %verdict,
            "the gateway may not debit transaction {transaction_id} for order {account}: {verdict}"
        ),
        // Already logged, with the address.
        CallbackVerdict::OtherAddress => (),
        // Correctly signed, yet it does not fit our rows: a person should look at it.
        CallbackVerdict::OtherStore
        | CallbackVerdict::UnknownTransaction
        | CallbackVerdict::OtherAccount
        | CallbackVerdict::WrongAmount => warn!(
            transaction.id = %transaction_id, verdict = %verdict, amount_tiyin = callback.amount,
                        "a correctly signed callback about transaction {transaction_id} does not fit our rows: {verdict}"
        ),
        CallbackVerdict::Unreadable | CallbackVerdict::BadlySigned => (),
        // Verdicts on the calls of other gateways.
        CallbackVerdict::UnknownOrder
        | CallbackVerdict::Conflicting
        | CallbackVerdict::TimedOut
        | CallbackVerdict::TransactionClosed
        | CallbackVerdict::DebitTold
        | CallbackVerdict::FailureTold
        | CallbackVerdict::ReversalTold
        | CallbackVerdict::ReversalRefused => (),
    }
    Ok(verdict)
}

/// Whether a correctly signed callback is accepted, by its sender's address. Other callbacks are refused for their
/// signature, so their address does not matter.
fn check_sender(api: &Api, address: Option<IpAddr>) -> Sender {
    let addresses = &api.context.callback_addresses;
    let is_refused = match addresses.check {
        AddressCheck::Off => return Sender::Heard,
        AddressCheck::Watch => false,
        AddressCheck::Refuse => true,
    };
    if addresses.lists(address) {
        return Sender::Heard;
    }
    metrics::count_unlisted(PaymentType::Atmos, is_refused);
    let (what_becomes, sender) = match is_refused {
        true => ("refused", Sender::TurnedAway),
        false => ("only watched", Sender::Heard),
    };
    if !SignedCallbackLog::may_log(&api.signed_log.of(PaymentType::Atmos).unlisted) {
        return sender;
    }
    let address = address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
    warn!(
        address,
        "a correctly signed callback came from {address}, which ATMOS_CALLBACK_ADDRESSES does not list: {what_becomes}; see \
         whether that is the gateway, or a proxy that TASDIQ_TRUSTED_PROXIES should list"
    );
    sender
}
