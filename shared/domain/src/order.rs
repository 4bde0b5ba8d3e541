//! Orders: their statuses, the one table of transitions, and their data.

use std::fmt;

use serde::Serialize;

use crate::id::{OrderId, OrderToken, TransactionId};
use crate::money::Tiyin;
use crate::named_values::named_values;
use crate::shop::ShopName;

#[cfg(feature = "example")]
pub mod example;
mod status;
mod suggested_act;

pub use status::{OrderStatus, TRANSITIONS};
pub use suggested_act::SuggestedAct;

use OrderStatus::*;

/// How often a customer may choose the account of an order: each choice is a line of its history.
pub const MAX_CHOICES: i64 = 20;

/// The longest reason, in characters, that a shop or an operator may give for an act on an order. The gateway sees the
/// reason of a refund.
pub const REASON_CHARACTERS: usize = 200;

named_values! {
    /// How the customer pays.
    PaymentType {
        /// Through Atmos.
        Atmos = "atmos",
        /// Through Payme.
        Payme = "payme",
        /// Through Click.
        Click = "click",
    }
}

impl PaymentType {
    /// Whether its links lead to drafts that are made at the gateway first. The other links are made without any call, and
    /// each try to pay by one is a transaction that the gateway begins.
    pub fn has_drafts(self) -> bool {
        match self {
            PaymentType::Atmos => true,
            PaymentType::Payme | PaymentType::Click => false,
        }
    }
}

named_values! {
    /// The language of our pages and of the gateway's descriptions.
    Language {
        /// Uzbek.
        Uz = "uz",
        /// Russian.
        Ru = "ru",
        /// English.
        En = "en",
    }
}

/// The gateway account of an order or transaction: `sandbox:1234`, `atmos:1234`.
///
/// No other account is ever asked about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GatewayIdentity(pub String);

impl GatewayIdentity {
    /// The payment type that is paid through it, by the word before the colon; `None` for an account of a newer release.
    pub fn payment_type(&self) -> Option<PaymentType> {
        match self.0.split_once(':')?.0 {
            "atmos" | "sandbox" => Some(PaymentType::Atmos),
            "payme" | "sandbox-payme" => Some(PaymentType::Payme),
            "click" | "sandbox-click" => Some(PaymentType::Click),
            _ => None,
        }
    }
}

impl fmt::Display for GatewayIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The account through which an order is paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderAccount {
    /// How it is paid.
    pub payment_type: PaymentType,
    /// The gateway account that moves the money.
    pub gateway: GatewayIdentity,
}

/// A new order as the shop asks for it; every field is checked already.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// The shop that sells.
    pub shop: ShopName,
    /// The name of the API key that asked; empty if no keys are configured.
    pub api_key_name: String,
    /// The product, 1 to 200 characters.
    pub product_name: String,
    /// The price.
    pub amount: Tiyin,
    /// The account through which it will be paid; `None` if the customer chooses.
    pub account: Option<OrderAccount>,
    /// The shop's own name for the order, unique in the shop.
    pub reference: Option<String>,
    /// The page to which our return page sends the customer.
    pub return_url: Option<String>,
    /// The page to which our pages send the customer who does not pay; `None` where that is `return_url`, too.
    pub cancel_url: Option<String>,
    /// The language of the pages.
    pub language: Language,
}

/// An order as the database has it.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its number.
    pub id: OrderId,
    /// The secret of its pages.
    pub token: OrderToken,
    /// The shop that sells.
    pub shop: ShopName,
    /// The name of the API key that made it; empty if no keys are configured.
    pub api_key_name: String,
    /// The shop's own name for it.
    pub reference: Option<String>,
    /// The product.
    pub product_name: String,
    /// The price.
    pub amount: Tiyin,
    /// The account through which it is paid; `None` until the customer has chosen one. No rule about money takes an order
    /// without an account for one of an account.
    pub account: Option<OrderAccount>,
    /// How often the customer has chosen the account; `None` where the shop named it.
    pub choices: Option<i64>,
    /// The account that finally refused to make a payment link after the customer had chosen it. It cannot be chosen again.
    pub refused_gateway: Option<GatewayIdentity>,
    /// The page to which our return page sends the customer.
    pub return_url: Option<String>,
    /// The page to which our pages send the customer who does not pay; `None` where that is `return_url`, too.
    pub cancel_url: Option<String>,
    /// The language of the pages.
    pub language: Language,
    /// Its status.
    pub status: OrderStatus,
    /// The draft behind the present payment link; after *paid*, the transaction that paid.
    pub transaction_id: Option<TransactionId>,
    /// The gateway's payment page of that draft.
    pub payment_url: Option<String>,
    /// How many payment links it has had.
    pub links_made: i64,
    /// The one draft that was allowed to debit, while that may still happen.
    pub allowed_transaction_id: Option<TransactionId>,
    /// When a callback was last answered with 1, epoch milliseconds.
    pub last_allowed_at_ms: Option<i64>,
    /// Until when the debit of the allowed transaction may come, epoch milliseconds. `None` in rows of a release that kept no
    /// such time.
    pub allowed_until_ms: Option<i64>,
    /// The last reason to ask the gateway soon, epoch milliseconds.
    pub last_hint_at_ms: Option<i64>,
    /// When an inquiry began that showed no money, some seconds after the last sign of a payment, epoch milliseconds.
    /// Read it with [`Order::seen_unpaid`].
    pub seen_unpaid_at_ms: Option<i64>,
    /// When an inquiry began that showed the linked draft closed, epoch milliseconds. Read it with
    /// [`Order::shows_page_closed`].
    pub seen_closed_at_ms: Option<i64>,
    /// When the payment link was stored, epoch milliseconds.
    pub link_at_ms: Option<i64>,
    /// When it can no longer be paid, epoch milliseconds; `None` until there is a link.
    pub expires_at_ms: Option<i64>,
    /// When it reached its final status, epoch milliseconds.
    pub final_at_ms: Option<i64>,
    /// The amount that went back to the customer, in tiyin.
    pub refunded_amount: i64,
    /// Whether a person must look although the status stays.
    pub needs_review: bool,
    /// The part of the amount that refunds have reserved, finished ones included, in tiyin.
    pub refund_reserved: i64,
    /// Why it failed; or, while it waits for a person, the texts of its findings in one sentence, for people and for
    /// the release before the table of findings.
    pub reason: Option<String>,
    /// The suggested act for one of its findings, for the release before their table.
    pub suggested_act: Option<SuggestedAct>,
    /// A person's last decision about it.
    pub resolution: Option<Resolution>,
    /// When it was made, epoch milliseconds.
    pub created_at_ms: i64,
    /// Since when it waits for its payment link, epoch milliseconds; an operator's retry sets it anew.
    pub pending_since_ms: i64,
}

