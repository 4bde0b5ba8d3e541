//! Orders as the order API returns them.

use domain::money::som;
use domain::order::{HistoryLine, Order, OrderStatus};
use domain::review::ReviewFinding;
use domain::time::rfc3339;
use poem_openapi::Object;
use process::public_address::PublicUrl;
use store::{Store, StoreError, findings};

use crate::auth::Viewer;
use crate::or_null::OrNull;

/// The answer to `POST /api/orders/create`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Object)]
#[oai(read_only_all)]
pub(crate) struct CreatedOrder {
    /// The order's number.
    order_id: i64,
    /// The page where the customer pays, or chooses how to pay; once the order can no longer be paid, a page of ours that shows
    /// its status.
    payment_url: String,
    /// How the customer pays; `null` until the customer has chosen it on the page at `payment_url`.
    payment_type: OrNull<String>,
    /// Decimal soʻm.
    amount: String,
    /// `pending`, `confirming`, `paid`, `refunded`, `expired`, `canceled`, `failed` or `review`. Ship on `paid` only.
    status: String,
    /// Gives access to this one order as `?token=`; made for the customer's browser.
    order_token: String,
    /// The gateway's number of the payment; `null` until the gateway has made the payment page.
    transaction_id: OrNull<i64>,
    /// RFC 3339, UTC.
    created_at: String,
    /// RFC 3339, UTC; `null` until the gateway has made the payment page. While the customer has not chosen how to pay, the end
    /// of the time to choose.
    expires_at: OrNull<String>,
}

/// The answer to `GET /api/orders/{order_id}`, and the data of the events.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(read_only_all)]
pub(crate) struct OrderAnswer {
    #[oai(flatten)]
    created: CreatedOrder,
    /// The amount returned to the customer, in decimal soʻm.
    refunded_amount: String,
    /// Whether a person must check the order although its status stays.
    needs_review: bool,
    /// The reason why the order failed or must be checked; else `null`. Always `null` for the order's token, because it
    /// is written for the shop.
    reason: OrNull<String>,
    /// The findings that a person must know about while the order is in `review` or `needs_review`, oldest first; else
    /// empty. Always empty for the order's token.
    findings: Vec<OrderFinding>,
    /// When the gateway last confirmed, some seconds after the last sign of a payment, that no money had moved: the
    /// customer came back without paying, or the card was declined, and can pay at `payment_url`. RFC 3339, UTC; else
    /// `null`. This is no guarantee: ship on `paid` only, and make no second order until this one has ended.
    seen_unpaid_at: OrNull<String>,
    /// The name of the product.
    product_name: String,
    /// The shop's own name for the order; `null` if it has none.
    reference: OrNull<String>,
    /// The page to which the customer goes afterwards; `null` if the shop named none.
    return_url: OrNull<String>,
    /// The page to which the customer goes without paying; `null` if the shop named none.
    cancel_url: OrNull<String>,
    /// The language of the customer's pages.
    language: String,
}

/// A finding: one thing that a person must know about an order.
#[derive(Clone, Debug, PartialEq, Eq, Object)]
#[oai(read_only_all)]
struct OrderFinding {
    /// `debit_differs`, `second_payment`, `second_payment_and_reversal`, `late_payment`, `refunded_but_debited`,
    /// `unclear_answer`, `no_answer`, `job_died`, `gateway_not_configured`, `refund_unknown` or `other`; a newer release may
    /// know more.
    kind: String,
    /// The finding in a sentence for people.
    text: String,
    /// The suggested act: `compare_debit`, `return_second_payment`, `return_late_payment`, `return_payment`,
    /// `ask_gateway`, `mend_job`, `configure_gateway` or `check_refund`.
    suggested_act: String,
    /// When it was found, RFC 3339, UTC.
    found_at: String,
    /// The gateway's number of the payment concerned; `null` if it concerns none.
    transaction_id: OrNull<i64>,
}

impl From<ReviewFinding> for OrderFinding {
    fn from(finding: ReviewFinding) -> Self {
        OrderFinding {
            kind: finding.kind.to_string(),
            text: finding.text,
            suggested_act: finding.act.to_string(),
            found_at: rfc3339(finding.found_at_ms),
            transaction_id: OrNull(finding.transaction_id.map(|id| id.0)),
        }
    }
}

impl CreatedOrder {
    /// The order at that time, for the caller who made it.
    pub(crate) fn new(order: &Order, public_url: &PublicUrl, now_ms: i64) -> Self {
        CreatedOrder {
            order_id: order.id.0,
            payment_url: payment_url(order, public_url, now_ms),
            payment_type: OrNull(order.payment_type().map(|payment_type| payment_type.to_string())),
            amount: order.amount.to_string(),
            status: order.status.to_string(),
            order_token: order.token.as_str().to_owned(),
            transaction_id: OrNull(order.transaction_id.map(|id| id.0)),
            created_at: rfc3339(order.created_at_ms),
            expires_at: OrNull(order.expires_at_ms.map(rfc3339)),
        }
    }
}

