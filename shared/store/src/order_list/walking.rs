//! The walks along the indexes of lists. Each reads a bounded number of rows, from after a place on.

use sqlx::Row;
use sqlx::any::AnyRow;
use sqlx::query::Query;

use super::position::ListPosition;
use crate::orders::NOT_CHOSEN;
use crate::statement::{Statement, json};
use crate::{Store, StoreError};
use domain::id::OrderId;
use domain::money::Tiyin;
use domain::order::OrderStatus;
use domain::shop::ShopName;

/// The columns of a [`WalkedRow`].
macro_rules! walked_columns {
    () => {
        "o.id, o.created_at_ms, o.status, o.payment_type, o.gateway, o.amount, o.reference, o.product_name, o.needs_review"
    };
}

/// A row that a walk came by, with what a filter may compare.
#[derive(Debug)]
pub(super) struct WalkedRow {
    pub(super) position: ListPosition,
    pub(super) status: String,
    /// `None` until the customer has chosen.
    pub(super) payment_type: Option<String>,
    pub(super) amount: i64,
    pub(super) reference: Option<String>,
    pub(super) product_name: String,
    pub(super) needs_review: bool,
}

/// A walk, newest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk<'a> {
    pub(super) shops: &'a [ShopName],
    /// For [`Walk::of_statuses`].
    pub(super) statuses: &'a [OrderStatus],
    /// Where it ends, epoch milliseconds.
    pub(super) since_ms: i64,
    /// It begins after this place.
    pub(super) before: ListPosition,
    /// The most rows that it returns, and that it reads of each range.
    pub(super) most: usize,
}

// The ranges of an index, one for each shop (and status), are read each by itself, and the newest rows of all are taken: this
// is right because each range has given as many as are taken.
const BY_TIME: Statement = Statement {
    sqlite: concat!(
        "-- list_orders_by_time
        select ",
        walked_columns!(),
        " from json_each($1) as named cross join orders as o
        where o.id in (
            select id from orders
            where shop = named.value and created_at_ms >= $2 and (created_at_ms, id) < ($3, $4)
            order by created_at_ms desc, id desc limit $5
        )
        order by o.created_at_ms desc, o.id desc limit $5"
    ),
    postgres: concat!(
        "-- list_orders_by_time
        select ",
        walked_columns!(),
        " from json_array_elements_text(cast($1 as json)) as named (shop)
        cross join lateral (
            select ",
        walked_columns!(),
        " from orders as o
            where o.shop = named.shop and o.created_at_ms >= $2 and (o.created_at_ms, o.id) < ($3, $4)
            order by o.created_at_ms desc, o.id desc limit $5
        ) as o
        order by o.created_at_ms desc, o.id desc limit $5"
    ),
};

const MARKED: Statement = Statement {
    sqlite: concat!(
        "-- list_marked_orders
        select ",
        walked_columns!(),
        " from json_each($1) as named cross join orders as o
        where o.id in (
            select id from orders
            where needs_review = 1 and shop = named.value and created_at_ms >= $2 and (created_at_ms, id) < ($3, $4)
            order by created_at_ms desc, id desc limit $5
        )
        order by o.created_at_ms desc, o.id desc limit $5"
    ),
    postgres: concat!(
        "-- list_marked_orders
        select ",
        walked_columns!(),
        " from json_array_elements_text(cast($1 as json)) as named (shop)
        cross join lateral (
            select ",
        walked_columns!(),
        " from orders as o
            where o.needs_review = 1 and o.shop = named.shop and o.created_at_ms >= $2
                and (o.created_at_ms, o.id) < ($3, $4)
            order by o.created_at_ms desc, o.id desc limit $5
        ) as o
        order by o.created_at_ms desc, o.id desc limit $5"
    ),
};

const OF_AMOUNT: Statement = Statement {
    sqlite: concat!(
        "-- list_orders_of_amount
        select ",
        walked_columns!(),
        " from json_each($1) as named cross join orders as o
        where o.id in (
            select id from orders
            where shop = named.value and amount = $6 and created_at_ms >= $2 and (created_at_ms, id) < ($3, $4)
            order by created_at_ms desc, id desc limit $5
        )
        order by o.created_at_ms desc, o.id desc limit $5"
    ),
    postgres: concat!(
        "-- list_orders_of_amount
        select ",
        walked_columns!(),
        " from json_array_elements_text(cast($1 as json)) as named (shop)
        cross join lateral (
            select ",
        walked_columns!(),
        " from orders as o
            where o.shop = named.shop and o.amount = $6 and o.created_at_ms >= $2
                and (o.created_at_ms, o.id) < ($3, $4)
            order by o.created_at_ms desc, o.id desc limit $5
        ) as o
        order by o.created_at_ms desc, o.id desc limit $5"
    ),
};

