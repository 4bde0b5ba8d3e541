//! How many orders are open: by status, shop and gateway account.

use sqlx::Row;

use crate::statement::{Statement, json};
use crate::{Store, StoreError};
use domain::id::OrderId;
use domain::order::GatewayIdentity;

/// The number of open orders by status, and of those that need a person although their status stays.
///
/// Only statuses that an order leaves again are counted; the others grow for ever.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn count_open(store: &Store) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = sqlx::query(
        "-- count_open_orders
        select status, count(*) as orders from orders where status in ('pending', 'confirming', 'review') group by status
        union all select 'needs_review', count(*) from orders where needs_review = 1",
    )
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| Ok((row.try_get("status")?, row.try_get("orders")?))).collect()
}

const OPEN_ELSEWHERE: Statement = Statement {
    sqlite: "-- open_orders_elsewhere
        select id, gateway from orders where status in ('pending', 'confirming', 'review')
            and status in ('pending', 'confirming') and gateway <> ''
            and gateway not in (select value from json_each($1))
        order by id limit 100",
    postgres: "-- open_orders_elsewhere
        select id, gateway from orders where status in ('pending', 'confirming', 'review')
            and status in ('pending', 'confirming') and gateway <> ''
            and gateway not in (select value from json_array_elements_text(cast($1 as json)))
        order by id limit 100",
};

/// Open orders of gateway accounts other than `ours`; an order whose customer has not chosen yet is of none. This process does
/// not ask about them until it has their accounts.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn open_elsewhere(
    store: &Store,
    ours: &[GatewayIdentity],
) -> Result<Vec<(OrderId, GatewayIdentity)>, StoreError> {
    let query = sqlx::query(OPEN_ELSEWHERE.on(store.database())).bind(json(ours)?);
    let rows = query.fetch_all(store.readers()).await?;
    rows.iter().map(|row| Ok((OrderId(row.try_get("id")?), GatewayIdentity(row.try_get("gateway")?)))).collect()
}

/// The numbers of unfinished orders, by the name of their shop.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn open_by_shop(store: &Store) -> Result<Vec<(String, i64)>, StoreError> {
    let rows = sqlx::query(
        "-- open_orders_by_shop
        select shop, count(*) as open
        from orders where status in ('pending', 'confirming', 'review') and status in ('pending', 'confirming')
        group by shop order by shop",
    )
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(|row| Ok((row.try_get("shop")?, row.try_get("open")?))).collect()
}

/// The open orders of one gateway account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOfAccount {
    /// The account.
    pub gateway: GatewayIdentity,
    /// How many there are.
    pub orders: i64,
    /// How many of them are `confirming`: their customers have been asked for money.
    pub confirming: i64,
    /// When the oldest was made, epoch milliseconds.
    pub oldest_ms: i64,
}

/// The numbers of unfinished orders, by gateway account; without those whose customer has not chosen one yet.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn open_by_account(store: &Store) -> Result<Vec<OpenOfAccount>, StoreError> {
    let rows = sqlx::query(
        "-- open_orders_by_account
        select gateway, count(*) as open, cast(sum(case when status = 'confirming' then 1 else 0 end) as bigint) as confirming,
            min(created_at_ms) as oldest_ms
        from orders where status in ('pending', 'confirming', 'review') and status in ('pending', 'confirming')
            and gateway <> ''
        group by gateway order by gateway",
    )
    .fetch_all(store.readers())
    .await?;
    rows.iter()
        .map(|row| {
            Ok(OpenOfAccount {
                gateway: GatewayIdentity(row.try_get("gateway")?),
                orders: row.try_get("open")?,
                confirming: row.try_get("confirming")?,
                oldest_ms: row.try_get("oldest_ms")?,
            })
        })
        .collect()
}
