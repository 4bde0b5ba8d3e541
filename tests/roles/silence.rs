//! A worker that hangs, or gets no answer from its queue, must not look from outside like one with nothing to do.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::forwarder::Forwarder;
use crate::support::installation::RunningInstallation;
use crate::support::role::{RunningApi, RunningRole, id};
use crate::support::servers::PrivateRedis;
use crate::support::up::Up;
use crate::support::wait::{PATIENCE, wait_until};

/// Within this time an operator is alarmed about a worker that takes no jobs.
const NOTICED: Duration = Duration::from_secs(15);

/// Within this time a worker that can work again takes jobs.
const RESUMED: Duration = Duration::from_secs(5);

const DO_NOT_WAIT: (&str, &str) = ("TASDIQ_LINK_WAIT_MS", "0");

const ONE_WORKER: &str = "role=\"worker\"";

/// Waits until the metrics report this many silent workers and consumers.
async fn wait_for_silent(role: &RunningRole, processes: u64, consumers: u64) -> Duration {
    let began = Instant::now();
    let what = format!("{processes} silent processes and {consumers} silent consumers");
    wait_until(&what, NOTICED, async || {
        let seen = (
            role.metric("tasdiq_silent_processes", ONE_WORKER).await,
            role.metric("tasdiq_silent_consumers", ONE_WORKER).await,
        );
        (seen == (processes, consumers)).then_some(())
    })
    .await;
    began.elapsed()
}

/// Waits until a worker is red because its queue does not answer.
async fn wait_for_red(worker: &RunningRole) -> String {
    wait_for_red_within(worker, NOTICED, "the queue has not answered for").await
}

/// Waits until a process is red for this reason. Returns its whole answer.
async fn wait_for_red_within(role: &RunningRole, deadline: Duration, reason: &str) -> String {
    wait_until(&format!("the process to be red for {reason:?}"), deadline, async || {
        let (status, text) = role.get("/readyz").await;
        (status == StatusCode::SERVICE_UNAVAILABLE && text.contains(reason)).then_some(text)
    })
    .await
}

async fn wait_for_green(role: &RunningRole, deadline: Duration) {
    wait_until("the process to be green", deadline, async || {
        (role.get("/readyz").await.0 == StatusCode::OK).then_some(())
    })
    .await;
}

/// A stopped process cannot report itself.
#[tokio::test]
async fn a_stopped_worker_is_on_the_metrics_of_the_others_within_15_s() {
    let installation = RunningInstallation::start(&[]).await;
    let (api, mut stopped, other) = tokio::join!(installation.api(0), installation.worker(4), installation.worker(4));
    wait_until("both workers on the metrics", PATIENCE, async || {
        (other.metric("tasdiq_processes", ONE_WORKER).await == 2).then_some(())
    })
    .await;

    stopped.program.signal("STOP");
    let (by_api, by_worker) = tokio::join!(wait_for_silent(&api.role, 1, 1), wait_for_silent(&other, 1, 1));

    println!("a stopped worker was told by the API after {by_api:?}, by the other worker after {by_worker:?}");
    let doctor = installation.command(&["doctor"]).await;
    assert!(doctor.contains("has told nothing of itself for"), "{doctor}");

    stopped.program.signal("CONT");
    wait_for_silent(&api.role, 0, 0).await;
    let order = api.create_order().await;
    api.wait_for_link(id(&order)).await;
}

#[tokio::test]
async fn while_redis_hangs_workers_are_red_with_the_reason_and_the_api_goes_on() {
    let mut installation = RunningInstallation::start(&[DO_NOT_WAIT]).await;
    let (api, worker) = tokio::join!(installation.api(0), installation.worker(4));
    let before = api.create_order().await;
    let transaction_id = api.wait_for_link(id(&before)).await;

    installation.redis.pause();
    let waiting = api.create_order().await;
    let (_, by_api) = tokio::join!(wait_for_red(&worker), wait_for_silent(&api.role, 0, 1));
    let (status, health) = api.role.get("/readyz").await;

    println!("a hung Redis was on the API's metrics after {by_api:?}");
    assert_eq!(status, StatusCode::OK, "{health}");
    assert!(health.contains("Redis does not answer"), "{health}");
    let doctor = installation.command(&["doctor"]).await;
    assert!(doctor.contains("has heard nothing from its queue for"), "{doctor}");
    assert_eq!(installation.sandbox.pay(transaction_id).await, "debited", "the webhook needs no Redis");

    installation.redis.resume();
    wait_for_green(&worker, RESUMED).await;
    api.wait_for_link_within(id(&waiting), RESUMED).await;
    wait_for_silent(&api.role, 0, 0).await;
}

