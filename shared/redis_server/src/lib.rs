//! How this process reaches Redis, and under which names it keeps things there.

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
/// Nothing here connects by itself: a Redis that is away is an error of the single call, never of the start.
#[derive(Clone)]
pub struct RedisServer {
    client: Arc<Client>,
    line: Arc<Mutex<Line>>,
    prefix: Arc<str>,
}

/// The one connection for short commands, which the whole process shares.
#[derive(Default)]
struct Line {
    connection: Option<MultiplexedConnection>,
    /// Which connection it is, counted: whoever saw one fail gives up that one, and none that was made since.
    number: u64,
    /// When the last attempt to connect failed, and how: those who waited for it need not make their own.
    failed: Option<(Instant, RedisError)>,
}

/// Long enough for a busy server, short enough that a request path notices an outage at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// Whoever goes away sooner had reasons of their own.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(250);

/// So much later than it was told to may a blocking command answer. A server that vanished without a word is noticed
/// by nothing else: nobody would write on that connection for minutes.
const BLOCKING_SLACK: Duration = Duration::from_secs(2);

impl RedisServer {
    /// Takes the address; `database_id` names the installation.
    ///
    /// # Errors
    /// A URL that the client cannot read.
    pub fn new(url: &str, database_id: &str) -> Result<Self, RedisError> {
        let prefix = format!("{{tasdiq:{database_id}}}").into();
        Ok(RedisServer { client: Arc::new(Client::open(url)?), line: Arc::default(), prefix })
    }

    /// A handle for short commands: shared, connects anew after whatever went wrong with the connection, and answers or
    /// errs within a second, two where it has to connect first.
    pub fn commands(&self) -> Commands {
        Commands(self.clone())
    }

    /// A connection of one's own for a command that blocks up to `wait`.
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
        // The net under the connection's own rule: what is said before it is ready counts, too.
        timeout(CALL_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(too_late()))
    }

    /// The shared connection and its number, made first if there is none.
    async fn line(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let asked = Instant::now();
        let mut line = self.line.lock().await;
        if let Some(connection) = &line.connection {
            return Ok((line.number, connection.clone()));
        }
        if let Some((failed_at, error)) = &line.failed
            && *failed_at >= asked
        {
            return Err(error.clone());
        }
        match self.connect(CALL_TIMEOUT).await {
            Ok(connection) => {
                line.number += 1;
                line.connection = Some(connection.clone());
                Ok((line.number, connection))
            }
            Err(error) => {
                line.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Gives up the connection of that number.
    async fn hang_up(&self, number: u64) {
        let mut line = self.line.lock().await;
        if line.number == number {
            line.connection = None;
        }
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisServer").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// What short commands are sent with; see [`RedisServer::commands`].
///
/// The client's own `ConnectionManager` keeps a connection on which nothing is answered any more (for it a timeout is no
/// reason to connect anew), and one refused password makes it refuse for good.
#[derive(Clone, Debug)]
pub struct Commands(RedisServer);

impl Commands {
    async fn ask<T>(&self, question: impl AsyncFnOnce(&mut MultiplexedConnection) -> RedisResult<T>) -> RedisResult<T> {
        let (number, mut connection) = self.0.line().await?;
        let mut unanswered = Unanswered { server: Some(&self.0), number, asked: Instant::now() };
        let answer = question(&mut connection).await;
        unanswered.server = None;
        if answer.as_ref().is_err_and(is_fault_of_connection) {
            self.0.hang_up(number).await;
        }
        answer
    }
}

/// A question whose asker has less patience than the connection's own time limit.
struct Unanswered<'a> {
    /// Nothing once there is an answer.
    server: Option<&'a RedisServer>,
    number: u64,
    asked: Instant,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let Some(server) = self.server.filter(|_| self.asked.elapsed() > GIVEN_UP_AFTER) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (server, number) = (server.clone(), self.number);
            runtime.spawn(async move { server.hang_up(number).await });
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

/// Whether another connection might fare better. What the server says in answer to a command is no fault of the
/// connection, unless it says that it does not know us, that it is no longer the one that takes writes, or that it has no
/// data yet: the name may lead to another server by now.
fn is_fault_of_connection(error: &RedisError) -> bool {
    error.code().is_none_or(|code| matches!(code, "NOAUTH" | "READONLY" | "MASTERDOWN" | "LOADING"))
}

/// Whether the server is well, and said no to this one command: for a right that is missing, say, or memory.
pub fn is_refusal(error: &RedisError) -> bool {
    let is_about_the_server = |code| matches!(code, "WRONGPASS" | "CLUSTERDOWN");
    !is_fault_of_connection(error) && !error.code().is_some_and(is_about_the_server)
}

fn too_late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
