//! Transactions that write, and the news of them for the rest of the process.

use super::pool::{OpenTransaction, Pool};
use super::relay_inbox::RecentJobs;
use super::{Database, Store, StoreError, metrics};
use domain::id::OrderId;
use domain::order::OrderStatus;
use domain::refund::RefundState;

impl Store {
    /// Begins a transaction that may stage up to `jobs` jobs.
    pub(super) async fn begin(&self, jobs: usize) -> Result<Write, StoreError> {
        self.begin_on(&self.0.writer, jobs).await
    }

    /// As [`Store::begin`], on the connections that running jobs never take.
    pub(super) async fn begin_upkeep(&self) -> Result<Write, StoreError> {
        self.begin_on(&self.0.upkeep, 0).await
    }

    async fn begin_on(&self, pool: &Pool, jobs: usize) -> Result<Write, StoreError> {
        let job_ids = self.0.ids.take(self, "jobs", jobs).await?;
        let transaction = match self.0.database {
            // A deferred transaction that reads before it writes fails under load, whatever the busy timeout.
            Database::Sqlite => pool.begin(Some("BEGIN IMMEDIATE")).await?,
            Database::Postgres => pool.begin(None).await?,
        };
        Ok(Write {
            transaction,
            store: self.clone(),
            job_ids,
            recent: RecentJobs::default(),
            transitions: Vec::new(),
            refunds: Vec::new(),
            changed: Vec::new(),
        })
    }
}

/// One transaction that writes, with the news that the rest of the process gets once it is committed.
pub(super) struct Write {
    pub(super) transaction: OpenTransaction,
    pub(super) store: Store,
    pub(super) job_ids: Vec<i64>,
    pub(super) recent: RecentJobs,
    pub(super) transitions: Vec<OrderStatus>,
    pub(super) refunds: Vec<RefundState>,
    pub(super) changed: Vec<OrderId>,
}

impl Write {
    pub(super) fn transaction(&mut self) -> &mut OpenTransaction {
        &mut self.transaction
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.store.now_ms()
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await?;
        let inner = &self.store.0;
        inner.ids.give_back("jobs", self.job_ids);
        for status in self.transitions {
            metrics::order_transitions().with_label_values(&[status.as_str()]).inc();
        }
        for state in self.refunds {
            metrics::refunds().with_label_values(&[state.as_str()]).inc();
        }
        inner.relay_inbox.put(self.recent);
        for order_id in self.changed {
            // An error only means that no task listens.
            let _ = inner.order_changes.send(order_id);
        }
        Ok(())
    }
}

/// Runs a transaction again, at most twice, when another transaction was in its way: its caller waits for an answer.
pub(super) async fn anew_after_conflict<T, F>(run: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 0..2 {
        match run().await {
            Err(StoreError::Conflict(_)) => (),
            ended => return ended,
        }
    }
    run().await
}
