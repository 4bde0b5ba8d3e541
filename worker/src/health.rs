//! The small HTTP server of a worker: health and metrics.

use std::time::Duration;

use domain::job::QueueName;
use http_server::{ConnectionLimits, HttpServer, ListenerLimits, SingleFlight};
use poem::http::StatusCode;
use poem::web::{Data, Json};
use poem::{EndpointExt, IntoResponse, Response, Route, get, handler};
use process::consumption_check::ConsumptionCheck;
use queue::Queue;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Supervisors and scrapers wait about a second for an answer, too.
const QUEUE_ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// The time in which answers that have begun may end after the worker has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct HealthContext {
    store: Store,
    queue: Queue,
    consumption_check: ConsumptionCheck,
    stop: CancellationToken,
    /// Made once for all requests of the same time.
    readiness: SingleFlight<(Option<String>, String)>,
    metrics: SingleFlight<String>,
}

/// Serves `/livez`, `/readyz` and `/metrics` until `ended`; `stop` turns `/readyz` red at once.
pub async fn serve(
    listener: TcpListener,
    store: Store,
    queue: Queue,
    consumption_check: ConsumptionCheck,
    stop: CancellationToken,
    ended: CancellationToken,
) {
    let routes = Route::new().at("/livez", get(live)).at("/readyz", get(ready)).at("/metrics", get(metrics)).data(
        HealthContext {
            store,
            queue,
            consumption_check,
            stop,
            readiness: SingleFlight::default(),
            metrics: SingleFlight::default(),
        },
    );
    HttpServer::new("health", listener, ListenerLimits::of(ConnectionLimits::of_this_process().health))
        .run(routes, ended.cancelled(), LAST_ANSWERS)
        .await;
}

#[handler]
fn live() -> &'static str {
    "alive"
}

#[handler]
async fn ready(context: Data<&HealthContext>) -> Response {
    let asking = async { tokio::join!(fault(&context), queue(&context.queue)) };
    let (fault, queue) = context.readiness.get(asking).await;
    let status = if fault.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({
        "ready": fault.is_none(),
        "reason": fault,
        "queue": queue,
        "log": telemetry::fault().unwrap_or_else(|| "ok".to_owned()),
        "running": context.consumption_check.running(),
    });
    Json(body).with_status(status).into_response()
}

async fn fault(context: &HealthContext) -> Option<String> {
    if context.stop.is_cancelled() {
        return Some("the worker is stopping".into());
    }
    if context.queue.is_cut_off() {
        return Some("no other worker uses this Redis; look at REDIS_URL".into());
    }
    if !context.store.clock().is_trusted() {
        return Some("the clock was not measured against the database for 5 min".into());
    }
    let fault = context.consumption_check.fault(&context.store, &context.queue).await;
    fault.or_else(|| context.store.write_fault().map(|fault| format!("the database {fault}")))
}

/// The state of the queue, for a person. A worker with nothing to do is ready without the queue.
async fn queue(queue: &Queue) -> String {
    match tokio::time::timeout(QUEUE_ANSWER_WITHIN, queue.len(QueueName::Settle)).await {
        Ok(Ok(_)) => queue.fault().unwrap_or("ok").to_owned(),
        Ok(Err(trouble)) => trouble.to_string(),
        Err(_elapsed) => "it does not answer within 1 s".to_owned(),
    }
}

#[handler]
async fn metrics(context: Data<&HealthContext>) -> Response {
    let text = context.metrics.get(process::scrape::render(&context.store, &context.queue)).await;
    text.with_content_type("text/plain; version=0.0.4").into_response()
}
