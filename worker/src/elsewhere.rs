//! Orders of a gateway account that this process does not have. Another process may have it.

use std::sync::LazyLock;

use domain::job::QueueName;
use domain::order::Order;
use gateway::Gateway;
use store::{StoreError, processes};
use telemetry::LineBudget;
use tracing::{debug, warn};

use crate::WorkerContext;
use crate::failure::{Done, apart_ms};

/// The wait when another living worker has the account. After it any free worker takes the job.
const HANDED_BACK_MS: i64 = 1_000;

/// When no living worker has the account, the job waits for as long as its order is old, within these bounds: during a
/// roll-out the account comes within seconds, and an account that was given up may never come back.
const SHORTEST_WAIT_MS: i64 = 5_000;
const LONGEST_WAIT_MS: i64 = 300_000;

/// The wait of a late inquiry for its account: no customer waits for it, and there may be very many.
const LATE_INQUIRY_WAIT_MS: i64 = 3_600_000;

/// Every order of an account that was given up would warn again and again. A few of them show the fault.
const WARNINGS_PER_MINUTE: u32 = 20;

/// The warnings of this process.
static WARNINGS: LazyLock<LineBudget> = LazyLock::new(|| LineBudget::new(WARNINGS_PER_MINUTE));

/// The account of this order; `None` if only another process can ask about it, or if its customer has not chosen one.
pub(crate) fn gateway_of<'a>(context: &'a WorkerContext, order: &Order) -> Option<&'a Gateway> {
    context.gateways.get(order.gateway()?)
}

/// Gives a job of such an order back, on the queue on which it belongs.
pub(crate) async fn give_back(context: &WorkerContext, order: &Order, queue: QueueName) -> Result<Done, StoreError> {
    let (store, id) = (&context.store, order.id);
    let now_ms = store.now_ms();
    // No job asks about an order whose customer has not chosen an account.
    let Some(gateway) = order.gateway() else { return Ok(Done::NothingToDo) };
    if processes::has_worker_of(store, gateway).await? {
        debug!(order.id = %id, %gateway, "order {id} belongs to another worker's gateway account");
        return Ok(Done::Snooze { until_ms: now_ms + apart_ms(HANDED_BACK_MS), queue });
    }
    if may_warn() {
        warn!(order.id = %id, %gateway, "order {id} belongs to a gateway account that no living worker has");
    }
    if order.status.is_final() && queue == QueueName::Background {
        return Ok(Done::Snooze { until_ms: now_ms + apart_ms(LATE_INQUIRY_WAIT_MS), queue });
    }
    let wait_ms = wait_ms(now_ms - order.created_at_ms);
    let queue = if wait_ms < LONGEST_WAIT_MS { queue } else { QueueName::Background };
    Ok(Done::Snooze { until_ms: now_ms + apart_ms(wait_ms), queue })
}

fn may_warn() -> bool {
    WARNINGS.take_and_tell(|more| {
        warn!(
            lines = more,
            "{more} more runs of a minute were for orders of a gateway account that no living worker has"
        );
    })
}

/// The wait for an account that no living worker has, by the age of the order. Pure.
fn wait_ms(age_ms: i64) -> i64 {
    age_ms.clamp(SHORTEST_WAIT_MS, LONGEST_WAIT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_whose_account_no_worker_has_is_tried_again_within_seconds_at_first_and_then_every_five_minutes() {
        let mut tries = vec![0];
        while let Some(age_ms) = tries.last().copied().filter(|age_ms| *age_ms < 1_000_000) {
            tries.push(age_ms + wait_ms(age_ms));
        }

        let seconds: Vec<i64> = tries.iter().map(|age_ms| age_ms / 1_000).collect();
        assert_eq!(seconds, [0, 5, 10, 20, 40, 80, 160, 320, 620, 920, 1_220]);
    }
}
