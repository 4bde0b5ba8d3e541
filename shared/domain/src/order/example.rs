//! The order that examples and tests take.

use super::{GatewayIdentity, Language, NewOrder, Order, PaymentType};
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
    new_order().made(id, OrderToken::random(), created_at_ms)
}
