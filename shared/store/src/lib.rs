//! The database: the only crate with SQL, one file per noun. Where SQLite and PostgreSQL differ, a statement has two
//! texts.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Instant;

use parking_lot::Mutex;
use sqlx::Row;
use sqlx::any::AnyConnectOptions;
use tokio::sync::broadcast;

use crate::clock::Clock;
use domain::id::OrderId;
use domain::job::QueueName;
use domain::order::Order;
use domain::transaction::StoredTransaction;

pub mod admission;
pub mod auditing;
pub mod callbacks;
pub mod calls;
pub mod clock;
pub mod clock_steps;
mod connecting;
mod error;
pub mod findings;
pub mod fiscal_receipts;
mod group_commit;
mod health;
pub mod idempotency;
mod ids;
pub mod jobs;
pub mod kinds;
pub mod metrics;
mod migrating;
mod opening;
pub mod order_list;
pub mod order_lookup;
pub mod orders;
mod pool;
pub mod processes;
mod reading;
pub mod refunds;
mod relay_inbox;
pub mod reviewing;
mod settings;
pub mod settlement;
pub mod sole;
mod statement;
pub mod sweeping;
pub mod transactions;
mod url;
mod writing;

use callbacks::KeptBody;
use connecting::STATEMENT_TIMEOUT;
pub use error::{StoreError, Unreadable, Unsuitable};
use group_commit::BatchQueue;
use health::MOST_LEASE_FOR_THE_LINE_MS;
use ids::IdBlocks;
pub use ids::Numbers;
use pool::Pool;
use reading::ReadByNumber;
pub use relay_inbox::RecentJobs;
use relay_inbox::RelayInbox;
pub use settings::{DatabaseSettings, PoolSettings};
pub use url::DatabaseUrl;
use writing::{Write, anew_after_conflict};

/// Which of the two databases this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// One file, one process, one writer.
    Sqlite,
    /// A server for many processes.
    Postgres,
}

/// The database of one installation; cheap to clone. The functions of this crate's modules read and write it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    database: Database,
    writer: Pool,
    readers: Pool,
    /// Connections reserved for leases and heartbeats, so that running jobs can never hold them up.
    upkeep: Pool,
    /// How to make a separate connection; `None` for SQLite.
    options: Option<AnyConnectOptions>,
    clock: Clock,
    /// How long the database took to answer the last question for its time, microseconds.
    round_trip_us: AtomicI64,
    last_proof: Mutex<Option<WriteProof>>,
    ids: IdBlocks,
    relay_inbox: RelayInbox,
    order_changes: broadcast::Sender<OrderId>,
    batch_queues: BatchQueues,
}

/// Whether the last write of this process's own row succeeded, and when that was.
#[derive(Clone, Copy, Debug)]
struct WriteProof {
    at: Instant,
    is_good: bool,
}

/// The batch queues, one for each kind of write or read.
#[derive(Debug, Default)]
struct BatchQueues {
    questions: BatchQueue<callbacks::CallbackQuestion>,
    begins: BatchQueue<calls::Beginning>,
    tellings: BatchQueue<calls::Telling>,
    unheard: BatchQueue<calls::Unheard>,
    endings: BatchQueue<jobs::Ending>,
    links: BatchQueue<orders::Linking>,
    new_orders: BatchQueue<orders::Creating>,
    settlings: BatchQueue<settlement::Settling>,
    orders: BatchQueue<ReadByNumber<Option<Order>>>,
    transactions: BatchQueue<ReadByNumber<Vec<StoredTransaction>>>,
    callbacks: BatchQueue<ReadByNumber<Option<KeptBody>>>,
}

impl Store {
    /// The random name of this installation. The first process that asks makes it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn database_id(&self) -> Result<String, StoreError> {
        let random_name = format!("{:016x}", rand::random::<u64>());
        sqlx::query("-- name_installation\ninsert into installation (name, value) values ('database_id', $1) on conflict (name) do nothing")
            .bind(random_name)
            .execute(&self.0.writer)
            .await?;
        let row = sqlx::query("-- installation_name\nselect value from installation where name = 'database_id'")
            .fetch_one(&self.0.writer)
            .await?;
        Ok(row.try_get("value")?)
    }

    /// The installation's time.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Now, in epoch milliseconds of the database.
    pub fn now_ms(&self) -> i64 {
        self.0.clock.now_ms()
    }

    /// Which database this is.
    pub fn database(&self) -> Database {
        self.0.database
    }

    /// Waits until this process commits a job; a commit since the last call counts too. Only for the process's one
    /// relay.
    pub async fn job_staged(&self) {
        self.0.relay_inbox.filled().await;
    }

    /// Takes the jobs that this process has committed since the last call. Only for the process's one relay.
    pub fn take_recent(&self) -> RecentJobs {
        self.0.relay_inbox.take()
    }

    /// From now on, jobs that are staged on these queues and due at once are marked as enqueued in the same statement.
    /// The caller pushes the ids that [`Store::take_recent`] returns. On all other queues the relay enqueues due jobs
    /// itself.
    pub fn enqueue_when_staged(&self, queues: Vec<QueueName>) {
        self.0.relay_inbox.open_only(queues);
    }

    /// The ids of the orders that this process changes from now on, sent after each commit.
    pub fn order_changes(&self) -> broadcast::Receiver<OrderId> {
        self.0.order_changes.subscribe()
    }

    /// Lets running statements end and closes the connections.
    pub async fn close(&self) {
        self.0.readers.close().await;
        self.0.writer.close().await;
        self.0.upkeep.close().await;
    }

    fn readers(&self) -> &Pool {
        &self.0.readers
    }

    fn writer(&self) -> &Pool {
        &self.0.writer
    }

    /// The connections for work that keeps jobs and this process alive: renewals of leases, ends of runs, the relay,
    /// heartbeats.
    fn upkeep(&self) -> &Pool {
        &self.0.upkeep
    }

    /// As [`Store::upkeep`], for statements that only read.
    fn upkeep_readers(&self) -> &Pool {
        match self.0.database {
            Database::Sqlite => &self.0.readers,
            Database::Postgres => &self.0.upkeep,
        }
    }
}
