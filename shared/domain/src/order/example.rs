//! The order that tests use.

use super::{GatewayIdentity, Language, NewOrder, Order, OrderAccount, OrderStatus, PaymentType};
use crate::id::{OrderId, OrderToken};
use crate::money::Tiyin;
use crate::shop::ShopName;

/// Tea for 50.00 soʻm, asked for with the API key `shop`, at the sandbox.
pub fn new_order() -> NewOrder {
    NewOrder {
        shop: ShopName::default(),
        api_key_name: "shop".into(),
        product_name: "Tea".into(),
        amount: Tiyin::new(5_000).unwrap_or(Tiyin::MAX),
        account: Some(OrderAccount {
            payment_type: PaymentType::Atmos,
            gateway: GatewayIdentity("sandbox:1234".into()),
        }),
        reference: None,
        return_url: None,
        cancel_url: None,
        language: Language::Uz,
    }
}

/// [`new_order`] as the database has it once it is made: `pending`, and unchanged since.
pub fn order(id: OrderId, created_at_ms: i64) -> Order {
    new_order().made(id, OrderToken::random(), created_at_ms)
}

impl NewOrder {
    /// The order that the store makes of it at that time, in epoch milliseconds: `pending`, and unchanged since.
    pub fn made(self, id: OrderId, token: OrderToken, created_at_ms: i64) -> Order {
        Order {
            id,
            token,
            shop: self.shop,
            api_key_name: self.api_key_name,
            reference: self.reference,
            product_name: self.product_name,
            amount: self.amount,
            choices: self.account.is_none().then_some(0),
            account: self.account,
            refused_gateway: None,
            return_url: self.return_url,
            cancel_url: self.cancel_url,
            language: self.language,
            status: OrderStatus::Pending,
            transaction_id: None,
            payment_url: None,
            links_made: 0,
            allowed_transaction_id: None,
            last_allowed_at_ms: None,
            allowed_until_ms: None,
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
}
