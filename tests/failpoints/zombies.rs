//! Workers that were stopped for longer than their leases and go on: the database refuses each of their writes to
//! orders.

use std::time::Duration;

use failpoint::Point;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::support::installation::RunningInstallation;
use crate::support::role::RunningRole;
use crate::support::wait::{PATIENCE, wait_until};

const ORDERS: i64 = 100;

/// A lease of 8 s and the others' work. After 15 s the zombie would give up its calls, and write nothing.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(13);

/// All that a zombie must not change. Drafts are left out: every draft must be known, whichever worker made it.
const ORDERS_AND_HISTORY: &str = "select md5(string_agg(line, '|' order by line)) from (
    select o::text as line from orders o union all select h::text from order_history h) as lines";

/// A worker that never learns of its lost leases, so that only the fence of each write protects the orders.
fn begin_zombie(installation: &RunningInstallation, queues: &str) -> RunningRole {
    let armed = format!("{}=return", Point::SkipRenewal);
    installation.begin_worker(&["--concurrency", "256", "--queues", queues], &[("FAILPOINTS", &armed)])
}

/// Lets the zombie go on, waits until it has lost a lease for each order, and returns how many it lost.
async fn wake(zombie: &mut RunningRole, kind: &str) -> u64 {
    zombie.program.signal("CONT");
    wait_until("the zombie's writes to be refused", PATIENCE, async || {
        let lost = lost_leases(zombie, kind).await;
        (lost >= ORDERS.unsigned_abs()).then_some(lost)
    })
    .await
}

async fn lost_leases(zombie: &RunningRole, kind: &str) -> u64 {
    let (_, metrics) = zombie.get("/metrics").await;
    let series = format!("tasdiq_jobs_total{{kind=\"{kind}\",outcome=\"lease_lost\"}}");
    metrics.lines().find_map(|line| line.strip_prefix(&series)?.trim().parse().ok()).unwrap_or_default()
}

/// Shows: PROMISE-3, MONEY-9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_100_zombies_that_made_a_draft_100_are_refused_the_link_and_their_drafts_are_known() {
    let installation = RunningInstallation::start(&[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    installation.sandbox.fault(&latency("/merchant/pay/create")).await;
    let api = installation.api(0).await;
    api.create_orders(usize::try_from(ORDERS).unwrap()).await;

    let mut zombie = begin_zombie(&installation, "links");
    all_are_in_mid_call(&installation).await;
    zombie.program.signal("STOP");
    let _successor = installation.worker(64).await;
    installation.wait_for_links(TAKEN_OVER_WITHIN).await;
    let before = installation.text(ORDERS_AND_HISTORY).await;

    assert_eq!(wake(&mut zombie, "create_payment_link").await, ORDERS.unsigned_abs());

    assert_eq!(installation.text(ORDERS_AND_HISTORY).await, before, "a zombie changed an order");
    let drafts = "select count(*) from transactions";
    installation.wait_for_number(drafts, PATIENCE, |drafts| drafts == 2 * ORDERS).await;
}

/// Shows: PROMISE-3, MONEY-9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_100_zombies_that_saw_the_debit_100_are_refused_to_write_paid() {
    let installation = RunningInstallation::start(&[]).await;
    let (api, _links) = tokio::join!(installation.api(0), installation.worker_with(&["--queues", "links"]));
    let orders = api.create_orders(usize::try_from(ORDERS).unwrap()).await;
    installation.wait_for_links(PATIENCE).await;
    installation.sandbox.fault(&latency("/merchant/pay/get")).await;
    stream::iter(&orders).for_each_concurrent(16, |order| pay(&installation, order)).await;

    // Each of its inquiries sees the debit.
    let mut zombie = begin_zombie(&installation, "settle");
    all_are_in_mid_call(&installation).await;
    zombie.program.signal("STOP");
    let _successor = installation.worker(64).await;
    let unpaid = "select count(*) from orders where status <> 'paid'";
    installation.wait_for_number(unpaid, TAKEN_OVER_WITHIN, |unpaid| unpaid == 0).await;
    let before = installation.text(ORDERS_AND_HISTORY).await;

    assert_eq!(wake(&mut zombie, "settle_order").await, ORDERS.unsigned_abs());

    assert_eq!(installation.text(ORDERS_AND_HISTORY).await, before, "a zombie changed an order");
    let paid_lines = "select count(*) from order_history where to_status = 'paid'";
    assert_eq!(installation.number(paid_lines).await, ORDERS);
}

/// Waits until the gateway has each of the hundred calls and has answered none.
async fn all_are_in_mid_call(installation: &RunningInstallation) {
    wait_until("the zombie to be in mid-call a hundred times", PATIENCE, async || {
        (installation.sandbox.active_faults().await == 0).then_some(())
    })
    .await;
}

/// A delay long enough that all hundred calls are open at once, and short enough that none times out.
fn latency(path: &str) -> Value {
    json!({ "fault": "latency", "milliseconds": 7_000, "path": path, "next": ORDERS })
}

async fn pay(installation: &RunningInstallation, order: &Value) {
    let transaction_id = order["transaction_id"].as_i64().unwrap();
    assert_eq!(installation.sandbox.pay(transaction_id).await, "debited");
}
