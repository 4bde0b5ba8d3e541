//! How this process reaches Redis, and under which names it keeps things there.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, RedisError};

/// A Redis server, and the prefix that keeps one installation's keys apart from another's.
///
/// Nothing here connects by itself: a Redis that is away is an error of the single call, never of the start.
#[derive(Clone)]
pub struct RedisServer {
    client: Client,
    manager: ConnectionManager,
    prefix: String,
}

/// Long enough for a busy server, short enough that a request path notices an outage at once.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

impl RedisServer {
    /// Takes the address; `database_id` names the installation.
    ///
    /// # Errors
    /// A URL that the client cannot read. Must be called inside a tokio runtime.
    pub fn new(url: &str, database_id: &str) -> Result<Self, RedisError> {
        let client = Client::open(url)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(2)
            .set_max_delay(Duration::from_millis(200))
            .set_connection_timeout(Some(CALL_TIMEOUT))
            .set_response_timeout(Some(CALL_TIMEOUT));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        Ok(RedisServer { client, manager, prefix: format!("{{tasdiq:{database_id}}}") })
    }

    /// A handle for short commands: shared, reconnects by itself, answers or errs within about a second.
    pub fn commands(&self) -> ConnectionManager {
        self.manager.clone()
    }

    /// A connection of one's own for a command that blocks up to `wait`.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn blocking_connection(&self, wait: Duration) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(2)))
            // The default of 500 ms would cut every blocking take.
            .set_response_timeout(Some(wait + Duration::from_secs(5)));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// A connection that can subscribe to channels.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn subscriber(&self) -> Result<redis::aio::PubSub, RedisError> {
        self.client.get_async_pubsub().await
    }

    /// The full name of a key or channel: `{tasdiq:<database id>}:<name>`. The braces keep all of them in
    /// one slot, as `BLMPOP` over several keys needs on a cluster.
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisServer").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
