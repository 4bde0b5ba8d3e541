//! The program starts and finds jobs of an earlier run.

use std::time::Duration;

use serde_json::json;

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::tea;
use crate::support::wait::{PATIENCE, wait_until};

on_both_kinds! {
    open_orders_of_another_gateway_are_told_at_the_start
}

/// The holder of a lease cannot be alive, because this process holds the lock: its jobs need not wait for the lease's
/// end.
/// Shows: JOB-36
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_start_counts_each_job_that_ran_as_crashed_and_runs_it_at_once() {
    let mut app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    app.fault(json!({ "fault": "latency", "milliseconds": 20_000 })).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(app.create_order(&tea()).await.json()["order_id"].as_i64().unwrap());
    }
    wait_until("the jobs to run", PATIENCE, async || {
        let running = app.command(&["jobs", "list", "--state", "running", "--json"]).await;
        (running.matches("create_payment_link").count() == 3).then_some(())
    })
    .await;

    app.kill_and_restart().await;

    // In less time than their leases still last.
    wait_until("three crashes", Duration::from_secs(5), async || {
        (app.output().matches("(create_payment_link) ran out, crash 1").count() == 3).then_some(())
    })
    .await;
    for id in ids {
        app.wait_for_link(id).await;
    }
}

/// Shows: MONEY-15
async fn open_orders_of_another_gateway_are_told_at_the_start(kind: Kind) {
    let mut app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.execute("update orders set gateway = 'atmos:9'").await;

    app.restart().await;

    let output = app.output();
    assert!(output.contains("open orders belong to another gateway than sandbox:1234"), "{output}");
    assert!(output.contains(&format!("{} of atmos:9", order.id)), "{output}");
}
