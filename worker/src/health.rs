//! Whether a worker is at work: its pulse, and the small server that tells of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::web::{Data, Json};
use poem::{EndpointExt, IntoResponse, Response, Route, Server, get, handler};
use shared::job::QueueName;
use shared::queue::Queue;
use shared::store::{Store, jobs};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Work that is due this long while a slot is free means that this worker takes nothing.
const STUCK: Duration = Duration::from_secs(15);

/// What a running worker shows of itself; cheap to clone.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    slots: Arc<Semaphore>,
    all_slots: usize,
    queues: Vec<QueueName>,
    started: Instant,
    running: AtomicUsize,
    took_ms: AtomicI64,
}

/// A slot while a job runs in it, free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    pulse: Pulse,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pulse.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pulse {
    pub(crate) fn new(slots: usize, queues: &[QueueName]) -> Self {
        Pulse(Arc::new(Inner {
            slots: Arc::new(Semaphore::new(slots)),
            all_slots: slots,
            queues: queues.to_vec(),
            started: Instant::now(),
            running: AtomicUsize::new(0),
            took_ms: AtomicI64::new(0),
        }))
    }

    pub(crate) fn slots(&self) -> &Arc<Semaphore> {
        &self.0.slots
    }

    /// Jobs were claimed.
    pub(crate) fn took(&self) {
        self.0.took_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// A job is about to run in the slot of this permit.
    pub(crate) fn occupy(&self, permit: OwnedSemaphorePermit) -> Slot {
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Slot { _permit: permit, pulse: self.clone() }
    }

    /// How many jobs run now, or are about to. Permits do not tell: whoever waits for ids holds the free ones.
    pub fn running(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    fn since(&self, then_ms: i64) -> Duration {
        Duration::from_millis((self.elapsed_ms() - then_ms).max(0).unsigned_abs())
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Why this worker is not ready, or nothing.
    pub async fn fault(&self, store: &Store) -> Option<String> {
        let asked = jobs::oldest_due_age_ms(store, &self.0.queues);
        let Ok(Ok(oldest_ms)) = tokio::time::timeout(Duration::from_secs(1), asked).await else {
            return Some("the database does not answer".into());
        };
        if !store.clock().is_trusted() {
            return Some("the clock was not measured against the database for 5 min".into());
        }
        let stuck_ms = i64::try_from(STUCK.as_millis()).unwrap_or(i64::MAX);
        let took_ago = self.since(self.0.took_ms.load(Ordering::Relaxed));
        let has_free_slot = self.running() < self.0.all_slots;
        (oldest_ms > stuck_ms && took_ago > STUCK && has_free_slot).then(|| {
            format!("work is due for {} s, and nothing was taken for {} s", oldest_ms / 1_000, took_ago.as_secs())
        })
    }
}

#[derive(Clone)]
struct HealthContext {
    store: Store,
    queue: Queue,
    pulse: Pulse,
    stop: CancellationToken,
}

/// Serves `/livez`, `/readyz` and `/metrics` until `ended`; `stop` turns `/readyz` red at once.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: TcpListener,
    store: Store,
    queue: Queue,
    pulse: Pulse,
    stop: CancellationToken,
    ended: CancellationToken,
) -> std::io::Result<()> {
    let routes = Route::new()
        .at("/livez", get(live))
        .at("/readyz", get(ready))
        .at("/metrics", get(metrics))
        .data(HealthContext { store, queue, pulse, stop });
    Server::new_with_acceptor(TcpAcceptor::from_tokio(listener)?)
        .run_with_graceful_shutdown(routes, async move { ended.cancelled().await }, Some(Duration::from_secs(1)))
        .await
}

#[handler]
fn live() -> &'static str {
    "alive"
}

#[handler]
async fn ready(context: Data<&HealthContext>) -> Response {
    let fault = match context.stop.is_cancelled() {
        true => Some("the worker is stopping".to_owned()),
        false if context.queue.is_cut_off() => Some("no other worker uses this Redis; look at REDIS_URL".to_owned()),
        false => context.pulse.fault(&context.store).await,
    };
    let redis = match context.queue.len(QueueName::Settle).await {
        Ok(_) => "ok".to_owned(),
        Err(trouble) => trouble.to_string(),
    };
    let status = if fault.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({
        "ready": fault.is_none(),
        "reason": fault,
        "queue": redis,
        "running": context.pulse.running(),
    });
    Json(body).with_status(status).into_response()
}

#[handler]
async fn metrics(context: Data<&HealthContext>) -> Response {
    let text = shared::metrics::render(&context.store, &context.queue).await;
    text.with_content_type("text/plain; version=0.0.4").into_response()
}
