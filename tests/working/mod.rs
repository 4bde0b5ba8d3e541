//! Real workers and relays on a real database, against a gateway that answers when the test says so. The tests follow
//! jobs while they run.

use std::time::Duration;

use config::defaults;
use domain::id::{JobId, OrderId};
use domain::job::{JobRow, QueueName};
use domain::order::Order;
use domain::secret::Secret;
use process::consumption_check::ConsumptionCheck;
use process::relay::Relay;
use queue::{LocalQueue, Queue};
use store::kinds;
use store::{jobs, orders};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{JobWorker, SuspectProgram, WorkerContext, WorkerOptions};

use crate::support::fixture::Fixture;
use crate::support::program::Program;
use crate::support::wait::{PATIENCE, wait_until};
use gateway::HeldGateway;

mod clock;
mod gateway;
mod handlers;
mod refunding;
mod relaying;
mod running;

/// Longer than a lease: the lease of a job that runs this long must have been renewed.
const LONGER_THAN_A_LEASE: Duration = Duration::from_millis(jobs::LEASE_MS.unsigned_abs() + 3_000);

/// A worker and a relay on a database of their own. They end when dropped.
struct Working {
    f: Fixture,
    gateway: HeldGateway,
    consumption_check: ConsumptionCheck,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Working {
    /// A worker that runs four jobs at once, of all queues.
    async fn start(f: Fixture) -> Self {
        Self::start_with(f, HeldGateway::start().await, &WorkerOptions::ALL_QUEUES).await
    }

    /// A worker of these queues, on a prepared database and a prepared gateway.
    async fn start_with(f: Fixture, gateway: HeldGateway, queues: &[QueueName]) -> Self {
        let context = WorkerContext {
            store: f.store.clone(),
            gateways: gateway.client().into(),
            public_url: "http://127.0.0.1/".parse().unwrap(),
            settings: defaults().unwrap(),
            payment_ttl: Duration::from_secs(1_800),
            link_ttl: Duration::from_secs(86_400),
        };
        let options = WorkerOptions { slots: 4, queues: queues.to_vec(), stop_grace: Duration::from_secs(1) };
        let queue = Queue::Local(LocalQueue::default());
        let suspects =
            SuspectProgram { file: Program::FILE.into(), arguments: Vec::new(), settings: Secret::new("{}") };
        let worker = JobWorker::new(context, queue.clone(), options, suspects);
        let (consumption_check, stop) = (worker.consumption_check(), CancellationToken::new());
        let working = worker.run(stop.clone());
        let relaying = Relay::new(f.store.clone(), queue, true).run(stop.clone());
        let tasks =
            vec![tokio::spawn(async move { assert!(working.await, "the worker ended well") }), tokio::spawn(relaying)];
        Working { f, gateway, consumption_check, stop, tasks }
    }

    async fn job(&self, id: JobId) -> JobRow {
        jobs::show(&self.f.store, id).await.unwrap().unwrap()
    }

    /// The newest job of an order.
    async fn job_of(&self, order: &Order) -> JobRow {
        kinds::jobs_of_order(&self.f.store, order.id).await.unwrap().remove(0)
    }

    /// Waits until the gateway holds calls about these orders and no others.
    async fn wait_for_calls(&self, orders: &[i64]) {
        let what = format!("calls about {orders:?}");
        wait_until(&what, PATIENCE, async || (self.gateway.waiting() == orders).then_some(())).await;
    }

    async fn wait_for_link(&self, order: &Order) -> Order {
        wait_until("a payment link", PATIENCE, async || {
            Some(self.f.find(order).await).filter(|order| order.payment_url.is_some())
        })
        .await
    }

    async fn find(&self, id: i64) -> Order {
        orders::find(&self.f.store, OrderId(id)).await.unwrap().unwrap()
    }
}

/// Makes the order's inquiry due now, on the queue it stands on.
async fn inquire_now(f: &Fixture, order: &Order) -> JobId {
    let jobs = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    let inquiry = jobs.into_iter().find(|job| job.kind == "settle_order").unwrap();
    kinds::retry(&f.store, inquiry.id).await.unwrap();
    inquiry.id
}

/// Checks for this time that the condition holds: the test is about an event that must not happen meanwhile.
async fn watch(time: Duration, mut is_well: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while began.elapsed() < time {
        assert!(is_well().await, "after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
