//! The queue without a database: ids that are pushed, taken by a worker, and done.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::RandomId;
use apalis_core::worker::context::WorkerContext as ApalisContext;
use domain::id::JobId;
use domain::job::QueueName;
use queue::{Queue, RedisQueue};
use redis_server::RedisServer;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_layer::Identity;

use crate::support::servers::PrivateRedis;

/// As many ids as the relay pushes at once, and as many as a worker takes at once.
const PUSHED_TOGETHER: usize = 500;
const TAKEN_TOGETHER: usize = 64;

/// The ids from the queue, each with its slot, as a worker takes them.
struct Ids(UnboundedReceiver<OwnedSemaphorePermit>);

impl Backend for Ids {
    type Task = Task<OwnedSemaphorePermit>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &ApalisContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        _: &ApalisContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        self.0.poll_recv(context).map(|slot| slot.map(|slot| Ok(TaskBuilder::new(slot).build())))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, worker: &ApalisContext) -> Poll<Result<(), Infallible>> {
        if !worker.is_shutting_down() {
            let _ = worker.stop();
        }
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for Ids {
    type Args = OwnedSemaphorePermit;
    type Id = RandomId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut ApalisContext) -> Identity {
        Identity::new()
    }
}

/// Empty jobs per second through Redis and apalis, with this many slots: first pushed, then taken and done.
pub(crate) async fn measure(jobs: i64, slots: usize) -> u128 {
    let redis = PrivateRedis::start_with(&["--appendonly", "yes"]).await;
    let queue = Queue::Redis(RedisQueue::new(RedisServer::new(&redis.url(), "transport").unwrap()));
    let ids: Vec<JobId> = (0..jobs).map(JobId).collect();
    for ids in ids.chunks(PUSHED_TOGETHER) {
        queue.push(QueueName::Settle, ids).await.unwrap();
    }
    let (done, free) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(slots)));
    let (sender, receiver) = unbounded_channel();
    let worker = WorkerBuilder::new("transport")
        .backend(Ids(receiver))
        .concurrency(slots)
        .parallelize(tokio::spawn)
        .data(Arc::clone(&done))
        .build(async |slot: OwnedSemaphorePermit, done: Data<Arc<AtomicU64>>| {
            done.fetch_add(1, Ordering::Relaxed);
            drop(slot);
        });
    let began = Instant::now();
    let taking = async move {
        let (mut taker, mut left) = (queue.taker(), jobs);
        while left > 0 {
            let mut slots = Arc::clone(&free).acquire_owned().await.unwrap();
            let more = free.available_permits().min(TAKEN_TOGETHER - 1);
            if let Ok(more) = Arc::clone(&free).try_acquire_many_owned(u32::try_from(more).unwrap()) {
                slots.merge(more);
            }
            let ids = taker.take(&[QueueName::Settle], slots.num_permits(), Duration::from_secs(2)).await.unwrap();
            left -= i64::try_from(ids.len()).unwrap();
            for _ in ids {
                sender.send(slots.split(1).unwrap()).unwrap();
            }
        }
    };
    let (worked, ()) = tokio::join!(worker.run(), taking);
    worked.unwrap();
    let took = began.elapsed();
    assert_eq!(done.load(Ordering::Relaxed), u64::try_from(jobs).unwrap());
    u128::try_from(jobs).unwrap() * 1_000 / took.as_millis().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_id_is_taken_and_done() {
        assert!(measure(2_000, 64).await > 0);
    }
}
