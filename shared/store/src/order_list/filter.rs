//! What a list is asked for.

use domain::id::OrderId;
use domain::money::Tiyin;
use domain::order::{Order, OrderStatus, PaymentType};

use super::position::ListPosition;
use super::walking::WalkedRow;

/// The orders of a list: those that fit every part that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// One of these; any where there are none.
    pub statuses: Vec<OrderStatus>,
    /// How the customer pays. An order whose customer has not chosen yet has none.
    pub payment_type: Option<PaymentType>,
    /// Made at this time or later, epoch milliseconds.
    pub since_ms: Option<i64>,
    /// Made before this time, epoch milliseconds.
    pub until_ms: Option<i64>,
    /// Of this amount at least.
    pub amount_from: Option<Tiyin>,
    /// Of this amount at most.
    pub amount_to: Option<Tiyin>,
    /// The shop's own name for the order, exactly.
    pub reference: Option<String>,
    /// The number of a transaction: ours, the gateway's own id, or its permanent number of the debit.
    pub transaction: Option<String>,
    /// Whether a person must check it although its status stays.
    pub needs_review: Option<bool>,
    /// Words of its product name or its reference.
    pub words: SearchWords,
}

/// Words to be found: each stands somewhere in the product name or in the reference, in capitals or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchWords(Vec<String>);

impl SearchWords {
    /// The words of a text; blanks are between them.
    pub fn new(text: &str) -> Self {
        SearchWords(text.split_whitespace().map(str::to_lowercase).collect())
    }

    /// Whether there are none, so that every order fits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words as they are compared, with one blank between them.
    pub fn text(&self) -> String {
        self.0.join(" ")
    }

    fn stand_in(&self, product_name: &str, reference: Option<&str>) -> bool {
        if self.is_empty() {
            return true;
        }
        let (product_name, reference) = (product_name.to_lowercase(), reference.unwrap_or_default().to_lowercase());
        self.0.iter().all(|word| product_name.contains(word) || reference.contains(word))
    }
}

/// What a filter compares of an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct ComparedFacts<'a> {
    status: &'a str,
    /// `None` until the customer has chosen.
    payment_type: Option<&'a str>,
    created_at_ms: i64,
    amount: i64,
    reference: Option<&'a str>,
    product_name: &'a str,
    needs_review: bool,
}

impl<'a> From<&'a Order> for ComparedFacts<'a> {
    fn from(order: &'a Order) -> Self {
        ComparedFacts {
            status: order.status.as_str(),
            payment_type: order.payment_type().map(PaymentType::as_str),
            created_at_ms: order.created_at_ms,
            amount: order.amount.get(),
            reference: order.reference.as_deref(),
            product_name: &order.product_name,
            needs_review: order.needs_review,
        }
    }
}

impl<'a> From<&'a WalkedRow> for ComparedFacts<'a> {
    fn from(row: &'a WalkedRow) -> Self {
        ComparedFacts {
            status: &row.status,
            payment_type: row.payment_type.as_deref(),
            created_at_ms: row.position.created_at_ms,
            amount: row.amount,
            reference: row.reference.as_deref(),
            product_name: &row.product_name,
            needs_review: row.needs_review,
        }
    }
}

impl OrderFilter {
    /// The one amount that the filter asks for.
    pub(super) fn exact_amount(&self) -> Option<Tiyin> {
        self.amount_from.filter(|from| Some(*from) == self.amount_to)
    }

    pub(super) fn has_amount(&self) -> bool {
        self.amount_from.is_some() || self.amount_to.is_some()
    }

    /// Whether orders of some status do not fit.
    pub(super) fn names_some_statuses(&self) -> bool {
        !self.statuses.is_empty() && OrderStatus::ALL.iter().any(|status| !self.statuses.contains(status))
    }

    /// The place before which the first order stands.
    pub(super) fn begins_before(&self, after: Option<ListPosition>) -> ListPosition {
        let until = ListPosition { created_at_ms: self.until_ms.unwrap_or(i64::MAX), id: OrderId(i64::MIN) };
        after.map_or(until, |after| after.min(until))
    }

    /// Whether an order fits, but for its transactions.
    pub(super) fn finds(&self, order: &ComparedFacts<'_>) -> bool {
        (self.statuses.is_empty() || self.statuses.iter().any(|status| status.as_str() == order.status))
            && self.payment_type.is_none_or(|payment_type| Some(payment_type.as_str()) == order.payment_type)
            && self.since_ms.is_none_or(|since_ms| order.created_at_ms >= since_ms)
            && self.until_ms.is_none_or(|until_ms| order.created_at_ms < until_ms)
            && self.amount_from.is_none_or(|from| order.amount >= from.get())
            && self.amount_to.is_none_or(|to| order.amount <= to.get())
            && (self.reference.is_none() || self.reference.as_deref() == order.reference)
            && self.needs_review.is_none_or(|needs_review| order.needs_review == needs_review)
            && self.words.stand_in(order.product_name, order.reference)
    }
}
