//! The way back to the shop that the browser takes by itself after a payment, where the shop wants it.

use std::time::Duration;

use domain::order::{Language, Order, OrderStatus};

use super::labels::Labels;
use super::visit::{STAY, WantedLanguage};

/// For how long after the payment a page leads back to the shop by itself.
const WITHIN_MS: i64 = 5 * 60_000;

/// The way back to the shop.
pub(super) struct Leaving<'a> {
    pub(super) seconds: u64,
    pub(super) address: &'a str,
    pub(super) words: String,
    /// The page without that.
    pub(super) stay: String,
}

/// The way back to the shop of this order, after this time; `None` where it does not lead there by itself.
pub(super) fn leaving_after(
    after: Duration,
    order: &Order,
    now_ms: i64,
    language: Language,
    wanted: WantedLanguage,
) -> Option<Leaving<'_>> {
    let (address, seconds) = (way_back(order, now_ms)?, after.as_secs());
    let words = Labels::of(language).leaving.replace("{}", &seconds.to_string());
    Some(Leaving { seconds, address, words, stay: wanted.keep(STAY) })
}

/// The shop's address for the customer of an order that was paid a moment ago: who opens its page later reads a receipt.
pub(crate) fn way_back(order: &Order, now_ms: i64) -> Option<&str> {
    let is_new = order.final_at_ms.is_some_and(|paid_at_ms| now_ms - paid_at_ms <= WITHIN_MS);
    order.return_url.as_deref().filter(|_| order.status == OrderStatus::Paid && is_new)
}
