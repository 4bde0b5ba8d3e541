//! The queue in Redis: one list of integers per queue. No other key matters.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::id::JobId;
use domain::job::QueueName;
use parking_lot::Mutex;
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use redis_server::{Commands, RedisServer, is_refusal};

use super::error::QueueError;
use super::listener::TakerListeners;

/// The queue in Redis; cheap to clone.
#[derive(Clone, Debug)]
pub struct RedisQueue {
    server: RedisServer,
    health: Arc<QueueHealth>,
}

/// How long a refusal counts. A relay in trouble tries again every second; a relay with nothing to push learns nothing
/// new.
const REFUSAL_BELIEVED: Duration = Duration::from_secs(5);

/// The state of the queue as this process has seen it.
#[derive(Debug, Default)]
struct QueueHealth {
    is_cut_off: AtomicBool,
    has_faults: AtomicBool,
    /// When Redis last refused ids; `None` once it has taken some.
    refused: Mutex<Option<Instant>>,
    listeners: TakerListeners,
}

/// Why this Redis must not carry the queue. Each text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisFault {
    /// `BLMPOP` came with Redis 7.
    #[error("Redis is version {version}; the queue needs Redis 7 or newer (BLMPOP)")]
    TooOld {
        /// The version that it reports.
        version: String,
    },
    /// It may delete our keys.
    #[error("Redis evicts keys when its memory is full (maxmemory-policy {policy}); set `maxmemory-policy noeviction`")]
    Evicts {
        /// The policy.
        policy: String,
    },
}

/// The result of a check of Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The reasons why it must not carry the queue.
    pub faults: Vec<RedisFault>,
    /// The settings that our user may not read, and how they must be.
    pub untold: Vec<&'static str>,
}

impl RedisQueue {
    /// The queue on that server.
    pub fn new(server: RedisServer) -> Self {
        RedisQueue { server, health: Arc::default() }
    }

    /// Notes whether no living worker uses this Redis. Returns the value before.
    pub fn set_cut_off(&self, is_cut_off: bool) -> bool {
        self.health.is_cut_off.swap(is_cut_off, Ordering::Relaxed)
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.health.is_cut_off.load(Ordering::Relaxed)
    }

    pub(super) fn listeners(&self) -> &TakerListeners {
        &self.health.listeners
    }

    /// The server behind it.
    pub fn server(&self) -> &RedisServer {
        &self.server
    }

    /// Checks whether this Redis may carry the queue: its version and its eviction policy. A setting that our user may
    /// not read is trusted, and named in the result.
    ///
    /// # Errors
    /// [`QueueError`] when it does not answer, which is never fatal.
    pub async fn check(&self) -> Result<Checked, QueueError> {
        let mut commands = self.server.commands();
        let mut checked = Checked::default();
        match version(&mut commands).await? {
            Some(version) => {
                let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
                if major.is_none_or(|major| major < 7) {
                    checked.faults.push(RedisFault::TooOld { version });
                }
            }
            None => checked.untold.push("its version, which must be 7 or newer"),
        }
        match policy(&mut commands).await? {
            Some(policy) if policy != "noeviction" => checked.faults.push(RedisFault::Evicts { policy }),
            Some(_) => (),
            None => checked.untold.push("its eviction policy, which must be noeviction"),
        }
        Ok(checked)
    }

    /// The same as [`RedisQueue::check`] while the process runs. A fault is logged once and never fatal: the database
    /// can rebuild everything that this Redis may lose.
    ///
    /// # Errors
    /// [`QueueError`] when it does not answer.
    pub async fn check_again(&self) -> Result<(), QueueError> {
        let Checked { faults, .. } = self.check().await?;
        let had_faults = self.health.has_faults.swap(!faults.is_empty(), Ordering::Relaxed);
        if !had_faults {
            for fault in faults {
                tracing::error!("Redis is no longer as the queue needs it: {fault}");
            }
        } else if faults.is_empty() {
            tracing::info!("Redis is as the queue needs it again");
        }
        Ok(())
    }

    /// Why it must not be used although it answers, by the last check and the last push.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let refused = *self.health.refused.lock();
        if refused.is_some_and(|at| at.elapsed() < REFUSAL_BELIEVED) {
            return Some("Redis refuses to take ids, most likely for want of memory; jobs wait in the database");
        }
        let has_faults = self.health.has_faults.load(Ordering::Relaxed);
        has_faults.then_some("this Redis is too old, or evicts keys; `tasdiq doctor` tells more")
    }

    /// The random id of this Redis instance. All processes of one installation must read the same id; a process that
    /// reads another one talks to another Redis.
    ///
    /// # Errors
    /// [`QueueError`] when it does not answer.
    pub async fn instance_id(&self) -> Result<String, QueueError> {
        let mut commands = self.server.commands();
        // The key keeps the name that running older releases read.
        let key = self.server.key("twin");
        let read = async |commands: &mut Commands| redis::cmd("GET").arg(&key).query_async(commands).await;
        // Read first: a Redis without free memory refuses every write, even of a value that it has.
        if let Some(id) = read(&mut commands).await? {
            return Ok(id);
        }
        let new = format!("{:016x}", rand::random::<u64>());
        let _: Option<String> = redis::cmd("SET").arg(&key).arg(&new).arg("NX").query_async(&mut commands).await?;
        Ok(read(&mut commands).await?.unwrap_or(new))
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
        *self.health.refused.lock() = refused;
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

/// The answer to a command, or `None` where our user may not send it: `INFO` and `CONFIG` count as dangerous, and the
/// usual advice is to forbid them.
async fn permitted<T: redis::FromRedisValue>(
    commands: &mut Commands,
    command: &redis::Cmd,
) -> Result<Option<T>, RedisError> {
    match command.query_async(commands).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if is_refusal(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn info(commands: &mut Commands, section: &str, field: &str) -> Result<Option<String>, RedisError> {
    let info: Option<String> = permitted(commands, redis::cmd("INFO").arg(section)).await?;
    let value = |line: &str| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned());
    Ok(info.and_then(|info| info.lines().find_map(value)))
}

async fn version(commands: &mut Commands) -> Result<Option<String>, RedisError> {
    if let Some(version) = info(commands, "server", "redis_version").await? {
        return Ok(Some(version));
    }
    // Every user that may log in may send this.
    let hello: Option<HashMap<String, redis::Value>> = permitted(commands, &redis::cmd("HELLO")).await?;
    Ok(hello.and_then(|mut hello| redis::from_redis_value(hello.remove("version")?).ok()))
}

async fn policy(commands: &mut Commands) -> Result<Option<String>, RedisError> {
    const NAME: &str = "maxmemory-policy";
    // Pairs: a list of words in the older protocol, a map in the newer one.
    let settings: Option<HashMap<String, String>> =
        permitted(commands, redis::cmd("CONFIG").arg("GET").arg(NAME)).await?;
    match settings.and_then(|mut settings| settings.remove(NAME)) {
        Some(policy) => Ok(Some(policy)),
        None => info(commands, "memory", "maxmemory_policy").await,
    }
}

/// The taker of one consumer. It has a connection of its own: a blocking command would hold up all other users of a
/// shared one.
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
        // A connection that did not answer is not used again.
        self.connection = Some(connection);
        Ok(taken.map(|(_, ids)| ids.into_iter().map(JobId).collect()).unwrap_or_default())
    }
}
