//! How fast a backlog of due jobs drains, whether it is small or large.
//!
//! The worker and the relay are the real ones, in this process. The jobs are the cheapest there are, so that what is
//! measured is the way of a job and not its work: `process_callback` of callbacks that are not there any more.

use std::time::{Duration, Instant};

use shared::config::{Config, DatabaseUrl, Role};
use shared::coordination::Coordination;
use shared::gateway::Gateway;
use shared::gateway::atmos::AtmosGateway;
use shared::queue::{LocalQueue, Queue, RedisQueue};
use shared::redis_server::RedisServer;
use shared::relay::Relay;
use shared::secret::Secret;
use shared::store::Store;
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Executor};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;
use worker::{JobWorker, LookSchedule, WorkerContext, WorkerOptions};

use crate::support::servers::{PrivatePostgres, PrivateRedis};

/// The backlog that every installation has now and then.
const SMALL: u64 = 1_000;

/// Nothing is finished for so long: it hangs.
const STANDSTILL: Duration = Duration::from_secs(60);

/// What stands behind the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    SqliteAndLocalQueue,
    PostgresAndRedis,
}

/// Jobs finished per second, of many small backlogs and of a large one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) small: u128,
    pub(crate) large: u128,
}

/// Drains so many small backlogs one after the other, half of them before the large one and half after it.
pub(crate) async fn measure(behind: Behind, slots: usize, large: u64, small_ones: u64) -> Rates {
    let mut installation = Installation::start(behind, slots).await;
    installation.drain(SMALL).await; // nobody's first jobs count
    let mut of_small = Duration::ZERO;
    for _ in 0..small_ones / 2 {
        of_small += installation.drain(SMALL).await;
    }
    let of_large = installation.drain(large).await;
    for _ in 0..small_ones / 2 {
        of_small += installation.drain(SMALL).await;
    }
    let per_second = |jobs: u64, took: Duration| u128::from(jobs) * 1_000 / took.as_millis().max(1);
    Rates { small: per_second(SMALL * (small_ones / 2 * 2), of_small), large: per_second(large, of_large) }
}

struct Installation {
    store: Store,
    queue: Queue,
    filling: AnyConnection,
    next_job: u64,
    slots: usize,
    _servers: Option<(PrivatePostgres, PrivateRedis)>,
    _folder: tempfile::TempDir,
}

impl Installation {
    async fn start(behind: Behind, slots: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasdiq.db");
        let (servers, url, plain) = match behind {
            Behind::SqliteAndLocalQueue => {
                (None, DatabaseUrl::Sqlite(path.clone()), format!("sqlite://{}", path.display()))
            }
            Behind::PostgresAndRedis => {
                // What was finished survives a power cut.
                let postgres = PrivatePostgres::start_with(&["fsync=on", "full_page_writes=on"]).await;
                let url = postgres.url();
                let redis = PrivateRedis::start().await;
                (Some((postgres, redis)), DatabaseUrl::Postgres(Secret::new(url.clone())), url)
            }
        };
        let store = Store::open_for_worker(&url).await.unwrap();
        store.migrate().await.unwrap();
        let queue = match &servers {
            None => Queue::Local(LocalQueue::default()),
            Some((_, redis)) => Queue::Redis(RedisQueue::new(RedisServer::new(&redis.url(), "backlog").unwrap())),
        };
        let filling = AnyConnection::connect(&plain).await.unwrap();
        Installation { store, queue, filling, next_job: 1_000_000, slots, _servers: servers, _folder: folder }
    }

    /// Fills in a backlog, starts a worker and a relay, and gives the time from the first job's end to the last one's.
    async fn drain(&mut self, jobs: u64) -> Duration {
        self.fill(jobs).await;
        let stop = CancellationToken::new();
        let mut parts = JoinSet::new();
        let finished_before = finished();
        parts.spawn(Relay::new(self.store.clone(), self.queue.clone(), true).run(stop.clone()));
        let working = worker(&self.store, &self.queue, self.slots).run(stop.clone());
        parts.spawn(async move { assert!(working.await, "the worker ended well") });

        let (mut first, mut last, mut done) = (Instant::now(), Instant::now(), 0);
        while done < jobs {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now_done = finished() - finished_before;
            if now_done > done {
                last = Instant::now();
                first = if done == 0 { last } else { first };
            }
            done = now_done;
            assert!(last.elapsed() < STANDSTILL, "{done} of {jobs} jobs were finished, and then none any more");
        }
        stop.cancel();
        while parts.join_next().await.is_some() {}
        last - first
    }

    async fn fill(&mut self, jobs: u64) {
        let (first, last) = (self.next_job, self.next_job + jobs - 1);
        self.next_job += jobs;
        let fill = format!(
            "insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms)
            with recursive counted(n) as (select cast({first} as bigint) union all select n + 1 from counted where n < {last})
            select n, 'settle', 'process_callback', n, '{{\"kind\":\"process_callback\",\"callback_id\":' || n || '}}',
                'available', n, 0 from counted"
        );
        self.filling.execute(AssertSqlSafe(fill)).await.unwrap();
    }
}

/// A worker as `tasdiq worker` starts it, with so many jobs at once.
fn worker(store: &Store, queue: &Queue, slots: usize) -> JobWorker {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::from_environment(Role::Operator, |_| None).unwrap();
    let gateway = AtmosGateway::new(config.atmos.clone(), Coordination::local(None)).unwrap();
    let context = WorkerContext {
        store: store.clone(),
        gateway: Gateway::Atmos(gateway),
        public_url: Url::parse("http://127.0.0.1/").unwrap(),
        link_ttl: config.link_ttl,
        payment_ttl: config.payment_ttl,
        look_schedule: LookSchedule::new(&config.settle_schedule),
        sweep_every: config.sweep_every,
    };
    let options =
        WorkerOptions { slots, queues: WorkerOptions::ALL_QUEUES.to_vec(), stop_grace: Duration::from_secs(10) };
    JobWorker::new(context, queue.clone(), options)
}

/// How many jobs this process has run that found nothing to do, by its own count.
fn finished() -> u64 {
    let families = prometheus::gather();
    let jobs = families.iter().find(|family| family.name() == "tasdiq_jobs_total");
    let of_kind = jobs.into_iter().flat_map(|family| family.get_metric()).filter(|metric| {
        let values: Vec<&str> = metric.get_label().iter().map(|label| label.value()).collect();
        values == ["process_callback", "nothing_to_do"]
    });
    of_kind
        .map(|metric| metric.get_counter().get_value())
        .map(|number| number.to_string().parse::<u64>().unwrap())
        .sum()
}

/// The bound that is published is 0.8, for a hundred times as many jobs on a quiet machine (BENCHMARKS.md). A neighbour who
/// begins to compile halves either rate, so what looks wrong is measured again; what is wrong looks so each time.
#[cfg(test)]
async fn check(behind: Behind) {
    let mut seen = Vec::new();
    for _ in 0..3 {
        let rates = measure(behind, 64, 10 * SMALL, 6).await;
        println!("{behind:?}: {rates:?}");
        if rates.large * 10 >= rates.small * 7 {
            return;
        }
        seen.push(rates);
    }
    panic!("a large backlog drains at less than 0.7 of the rate of small ones: {seen:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_large_backlog_drains_as_fast_as_a_small_one_on_sqlite() {
        check(Behind::SqliteAndLocalQueue).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_large_backlog_drains_as_fast_as_a_small_one_on_postgres_and_redis() {
        check(Behind::PostgresAndRedis).await;
    }
}
