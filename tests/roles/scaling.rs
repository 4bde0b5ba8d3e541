//! More workers do more work.

use std::time::{Duration, Instant};

use serde_json::json;

use super::installation::{Installation, ORDERS_WITHOUT_LINK};
use super::role::Api;
use crate::support::wait::{PATIENCE, wait_until};

const ORDERS: usize = 400;

/// Makes the orders at once and gives the time from the first of them until all have their link.
async fn time_for_links(installation: &Installation, api: &Api) -> Duration {
    let began = Instant::now();
    api.create_orders(ORDERS).await;
    wait_until("the links of all orders", Duration::from_secs(60), async || {
        (installation.number(ORDERS_WITHOUT_LINK).await == 0).then_some(())
    })
    .await;
    began.elapsed()
}

/// While the gateway takes its time, what limits a worker is how many calls it waits for at once.
#[tokio::test]
async fn two_workers_make_links_nearly_twice_as_fast_as_one() {
    let installation = Installation::start(&[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let slow = json!({ "fault": "latency", "milliseconds": 200, "path": "/merchant/pay/create" });
    installation.sandbox.fault(&slow).await;
    let (api, _first) = tokio::join!(installation.api(0), installation.worker(8));

    // What else the machine does can only make a time longer, so the shortest of a few tells most of the program.
    let (mut by_one, mut by_two) = (Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        by_one = by_one.min(time_for_links(&installation, &api).await);
        let mut second = installation.worker(8).await;
        by_two = by_two.min(time_for_links(&installation, &api).await);
        println!("{ORDERS} links: {by_one:?} by one worker, {by_two:?} by two");
        if is_nearly_twice(by_one, by_two) {
            return;
        }
        second.program.signal("TERM");
        second.program.wait_exit(PATIENCE).await;
    }

    panic!("{ORDERS} links took {by_one:?} by one worker and {by_two:?} by two");
}

fn is_nearly_twice(by_one: Duration, by_two: Duration) -> bool {
    by_one.as_millis() * 10 >= by_two.as_millis() * 18
}
