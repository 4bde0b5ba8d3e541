//! The cost of a job apart from its work: from its row to a worker and back, in the queue alone, and until it begins.
//!
//! Worker and relay are the real ones, in this process. The jobs are the cheapest there are, so that their way is
//! measured and not their work: `process_callback` of deleted callbacks.

use config::defaults;
use std::time::Duration;
use store::DatabaseUrl;

use domain::secret::Secret;
use gateway::AccountSettings;
use process::relay::Relay;
use queue::{LocalQueue, Queue, RedisQueue};
use redis_server::RedisServer;
use sqlx::{AnyConnection, Connection};
use store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::{JobWorker, SuspectProgram, WorkerContext, WorkerOptions};

use crate::support::servers::{PrivatePostgres, PrivateRedis};

pub(crate) mod backlog;
pub(crate) mod idle;
pub(crate) mod transport;

/// The database and queue behind the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    SqliteAndLocalQueue,
    PostgresAndRedis,
}

impl Behind {
    /// Both of them.
    pub(crate) const ALL: [Behind; 2] = [Behind::SqliteAndLocalQueue, Behind::PostgresAndRedis];

    /// Its name in a table.
    #[allow(dead_code, reason = "the tests have no use for it")]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Behind::SqliteAndLocalQueue => "SQLite, queue in the process",
            Behind::PostgresAndRedis => "PostgreSQL (`fsync=on`), Redis",
        }
    }
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
                // A finished job survives a power failure.
                let postgres = PrivatePostgres::start_with(&["fsync=on", "full_page_writes=on"]).await;
                let url = postgres.url();
                let redis = PrivateRedis::start_with(&["--appendonly", "yes"]).await;
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

    /// Starts a worker and a relay, which run until `stop`.
    fn run(&self, stop: &CancellationToken) -> JoinSet<()> {
        let mut parts = JoinSet::new();
        parts.spawn(Relay::new(self.store.clone(), self.queue.clone(), true).run(stop.clone()));
        let working = worker(&self.store, &self.queue, self.slots).run(stop.clone());
        parts.spawn(async move { assert!(working.await, "the worker ended well") });
        parts
    }
}

/// A worker as `tasdiq worker` starts it, with this many jobs at once.
fn worker(store: &Store, queue: &Queue, slots: usize) -> JobWorker {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let account = AccountSettings::Atmos(defaults().unwrap());
    let context = WorkerContext {
        store: store.clone(),
        gateways: account.gateway(account.coordination(None, true)).unwrap().into(),
        public_url: "http://127.0.0.1/".parse().unwrap(),
        settings: defaults().unwrap(),
        payment_ttl: Duration::from_secs(1_800),
        link_ttl: Duration::from_secs(86_400),
    };
    let options =
        WorkerOptions { slots, queues: WorkerOptions::ALL_QUEUES.to_vec(), stop_grace: Duration::from_secs(10) };
    let suspects = SuspectProgram {
        file: env!("CARGO_BIN_EXE_tasdiq").into(),
        arguments: Vec::new(),
        settings: Secret::new("{}"),
    };
    JobWorker::new(context, queue.clone(), options, suspects)
}
