//! The queue in Redis: one list of integers per queue, and no other key of worth.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::QueueError;
use super::hearing::Hearing;
use crate::id::JobId;
use crate::job::QueueName;
use crate::redis_server::{Commands, RedisServer};

/// The queue in Redis; cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisQueue {
    server: RedisServer,
    seen: Arc<Seen>,
}

/// A relay in trouble tries again every second. One that has nothing to push learns nothing new.
const REFUSAL_BELIEVED: Duration = Duration::from_secs(5);

/// What this process has seen of the queue.
#[derive(Debug, Default)]
struct Seen {
    is_cut_off: AtomicBool,
    has_faults: AtomicBool,
    /// When it last refused ids; nothing once it has taken some.
    refused: Mutex<Option<Instant>>,
    hearing: Hearing,
}

/// Why this Redis must not carry the queue; each tells what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisFault {
    /// `BLMPOP` came with Redis 7.
    #[error("Redis is version {version}; the queue needs Redis 7 or newer (BLMPOP)")]
    TooOld {
        /// What it says it is.
        version: String,
    },
    /// It may throw our keys away.
    #[error("Redis evicts keys when its memory is full (maxmemory-policy {policy}); set `maxmemory-policy noeviction`")]
    Evicts {
        /// The policy.
        policy: String,
    },
}

impl RedisQueue {
    /// The queue on that server.
    pub fn new(server: RedisServer) -> Self {
        RedisQueue { server, seen: Arc::default() }
    }

    /// Tells that no living worker uses this Redis, or that one does again; returns what was told before.
    pub(crate) fn set_cut_off(&self, is_cut_off: bool) -> bool {
        self.seen.is_cut_off.swap(is_cut_off, Ordering::Relaxed)
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.seen.is_cut_off.load(Ordering::Relaxed)
    }

    pub(super) fn hearing(&self) -> &Hearing {
        &self.seen.hearing
    }

    /// The server behind it.
    pub fn server(&self) -> &RedisServer {
        &self.server
    }

    /// Looks whether this Redis may carry the queue: version and eviction policy. Where `CONFIG GET` is
    /// forbidden (managed Redis), the policy is taken on trust.
    ///
    /// # Errors
    /// [`QueueError`] when it does not answer, which is never fatal.
    pub async fn check(&self) -> Result<Vec<RedisFault>, QueueError> {
        let (faults, policy) = self.look().await?;
        if let Err(error) = policy {
            tracing::warn!(error = %error, "Redis does not tell its eviction policy; it must be noeviction");
        }
        Ok(faults)
    }

    /// The faults that show, and whether the policy could be asked for.
    async fn look(&self) -> Result<(Vec<RedisFault>, Result<(), RedisError>), QueueError> {
        let mut commands = self.server.commands();
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut commands).await?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or("unknown").trim();
        let mut faults = Vec::new();
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < 7) {
            faults.push(RedisFault::TooOld { version: version.to_owned() });
        }
        let policy: Result<Vec<String>, _> =
            redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").query_async(&mut commands).await;
        if let Ok(Some(policy)) = policy.as_ref().map(|policy| policy.get(1).filter(|policy| *policy != "noeviction")) {
            faults.push(RedisFault::Evicts { policy: policy.clone() });
        }
        Ok((faults, policy.map(|_| ())))
    }

    /// As [`RedisQueue::check`] while the process runs: what is found is told once, and never fatal, for nothing that
    /// this Redis may lose is lost with it.
    ///
    /// # Errors
    /// [`QueueError`] when it does not answer.
    pub(crate) async fn check_again(&self) -> Result<(), QueueError> {
        let (faults, _) = self.look().await?;
        let had_faults = self.seen.has_faults.swap(!faults.is_empty(), Ordering::Relaxed);
        if !had_faults {
            for fault in faults {
                tracing::error!("Redis is no longer as the queue needs it: {fault}");
            }
        } else if faults.is_empty() {
            tracing::info!("Redis is as the queue needs it again");
        }
        Ok(())
    }

    /// What makes it unfit, though it answers: as the last look and the last push have shown.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let refused = *self.seen.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_some_and(|at| at.elapsed() < REFUSAL_BELIEVED) {
            return Some("Redis refuses to take ids, most likely for want of memory; jobs wait in the database");
        }
        let has_faults = self.seen.has_faults.load(Ordering::Relaxed);
        has_faults.then_some("this Redis is too old, or evicts keys; `tasdiq doctor` tells more")
    }

    /// A random value that all processes of one installation must share: those that read another one talk to
    /// another Redis.
    ///
    /// # Errors
    /// [`QueueError`] when it does not answer.
    pub async fn twin(&self) -> Result<String, QueueError> {
        let mut commands = self.server.commands();
        let key = self.server.key("twin");
        let read = async |commands: &mut Commands| redis::cmd("GET").arg(&key).query_async(commands).await;
        // Asked for first: a Redis without memory refuses to write what it already has.
        if let Some(twin) = read(&mut commands).await? {
            return Ok(twin);
        }
        let fresh = format!("{:016x}", rand::random::<u64>());
        let _: Option<String> = redis::cmd("SET").arg(&key).arg(&fresh).arg("NX").query_async(&mut commands).await?;
        Ok(read(&mut commands).await?.unwrap_or(fresh))
    }

    pub(super) async fn push(&self, queue: QueueName, ids: &[JobId]) -> Result<u64, QueueError> {
        if ids.is_empty() {
            return self.len(queue).await;
        }
        let mut push = redis::cmd("LPUSH");
        push.arg(self.key(queue));
        for id in ids {
            push.arg(id.0);
        }
        let pushed: Result<u64, QueueError> =
            push.query_async(&mut self.server.commands()).await.map_err(QueueError::from);
        let refused = matches!(pushed, Err(QueueError::Refused(_))).then(Instant::now);
        *self.seen.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        pushed
    }

    pub(super) async fn len(&self, queue: QueueName) -> Result<u64, QueueError> {
        Ok(redis::cmd("LLEN").arg(self.key(queue)).query_async(&mut self.server.commands()).await?)
    }

    pub(super) fn taker(&self) -> RedisTaker {
        RedisTaker { queue: self.clone(), connection: None }
    }

    fn key(&self, queue: QueueName) -> String {
        self.server.key(&format!("queue:{queue}"))
    }
}

/// One consumer's end of the queue, with a connection of its own: a blocking command would hold up everybody else.
#[derive(Debug)]
pub(super) struct RedisTaker {
    queue: RedisQueue,
    connection: Option<MultiplexedConnection>,
}

impl RedisTaker {
    pub(super) async fn take(
        &mut self,
        queues: &[QueueName],
        max: usize,
        wait: Duration,
    ) -> Result<Vec<JobId>, QueueError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.queue.server.blocking_connection(wait).await?,
        };
        let mut take = redis::cmd("BLMPOP");
        take.arg(format!("{}.{:03}", wait.as_secs(), wait.subsec_millis())).arg(queues.len());
        for queue in queues {
            take.arg(self.queue.key(*queue));
        }
        take.arg("RIGHT").arg("COUNT").arg(max);
        let taken: Option<(String, Vec<i64>)> = take.query_async(&mut connection).await?;
        // Only a connection that answered is used again.
        self.connection = Some(connection);
        Ok(taken.map(|(_, ids)| ids.into_iter().map(JobId).collect()).unwrap_or_default())
    }
}
