//! A place in a list.

use domain::id::OrderId;
use domain::order::Order;

/// A place in a list: the order after which a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition {
    /// When that order was made, epoch milliseconds.
    pub created_at_ms: i64,
    /// Its number.
    pub id: OrderId,
}

impl ListPosition {
    /// The place of an order.
    pub fn of(order: &Order) -> Self {
        ListPosition { created_at_ms: order.created_at_ms, id: order.id }
    }
}
