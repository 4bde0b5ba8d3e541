//! An order as examples and tests take it, so that a further field of an order is named here and nowhere else beside its
//! uses.

use super::{GatewayIdentity, Language, NewOrder, Order, OrderStatus, PaymentType};
use crate::id::{OrderId, OrderToken};
use crate::money::Tiyin;

/// Tea for 50.00 soʻm, as the shop `shop` asks for it, at the sandbox.
pub fn new_order() -> NewOrder {
    NewOrder {
        api_key_name: "shop".into(),
        product_name: "Tea".into(),
        amount: Tiyin::new(5_000).unwrap_or(Tiyin::MAX),
        payment_type: PaymentType::Atmos,
        reference: None,
        return_url: None,
        language: Language::Uz,
        gateway: GatewayIdentity("sandbox:1234".into()),
    }
}

/// [`new_order`] as it stands in the database once it is made: `pending`, and nothing has happened to it.
pub fn order(id: OrderId, created_at_ms: i64) -> Order {
    made_of(new_order(), id, OrderToken::random(), created_at_ms)
}

/// The order that the store makes of what a shop asks for, at that time in epoch milliseconds.
pub fn made_of(new: NewOrder, id: OrderId, token: OrderToken, created_at_ms: i64) -> Order {
    Order {
        id,
        token,
        api_key_name: new.api_key_name,
        reference: new.reference,
        product_name: new.product_name,
        amount: new.amount,
        payment_type: new.payment_type,
        return_url: new.return_url,
        language: new.language,
        status: OrderStatus::Pending,
        gateway: new.gateway,
        transaction_id: None,
        payment_url: None,
        links_made: 0,
        allowed_transaction_id: None,
        last_allowed_at_ms: None,
        last_hint_at_ms: None,
        seen_unpaid_at_ms: None,
        seen_closed_at_ms: None,
        link_at_ms: None,
        expires_at_ms: None,
        final_at_ms: None,
        refunded_amount: 0,
        needs_review: false,
        refund_reserved: 0,
        reason: None,
        suggested_act: None,
        resolution: None,
        created_at_ms,
        pending_since_ms: created_at_ms,
    }
}
