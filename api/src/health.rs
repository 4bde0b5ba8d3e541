//! `/livez`, `/readyz` and `/metrics`: for the operator's monitoring.

use std::time::Duration;

use bytes::Bytes;
use domain::job::QueueName;
use http_server::SingleFlight;
use poem::handler;
use poem::web::Json;
use serde_json::{Value, json};

use crate::problem::{Problem, ProblemType};
use crate::{Api, ApiContext, SharedApi};

/// A database that takes longer than this for `select 1` counts as unavailable.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Made once for all simultaneous requests: each reads the database, and anyone may ask.
#[derive(Default)]
pub(crate) struct HealthResponses {
    readiness: SingleFlight<(bool, Value)>,
    metrics: SingleFlight<Bytes>,
}

/// Whether the process runs at all. Restarting it repairs nothing that this does not show.
#[handler]
pub(crate) fn get_livez() -> &'static str {
    "ok\n"
}

/// Whether requests should be sent here. An unavailable Redis is reported but stays green: the webhook must go on, and
/// it does not need Redis.
#[handler]
pub(crate) async fn get_readyz(api: SharedApi<'_>) -> Result<Json<Value>, Problem> {
    let (is_ready, checks) = api.health.readiness.get(readiness(&api)).await;
    if is_ready {
        return Ok(Json(json!({ "status": "ready", "role": api.context.role, "checks": checks })));
    }
    Err(Problem::new(ProblemType::NotReady, "`checks` says what is missing").member("checks", checks))
}

/// Whether this process takes requests, and the result of each check.
async fn readiness(api: &Api) -> (bool, Value) {
    let (database, queue, worker) = tokio::join!(database(api), queue(api), worker(api));
    let clock = match api.context.store.clock().is_trusted() {
        true => Ok(()),
        false => Err("not measured against the database for 5 min".to_owned()),
    };
    let process = if api.stopping.is_cancelled() { Err("stopping".to_owned()) } else { Ok(()) };
    // Worse than an unavailable Redis: orders taken here would wait for a worker that never reads this Redis.
    let redis = if api.context.queue.is_cut_off() {
        Err("no living worker uses this Redis; look at REDIS_URL".to_owned())
    } else {
        Ok(())
    };
    let fitness = api.context.queue.fault().map_or(Ok(()), |fault| Err(fault.to_owned()));
    // While Redis is down or full no worker takes jobs, and a restart would not help.
    let is_worker_well = worker.is_ok() || queue.is_err() || fitness.is_err();
    let is_ready = [&database, &clock, &process, &redis].iter().all(|check| check.is_ok()) && is_worker_well;
    let word = |check: Result<(), String>| check.err().unwrap_or_else(|| "ok".to_owned());
    let mut checks = json!({
        "process": word(process), "database": word(database), "clock": word(clock), "queue": word(redis.and(queue).and(fitness)),
        // Reported, but never red: without its log the process still does all its work.
        "log": word(telemetry::fault().map_or(Ok(()), Err)),
    });
    if api.context.consumption_check.is_some() {
        checks["worker"] = word(worker).into();
    }
    (is_ready, checks)
}

async fn database(api: &Api) -> Result<(), String> {
    match tokio::time::timeout(PING_TIMEOUT, api.context.store.ping()).await {
        // The database reads but does not write: shops and the gateway need requests that write.
        Ok(Ok(())) => api.context.store.write_fault().map_or(Ok(()), |fault| Err(fault.to_owned())),
        Ok(Err(_)) => Err("does not answer".to_owned()),
        Err(_elapsed) => Err("does not answer within 1 s".to_owned()),
    }
}

async fn queue(api: &Api) -> Result<(), String> {
    match tokio::time::timeout(PING_TIMEOUT, api.context.queue.len(QueueName::Settle)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err("Redis does not answer; jobs wait in the database".to_owned()),
    }
}

/// Whether the worker in this process takes jobs.
async fn worker(api: &Api) -> Result<(), String> {
    let Some(consumption_check) = &api.context.consumption_check else { return Ok(()) };
    consumption_check.fault(&api.context.store, &api.context.queue).await.map_or(Ok(()), Err)
}

/// The metrics in Prometheus' text format.
#[handler]
pub(crate) async fn get_metrics(api: SharedApi<'_>) -> poem::Response {
    let ApiContext { store, queue, .. } = &api.context;
    let making = async { Bytes::from(process::scrape::render(store, queue).await) };
    let text = api.health.metrics.get(making).await;
    poem::Response::builder().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
}
