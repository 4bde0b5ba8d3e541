//! The queues of a worker, and its reports about itself.

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::installation::RunningInstallation;
use crate::support::role::id;

/// Payment links can be made by other workers than settlements.
#[tokio::test]
async fn a_worker_takes_only_the_queues_it_is_told() {
    let installation = RunningInstallation::start(&[]).await;
    let api = installation.api(0).await;
    let links = installation.worker_with(&["--queues", "links"]).await;
    let order = api.create_order().await;
    let transaction_id = api.wait_for_link(id(&order)).await;

    assert_eq!(installation.sandbox.pay(transaction_id).await, "debited");
    let _settle = installation.worker_with(&["--queues", "settle,background"]).await;
    api.wait_for(id(&order), "paid").await;

    assert_eq!(links.metric("tasdiq_jobs_total", "kind=\"create_payment_link\"").await, 1);
    assert_eq!(links.metric("tasdiq_jobs_total", "").await, 1, "and nothing else");
}

#[tokio::test]
async fn a_worker_tells_whether_it_is_alive_ready_and_what_it_did() {
    let installation = RunningInstallation::start(&[]).await;
    let (api, worker) = tokio::join!(installation.api(0), installation.worker(8));

    let order = api.create_order().await;
    api.wait_for_link(id(&order)).await;

    assert_eq!(worker.get("/livez").await.0, StatusCode::OK);
    let (status, text) = worker.get("/readyz").await;
    let health: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &health["ready"]), (StatusCode::OK, &Value::Bool(true)), "{text}");
    let (status, metrics) = worker.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    for name in [
        "tasdiq_jobs_total",
        "tasdiq_job_seconds",
        "tasdiq_gateway_calls_total",
        "tasdiq_queue_depth",
        "tasdiq_oldest_due_job_seconds",
        "tasdiq_orders{",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }
    assert_eq!(worker.metric("tasdiq_processes", "role=\"worker\"").await, 1);
    assert_eq!(worker.metric("tasdiq_processes", "role=\"api\"").await, 1);
}
