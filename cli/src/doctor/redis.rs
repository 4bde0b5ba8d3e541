//! Redis, where it carries the queue.

use gateway::coordination::Coordination;
use queue::RedisQueue;
use redis_server::RedisServer;
use store::Store;
use telemetry::causes;

use super::findings::Findings;
use crate::config::Config;
use crate::installation::redis_server;

/// The Redis of this environment, and the value by which the processes that share it are known.
pub(super) struct SeenRedis {
    pub(super) server: RedisServer,
    pub(super) redis_instance_id: Option<String>,
}

/// Looks at Redis. Without the database nobody knows under which names our things lie there, so it is only asked how
/// it is, and nothing comes back.
pub(super) async fn look_at_redis(
    config: &Config,
    store: Option<&Store>,
    findings: &mut Findings,
) -> Option<SeenRedis> {
    let away = "start Redis, or mend REDIS_URL; until then jobs wait in the database";
    let database_id = match store {
        Some(store) => store.database_id().await.ok(),
        None => None,
    };
    let server = match redis_server(config, database_id.as_deref().unwrap_or_default()) {
        Ok(server) => server?,
        Err(_) => {
            findings.fault("redis", "REDIS_URL cannot be read", "write redis://host:6379");
            return None;
        }
    };
    let queue = RedisQueue::new(server.clone());
    match queue.check().await {
        Ok(checked) if checked.faults.is_empty() => {
            match checked.untold.is_empty() {
                true => findings.ok("redis", "answers, version and policy are right"),
                false => findings.warn(
                    "redis",
                    format!("answers, and does not tell {}", checked.untold.join(", nor ")),
                    "look yourself, or grant our Redis user INFO",
                ),
            }
            if !runs_scripts(&server).await {
                findings.warn(
                    "redis",
                    "it refuses scripts: each process has a breaker of its own and a quarter of the call budget",
                    "grant our Redis user EVALSHA and SCRIPT LOAD (`+@scripting`)",
                );
            }
        }
        Ok(checked) => {
            for fault in checked.faults {
                findings.fault("redis", fault.to_string(), "change the server, or choose another");
            }
        }
        Err(trouble) => findings.fault("redis", causes(&trouble), away),
    }
    database_id?;
    Some(SeenRedis { server, redis_instance_id: queue.instance_id().await.ok() })
}

/// Whether the weather can be shared there.
async fn runs_scripts(server: &RedisServer) -> bool {
    let coordination = Coordination::redis(server.clone(), None);
    coordination.look().await;
    coordination.view().is_shared
}
