//! The webhook: the gateway asks, before it debits, whether it may. We answer from our own rows and call nobody.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use domain::transaction::{Callback, CallbackFault};
use poem::web::Json;
use poem::{Body, Request, handler};
use serde_json::{Value, json};
use store::callbacks::{self, CallbackVerdict, ReceivedBody, Sender};
use telemetry::LineBudget;
use tracing::{info, warn};

use crate::AddressCheck;
use crate::asker::{Asker, Proof};
use crate::problem::{Problem, ProblemType};
use crate::request_body::{self, BodyFault};
use crate::{Api, SharedApi, digest, metrics, sender};

/// A callback has six short fields.
const BODY_LIMIT: usize = 8 * 1024;

/// Six short fields come at once, or from nobody we wait for.
const BODY_TIME_LIMIT: Duration = Duration::from_secs(3);

/// How long the database has for its answer. The gateway waits while it asks; after this it had better ask again.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Keeping a body that proves nothing must not hold up its answer.
const KEEP_LIMIT: Duration = Duration::from_secs(1);

/// So many bodies that prove nothing are kept per minute, as evidence; anybody can send more of them.
pub(crate) const UNPROVEN_PER_MINUTE: u32 = 100;

/// Lines about rightly signed callbacks. Whoever has seen one on its way can send it, and others that it fits, again and
/// again.
#[derive(Debug)]
pub(crate) struct SignedLines {
    allowed: LineBudget,
    refused: LineBudget,
    unlisted: LineBudget,
}

impl Default for SignedLines {
    fn default() -> Self {
        // Far more than a shop has payments; few of those are refused, and none comes from an address that is not listed.
        let [allowed, refused, unlisted] = [3_000, 300, 60].map(LineBudget::new);
        SignedLines { allowed, refused, unlisted }
    }
}

impl SignedLines {
    fn may_tell(budget: &LineBudget) -> bool {
        budget.take_and_tell(|more| {
            warn!(lines = more, "{more} more lines of a minute about rightly signed callbacks were left out");
        })
    }
}

/// Answers a callback: HTTP 200 with `status` 1 or 0; 503 only when the database cannot be asked, and 415 for a body in a
/// content coding that we do not read.
///
/// # Errors
/// [`ProblemType::DatabaseUnavailable`] or [`ProblemType::TooSlow`]: nothing was decided, so the gateway asks again.
/// [`ProblemType::UnsupportedMediaType`]: nothing was decided either, and the answer says what would be read.
#[handler]
pub(crate) async fn post_callback(api: SharedApi<'_>, request: &Request, body: Body) -> Result<Json<Value>, Problem> {
    let began = Instant::now();
    let address = sender::sender(request, &api.context.callback_addresses);
    let verdict = judge(&api, address, request, body).await?;
    metrics::count_callback(verdict, began.elapsed());
    if !matches!(verdict, CallbackVerdict::Unreadable | CallbackVerdict::BadlySigned) {
        Asker::of(request).proved(Proof::Signature);
    }
    Ok(Json(json!({ "status": u8::from(verdict.allows()), "message": verdict.message() })))
}

async fn judge(api: &Api, address: Option<IpAddr>, request: &Request, body: Body) -> Result<CallbackVerdict, Problem> {
    let reading = request_body::read(request.headers(), body, BODY_LIMIT);
    let bytes = match tokio::time::timeout(BODY_TIME_LIMIT, reading).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(BodyFault::TooLarge)) => return Ok(without_a_body(api, "it is above 8 KiB")),
        Ok(Err(BodyFault::Incomplete)) => return Ok(without_a_body(api, "it broke off")),
        Ok(Err(BodyFault::UnknownCoding)) => {
            without_a_body(api, "its content coding is not known; it was answered 415 with those that are");
            return Err(Problem::unknown_coding());
        }
        Err(_elapsed) => return Ok(without_a_body(api, "it did not come in time")),
    };
    let received = |digest| ReceivedBody { bytes: &bytes, digest, address };
    match api.context.gateway.read_callback(&bytes) {
        Ok(callback) => {
            let digest = digest::sha256_hex(callback.question());
            tokio::time::timeout(TIME_LIMIT, answer(api, &callback, received(&digest)))
                .await
                .map_err(|_elapsed| Problem::too_slow(TIME_LIMIT.as_secs()))?
        }
        Err(fault) => Ok(refuse_unproven(api, fault, received(&digest::sha256_hex(&bytes))).await),
    }
}

