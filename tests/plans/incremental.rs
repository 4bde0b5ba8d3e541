//! Work that is too much for one sweep is done by several.

use store::sweeping::{self, Swept};

use crate::support::filling::{self, FillSize};
use crate::support::fixture::{Fixture, gateway, on_every_database};

on_every_database! {
    late_inquiries_that_are_missing_among_very_many_orders_are_restored_by_later_sweeps
}

/// More orders than one sweep reads, and fewer than two read.
const ORDERS: i64 = 30_000;

/// Shows: PROMISE-8
async fn late_inquiries_that_are_missing_among_very_many_orders_are_restored_by_later_sweeps(f: Fixture) {
    f.execute(&filling::statements(FillSize { jobs: 2 * ORDERS, orders: ORDERS }, f.store.now_ms())).await;
    let sweep = async || sweeping::restore(&f.store, &[gateway()]).await.unwrap();
    let lose = async |order: i64| {
        let lose = format!("delete from jobs where kind = 'settle_order' and subject_id = {order}");
        f.execute(&[lose]).await;
    };
    sweep().await; // links of open orders, and the older orders
    sweep().await; // the rest: what comes now begins anew

    lose(2).await; // among the oldest
    lose(ORDERS - 2).await; // among the youngest

    let restored = [sweep().await, sweep().await, sweep().await].map(|swept| swept.settlements_restored);
    assert_eq!(restored, [1, 1, 0], "one among those of the first sweep, one among those of the second");
    assert_eq!(sweep().await, Swept::default());
}
