//! More workers make more links in the same time.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::installation::{ORDERS_WITHOUT_LINK, RunningInstallation};
use crate::support::role::RunningApi;
use crate::support::wait::wait_until;

const ORDERS: usize = 300;

/// Makes the orders at once. Returns the time from the first order until all have their link.
async fn time_for_links(installation: &RunningInstallation, api: &RunningApi) -> Duration {
    let began = Instant::now();
    api.create_orders(ORDERS).await;
    wait_until("the links of all orders", Duration::from_secs(60), async || {
        (installation.number(ORDERS_WITHOUT_LINK).await == 0).then_some(())
    })
    .await;
    began.elapsed()
}

/// With a slow gateway the number of calls at once is the limit of a worker.
#[tokio::test]
async fn two_workers_make_links_nearly_twice_as_fast_as_one() {
    let installation = RunningInstallation::start(&[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let slow = json!({ "fault": "latency", "milliseconds": 300, "path": "/merchant/pay/create" });
    installation.sandbox.fault(&slow).await;
    let (api, _first) = tokio::join!(installation.api(0), installation.worker(8));

    let by_one = time_for_links(&installation, &api).await;
    let _second = installation.worker(8).await;
    let by_two = time_for_links(&installation, &api).await;

    println!("{ORDERS} links: {by_one:?} by one worker, {by_two:?} by two");
    assert!(
        by_one.as_millis() * 10 >= by_two.as_millis() * 18,
        "{ORDERS} links took {by_one:?} by one worker and {by_two:?} by two"
    );
}