impl OrderAnswer {
    /// The order at this time, as the viewer may see it; with its findings if a person must check it.
    ///
    /// # Errors
    /// [`StoreError`] if the database did not answer.
    pub(crate) async fn read(
        store: &Store,
        order: &Order,
        viewer: Viewer,
        public_url: &PublicUrl,
    ) -> Result<Self, StoreError> {
        let findings = match viewer {
            Viewer::Shop => findings::of_order(store, order).await?,
            Viewer::Customer => Vec::new(),
        };
        let answer = OrderAnswer::new(order, viewer, public_url, store.now_ms());
        Ok(OrderAnswer { findings: findings.into_iter().map(OrderFinding::from).collect(), ..answer })
    }

    /// The order at that time for its customer, who sees no findings.
    pub(crate) fn for_customer(order: &Order, public_url: &PublicUrl, now_ms: i64) -> Self {
        OrderAnswer::new(order, Viewer::Customer, public_url, now_ms)
    }

    fn new(order: &Order, viewer: Viewer, public_url: &PublicUrl, now_ms: i64) -> Self {
        OrderAnswer {
            created: CreatedOrder::new(order, public_url, now_ms),
            refunded_amount: som(order.refunded_amount),
            needs_review: order.needs_review,
            reason: OrNull(match viewer {
                Viewer::Shop => order.reason.clone(),
                Viewer::Customer => None,
            }),
            findings: Vec::new(),
            seen_unpaid_at: OrNull(order.seen_unpaid().map(rfc3339)),
            product_name: order.product_name.clone(),
            reference: OrNull(order.reference.clone()),
            return_url: OrNull(order.return_url.clone()),
            cancel_url: OrNull(order.cancel_url.clone()),
            language: order.language.to_string(),
        }
    }

    /// The order's status.
    pub(super) fn status(&self) -> &str {
        &self.created.status
    }
}

/// The gateway's page while the order can be paid there. Before and after that our own page, which forwards to the
/// gateway's page as soon as there is one, or shows the order's status.
fn payment_url(order: &Order, public_url: &PublicUrl, now_ms: i64) -> String {
    match &order.payment_url {
        Some(url) if order.can_be_paid_at(now_ms) => url.clone(),
        Some(_) | None => format!("{public_url}/pay/{}", order.token.as_str()),
    }
}

/// The answer to `GET /api/orders/{order_id}/history`.
#[derive(Debug, Object)]
#[oai(read_only_all)]
pub(crate) struct History {
    /// Oldest first.
    history: Vec<HistoryEntry>,
}

/// One line of an order's history.
#[derive(Debug, Object)]
#[oai(read_only_all)]
struct HistoryEntry {
    /// RFC 3339, UTC.
    at: String,
    /// The status before; `null` for the first line.
    from: OrNull<String>,
    /// The status after; the same as before for a fact that did not change the status.
    to: String,
    /// The reason in a sentence. For the order's token it is one of a few fixed sentences.
    cause: String,
}

impl History {
    /// The lines as the viewer may see them. A customer sees the changes of the status but none of the facts between
    /// them, and no original cause, because a cause may name operators and contain their opinion.
    pub(crate) fn new(lines: &[HistoryLine], viewer: Viewer) -> Self {
        let entry = |line: &HistoryLine| HistoryEntry {
            at: rfc3339(line.at_ms),
            from: OrNull(line.from.map(|status| status.to_string())),
            to: line.to.to_string(),
            cause: match viewer {
                Viewer::Shop => line.cause.clone(),
                Viewer::Customer => public_cause(line).to_owned(),
            },
        };
        let is_shown = |line: &&HistoryLine| viewer == Viewer::Shop || line.from != Some(line.to);
        History { history: lines.iter().filter(is_shown).map(entry).collect() }
    }
}

/// The cause of a change in words for the customer.
fn public_cause(line: &HistoryLine) -> &'static str {
    match (line.from, line.to) {
        (None, _) => "the order was made",
        (Some(OrderStatus::Confirming), OrderStatus::Pending) => {
            "the payment was not made; the order can be paid again"
        }
        (Some(_), OrderStatus::Pending) => "the order can be paid again",
        (Some(_), OrderStatus::Confirming) => "a payment was begun, and its outcome is being confirmed",
        (Some(_), OrderStatus::Paid) => "the payment was confirmed",
        (Some(_), OrderStatus::Refunded) => "the money was returned",
        (Some(_), OrderStatus::Expired) => "the time to pay was over",
        (Some(_), OrderStatus::Canceled) => "the order was canceled",
        (Some(_), OrderStatus::Failed) => "no payment page could be made",
        (Some(_), OrderStatus::Review) => "a person looks at the payment",
    }
}
