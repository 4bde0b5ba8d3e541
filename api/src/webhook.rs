//! The webhooks, which the gateways call: one module for each gateway, and here what they have in common.

use std::time::Duration;

use domain::callback_verdict::CallbackVerdict;
use domain::order::PaymentType;
use domain::transaction::CallbackFault;
use store::callbacks::{self, ReceivedBody};
use telemetry::LineBudget;
use tracing::warn;

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
pub(crate) const UNPROVEN_PER_MINUTE: u32 = 100;

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

/// There is nothing to store. It counts as a callback without a valid signature, otherwise it could flood the log.
fn refuse_without_body(api: &Api, gateway: PaymentType, why: &'static str) -> CallbackVerdict {
    metrics::count_unkept(gateway);
    if api.unproven.of(gateway).take() {
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
    if api.unproven.of(gateway).take() {
        // Logged no more often than stored: a flood of callbacks must not flood the log.
        warn!(
            gateway = %gateway, verdict = %verdict, digest = received.digest,
            "a callback without a valid signature was refused: {verdict}"
        );
        let keeping = callbacks::keep_unproven(&api.context.store, received, verdict);
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
