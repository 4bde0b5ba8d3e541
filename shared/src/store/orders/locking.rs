//! Locks on the rows of orders: in the order of their numbers, so that two transactions never wait for each other.

use std::collections::HashMap;

use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};

use super::parse_status;
use crate::id::OrderId;
use crate::order::OrderStatus;
use crate::store::given::Column::Number;
use crate::store::given::{given, numbers};
use crate::store::together::Locked;
use crate::store::{StoreError, Write};

/// Locks the order's row and tells its status; the guarded statement that follows names it again.
pub(in crate::store) async fn lock(write: &mut Write, id: OrderId) -> Result<OrderStatus, StoreError> {
    lock_all(write, &[id], Locked::Waited).await?.remove(&id).ok_or_else(|| sqlx::Error::RowNotFound.into())
}

/// As [`lock`], of several orders, in the order of their numbers.
pub(in crate::store) async fn lock_all(
    write: &mut Write,
    ids: &[OrderId],
    locked: Locked,
) -> Result<HashMap<OrderId, OrderStatus>, StoreError> {
    let sql = format!(
        "-- lock_orders\nselect id, status from orders where id {} order by id {}",
        given(write.store.database(), 1, &[Number("of_order")]).any("of_order"),
        locked.clause(&write.store, "orders")
    );
    let locked = sqlx::query(AssertSqlSafe(sql)).bind(numbers("of_order", ids)?).fetch_all(write.transaction()).await?;
    let status = |row: &AnyRow| Ok((OrderId(row.try_get("id")?), parse_status(row.try_get("status")?)?));
    locked.iter().map(status).collect()
}

/// The places of orders whose row was passed over.
pub(in crate::store) fn missing(ids: &[OrderId], statuses: &HashMap<OrderId, OrderStatus>) -> Vec<usize> {
    ids.iter().enumerate().filter(|(_, id)| !statuses.contains_key(id)).map(|(place, _)| place).collect()
}
