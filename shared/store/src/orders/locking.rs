//! Locks on the rows of orders, taken in the order of their numbers, so that no two transactions wait for each other.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::any::AnyRow;

use super::{gateway_of, parse_status};
use crate::group_commit::LockedRows;
use crate::statement::{LockingStatement, json};
use crate::{StoreError, Write};
use domain::id::OrderId;
use domain::order::{GatewayIdentity, OrderStatus};

/// An order whose row is locked.
#[derive(Clone, Debug)]
pub(crate) struct LockedStatus {
    pub(crate) status: OrderStatus,
    /// The account through which it is paid; `None` until its customer has chosen one.
    pub(crate) gateway: Option<GatewayIdentity>,
}

/// Locks the order's row and returns its status. The guarded statement that follows checks the status again.
pub(crate) async fn lock(write: &mut Write, id: OrderId) -> Result<OrderStatus, StoreError> {
    let locked = lock_all(write, &[id], LockedRows::Wait).await?.remove(&id);
    Ok(locked.ok_or(sqlx::Error::RowNotFound)?.status)
}

const LOCK_ORDERS: LockingStatement = LockingStatement {
    sqlite: "-- lock_orders
        select id, status, gateway from orders where id in (select value from json_each($1)) order by id",
    postgres: "-- lock_orders
        select id, status, gateway from orders
        where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
        order by id for update",
    postgres_skipping: "-- lock_orders
        select id, status, gateway from orders
        where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
        order by id for update skip locked",
};

/// As [`lock`], for several orders, in the order of their numbers.
pub(crate) async fn lock_all(
    write: &mut Write,
    ids: &[OrderId],
    locked: LockedRows,
) -> Result<HashMap<OrderId, LockedStatus>, StoreError> {
    let text = LOCK_ORDERS.on(write.store.database(), locked);
    let locked = sqlx::query(text).bind(json(ids)?).fetch_all(write.transaction()).await?;
    let read = |row: &AnyRow| {
        let order = LockedStatus { status: parse_status(row.try_get("status")?)?, gateway: gateway_of(row)? };
        Ok((OrderId(row.try_get("id")?), order))
    };
    locked.iter().map(read).collect()
}

/// The positions of orders whose row was skipped.
pub(crate) fn missing(ids: &[OrderId], locked: &HashMap<OrderId, LockedStatus>) -> Vec<usize> {
    ids.iter().enumerate().filter(|(_, id)| !locked.contains_key(id)).map(|(place, _)| place).collect()
}