/// A person's decision about an order that waited for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The person's name.
    pub by: String,
    /// The reason.
    pub reason: String,
    /// The transaction that is said to be the payment. While the order is in `review` the gateway is being asked about
    /// it; afterwards it is the one that paid, whatever its amount.
    pub transaction_id: Option<TransactionId>,
}

impl Order {
    /// The gateway account that moves the money.
    pub fn gateway(&self) -> Option<&GatewayIdentity> {
        self.account.as_ref().map(|account| &account.gateway)
    }

    /// How it is paid.
    pub fn payment_type(&self) -> Option<PaymentType> {
        self.account.as_ref().map(|account| account.payment_type)
    }

    /// Whether this account moves its money.
    pub fn is_of(&self, gateway: &GatewayIdentity) -> bool {
        self.gateway() == Some(gateway)
    }

    /// Whether this account has finally refused to make its payment link.
    pub fn is_refused_by(&self, gateway: &GatewayIdentity) -> bool {
        self.refused_gateway.as_ref() == Some(gateway)
    }

    /// Until when the debit of this transaction may come, epoch milliseconds; `None` where it is not the allowed one.
    pub fn allowed_until_ms_of(&self, gateway: &GatewayIdentity, transaction_id: TransactionId) -> Option<i64> {
        let is_allowed = self.is_of(gateway) && self.allowed_transaction_id == Some(transaction_id);
        self.allowed_until_ms.filter(|_| is_allowed)
    }

    /// Whether its customer may choose the account at that time, for the first time or anew, as far as its row says: a
    /// transaction that its gateway has begun, or whose debit is told, forbids it all the same.
    pub fn takes_choice_at(&self, now_ms: i64) -> bool {
        let is_in_time = self.expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > now_ms);
        let may_choose = self.choices.is_some_and(|choices| choices < MAX_CHOICES);
        self.status == Pending && may_choose && is_in_time && self.allowed_transaction_id.is_none()
    }

    /// Whether a person must look, whatever its status.
    pub fn is_before_a_person(&self) -> bool {
        self.status == Review || self.needs_review
    }

    /// The transaction that a person said is the payment, while the gateway has not answered about it.
    pub fn claimed_payment(&self) -> Option<TransactionId> {
        match self.status {
            Review => self.resolution.as_ref()?.transaction_id,
            Pending | Confirming | Paid | Refunded | Expired | Canceled | Failed => None,
        }
    }

    /// Whether its customer may be sent to the gateway's page at that time: not if the order has ended, is in review or too
    /// late, or if the gateway has closed the page. For an order that is being confirmed only the allowed draft can still pay;
    /// a link without a draft would begin another transaction, which is refused.
    pub fn can_be_paid_at(&self, now_ms: i64) -> bool {
        let is_open =
            self.expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > now_ms) && !self.shows_page_closed();
        match self.status {
            Pending => is_open,
            Confirming => is_open && self.transaction_id == self.allowed_transaction_id,
            Paid | Refunded | Expired | Canceled | Failed | Review => false,
        }
    }

    /// The last sign that money may move: a hint or an allowed callback, epoch milliseconds.
    pub fn last_sign_ms(&self) -> Option<i64> {
        self.last_hint_at_ms.max(self.last_allowed_at_ms)
    }

    /// When the gateway showed, after the last sign of a payment, that no money had moved; `None` while that is not
    /// known.
    ///
    /// This is no promise: a debit that was allowed may still come. Until then only the allowed draft can pay.
    pub fn seen_unpaid(&self) -> Option<i64> {
        match self.status {
            Pending | Confirming => {
                self.seen_unpaid_at_ms.filter(|seen_at_ms| Some(*seen_at_ms) >= self.last_sign_ms())
            }
            Paid | Refunded | Expired | Canceled | Failed | Review => None,
        }
    }

    /// Whether the gateway shows the linked draft closed, and no callback has been allowed since. A debit that was
    /// allowed before may still come for a while.
    pub fn shows_page_closed(&self) -> bool {
        self.seen_closed_at_ms.is_some() && self.seen_closed_at_ms >= self.last_allowed_at_ms
    }
}

/// One line of an order's history. A line with `from == to` tells a fact that changed no status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryLine {
    /// When it was written, epoch milliseconds.
    pub at_ms: i64,
    /// The status before; `None` for the first line.
    pub from: Option<OrderStatus>,
    /// The status after.
    pub to: OrderStatus,
    /// The reason, in a sentence.
    pub cause: String,
}