/// No data is sent on a connection that waits for ids, so its end would go unnoticed.
#[tokio::test]
async fn a_worker_whose_redis_vanished_without_a_word_is_red_and_works_again_within_5_s() {
    let mut installation = RunningInstallation::start(&[DO_NOT_WAIT]).await;
    let way = Forwarder::start(installation.redis.port()).await;
    installation.redis_is_reached_at(format!("redis://127.0.0.1:{}", way.port()));
    let (api, worker) = tokio::join!(installation.api(0), installation.worker(4));
    let before = api.create_order().await;
    api.wait_for_link(id(&before)).await;

    way.silence();
    let waiting = api.create_orders(20).await;
    tokio::join!(wait_for_red(&worker), wait_for_silent(&api.role, 0, 1));
    way.speak();
    let back = Instant::now();

    wait_for_green(&worker, RESUMED).await;
    wait_for_links(&api, &waiting, RESUMED).await;
    println!("all links {:?} after Redis was there again", back.elapsed());
    wait_for_silent(&api.role, 0, 0).await;
}

/// The queue answers, work is due, and no id comes: here because a full Redis takes no ids. A worker is red. An `up`
/// reports it and stays green.
#[tokio::test]
async fn workers_that_get_nothing_for_15_s_although_work_is_due_are_red_or_tell_it() {
    let installation = RunningInstallation::start(&[DO_NOT_WAIT]).await;
    let redis_url = installation.redis.url();
    let up_settings = [DO_NOT_WAIT, ("REDIS_URL", redis_url.as_str())];
    let (api, worker, up) = tokio::join!(installation.api(0), installation.worker(4), Up::start(&up_settings));
    installation.redis.set("maxmemory", "1").await;
    let orders = tokio::join!(api.create_order(), up.api.create_order());
    let late = NOTICED + Duration::from_secs(5);

    let (worker_told, up_told) = tokio::join!(
        wait_for_red_within(&worker, late, "nothing was taken for"),
        wait_until("`up` to tell that its worker takes nothing", late, async || {
            let (status, health) = up.api.role.get("/readyz").await;
            // It stays green, because its webhook must go on.
            assert_eq!(status, StatusCode::OK, "{health}");
            health.contains("nothing was taken for").then_some(health)
        })
    );
    println!("the worker says {worker_told}, and up {up_told}");
    let (status, health) = api.role.get("/readyz").await;
    assert_eq!(status, StatusCode::OK, "{health}");

    installation.redis.set("maxmemory", "0").await;
    api.wait_for_link(id(&orders.0)).await;
    up.api.wait_for_link(id(&orders.1)).await;
    tokio::join!(wait_for_green(&worker, RESUMED), wait_for_green(&up.api.role, RESUMED));
}

/// No worker takes the ids that this API's relay pushes: a `REDIS_URL` is wrong somewhere.
#[tokio::test]
async fn an_api_whose_redis_no_living_worker_uses_is_red_until_one_does() {
    let installation = RunningInstallation::start(&[DO_NOT_WAIT]).await;
    let elsewhere = PrivateRedis::start().await;
    let (api, mut worker) = tokio::join!(installation.api(0), async {
        let mut worker = installation.begin_worker(&[], &[("REDIS_URL", &elsewhere.url())]);
        worker.ready().await;
        worker
    });

    // A minute, and the interval of its checks.
    wait_for_red_within(&api.role, Duration::from_secs(85), "no living worker uses this Redis").await;
    worker.program.signal("TERM");
    worker.program.wait_exit(PATIENCE).await;
    let _right = installation.worker(4).await;

    wait_for_green(&api.role, NOTICED).await;
    let order = api.create_order().await;
    api.wait_for_link(id(&order)).await;
}

/// Operators switch off an alarm that rings without a cause.
#[tokio::test]
async fn a_worker_with_nothing_to_do_and_one_with_all_slots_busy_stay_green() {
    let installation = RunningInstallation::start(&[DO_NOT_WAIT]).await;
    // One call takes longer than the limit of silence, and there is work for several.
    installation.sandbox.delay_answers(Duration::from_secs(12)).await;
    let (api, idle, busy) = tokio::join!(
        installation.api(0),
        installation.worker_with(&["--queues", "settle,background"]),
        installation.worker_with(&["--queues", "links", "--concurrency", "2"])
    );
    api.create_orders(4).await;
    let began = Instant::now();

    wait_until("18 s without a false alarm", Duration::from_secs(25), async || {
        for worker in [&idle, &busy] {
            let (status, health) = worker.get("/readyz").await;
            assert_eq!(status, StatusCode::OK, "after {:?}: {health}", began.elapsed());
        }
        let metrics = api.role.get("/metrics").await.1;
        for gauge in ["tasdiq_silent_processes", "tasdiq_silent_consumers"] {
            assert!(metrics.contains(&format!("{gauge}{{role=\"worker\"}} 0\n")), "{gauge}: {metrics}");
        }
        (began.elapsed() > Duration::from_secs(18)).then_some(())
    })
    .await;
}

/// Waits until each of these orders has its link.
async fn wait_for_links(api: &RunningApi, orders: &[Value], deadline: Duration) {
    let began = Instant::now();
    for order in orders {
        api.wait_for_link_within(id(order), deadline.saturating_sub(began.elapsed())).await;
    }
}
