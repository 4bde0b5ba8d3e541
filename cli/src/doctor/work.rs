//! The work that waits, and the callbacks that came.

use domain::job::QueueName;
use domain::order::PaymentType;
use store::callbacks::{self, Proofs};
use store::{Store, jobs, orders};
use telemetry::causes;

use super::check_results::CheckResults;

/// Work that waits longer than this is not being taken.
const LATE_MS: i64 = 30_000;

pub(super) async fn look_at_work(store: &Store, results: &mut CheckResults) {
    match jobs::oldest_due_age_ms(store, QueueName::ALL).await {
        Ok(late_ms) if late_ms > LATE_MS => results.fault(
            "jobs",
            format!("a job has waited for {} s", late_ms / 1_000),
            "start more workers, and look at `tasdiq jobs list`",
        ),
        Ok(_) => results.ok("jobs", "nothing waits longer than it should"),
        Err(trouble) => results.fault("jobs", causes(&trouble), "mend the database"),
    }
    match jobs::count_dead(store).await {
        Ok(0) => results.ok("dead letters", "none"),
        Ok(dead) => results.warn(
            "dead letters",
            format!("{dead}"),
            "look at `tasdiq jobs list --state dead`, mend the cause, then `tasdiq jobs retry ID`",
        ),
        Err(trouble) => results.fault("dead letters", causes(&trouble), "mend the database"),
    }
    match orders::count_open(store).await {
        Ok(counts) => {
            let review: i64 = counts
                .iter()
                .filter(|(status, _)| matches!(status.as_str(), "review" | "needs_review"))
                .map(|(_, orders)| orders)
                .sum();
            let waiting = match review {
                0 => return results.ok("review", "no order waits for a person"),
                1 => "1 order waits for a person".to_owned(),
                many => format!("{many} orders wait for a person"),
            };
            results.warn("review", waiting, "look at `tasdiq orders review`, which says what was found and what to do");
        }
        Err(trouble) => results.fault("review", causes(&trouble), "mend the database"),
    }
}

/// A wrong key refuses every payment, and nothing else shows it.
pub(super) async fn look_at_callbacks(store: &Store, results: &mut CheckResults) {
    match callbacks::proofs(store).await {
        Ok(of_webhooks) if of_webhooks.is_empty() => results.ok("callbacks", "none came within a day".to_owned()),
        Ok(of_webhooks) => of_webhooks.into_iter().for_each(|proofs| tell_of_callbacks(proofs, results)),
        Err(trouble) => results.fault("callbacks", causes(&trouble), "mend the database"),
    }
}

/// The settings that are compared where no key of ours fits the callbacks of this gateway.
fn keys_of(webhook: PaymentType) -> &'static str {
    match webhook {
        PaymentType::Atmos => "ATMOS_API_KEY and ATMOS_SIGN_ALGORITHM",
        PaymentType::Payme => "PAYME_KEY",
        PaymentType::Click => "CLICK_SECRET_KEY",
    }
}

pub(super) fn tell_of_callbacks(proofs: Proofs, results: &mut CheckResults) {
    let Proofs { webhook, callbacks, badly_signed, unreadable, badly_signed_since } = proofs;
    let proving = callbacks - badly_signed - unreadable;
    let says = format!(
        "{webhook}: {badly_signed} of the last {callbacks} callbacks prove nothing: no key of ours signed them"
    );
    let compare = format!(
        "compare {} with what the gateway has for this account: a wrong key refuses every payment; see `tasdiq callbacks \
         list --verdict badly_signed`",
        keys_of(webhook)
    );
    match (badly_signed, unreadable) {
        // One that came afterwards and is signed as it should be shows that the key is right, and the others forged.
        (1.., _) if badly_signed > proving && badly_signed_since > 0 => results.fault("callbacks", says, compare),
        (1.., _) => results.warn("callbacks", says, compare),
        (_, 1..) if unreadable > proving => results.warn(
            "callbacks",
            format!("{webhook}: {unreadable} of the last {callbacks} callbacks cannot be read"),
            "see `tasdiq callbacks list --verdict unreadable`: the gateway may write them in another way now, or they \
             come from another sender",
        ),
        _ => results.ok(
            "callbacks",
            format!("{webhook}: {proving} of the last {callbacks} of a day are signed as they should be"),
        ),
    }
}
