//! A short day of a shop, with one worker and with more: the cost of more processes on one machine.

use std::sync::Arc;

use super::Extent;
use super::report::Section;
use super::setup::Setup;
use super::shop::{self, CLIENTS, SLOW_GATEWAY};

/// Orders and callbacks by 64 clients for each number of workers.
pub(super) async fn measure(extent: Extent) -> Section {
    let (mut rows, mut title) = (Vec::new(), "");
    for workers in extent.workers {
        let setup = Arc::new(Setup::servers(*workers).await);
        title = setup.name();
        let time = extent.load / 2;
        let (made, orders) = shop::first_orders(&setup, CLIENTS[1], time).await;
        let slowly = shop::orders_of_slow_gateway(&setup, time, SLOW_GATEWAY[0]).await;
        let called = shop::first_callbacks(&setup, CLIENTS[1], time, &orders).await;
        for row in [made, slowly, called] {
            rows.push(row.with_load(format!("{} clients, {workers} workers", CLIENTS[1])));
        }
    }
    Section::of_rows(format!("{title}: by one worker and by more"), rows)
}
