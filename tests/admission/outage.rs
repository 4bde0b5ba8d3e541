//! The gateway is away for half an hour, and everything completes by itself afterwards.
//!
//! Half an hour is shortened to 6 s. Scheduled waits are shortened as much or more: inquiries come 0.05 s to 1 s after a
//! hint instead of 0.25 s to 10 min. The breaker's waits (1, 2, 4, up to 5 s) and the rate limit are not shortened. So the
//! test has less time between probes than a real outage, and more calls in the same time.

use std::time::{Duration, Instant};

use serde_json::json;

use super::counted_way::CountedWay;
use crate::support::installation::RunningInstallation;
use crate::support::ports::free_port;
use crate::support::role::{RunningApi, RunningRole, id};
use crate::support::sandbox::RunningSandbox;
use crate::support::up::Up;
use crate::support::wait::wait_until;

const OUTAGE: Duration = Duration::from_secs(6);

/// The last probe before the end may have been just before it; then 5 s pass until the next. And the work that has
/// waited is done within the rate limit.
const RECOVERY: Duration = Duration::from_secs(20);

const RATE: (u32, u32) = (20, 20);

/// The settings of every process.
const SETTINGS: [(&str, &str); 3] =
    [("TASDIQ_GATEWAY_RATE", "20/20"), ("TASDIQ_LINK_WAIT_MS", "0"), ("TASDIQ_SETTLE_SCHEDULE", "0.05,0.1,0.25,0.5,1")];

/// One process on SQLite.
/// Shows: ADMISSION-16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_gateway_costs_one_process_nothing_but_time() {
    let address = format!("127.0.0.1:{}", free_port());
    let sandbox = RunningSandbox::start(&format!("http://{address}")).await;
    let way = CountedWay::start(sandbox.port()).await;
    let url = way.url();
    let up = Up::start(&[&SETTINGS[..], &[("TASDIQ_LISTEN", &address), ("ATMOS_BASE_URL", &url)]].concat()).await;
    let api = RunningApi::new(RunningRole::new(up.api.role.program, &address));

    outage(&api, &sandbox, &way).await;
}

/// An API and two workers, which share circuit breaker and rate limit through Redis.
/// Shows: ADMISSION-16
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_gateway_costs_a_fleet_nothing_but_time() {
    let installation = RunningInstallation::start(&SETTINGS).await;
    let way = CountedWay::start(installation.sandbox.port()).await;
    let url = way.url();
    let api = installation.api(0).await;
    let mut workers = [(); 2].map(|()| installation.begin_worker(&[], &[("ATMOS_BASE_URL", &url)]));
    for worker in &mut workers {
        worker.ready().await;
    }

    outage(&api, &installation.sandbox, &way).await;
}

/// The job of a single order makes the probe each time. With its own backoff it would wait longer than the outage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_alone_in_an_outage_gets_its_link_as_soon_as_the_breaker_tries() {
    let up = Up::start(&SETTINGS).await;
    up.sandbox.fault(&json!({ "fault": "server-error" })).await;
    let order = id(&up.api.create_order().await);

    tokio::time::sleep(OUTAGE + Duration::from_secs(2)).await;
    let jobs: serde_json::Value = serde_json::from_str(&up.jobs(&["--kind", "create_payment_link"]).await).unwrap();
    up.sandbox.clear_faults().await;

    // One attempt met the first failures, and a call that the breaker holds back or makes its probe costs no attempt.
    assert!(jobs[0]["attempt"].as_i64().unwrap() <= 2, "{jobs}");
    up.api.wait_for_link_within(order, Duration::from_secs(11)).await;
}

async fn outage(api: &RunningApi, sandbox: &RunningSandbox, way: &CountedWay) {
    let linked: Vec<i64> = api.create_orders(20).await.iter().map(id).collect();
    let mut transactions = Vec::new();
    for order in &linked {
        transactions.push(api.wait_for_link(*order).await);
    }

    let began = Instant::now();
    sandbox.fault(&json!({ "fault": "unavailable" })).await;
    let calls_before = way.calls().len();
    for transaction in &transactions {
        assert_eq!(sandbox.pay(*transaction).await, "debited", "the gateway's own page works, and our webhook");
    }
    let unlinked: Vec<i64> = api.create_orders(40).await.iter().map(id).collect();
    tokio::time::sleep(OUTAGE.saturating_sub(began.elapsed())).await;
    let in_vain = way.calls().len() - calls_before;
    let (ready, said) = api.role.get("/readyz").await;
    sandbox.clear_faults().await;

    assert!(ready.is_success(), "an outage of the gateway is no reason to restart us: {said}");
    // Five that open it, those that were under way then, and a probe after 1, 2 and 4 s.
    assert!((6..=30).contains(&in_vain), "{in_vain} calls to a gateway that was away");
    let cleared = Instant::now();
    for order in &linked {
        wait_within(api, *order, cleared, async |order| order["status"] == "paid").await;
    }
    for order in &unlinked {
        wait_within(api, *order, cleared, async |order| order["transaction_id"].is_i64()).await;
    }
    println!("{in_vain} calls during the outage; all was made up for {:?} after it", cleared.elapsed());
    way.assert_within(RATE.0, RATE.1);
}

async fn wait_within(api: &RunningApi, order_id: i64, since: Instant, fits: impl AsyncFn(&serde_json::Value) -> bool) {
    let what = format!("order {order_id} to be made up for");
    wait_until(&what, RECOVERY.saturating_sub(since.elapsed()), async || {
        let order = api.order(order_id).await;
        fits(&order).await.then_some(())
    })
    .await;
}