const OF_STATUSES: Statement = Statement {
    sqlite: concat!(
        "-- list_orders_of_statuses
        select ",
        walked_columns!(),
        " from json_each($1) as named cross join json_each($6) as asked cross join orders as o
        where o.id in (
            select id from orders
            where shop = named.value and status = asked.value and created_at_ms >= $2
                and (created_at_ms, id) < ($3, $4)
            order by created_at_ms desc, id desc limit $5
        )
        order by o.created_at_ms desc, o.id desc limit $5"
    ),
    postgres: concat!(
        "-- list_orders_of_statuses
        select ",
        walked_columns!(),
        " from json_array_elements_text(cast($1 as json)) as named (shop)
        cross join json_array_elements_text(cast($6 as json)) as asked (status)
        cross join lateral (
            select ",
        walked_columns!(),
        " from orders as o
            where o.shop = named.shop and o.status = asked.status and o.created_at_ms >= $2
                and (o.created_at_ms, o.id) < ($3, $4)
            order by o.created_at_ms desc, o.id desc limit $5
        ) as o
        order by o.created_at_ms desc, o.id desc limit $5"
    ),
};

impl Walk<'_> {
    /// How many ranges of an index it reads.
    pub(super) fn ranges(&self) -> usize {
        (self.shops.len() * self.statuses.len().max(1)).max(1)
    }

    /// All orders, by their time.
    pub(super) async fn by_time(&self, store: &Store) -> Result<Vec<WalkedRow>, StoreError> {
        rows(store, self.bound(BY_TIME, store)?).await
    }

    /// Those that are marked for a person.
    pub(super) async fn marked(&self, store: &Store) -> Result<Vec<WalkedRow>, StoreError> {
        rows(store, self.bound(MARKED, store)?).await
    }

    /// Those of one amount.
    pub(super) async fn of_amount(&self, store: &Store, amount: Tiyin) -> Result<Vec<WalkedRow>, StoreError> {
        rows(store, self.bound(OF_AMOUNT, store)?.bind(amount.get())).await
    }

    /// Those of the walk's statuses.
    pub(super) async fn of_statuses(&self, store: &Store) -> Result<Vec<WalkedRow>, StoreError> {
        rows(store, self.bound(OF_STATUSES, store)?.bind(json(self.statuses)?)).await
    }

    fn bound(
        &self,
        statement: Statement,
        store: &Store,
    ) -> Result<Query<'static, sqlx::Any, sqlx::any::AnyArguments>, StoreError> {
        Ok(sqlx::query(statement.on(store.database()))
            .bind(json(self.shops)?)
            .bind(self.since_ms)
            .bind(self.before.created_at_ms)
            .bind(self.before.id.0)
            .bind(i64::try_from(self.most).unwrap_or(i64::MAX)))
    }
}

async fn rows(
    store: &Store,
    query: Query<'static, sqlx::Any, sqlx::any::AnyArguments>,
) -> Result<Vec<WalkedRow>, StoreError> {
    query.fetch_all(store.readers()).await?.iter().map(WalkedRow::read).collect()
}

impl WalkedRow {
    fn read(row: &AnyRow) -> Result<Self, StoreError> {
        let gateway: String = row.try_get("gateway")?;
        let payment_type: String = row.try_get("payment_type")?;
        Ok(WalkedRow {
            position: ListPosition { created_at_ms: row.try_get("created_at_ms")?, id: OrderId(row.try_get("id")?) },
            status: row.try_get("status")?,
            payment_type: Some(payment_type).filter(|_| gateway != NOT_CHOSEN),
            amount: row.try_get("amount")?,
            reference: row.try_get("reference")?,
            product_name: row.try_get("product_name")?,
            needs_review: row.try_get::<i64, _>("needs_review")? != 0,
        })
    }
}
