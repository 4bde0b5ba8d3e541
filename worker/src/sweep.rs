//! Restores the jobs that orders must have and do not have, and prunes; never asks the gateway.

use shared::clock::millis;
use shared::job::QueueName;
use shared::store::sweeping::{self, Swept};
use tracing::warn;

use crate::WorkerContext;
use crate::failure::{Done, Failure};

pub(crate) async fn sweep(context: &WorkerContext) -> Result<Done, Failure> {
    let store = &context.store;
    let swept = sweeping::restore(store, context.gateway.identity()).await?;
    sweeping::prune(store).await?;
    if swept != Swept::default() {
        warn!(
            links = swept.links_restored,
            settlements = swept.settlements_restored,
            orphans = swept.orphans,
            "sweep found open orders without their jobs"
        );
    }
    let until_ms = store.now_ms() + millis(context.sweep_every);
    Ok(Done::Snooze { until_ms, queue: QueueName::Background })
}
