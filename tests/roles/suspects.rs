//! Jobs whose worker was killed twice are done soon after its return, and no other order waits for them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::installation::{RunningInstallation, SANDBOX_CREDENTIALS};
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::role::{RunningApi, RunningRole, id};
use crate::support::sandbox::RunningSandbox;
use crate::support::wait::{PATIENCE, wait_until};

/// Payments under way when the worker is killed.
const PAYMENTS: usize = 60;

/// How long the gateway takes while the worker is killed, so that all of them are under way at once.
const GATEWAY_AT_FIRST: Duration = Duration::from_secs(12);

/// How long the gateway takes afterwards.
const GATEWAY: Duration = Duration::from_secs(3);

/// The longest time from the worker's return until all payments are confirmed, without the gateway's time. A lease is
/// most of it.
const DONE_WITHIN: Duration = Duration::from_secs(15);

/// The longest time for a new customer's link, without the gateway's time.
const LINK_WITHIN: Duration = Duration::from_secs(2);

/// Shows: JOB-22
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_the_jobs_of_a_worker_killed_twice_are_done_soon_and_a_new_customer_waits_for_none_of_them() {
    let installation = RunningInstallation::start(&[]).await;
    let api = installation.api(0).await;
    let mut worker = installation.worker(PAYMENTS + 4).await;
    let payments = pay_all(&api, &installation.sandbox).await;
    for crashes in 0..2 {
        let crashed = format!("kind = 'settle_order' and crashes = {crashes}");
        under_way(async || {
            installation.number(&format!("select count(*) from jobs where state = 'running' and {crashed}")).await
        })
        .await;
        kill(&mut worker).await;
        if crashes == 1 {
            quicken(&installation.sandbox).await;
        }
        worker = installation.worker(PAYMENTS + 4).await;
    }

    let returned = Instant::now();
    let (links, took) = tokio::join!(link_until_paid(&api, &payments), paid(&api, &payments, returned));

    judge(links, took);
    let crashed = "select count(*) from jobs where crashes > 0 or state = 'dead'";
    installation.wait_for_number(crashed, PATIENCE, |jobs| jobs == 0).await;
}

/// Shows: JOB-22
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_the_jobs_of_a_process_killed_twice_are_done_soon_and_a_new_customer_waits_for_none_of_them() {
    let data_dir = tempfile::Builder::new().prefix("data.").tempdir().unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let sandbox = RunningSandbox::start(&format!("http://{address}")).await;
    let mut environment = SANDBOX_CREDENTIALS.to_vec();
    environment.extend([
        ("ATMOS_BASE_URL", sandbox.url.as_str()),
        ("TASDIQ_LISTEN", &address),
        ("TASDIQ_DATA_DIR", data_dir.path().to_str().unwrap()),
    ]);
    let start = async || {
        let mut role = RunningRole::new(Program::start(&["up"], &environment), &address);
        role.ready().await;
        RunningApi::new(role)
    };
    let running = async |crashes: i64| {
        let command = ["jobs", "list", "--state", "running", "--kind", "settle_order", "--limit", "1000", "--json"];
        let mut list = Program::start(&command, &environment);
        list.wait_exit(PATIENCE).await;
        let jobs: Vec<Value> = serde_json::from_str(&list.output()).unwrap();
        i64::try_from(jobs.iter().filter(|job| job["crashes"] == crashes).count()).unwrap()
    };
    let mut api = start().await;
    let payments = pay_all(&api, &sandbox).await;
    for crashes in 0..2 {
        under_way(async || running(crashes).await).await;
        kill(&mut api.role).await;
        if crashes == 1 {
            quicken(&sandbox).await;
        }
        api = start().await;
    }

    let returned = Instant::now();
    let (links, took) = tokio::join!(link_until_paid(&api, &payments), paid(&api, &payments, returned));

    judge(links, took);
    for crashes in 1..4 {
        assert_eq!(running(crashes).await, 0, "all came to their end");
    }
}

/// `--queues` names the other queues of a worker: a suspect must not wait for a worker of its own queue.
/// Shows: JOB-23
#[tokio::test]
async fn every_worker_takes_suspects_whatever_its_queues() {
    let installation = RunningInstallation::start(&[]).await;
    let api = installation.api(0).await;
    let (suspect, other) = (id(&api.create_order().await), id(&api.create_order().await));
    let crashed = format!(
        "update jobs set crashes = 2, queue = 'suspect', state = 'available', due_at_ms = 0
            where subject_id = {suspect} and kind = 'create_payment_link'"
    );
    installation.execute(&crashed).await;

    let _background = installation.worker_with(&["--queues", "background"]).await;
    api.wait_for_link(suspect).await;

    assert_eq!(api.order(other).await["transaction_id"], Value::Null, "links are not this worker's");
    let jobs =
        format!("select count(*) from jobs where kind = 'settle_order' and subject_id = {suspect} and crashes = 0");
    assert_eq!(installation.number(&jobs).await, 1, "it came to its end");
}

