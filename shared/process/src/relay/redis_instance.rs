//! Two Redis servers on one database: a wrong `REDIS_URL` somewhere.

use std::time::{Duration, Instant};

use store::processes;
use tracing::{error, info};

use super::Relay;

/// A relay whose Redis no living worker shares stops pushing after this long.
const ALONE: Duration = Duration::from_secs(60);

impl Relay {
    /// Compares our Redis instance with those of the living workers. With another instance, ids would be pushed where
    /// no worker takes them.
    pub(super) async fn compare_redis_instance(&mut self, alone_since: &mut Option<Instant>) {
        let (queue, store) = (self.queue.clone(), self.store.clone());
        let Some(redis) = queue.redis() else { return };
        let (Ok(ours), Ok(alive)) = (redis.instance_id().await, self.ask(processes::alive(&store)).await) else {
            return;
        };
        let ids: Vec<&String> = alive
            .iter()
            .filter(|process| process.slots > 0)
            .filter_map(|process| process.redis_instance_id.as_ref())
            .collect();
        if ids.is_empty() || ids.contains(&&ours) {
            *alone_since = None;
            if redis.set_cut_off(false) {
                info!("a worker shares our Redis again; the relay goes on");
            }
            return;
        }
        let since = *alone_since.get_or_insert_with(Instant::now);
        if since.elapsed() > ALONE && !redis.set_cut_off(true) {
            error!(
                "no living worker uses the Redis of this process; REDIS_URL must be the same everywhere. The relay pushes nothing"
            );
        }
    }
}
