//! Redis, where it carries the queue.

use domain::order::{GatewayIdentity, PaymentType};
use gateway::coordination::{CoordinatedAccount, Coordination};
use queue::RedisQueue;
use redis_server::RedisServer;
use store::Store;
use telemetry::causes;

use super::check_results::CheckResults;
use crate::config::Config;
use crate::installation::redis_server;

/// The Redis of this environment, and the value by which the processes that share it are known.
pub(super) struct SeenRedis {
    pub(super) server: RedisServer,
    pub(super) redis_instance_id: Option<String>,
}

/// Looks at Redis. The names of our keys there come from the database; without it only the server's health is checked, and
/// the answer is `None`.
pub(super) async fn look_at_redis(
    config: &Config,
    store: Option<&Store>,
    results: &mut CheckResults,
) -> Option<SeenRedis> {
    let away = "start Redis, or mend REDIS_URL; until then jobs wait in the database";
    let database_id = match store {
        Some(store) => store.database_id().await.ok(),
        None => None,
    };
    let server = match redis_server(config, database_id.as_deref().unwrap_or_default()) {
        Ok(server) => server?,
        Err(_) => {
            results.fault("redis", "REDIS_URL cannot be read", "write redis://host:6379");
            return None;
        }
    };
    let queue = RedisQueue::new(server.clone());
    match queue.check().await {
        Ok(checked) if checked.faults.is_empty() => {
            match checked.untold.is_empty() {
                true => results.ok("redis", "answers, version and policy are right"),
                false => results.warn(
                    "redis",
                    format!("answers, and does not tell {}", checked.untold.join(", nor ")),
                    "look yourself, or grant our Redis user INFO",
                ),
            }
            if !runs_scripts(&server).await {
                results.warn(
                    "redis",
                    "it refuses scripts: each process has a circuit breaker of its own and a quarter of the rate limit",
                    "grant our Redis user EVALSHA and SCRIPT LOAD (`+@scripting`)",
                );
            }
        }
        Ok(checked) => {
            for fault in checked.faults {
                results.fault("redis", fault.to_string(), "change the server, or choose another");
            }
        }
        Err(trouble) => results.fault("redis", causes(&trouble), away),
    }
    database_id?;
    Some(SeenRedis { server, redis_instance_id: queue.instance_id().await.ok() })
}

/// Whether processes can share the admission of gateway calls there.
async fn runs_scripts(server: &RedisServer) -> bool {
    // Any account would do: each runs the same script.
    let account = CoordinatedAccount::new(PaymentType::Atmos, GatewayIdentity("doctor".to_owned()));
    let coordination = Coordination::redis(account, server.clone(), None);
    coordination.refresh().await;
    coordination.view().is_shared
}
