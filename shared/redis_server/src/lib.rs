//! The connections of this process to Redis, and the names of its keys there.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

mod settings;

pub use settings::RedisSettings;

/// A Redis server, and the prefix that keeps one installation's keys apart from another's.
///
/// Nothing here connects by itself. If Redis is away, the single call fails, and never the start.
#[derive(Clone)]
pub struct RedisServer {
    client: Arc<Client>,
    shared: Arc<Mutex<SharedConnection>>,
    prefix: Arc<str>,
}

/// The one connection for short commands, which the whole process shares.
#[derive(Default)]
struct SharedConnection {
    connection: Option<MultiplexedConnection>,
    /// The number of the connection, counted from 1. A caller gives up the connection that failed, and not a newer one.
    number: u64,
    /// The time and the error of the last failed attempt to connect. It is the answer for all callers that waited for it.
    failed: Option<(Instant, RedisError)>,
}

/// Long enough for a busy server, and short enough that a request notices an outage at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// A caller that gives up a command later than this was waiting in vain; an earlier one had other reasons.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(250);

/// How much later than its own time limit a blocking command may answer. Nothing else shows that a server has vanished without
/// closing the connection: nothing would be written on it for minutes.
const BLOCKING_SLACK: Duration = Duration::from_secs(2);

impl RedisServer {
    /// Takes the address; `database_id` names the installation.
    ///
    /// # Errors
    /// A URL that the client cannot read.
    pub fn new(url: &str, database_id: &str) -> Result<Self, RedisError> {
        let prefix = format!("{{tasdiq:{database_id}}}").into();
        Ok(RedisServer { client: Arc::new(Client::open(url)?), shared: Arc::default(), prefix })
    }

    /// A handle for short commands on one shared connection. After any fault of the connection it connects again. It answers or
    /// fails within a second, or two if it must connect first.
    pub fn commands(&self) -> Commands {
        Commands(self.clone())
    }

    /// A separate connection for a command that blocks up to `wait`.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn blocking_connection(&self, wait: Duration) -> Result<MultiplexedConnection, RedisError> {
        self.connect(wait + BLOCKING_SLACK).await
    }

    /// A connection that can subscribe to channels.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn subscriber(&self) -> Result<redis::aio::PubSub, RedisError> {
        timeout(CALL_TIMEOUT, self.client.get_async_pubsub()).await.unwrap_or_else(|_| Err(too_late()))
    }

    /// The full name of a key or channel: `{tasdiq:<database id>}:<name>`. The braces keep all of them in
    /// one slot, as `BLMPOP` over several keys needs on a cluster.
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    async fn connect(&self, response_timeout: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CALL_TIMEOUT))
            .set_response_timeout(Some(response_timeout));
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        // The client's own limit does not cover the first commands on a new connection; this one does.
        timeout(CALL_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(too_late()))
    }

    /// The shared connection and its number, made first if there is none.
    async fn shared_connection(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let asked = Instant::now();
        let mut shared = self.shared.lock().await;
        if let Some(connection) = &shared.connection {
            return Ok((shared.number, connection.clone()));
        }
        if let Some((failed_at, error)) = &shared.failed
            && *failed_at >= asked
        {
            return Err(error.clone());
        }
        match self.connect(CALL_TIMEOUT).await {
            Ok(connection) => {
                shared.number += 1;
                shared.connection = Some(connection.clone());
                Ok((shared.number, connection))
            }
            Err(error) => {
                shared.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Gives up the connection of that number.
    async fn give_up(&self, number: u64) {
        let mut shared = self.shared.lock().await;
        if shared.number == number {
            shared.connection = None;
        }
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisServer").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The handle for short commands; see [`RedisServer::commands`].
///
/// The client's own `ConnectionManager` does not fit. It keeps a connection that no longer answers, because a timeout is no
/// reason for it to connect again; and after one refused password it refuses all commands.
#[derive(Clone, Debug)]
pub struct Commands(RedisServer);

impl Commands {
    async fn ask<T>(&self, question: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>) -> RedisResult<T> {
        let (number, mut connection) = self.0.shared_connection().await?;
        let mut unanswered = Unanswered { server: Some(&self.0), number, asked: Instant::now() };
        let answer = question(&mut connection).await;
        unanswered.server = None;
        if answer.as_ref().is_err_and(is_fault_of_connection) {
            self.0.give_up(number).await;
        }
        answer
    }
}

/// A command under way. Its caller may stop waiting before the connection's own time limit.
struct Unanswered<'a> {
    /// `None` once there is an answer.
    server: Option<&'a RedisServer>,
    number: u64,
    asked: Instant,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let Some(server) = self.server.filter(|_| self.asked.elapsed() > GIVEN_UP_AFTER) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (server, number) = (server.clone(), self.number);
            runtime.spawn(async move { server.give_up(number).await });
        }
    }
}

impl ConnectionLike for Commands {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        self.ask(async move |connection| connection.req_packed_command(command).await).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.ask(async move |connection| connection.req_packed_commands(commands, offset, count).await).boxed()
    }

    fn get_db(&self) -> i64 {
        self.0.client.get_connection_info().redis_settings().db()
    }
}

/// Whether a new connection may help. An error that the server sends is no fault of the connection. The exceptions: the server
/// does not know us, takes no writes any longer, or has no data yet. Then the host name may lead to another server by now.
fn is_fault_of_connection(error: &RedisError) -> bool {
    error.code().is_none_or(|code| matches!(code, "NOAUTH" | "READONLY" | "MASTERDOWN" | "LOADING"))
}

/// Whether the server works and refused this one command, for example because a right or memory is missing.
pub fn is_refusal(error: &RedisError) -> bool {
    let is_about_the_server = |code| matches!(code, "WRONGPASS" | "CLUSTERDOWN");
    !is_fault_of_connection(error) && !error.code().is_some_and(is_about_the_server)
}

fn too_late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
