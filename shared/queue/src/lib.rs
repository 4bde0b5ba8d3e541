//! The queue carries job ids to the workers: in Redis lists, or in a list inside this process. It holds nothing that
//! the database cannot rebuild.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::id::JobId;
use domain::job::QueueName;

mod error;
mod listener;
mod local;
mod redis;

pub use self::error::QueueError;
pub use self::local::LocalQueue;
pub use self::redis::{Checked, RedisFault, RedisQueue};

use self::listener::{Listener, TakerListeners};

/// The queue of this installation; cheap to clone.
#[derive(Clone, Debug)]
pub enum Queue {
    /// Redis, for many processes.
    Redis(RedisQueue),
    /// Inside this process, for `up` without a Redis.
    Local(LocalQueue),
}

/// Takes ids for one consumer, over a connection of its own.
#[derive(Debug)]
pub struct Taker {
    kind: TakerKind,
    listener: Arc<Listener>,
}

#[derive(Debug)]
enum TakerKind {
    Redis(Box<redis::RedisTaker>),
    Local(LocalQueue),
}

impl Queue {
    /// Adds ids to the end of a queue. Returns how many wait in it then.
    ///
    /// # Errors
    /// [`QueueError`]; then some or all ids may be missing, and are enqueued again after their grace.
    pub async fn push(&self, queue: QueueName, ids: &[JobId]) -> Result<u64, QueueError> {
        match self {
            Queue::Redis(redis) => redis.push(queue, ids).await,
            Queue::Local(local) => Ok(local.push(queue, ids)),
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

    /// Why this queue must not be used although it answers.
    pub fn fault(&self) -> Option<&'static str> {
        self.redis().and_then(RedisQueue::fault)
    }

    /// A new taker of ids.
    pub fn taker(&self) -> Taker {
        let kind = match self {
            Queue::Redis(redis) => TakerKind::Redis(Box::new(redis.taker())),
            Queue::Local(local) => TakerKind::Local(local.clone()),
        };
        Taker { kind, listener: self.listeners().add() }
    }

    /// How long the consumers of this process have waited for an answer of the queue; an answer without ids counts.
    /// `None` where no consumer takes. A consumer that is too busy to ask does not wait.
    pub fn silent_for(&self) -> Option<Duration> {
        self.listeners().silent_for(Instant::now())
    }

    /// Whether this process has a taker, or had one.
    pub fn has_had_taker(&self) -> bool {
        self.listeners().has_had_listener()
    }

    fn listeners(&self) -> &TakerListeners {
        match self {
            Queue::Redis(redis) => redis.listeners(),
            Queue::Local(local) => local.listeners(),
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
        self.listener.asks(Instant::now());
        let taken = match &mut self.kind {
            TakerKind::Redis(redis) => redis.take(queues, max, wait).await,
            TakerKind::Local(local) => Ok(local.take(queues, max, wait).await),
        };
        if taken.is_ok() {
            self.listener.answered();
        }
        taken
    }
}
