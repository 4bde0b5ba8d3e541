//! Orders by a name that their shop or a gateway gave them: a reference, or the number of a transaction. Each name leads to a
//! few orders at most.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::reading::ReadInBatch;
use super::statement::{Statement, json};
use super::{Store, StoreError};
use domain::id::OrderId;
use domain::order::Order;
use domain::shop::ShopName;

/// The order of this reference in a shop. Where several have it, from before the release with shops, it is the one that keeps a
/// new order of this API key from having the reference.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn by_reference(
    store: &Store,
    shop: &ShopName,
    api_key_name: &str,
    reference: &str,
) -> Result<Option<Order>, StoreError> {
    let ids = ids_of_reference(store, &[shop], reference).await?;
    let found = read_orders(store, &ids).await?;
    Ok(found.into_iter().min_by_key(|order| (order.api_key_name != api_key_name, order.id)))
}

// PostgreSQL looks each shop up by itself: a join could read the whole table.
const ORDERS_OF_REFERENCE: Statement = Statement {
    sqlite: "-- orders_of_reference
        select o.id from json_each($1) as named cross join orders as o
        where o.shop = named.value and o.reference = $2",
    postgres: "-- orders_of_reference
        select o.id from json_array_elements_text(cast($1 as json)) as named (shop)
        cross join lateral (select id from orders where shop = named.shop and reference = $2 offset 0) as o",
};

/// The numbers of the orders of these shops that have this reference.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn ids_of_reference(store: &Store, shops: &[&ShopName], reference: &str) -> Result<Vec<OrderId>, StoreError> {
    let query = sqlx::query(ORDERS_OF_REFERENCE.on(store.database())).bind(json(shops)?).bind(reference.to_owned());
    query.fetch_all(store.readers()).await?.iter().map(|row| Ok(OrderId(row.try_get("id")?))).collect()
}

// A number is known together with its account only. The accounts are found one after the other in the index, so this reads a
// few rows for each account that the installation ever had.
const ORDERS_OF_TRANSACTION: &str = "-- orders_of_transaction
    with recursive accounts (gateway) as (
        select min(gateway) from transactions
        union all
        select (select min(t.gateway) from transactions t where t.gateway > accounts.gateway)
        from accounts where accounts.gateway is not null
    )
    select (select t.order_id from transactions t where t.gateway = accounts.gateway and t.transaction_id = $1) as id
    from accounts where accounts.gateway is not null
    union
    select (select t.order_id from transactions t where t.gateway = accounts.gateway and t.external_id = $2)
    from accounts where accounts.gateway is not null
    union
    select order_id from transactions where success_transaction_id = $1";

/// The numbers of the orders of a transaction, of whatever shop: by its number here, by the gateway's own id of it, or by the
/// gateway's permanent number of its debit. The numbers of two gateways may be equal.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn ids_of_transaction(store: &Store, transaction: &str) -> Result<Vec<OrderId>, StoreError> {
    // Every number of a transaction is above zero.
    let number: i64 = transaction.parse().unwrap_or(-1);
    let query = sqlx::query(ORDERS_OF_TRANSACTION).bind(number).bind(transaction.to_owned());
    let rows = query.fetch_all(store.readers()).await?;
    let ids: Vec<Option<i64>> = rows.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>()?;
    Ok(ids.into_iter().flatten().map(OrderId).collect())
}

/// Every shop that has an order.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn shops(store: &Store) -> Result<Vec<ShopName>, StoreError> {
    let query = sqlx::query(
        "-- shops_of_orders
        with recursive shops (shop) as (
            select min(shop) from orders
            union all
            select (select min(o.shop) from orders o where o.shop > shops.shop) from shops where shops.shop is not null
        )
        select shop from shops where shop is not null",
    );
    let name = |row: &AnyRow| {
        let shop: String = row.try_get("shop")?;
        ShopName::parse(&shop).map_err(|_| StoreError::UnknownValue { column: "orders.shop", value: shop })
    };
    query.fetch_all(store.readers()).await?.iter().map(name).collect()
}

/// The orders of these numbers.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn read_orders(store: &Store, ids: &[OrderId]) -> Result<Vec<Order>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let found = <Option<Order> as ReadInBatch>::find_all(store, json(ids)?).await?;
    Ok(found.into_values().flatten().collect())
}
