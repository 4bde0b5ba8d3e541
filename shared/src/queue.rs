//! What carries job ids to the workers: Redis lists, or a list inside this process. It holds nothing that the
//! database cannot rebuild.

use std::time::Duration;

use crate::id::JobId;
use crate::job::QueueName;

mod local;
mod redis;

pub use self::local::LocalQueue;
pub use self::redis::{RedisFault, RedisQueue};

/// Why the queue did not do it. The jobs are safe in the database; go on later.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Redis cannot be reached, or did not answer in time.
    #[error("Redis is not available")]
    Unavailable(#[source] ::redis::RedisError),
    /// Redis answered with an error: a wrong version, no memory left, no permission.
    #[error("Redis refused: {0}")]
    Refused(String),
}

impl From<::redis::RedisError> for QueueError {
    fn from(error: ::redis::RedisError) -> Self {
        match error.code() {
            Some(code) if !matches!(code, "LOADING" | "MASTERDOWN" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN") => {
                QueueError::Refused(error.to_string())
            }
            _ => QueueError::Unavailable(error),
        }
    }
}

/// The queue of this installation; cheap to clone.
#[derive(Clone, Debug)]
pub enum Queue {
    /// Redis, for many processes.
    Redis(RedisQueue),
    /// Inside this process, for `up` without a Redis.
    Local(LocalQueue),
}

/// Takes ids for one consumer; owns the connection it waits on.
#[derive(Debug)]
pub enum Taker {
    /// From Redis.
    Redis(Box<redis::RedisTaker>),
    /// From this process.
    Local(LocalQueue),
}

impl Queue {
    /// Adds ids to the end of a queue.
    ///
    /// # Errors
    /// [`QueueError`]; then some or all may not be in it, and are offered again after their grace.
    pub async fn push(&self, queue: QueueName, ids: &[JobId]) -> Result<(), QueueError> {
        match self {
            Queue::Redis(redis) => redis.push(queue, ids).await,
            Queue::Local(local) => {
                local.push(queue, ids);
                Ok(())
            }
        }
    }

    /// How many ids wait in a queue.
    ///
    /// # Errors
    /// [`QueueError`] when Redis did not answer.
    pub async fn len(&self, queue: QueueName) -> Result<u64, QueueError> {
        match self {
            Queue::Redis(redis) => redis.len(queue).await,
            Queue::Local(local) => Ok(local.len(queue)),
        }
    }

    /// Whether this process talks to a Redis that no living worker uses: a wrong `REDIS_URL` somewhere. For `/readyz`.
    pub fn is_cut_off(&self) -> bool {
        self.redis().is_some_and(RedisQueue::is_cut_off)
    }

    /// Something to take ids with.
    pub fn taker(&self) -> Taker {
        match self {
            Queue::Redis(redis) => Taker::Redis(Box::new(redis.taker())),
            Queue::Local(local) => Taker::Local(local.clone()),
        }
    }

    /// The Redis behind it, if there is one.
    pub fn redis(&self) -> Option<&RedisQueue> {
        match self {
            Queue::Redis(redis) => Some(redis),
            Queue::Local(_) => None,
        }
    }
}

impl Taker {
    /// Takes up to `max` ids from the first of the queues that has any, waiting up to `wait` for one.
    ///
    /// # Errors
    /// [`QueueError`] when Redis did not answer; the next call connects anew.
    pub async fn take(&mut self, queues: &[QueueName], max: usize, wait: Duration) -> Result<Vec<JobId>, QueueError> {
        match self {
            Taker::Redis(redis) => redis.take(queues, max, wait).await,
            Taker::Local(local) => Ok(local.take(queues, max, wait).await),
        }
    }
}
