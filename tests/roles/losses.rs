//! Processes are killed and Redis is wiped during work. That costs seconds, and nothing else.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::installation::{ORDERS_WITHOUT_LINK, RunningInstallation};
use crate::support::job_log;
use crate::support::role::{RunningApi, id};
use crate::support::wait::PATIENCE;

const ORDERS: usize = 40;

/// Slow enough that each loss hits jobs during a call.
const LATENCY: Duration = Duration::from_millis(200);

/// A lease lasts 8 s, and lost ids are enqueued again after 5 s. The rest is work.
const DONE_WITHIN: Duration = Duration::from_secs(20);

const RUNNING_LINKS: &str = "select count(*) from jobs where kind = 'create_payment_link' and state = 'running'";

/// Requests do not wait for links here: the links must be under way at the loss.
const DO_NOT_WAIT: &[(&str, &str)] = &[("TASDIQ_LINK_WAIT_MS", "0")];

/// Pays every transaction of the gateway, also those that a killed worker made and could not store. Then checks that
/// each order took money exactly once.
async fn pay_everything_once(installation: &RunningInstallation, api: &RunningApi, orders: &[Value]) {
    for transaction in installation.sandbox.ledger().await {
        installation.sandbox.pay(transaction["transaction_id"].as_i64().unwrap()).await;
    }

    for order in orders {
        api.wait_for(id(order), "paid").await;
    }
    let mut debits: HashMap<String, i64> = HashMap::new();
    for transaction in installation.sandbox.ledger().await {
        let account = transaction["account"].as_str().unwrap().to_owned();
        *debits.entry(account).or_default() += transaction["debits"].as_i64().unwrap();
    }
    assert_eq!(debits.len(), orders.len());
    assert!(debits.values().all(|debits| *debits == 1), "an order's money was taken more than once: {debits:?}");
}

/// Shows: JOB-20
#[tokio::test]
async fn a_killed_workers_jobs_are_done_by_the_other_within_seconds_and_every_order_is_paid_once() {
    let installation = RunningInstallation::start(DO_NOT_WAIT).await;
    installation.sandbox.delay_answers(LATENCY).await;
    let (api, mut killed, other) = tokio::join!(installation.api(0), installation.worker(4), installation.worker(4));

    let orders = api.create_orders(ORDERS).await;
    // More than one worker can run, so both are at work.
    installation.wait_for_number(RUNNING_LINKS, PATIENCE, |running| running > 4).await;
    killed.program.signal("KILL");
    let killed_at = Instant::now();
    assert!(installation.number(ORDERS_WITHOUT_LINK).await > 0, "the worker was killed in the middle");
    installation.wait_for_links(DONE_WITHIN).await;

    println!("links of all {ORDERS} orders {:?} after the kill", killed_at.elapsed());
    // The count of crashes in a job's row ends with its next good run, so the log is read. The relay of either process
    // may have found a lease that ran out, and only one of them counts it.
    let logs = [&api.role, &other].map(|role| role.program.output().matches("ran out, crash 1").count());
    let crashes: usize = logs.iter().sum();
    assert!((1..=4).contains(&crashes), "{crashes} crashes were counted for a worker that ran at most 4 jobs");
    installation.sandbox.clear_faults().await;
    pay_everything_once(&installation, &api, &orders).await;
}

/// Shows: PROMISE-1
#[tokio::test]
async fn a_redis_wiped_in_the_middle_loses_nothing() {
    let installation = RunningInstallation::start(DO_NOT_WAIT).await;
    installation.sandbox.delay_answers(LATENCY).await;
    let (api, first, second) = tokio::join!(installation.api(0), installation.worker(4), installation.worker(4));

    let orders = api.create_orders(ORDERS).await;
    installation.redis.wipe().await;
    let wiped_at = Instant::now();
    assert!(installation.number(ORDERS_WITHOUT_LINK).await > 0, "Redis was wiped in the middle");
    installation.wait_for_links(DONE_WITHIN).await;

    println!("links of all {ORDERS} orders {:?} after the wipe", wiped_at.elapsed());
    for role in [&api.role, &first, &second] {
        let log = role.program.output();
        assert!(!log.contains("ran out, crash"), "no worker died, and yet a crash was counted");
    }
    installation.sandbox.clear_faults().await;
    pay_everything_once(&installation, &api, &orders).await;
}

/// While no job can be queued, orders are taken and callbacks answered. The jobs are done afterwards.
#[tokio::test]
async fn a_redis_that_dies_and_comes_back_costs_only_time() {
    let mut installation = RunningInstallation::start(&[("TASDIQ_LINK_WAIT_MS", "200")]).await;
    let (api, _worker) = tokio::join!(installation.api(0), installation.worker(8));
    let linked = api.create_order().await;
    let transaction_id = api.wait_for_link(id(&linked)).await;

    installation.redis.kill();
    let without_link = api.create_order().await;
    let outcome = installation.sandbox.pay(transaction_id).await;

    assert_eq!(outcome, "debited", "the callback was answered without Redis");
    assert!(without_link["transaction_id"].is_null(), "no worker could make a link: {without_link}");

    installation.redis.restart().await;
    api.wait_for(id(&linked), "paid").await;
    let transaction_id = api.wait_for_link(id(&without_link)).await;
    assert_eq!(installation.sandbox.pay(transaction_id).await, "debited");
    api.wait_for(id(&without_link), "paid").await;
}

/// Shows: JOB-40
#[tokio::test]
async fn a_worker_told_to_stop_finishes_what_runs_and_hands_back_the_rest() {
    let installation = RunningInstallation::start(DO_NOT_WAIT).await;
    job_log::install(installation.database_url()).await;
    // Longer than a lease's renewal, shorter than the grace.
    installation.sandbox.delay_answers(Duration::from_secs(3)).await;
    let (api, mut worker) = tokio::join!(installation.api(0), installation.worker(2));

    api.create_orders(10).await;
    installation.wait_for_number(RUNNING_LINKS, PATIENCE, |running| running == 2).await;
    worker.program.signal("TERM");
    let told_at = Instant::now();
    let exit_status = worker.program.wait_exit(PATIENCE).await;

    assert_eq!(exit_status.code(), Some(0), "{}", worker.program.output());
    assert!(told_at.elapsed() < Duration::from_secs(10), "it waited {:?} with nothing to wait for", told_at.elapsed());
    let done = installation.number("select count(*) from orders where payment_url is not null").await;
    assert!(done >= 2, "what ran was finished");
    for (what, query) in [
        ("jobs that still look as if they ran", "select count(*) from jobs where state = 'running'"),
        ("crashes", "select sum(crashes)::bigint from jobs"),
        (
            "attempts of jobs that were never started",
            "select sum(attempt)::bigint from jobs where kind = 'create_payment_link'",
        ),
    ] {
        assert_eq!(installation.number(query).await, 0, "{what}");
    }

    installation.sandbox.clear_faults().await;
    let _successor = installation.worker(8).await;
    installation.wait_for_links(PATIENCE).await;
    job_log::links_were_made_once_each(&installation, 10).await;
}
