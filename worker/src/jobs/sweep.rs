//! Restores missing jobs of orders, and prunes old rows. Never asks the gateway.

use std::time::Duration;

use domain::job::QueueName;
use domain::time::millis;
use failpoint::{Point, reach};
use store::sweeping::{self, Swept};
use tracing::{info, warn};

use crate::failure::{Done, Failure};
use crate::handler::Attempt;

/// Well below the deadline of a sweep.
const PRUNE_LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn run(attempt: Attempt<'_>) -> Result<Done, Failure> {
    let Attempt { context, .. } = attempt;
    let store = &context.store;
    let swept = sweeping::restore(store, &context.gateways.identities()).await?;
    reach(Point::SweepBetween);
    sweeping::prune(store, PRUNE_LIMIT).await?;
    if swept.adopted > 0 {
        info!(orders = swept.adopted, "an older release found or settled something about {} orders", swept.adopted);
    }
    if (Swept { adopted: 0, ..swept }) != Swept::default() {
        warn!(
            links = swept.links_restored,
            settlements = swept.settlements_restored,
            refunds = swept.refunds_restored,
            orphans = swept.orphans,
            "sweep found open orders without their jobs"
        );
    }
    let until_ms = store.now_ms() + millis(context.settings.sweep_every);
    Ok(Done::Snooze { until_ms, queue: QueueName::Background })
}
