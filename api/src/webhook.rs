//! The webhooks, which the gateways call: one module for each gateway, and here what they have in common.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::callback_verdict::CallbackVerdict;
use domain::order::{GatewayIdentity, PaymentType};
use domain::shop::ShopName;
use domain::transaction::CallbackFault;
use parking_lot::Mutex;
use poem::Request;
use store::callbacks::{self, ReceivedBody};
use telemetry::LineBudget;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::minute_limit::MinuteLimit;

use crate::{Api, metrics};

pub(crate) mod atmos;
pub(crate) mod click;
pub(crate) mod payme;

/// A callback has six short fields.
const BODY_LIMIT: usize = 8 * 1024;

/// Six short fields arrive at once. A slower sender is not waited for.
const BODY_TIME_LIMIT: Duration = Duration::from_secs(3);

/// The time limit of the database. The gateway waits meanwhile; after this it should rather ask again.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Storing a callback without a valid signature must not delay its answer.
const KEEP_LIMIT: Duration = Duration::from_secs(1);

/// The most callbacks without a valid signature that are stored as evidence in a minute; anyone can send more.
const UNPROVEN_PER_MINUTE: u32 = 100;

/// Those that are stored at the same time: each takes a connection to the database.
const UNPROVEN_AT_ONCE: usize = 2;

/// What the callbacks without a valid signature of one gateway may take.
#[derive(Debug)]
pub(crate) struct UnprovenLimit {
    per_minute: MinuteLimit,
    storing: Semaphore,
}

impl Default for UnprovenLimit {
    fn default() -> Self {
        UnprovenLimit { per_minute: MinuteLimit::new(UNPROVEN_PER_MINUTE), storing: Semaphore::new(UNPROVEN_AT_ONCE) }
    }
}

/// One of each for each gateway: the callers of one gateway's webhook never use up what another's need.
#[derive(Debug)]
pub(crate) struct PerGateway<T> {
    atmos: T,
    payme: T,
    click: T,
}

impl<T> PerGateway<T> {
    /// One for each gateway.
    pub(crate) fn new(one: impl Fn() -> T) -> Self {
        PerGateway { atmos: one(), payme: one(), click: one() }
    }

    /// The one of this gateway.
    pub(crate) fn of(&self, gateway: PaymentType) -> &T {
        match gateway {
            PaymentType::Atmos => &self.atmos,
            PaymentType::Payme => &self.payme,
            PaymentType::Click => &self.click,
        }
    }
}

/// One of each for each gateway account: the callers of one account, who have its key, never use up what another's need.
#[derive(Debug)]
pub(crate) struct PerAccount<T>(Mutex<BTreeMap<GatewayIdentity, Arc<T>>>);

impl<T> Default for PerAccount<T> {
    fn default() -> Self {
        PerAccount(Mutex::default())
    }
}

impl<T: Default> PerAccount<T> {
    /// The one of this account, which is configured.
    pub(crate) fn of(&self, account: &GatewayIdentity) -> Arc<T> {
        Arc::clone(self.0.lock().entry(account.clone()).or_default())
    }
}

/// Limits the log lines about correctly signed callbacks. A sender that has copied one can send it, and others with the
/// same signature, again and again.
#[derive(Debug)]
pub(crate) struct SignedCallbackLog {
    allowed: LineBudget,
    refused: LineBudget,
    unlisted: LineBudget,
}

impl Default for SignedCallbackLog {
    fn default() -> Self {
        // Far more than a shop has payments; few of them are refused, and none comes from an unlisted address.
        let [allowed, refused, unlisted] = [3_000, 300, 60].map(LineBudget::new);
        SignedCallbackLog { allowed, refused, unlisted }
    }
}

impl SignedCallbackLog {
    fn may_log(budget: &LineBudget) -> bool {
        budget.take_and_tell(|more| {
            warn!(lines = more, "{more} more lines of a minute about correctly signed callbacks were left out");
        })
    }
}

/// The shop that a webhook's address names after its gateway and the word there, if it names one. A name that is no text
/// is the name of no shop.
fn named_shop(request: &Request) -> Option<&str> {
    let parts = request.uri().path().split('/').filter(|part| !part.is_empty()).count();
    (parts > 2).then(|| request.raw_path_param("shop").unwrap_or_default())
}

/// Whether the account is the one of the shop that the address names, if it names one.
fn is_of_named_shop(api: &Api, request: &Request, gateway: PaymentType, account: &GatewayIdentity) -> bool {
    let Some(named) = named_shop(request) else { return true };
    let shop = ShopName::parse(named).ok().and_then(|name| api.context.shops.get(&name));
    shop.and_then(|shop| shop.accounts.get(&gateway)) == Some(account)
}

/// There is nothing to store. It counts as a callback without a valid signature, otherwise it could flood the log.
fn refuse_without_body(api: &Api, gateway: PaymentType, why: &'static str) -> CallbackVerdict {
    metrics::count_unkept(gateway);
    if api.unproven.of(gateway).per_minute.take() {
        warn!(gateway = %gateway, "a callback was refused for its body: {why}");
    }
    CallbackVerdict::Unreadable
}

/// Refuses a callback without a valid signature; its beginning is stored as evidence if that is cheap. The answer needs
/// no database.
async fn refuse_unproven(
    api: &Api,
    gateway: PaymentType,
    fault: CallbackFault,
    received: ReceivedBody<'_>,
) -> CallbackVerdict {
    let verdict = match fault {
        CallbackFault::Unreadable => CallbackVerdict::Unreadable,
        CallbackFault::BadlySigned => CallbackVerdict::BadlySigned,
    };
    let mut is_kept = false;
    let limit = api.unproven.of(gateway);
    if limit.per_minute.take() {
        // Logged no more often than stored: a flood of callbacks must not flood the log.
        warn!(
            gateway = %gateway, verdict = %verdict, digest = received.digest,
            "a callback without a valid signature was refused: {verdict}"
        );
        let keeping = async {
            // It is never closed.
            let _place = limit.storing.acquire().await;
            callbacks::keep_unproven(&api.context.store, gateway, received, verdict).await
        };
        match tokio::time::timeout(KEEP_LIMIT, keeping).await {
            Ok(Ok(kept)) => is_kept = kept,
            Ok(Err(error)) => {
                warn!(error = %error, "a callback without a valid signature could not be stored: {error}")
            }
            Err(_elapsed) => {
                warn!("a callback without a valid signature was not stored within {} s", KEEP_LIMIT.as_secs())
            }
        }
    }
    if !is_kept {
        metrics::count_unkept(gateway);
    }
    verdict
}
