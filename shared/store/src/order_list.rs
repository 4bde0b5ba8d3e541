//! Lists of orders: those that a filter finds, newest first, page by page.
//!
//! The order of a list is the time at which an order was made, then its number; both never change. So a page begins where the
//! one before ended, whatever was made or changed meanwhile: no order is listed twice, and none is left out that fits the filter
//! all the time. No page reads more than [`MOST_WALKED`] rows: the most selective part of the filter chooses an index
//! (`walking.rs`), and the rest is compared row by row. A page may therefore have fewer orders than were asked for, and still
//! tell where the next one begins.

use domain::id::OrderId;
use domain::money::Tiyin;
use domain::order::{Order, OrderStatus};
use domain::shop::ShopName;

use super::order_lookup::{self, read_orders};
use super::{Store, StoreError};

mod filter;
mod position;
mod walking;

pub use filter::{OrderFilter, SearchWords};
pub use position::ListPosition;
use walking::Walk;

/// The most rows that one page looks at to find its orders, in one shop.
pub const MOST_WALKED: usize = 1_000;

/// One page of a list.
#[derive(Clone, Debug)]
pub struct OrderPage {
    /// The orders, newest first; maybe fewer than were asked for, or none, although there is a further page.
    pub orders: Vec<Order>,
    /// Where the next page begins; `None` at the end of the list.
    pub next: Option<ListPosition>,
}

/// The way to the rows of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By a name: a few rows.
    ByName,
    /// Those that are marked for a person.
    Marked,
    /// Those of one amount.
    OfAmount(Tiyin),
    /// Those of the filter's statuses.
    OfStatuses,
    /// All, by their time.
    ByTime,
}

/// A page of the orders of these shops that the filter finds, with at most `limit` orders, from after this place on.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn list(
    store: &Store,
    shops: &[ShopName],
    filter: &OrderFilter,
    after: Option<ListPosition>,
    limit: usize,
) -> Result<OrderPage, StoreError> {
    let way = way_of(filter);
    match way {
        Way::ByName => by_name(store, shops, filter, after, limit).await,
        Way::Marked | Way::OfAmount(_) | Way::OfStatuses | Way::ByTime => {
            walk(store, shops, filter, way, after, limit).await
        }
    }
}

/// The most selective part of a filter: names lead to a few orders, marks to the open work of people, and of one amount there
/// are mostly fewer orders than of one status.
fn way_of(filter: &OrderFilter) -> Way {
    match filter.exact_amount() {
        _ if filter.reference.is_some() || filter.transaction.is_some() => Way::ByName,
        _ if filter.needs_review == Some(true) => Way::Marked,
        Some(amount) => Way::OfAmount(amount),
        None if filter.names_some_statuses() => Way::OfStatuses,
        None => Way::ByTime,
    }
}

/// Whether a row of this way may not fit the filter.
fn compares_rows(filter: &OrderFilter, way: Way) -> bool {
    filter.payment_type.is_some()
        || !filter.words.is_empty()
        || (filter.needs_review.is_some() && way != Way::Marked)
        || (filter.has_amount() && !matches!(way, Way::OfAmount(_)))
        || (filter.names_some_statuses() && way != Way::OfStatuses)
}

async fn by_name(
    store: &Store,
    shops: &[ShopName],
    filter: &OrderFilter,
    after: Option<ListPosition>,
    limit: usize,
) -> Result<OrderPage, StoreError> {
    let of_transaction = match &filter.transaction {
        Some(transaction) => Some(order_lookup::ids_of_transaction(store, transaction).await?),
        None => None,
    };
    let ids = match (of_transaction, &filter.reference) {
        (Some(ids), _) => ids,
        (None, Some(reference)) => {
            order_lookup::ids_of_reference(store, &shops.iter().collect::<Vec<_>>(), reference).await?
        }
        (None, None) => Vec::new(),
    };
    let mut orders = read_orders(store, &ids).await?;
    orders.retain(|order| {
        shops.contains(&order.shop)
            && filter.finds(&order.into())
            && after.is_none_or(|after| ListPosition::of(order) < after)
    });
    Ok(OrderPage::cut(orders, limit, None))
}

async fn walk(
    store: &Store,
    shops: &[ShopName],
    filter: &OrderFilter,
    way: Way,
    after: Option<ListPosition>,
    limit: usize,
) -> Result<OrderPage, StoreError> {
    // A status that is named twice would be walked twice.
    let is_named = |status: &&OrderStatus| way == Way::OfStatuses && filter.statuses.contains(status);
    let statuses: Vec<OrderStatus> = OrderStatus::ALL.iter().filter(is_named).copied().collect();
    let walk = Walk {
        shops,
        statuses: &statuses,
        since_ms: filter.since_ms.unwrap_or(i64::MIN),
        before: filter.begins_before(after),
        most: 0,
    };
    let most = match compares_rows(filter, way) {
        true => (MOST_WALKED / walk.ranges()).max(limit + 1),
        false => limit + 1,
    };
    let walk = Walk { most, ..walk };
    let rows = match way {
        Way::Marked => walk.marked(store).await?,
        Way::OfAmount(amount) => walk.of_amount(store, amount).await?,
        Way::OfStatuses => walk.of_statuses(store).await?,
        Way::ByTime | Way::ByName => walk.by_time(store).await?,
    };
    // The rows may go on where the walk stopped.
    let stopped = rows.last().filter(|_| rows.len() >= most).map(|row| row.position);
    let found: Vec<ListPosition> =
        rows.iter().filter(|row| filter.finds(&(*row).into())).map(|row| row.position).take(limit + 1).collect();
    let stopped = match found.get(limit) {
        Some(_) => found.get(limit - 1).copied(),
        None => stopped,
    };
    let ids: Vec<OrderId> = found.iter().take(limit).map(|position| position.id).collect();
    let mut orders = read_orders(store, &ids).await?;
    // Another process may have changed one in this moment.
    orders.retain(|order| filter.finds(&order.into()));
    Ok(OrderPage::cut(orders, limit, stopped))
}

impl OrderPage {
    /// The first of these orders; the list goes on after the last of them, or where the walk stopped.
    fn cut(mut orders: Vec<Order>, limit: usize, stopped: Option<ListPosition>) -> Self {
        orders.sort_unstable_by_key(|order| std::cmp::Reverse(ListPosition::of(order)));
        let is_cut = orders.len() > limit;
        orders.truncate(limit);
        let next = if is_cut { orders.last().map(ListPosition::of) } else { stopped };
        OrderPage { orders, next }
    }
}