/// A worker that is told to stop finishes its suspects like its other jobs, also when their process gets the signal,
/// too.
/// Shows: JOB-23
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_suspects_and_a_signal_to_their_process_does_not_end_them() {
    let installation = RunningInstallation::start(&[]).await;
    let api = installation.api(0).await;
    installation.sandbox.delay_answers(Duration::from_secs(5)).await;
    let suspect = id(&api.create_order().await);
    // Its id also waits in the queue of links, from which a worker would run it in its own process.
    installation.redis.wipe().await;
    installation.execute("update jobs set crashes = 2, queue = 'suspect', state = 'available', due_at_ms = 0").await;
    let mut worker = installation.worker(4).await;
    installation
        .wait_for_number("select count(*) from jobs where state = 'running' and queue = 'suspect'", PATIENCE, |jobs| {
            jobs == 1
        })
        .await;

    // Some supervisors signal all processes of a service.
    worker.program.signal_family("TERM");
    let status = worker.program.wait_exit(PATIENCE).await;

    assert!(status.success(), "{status}\n{}", worker.program.output());
    assert!(api.order(suspect).await["transaction_id"].is_i64(), "{}", worker.program.output());
    assert_eq!(installation.number("select max(crashes) from jobs").await, 0, "it came to its end");
}

/// The kill of a worker alone, as by an operator, counts as no crash of its suspects: their process hands them back.
/// Shows: JOB-23
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suspects_of_a_worker_that_is_killed_from_outside_are_handed_back_uncounted() {
    let installation = RunningInstallation::start(&[]).await;
    let api = installation.api(0).await;
    installation.sandbox.delay_answers(GATEWAY_AT_FIRST).await;
    let suspect = id(&api.create_order().await);
    // Its id also waits in the queue of links, from which a worker would run it in its own process.
    installation.redis.wipe().await;
    installation.execute("update jobs set crashes = 2, queue = 'suspect', state = 'available', due_at_ms = 0").await;
    let mut worker = installation.worker(4).await;
    let running = "select count(*) from jobs where state = 'running' and queue = 'suspect'";
    installation.wait_for_number(running, PATIENCE, |jobs| jobs == 1).await;

    kill(&mut worker).await;

    let handed_back = "select count(*) from jobs
        where kind = 'create_payment_link' and state in ('available', 'enqueued') and crashes = 2";
    installation.wait_for_number(handed_back, PATIENCE, |jobs| jobs == 1).await;
    installation.sandbox.clear_faults().await;
    let _worker = installation.worker(4).await;
    api.wait_for_link(suspect).await;
}

/// Makes orders and pays them all, at a gateway that answers slowly afterwards.
async fn pay_all(api: &RunningApi, sandbox: &RunningSandbox) -> Vec<i64> {
    let orders: Vec<i64> = api.create_orders(PAYMENTS).await.iter().map(id).collect();
    let links = join_all(orders.iter().map(|order| api.wait_for_link(*order))).await;
    sandbox.delay_answers(GATEWAY_AT_FIRST).await;
    let outcomes = join_all(links.iter().map(|link| sandbox.pay(*link))).await;
    assert!(outcomes.iter().all(|outcome| outcome == "debited"), "{outcomes:?}");
    orders
}

async fn quicken(sandbox: &RunningSandbox) {
    sandbox.clear_faults().await;
    sandbox.delay_answers(GATEWAY).await;
}

async fn under_way(running: impl AsyncFn() -> i64) {
    let all = i64::try_from(PAYMENTS).unwrap();
    wait_until("all payments to be asked about", PATIENCE, async || (running().await == all).then_some(())).await;
}

async fn kill(role: &mut RunningRole) {
    role.program.signal("KILL");
    role.program.wait_exit(PATIENCE).await;
}

/// The time from `from` until the last of the orders was paid.
async fn paid(api: &RunningApi, orders: &[i64], from: Instant) -> Duration {
    join_all(orders.iter().map(|order| async move {
        let what = format!("order {order} to be paid");
        let is_paid = async || (api.order(*order).await["status"] == "paid").then_some(());
        wait_until(&what, Duration::from_secs(120), is_paid).await;
    }))
    .await;
    from.elapsed()
}

/// Makes an order every second until all those orders are paid. Returns how long each new order waited for its link.
async fn link_until_paid(api: &RunningApi, orders: &[i64]) -> Vec<Duration> {
    let mut waits = Vec::new();
    loop {
        let began = Instant::now();
        let order = id(&api.create_order().await);
        api.wait_for_link_within(order, Duration::from_secs(120)).await;
        waits.push(began.elapsed());
        let states = join_all(orders.iter().map(|order| api.order(*order))).await;
        if states.iter().all(|order| order["status"] == "paid") {
            return waits;
        }
    }
}

fn judge(links: Vec<Duration>, took: Duration) {
    println!("all confirmed after {took:?}; links took {links:?}");
    assert!(took <= DONE_WITHIN + GATEWAY, "all confirmed after {took:?}");
    assert!(links.iter().all(|link| *link <= LINK_WITHIN + GATEWAY), "links took {links:?}");
}
