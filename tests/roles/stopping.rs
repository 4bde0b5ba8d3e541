//! Processes stop on a signal: no request is refused, no job is lost, and no job is done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::front::Front;
use crate::support::installation::RunningInstallation;
use crate::support::job_log;
use crate::support::program::Program;
use crate::support::role::{RunningRole, client, id};
use crate::support::up::Up;
use crate::support::wait::{PATIENCE, wait_until};

const DO_NOT_WAIT: (&str, &str) = ("TASDIQ_LINK_WAIT_MS", "0");

const RUNNING_LINKS: &str = "select count(*) from jobs where kind = 'create_payment_link' and state = 'running'";

/// Two APIs behind a load balancer and two workers, all replaced one after the other, under load.
/// Shows: JOB-40
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restarts_under_load_refuse_no_request_and_run_no_job_twice() {
    const ROUNDS: usize = 3;
    let installation = RunningInstallation::start(&[DO_NOT_WAIT]).await;
    job_log::install(installation.database_url()).await;
    // Slow calls, so that each stop comes during some of them.
    installation.sandbox.delay_answers(Duration::from_millis(150)).await;
    let (api_0, api_1, worker_0, worker_1) =
        tokio::join!(installation.api(0), installation.api(1), installation.worker(4), installation.worker(4));
    let (mut apis, mut workers) = ([api_0, api_1], [worker_0, worker_1]);
    let front = Front::start(installation.api_ports()).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(keep_ordering(front.url.clone(), Arc::clone(&is_over)));

    for round in 0..ROUNDS {
        for which in [0, 1] {
            let began = Instant::now();
            let old = std::mem::replace(&mut workers[which], installation.worker(4).await);
            tokio::join!(end_well(old.program), async {
                apis[which].role.program.signal("TERM");
                let status = apis[which].role.program.wait_exit(PATIENCE).await;
                assert_eq!(status.code(), Some(0), "{}", apis[which].role.program.output());
            });
            let stopped = began.elapsed();
            apis[which] = installation.api(which).await;
            println!(
                "round {round}: API and worker {which} stopped in {stopped:?}, both anew after {:?}",
                began.elapsed()
            );
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let orders = load.await.unwrap();

    assert!(orders.len() > 100, "{} orders are no load", orders.len());
    installation.sandbox.clear_faults().await;
    installation.wait_for_links(Duration::from_secs(10)).await;
    let number = i64::try_from(orders.len()).unwrap();
    assert_eq!(installation.number("select count(*) from orders").await, number, "an order without an answer");
    let given_back = job_log::links_were_made_once_each(&installation, number).await;
    println!("{number} orders, {given_back} jobs given back unstarted");
    let drafts = "select max(n) from (select count(*) n from transactions group by order_id) as drafts";
    assert_eq!(installation.number(drafts).await, 1, "drafts per order");
    assert_eq!(installation.number("select sum(crashes)::bigint from jobs").await, 0, "crashes");
}

/// Makes orders until it is over, and returns their numbers. Each request must be accepted.
async fn keep_ordering(url: String, is_over: Arc<AtomicBool>) -> Vec<i64> {
    let client = client();
    let mut orders = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let body = json!({ "product_name": "Tea", "amount": "50.00", "payment_type": "atmos" });
        // One connection for each order, as from many customers.
        let request = client.post(format!("{url}/api/orders/create")).header("Connection", "close").json(&body);
        let answer = request.send().await.unwrap_or_else(|error| panic!("order {}: {error:?}", orders.len()));
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::CREATED, "order {}: {text}", orders.len());
        orders.push(id(&serde_json::from_str::<Value>(&text).unwrap()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    orders
}

async fn end_well(mut program: Program) {
    program.signal("TERM");
    let status = program.wait_exit(PATIENCE).await;
    assert_eq!(status.code(), Some(0), "{}", program.output());
}

/// Shows: JOB-40
#[tokio::test]
async fn a_worker_that_is_told_to_stop_is_red_at_once_and_claims_nothing_after_a_second() {
    let installation = RunningInstallation::start(&[DO_NOT_WAIT]).await;
    job_log::install(installation.database_url()).await;
    installation.sandbox.delay_answers(Duration::from_secs(3)).await;
    let (api, mut worker) = tokio::join!(installation.api(0), installation.worker(2));
    api.create_orders(10).await;
    installation.wait_for_number(RUNNING_LINKS, PATIENCE, |running| running == 2).await;

    worker.program.signal("TERM");
    let told = Instant::now();
    let red = wait_until("the worker to be red", Duration::from_secs(1), async || {
        let (status, text) = worker.get("/readyz").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(text)
    })
    .await;
    println!("red {:?} after the signal", told.elapsed());
    assert!(red.contains("stopping"), "{red}");
    let status = worker.program.wait_exit(PATIENCE).await;

    println!("stopped {:?} after the signal", told.elapsed());
    assert_eq!(status.code(), Some(0), "{}", worker.program.output());
    let completed = "select count(*) from job_log where was = 'running' and state = 'completed'";
    assert!(installation.number(completed).await >= 2, "what ran was finished");
    let late = "select count(*) from job_log where state = 'running' and at_ms >
        (select max(at_ms) - 2000 from job_log where was = 'running' and state = 'completed')";
    assert_eq!(installation.number(late).await, 0, "a job was claimed a second or more after the signal");
    let unfinished = "select count(*) from jobs where state = 'running' or attempt > 1 or crashes > 0
        or (kind = 'create_payment_link' and attempt > 0)";
    assert_eq!(installation.number(unfinished).await, 0, "what was not started has burnt no attempt");
}

/// Shows: JOB-40
#[tokio::test]
async fn what_outlives_the_grace_of_a_stop_is_run_again_elsewhere() {
    let installation = RunningInstallation::start(&[DO_NOT_WAIT, ("TASDIQ_STOP_GRACE_SECONDS", "2")]).await;
    installation.sandbox.delay_answers(Duration::from_secs(25)).await;
    let (api, mut worker) = tokio::join!(installation.api(0), installation.worker(2));
    let order = api.create_order().await;
    // A claimed job may not have begun, and is then handed back. A renewed lease belongs to a job that runs.
    const RENEWED: &str = "select count(*) from jobs where kind = 'create_payment_link' and state = 'running'
        and due_at_ms > created_at_ms + 9000";
    installation.wait_for_number(RENEWED, PATIENCE, |renewed| renewed == 1).await;

    worker.program.signal("TERM");
    let told = Instant::now();
    let status = worker.program.wait_exit(PATIENCE).await;

    println!("stopped {:?} after the signal", told.elapsed());
    assert_eq!(status.code(), Some(0), "{}", worker.program.output());
    assert!((1_900..6_000).contains(&told.elapsed().as_millis()), "{:?}", told.elapsed());
    assert!(worker.program.output().contains("jobs still run after the grace time"), "{}", worker.program.output());
    installation.sandbox.clear_faults().await;
    let _elsewhere = installation.worker(2).await;
    api.wait_for_link(id(&order)).await;
}

#[tokio::test]
async fn a_second_signal_ends_a_process_at_once() {
    let installation = RunningInstallation::start(&[DO_NOT_WAIT]).await;
    installation.sandbox.delay_answers(Duration::from_secs(20)).await;
    let (api, first, second) = tokio::join!(installation.api(0), installation.worker(1), installation.worker(1));
    api.create_orders(2).await;
    installation.wait_for_number(RUNNING_LINKS, PATIENCE, |running| running == 2).await;

    for (worker, signal, code) in [(first, "TERM", 143), (second, "INT", 130)] {
        let mut program: Program = worker.program;
        program.signal(signal);
        program.wait_for_line("once more ends at once", PATIENCE).await;
        let told = Instant::now();
        program.signal(signal);
        let status = program.wait_exit(PATIENCE).await;

        assert_eq!(status.code(), Some(code), "{}", program.output());
        assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());
    }
}

/// No other process answers the gateway while the jobs of this one finish.
#[tokio::test]
async fn an_up_that_is_told_to_stop_answers_the_webhook_until_its_jobs_have_ended() {
    let mut up = Up::start(&[DO_NOT_WAIT]).await;
    let payable = up.api.create_order().await;
    let transaction_id = up.api.wait_for_link(id(&payable)).await;
    up.sandbox.fault(&json!({ "fault": "latency", "milliseconds": 3_000, "path": "/merchant/pay/create" })).await;
    let under_way = up.api.create_order().await;
    wait_until("its job to run", PATIENCE, async || {
        up.jobs(&["--state", "running"]).await.contains("create_payment_link").then_some(())
    })
    .await;

    up.api.role.program.signal("TERM");
    let told = Instant::now();
    let health = wait_for_red(&up.api.role).await;
    let outcome = up.sandbox.pay(transaction_id).await;
    let answered = told.elapsed();
    let linked = up.api.order(id(&under_way)).await["transaction_id"].is_i64();
    let status = up.api.role.program.wait_exit(PATIENCE).await;

    assert!(health.contains("stopping"), "{health}");
    assert_eq!(outcome, "debited", "the webhook was gone while a job still ran");
    assert!(!linked, "the job ended within {answered:?}, so nothing was shown");
    println!("answered the gateway {answered:?} after the signal, ended after {:?}", told.elapsed());
    assert_eq!(status.code(), Some(0), "{}", up.api.role.program.output());
    assert!(told.elapsed() < Duration::from_secs(8), "{:?}", told.elapsed());
    let shown = up.jobs(&["--kind", "create_payment_link"]).await;
    assert!(!shown.contains("running") && !shown.contains("available"), "the job was finished: {shown}");
}

async fn wait_for_red(role: &RunningRole) -> String {
    wait_until("the process to be red", Duration::from_secs(1), async || {
        let (status, text) = role.get("/readyz").await;
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(text)
    })
    .await
}