/// There is nothing to keep of such a body; it counts among those that prove nothing, or it could flood the log.
fn without_a_body(api: &Api, why: &'static str) -> CallbackVerdict {
    metrics::count_unkept();
    if api.unproven.take() {
        warn!("a callback was refused for its body: {why}");
    }
    CallbackVerdict::Unreadable
}

async fn answer(api: &Api, callback: &Callback, received: ReceivedBody<'_>) -> Result<CallbackVerdict, Problem> {
    let (store, gateway) = (&api.context.store, &api.context.gateway);
    let sender = look_at_sender(api, received.address);
    let verdict = callbacks::answer(store, gateway.identity(), gateway.store_id(), callback, received, sender)
        .await
        .map_err(|error| match error.is_passing() {
            true => Problem::from(error),
            // A defect of ours is no verdict either: the gateway must ask again, and we must hear of it.
            false => Problem::from(error).with_type(ProblemType::DatabaseUnavailable),
        })?;
    let transaction_id = callback.transaction_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let account = callback.account.as_deref().unwrap_or("-");
    let lines = if verdict.allows() { &api.signed_lines.allowed } else { &api.signed_lines.refused };
    if !SignedLines::may_tell(lines) {
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
        // Told already, with its address.
        CallbackVerdict::OtherAddress => (),
        // Rightly signed, and yet not about an order of ours as we know it: somebody should look.
        CallbackVerdict::OtherStore
        | CallbackVerdict::UnknownTransaction
        | CallbackVerdict::OtherAccount
        | CallbackVerdict::WrongAmount => warn!(
            transaction.id = %transaction_id, verdict = %verdict, amount_tiyin = callback.amount,
            "a rightly signed callback about transaction {transaction_id} does not fit our rows: {verdict}"
        ),
        CallbackVerdict::Unreadable | CallbackVerdict::BadlySigned => (),
    }
    Ok(verdict)
}

/// Whether a rightly signed callback may be heard, by where it comes from. Only those are looked at: whatever else reaches
/// the webhook comes from everywhere, and is refused for what it is.
fn look_at_sender(api: &Api, address: Option<IpAddr>) -> Sender {
    let addresses = &api.context.callback_addresses;
    let is_refused = match addresses.check {
        AddressCheck::Off => return Sender::Heard,
        AddressCheck::Watch => false,
        AddressCheck::Refuse => true,
    };
    if addresses.lists(address) {
        return Sender::Heard;
    }
    metrics::count_unlisted(is_refused);
    let (what_becomes, sender) = match is_refused {
        true => ("refused", Sender::TurnedAway),
        false => ("only watched", Sender::Heard),
    };
    if !SignedLines::may_tell(&api.signed_lines.unlisted) {
        return sender;
    }
    let address = address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string());
    warn!(
        address,
        "a rightly signed callback came from {address}, which ATMOS_CALLBACK_ADDRESSES does not list: {what_becomes}; see \
         whether that is the gateway, or a proxy that TASDIQ_TRUSTED_PROXIES should list"
    );
    sender
}

/// Nothing is believed of such a body; the beginning of it is kept as evidence where that is cheap. Needs no database for
/// its answer.
async fn refuse_unproven(api: &Api, fault: CallbackFault, received: ReceivedBody<'_>) -> CallbackVerdict {
    let verdict = match fault {
        CallbackFault::Unreadable => CallbackVerdict::Unreadable,
        CallbackFault::BadlySigned => CallbackVerdict::BadlySigned,
    };
    let mut is_kept = false;
    if api.unproven.take() {
        // Logged no oftener than kept: whoever floods us must not flood the log.
        warn!(verdict = %verdict, digest = received.digest, "a callback proves nothing and was refused: {verdict}");
        let keeping = callbacks::keep_unproven(&api.context.store, received, verdict);
        match tokio::time::timeout(KEEP_LIMIT, keeping).await {
            Ok(Ok(kept)) => is_kept = kept,
            Ok(Err(error)) => warn!(error = %error, "a callback that proves nothing could not be kept: {error}"),
            Err(_elapsed) => warn!("a callback that proves nothing was not kept within {} s", KEEP_LIMIT.as_secs()),
        }
    }
    if !is_kept {
        metrics::count_unkept();
    }
    verdict
}
