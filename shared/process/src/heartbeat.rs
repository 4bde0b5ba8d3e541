//! The heartbeat of a process. Its row in the database says that it is alive, which Redis it uses and when its queue
//! last answered its consumer. It reports how it sees the admission of gateway calls, and keeps its clock right.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use domain::time::millis;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use gateway::{Gateway, Gateways};
use queue::Queue;
use store::clock::MEASURED_EVERY;
use store::processes::{self, Process};
use store::{Store, StoreError};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::admission::ReportedAdmission;

/// Often enough that three beats may fail before a process counts as silent.
const BEAT_EVERY: Duration = Duration::from_secs(3);

/// A restarted Redis may have another configuration, or another server may answer at its address.
const REDIS_CHECKED_EVERY: Duration = Duration::from_secs(10);

/// Changes within this time are told in one heartbeat.
const ADMISSION_SETTLES: Duration = Duration::from_millis(200);

/// The longest time that a heartbeat waits for Redis.
const REDIS_PATIENCE: Duration = Duration::from_secs(1);

/// The facts that a process tells about itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// `up`, `api` or `worker`.
    pub role: &'static str,
    /// How many jobs it runs at once; 0 for an API.
    pub slots: usize,
    /// The queues it takes from, comma-separated.
    pub queues: String,
}

/// Writes the heartbeat of this process until `stop`, then removes its row.
pub async fn keep(store: Store, queue: Queue, gateways: Gateways, introduction: Introduction, stop: CancellationToken) {
    let mut process = Process {
        id: format!("{:016x}", rand::random::<u64>()),
        role: introduction.role.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        slots: i64::try_from(introduction.slots).unwrap_or(i64::MAX),
        queues: introduction.queues,
        redis_instance_id: None,
        started_at_ms: store.now_ms(),
        heartbeat_at_ms: store.now_ms(),
        // Set from the start: a worker that hangs before its consumer exists must count as silent, too.
        queue_heard_at_ms: (introduction.slots > 0).then(|| store.now_ms()),
        admission: None,
        weather: None,
        log_fault: None,
        gateway: older_account(&gateways).map(|gateway| gateway.identity().clone()),
        accounts: None,
    };
    let mut clock_measured = Instant::now();
    let mut redis_checked = Instant::now();
    let mut next_beat = Instant::now();
    let mut is_well = true;
    loop {
        if let Some(redis) = queue.redis() {
            if let Ok(Ok(id)) = timeout(REDIS_PATIENCE, redis.instance_id()).await {
                process.redis_instance_id = Some(id);
            } // While Redis is away the last known id stays: most likely the same Redis comes back.
            if redis_checked.elapsed() >= REDIS_CHECKED_EVERY {
                redis_checked = Instant::now();
                // The relay and the consumer already report a Redis that does not answer.
                let _ = timeout(REDIS_PATIENCE, redis.check_again()).await;
            }
        }
        if queue.has_had_taker() {
            process.queue_heard_at_ms = queue.silent_for().map(|silence| store.now_ms() - millis(silence));
        }
        let report = |gateway: &Gateway| ReportedAdmission::new(&gateway.coordination().view(), store.now_ms());
        let accounts: BTreeMap<_, _> = gateways.iter().map(|gateway| (gateway.identity(), report(gateway))).collect();
        process.accounts = serde_json::to_string(&accounts).ok();
        let admission = older_account(&gateways).map(report);
        process.admission = admission.as_ref().and_then(|admission| serde_json::to_string(admission).ok());
        process.weather = admission.map(|admission| admission.with_older_names());
        process.log_fault = telemetry::fault();
        let told = tell(&store, &process, &mut clock_measured).await;
        if let (Err(trouble), true) = (&told, is_well) {
            warn!(error = %trouble, "this process cannot tell that it is alive: {trouble}");
        }
        is_well = told.is_ok();
        // A changed admission is reported at once, between two beats: everything else that is done with a beat keeps its time.
        if next_beat <= Instant::now() {
            next_beat = Instant::now() + BEAT_EVERY;
        }
        let admission_changed = async {
            changed(&gateways).await;
            tokio::time::sleep(ADMISSION_SETTLES).await;
        };
        let until_then = timeout(next_beat.saturating_duration_since(Instant::now()), admission_changed);
        if stop.run_until_cancelled(until_then).await.is_none() {
            // Without its row a process has ended in good order; a killed one is noticed by its silence.
            let _ = processes::delete(&store, &process.id).await;
            return;
        }
    }
}

/// The account that processes of a release with one account may have, too.
fn older_account(gateways: &Gateways) -> Option<&Gateway> {
    gateways.iter().find(|gateway| gateway.coordination().account().has_older_names())
}

/// Waits until the admission of an account has changed.
async fn changed(gateways: &Gateways) {
    let mut changes: FuturesUnordered<_> = gateways.iter().map(|gateway| gateway.coordination().changed()).collect();
    if changes.next().await.is_none() {
        std::future::pending().await
    }
}

async fn tell(store: &Store, process: &Process, clock_measured: &mut Instant) -> Result<(), StoreError> {
    // Once per interval: a heartbeat that only tells a change measures no clock.
    if clock_measured.elapsed() >= MEASURED_EVERY / 2 {
        store.measure_clock().await?;
        *clock_measured = Instant::now();
    }
    processes::write_heartbeat(store, process).await?;
    store.watch_numbers().await.map(drop)
}
