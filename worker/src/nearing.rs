//! After a step of the database's clock, open jobs may lie too far ahead. They are brought back within their schedules.

use std::time::Duration;

use domain::time::millis;
use store::clock::MEASURED_EVERY;
use store::kinds::{self, LongestWaits};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::WorkerContext;
use crate::failure::LONGEST_BACKOFF_MS;
use crate::inquiry_schedule::LONGEST_LATE_INQUIRY_WAIT_MS;

/// After this time every process has noticed a step of the clock, and writes no row by the old time any more.
const NOTICED_BY_ALL: Duration = MEASURED_EVERY.saturating_mul(3);

/// Brings open jobs near: at the start, for a step that no process has seen, and after each step. Does not end.
pub(crate) async fn keep_near(context: WorkerContext) {
    let mut steps = context.store.clock().steps();
    bring_near(&context).await;
    loop {
        if steps.changed().await.is_err() {
            return std::future::pending().await;
        }
        bring_near(&context).await;
        sleep(NOTICED_BY_ALL).await;
        bring_near(&context).await;
    }
}

async fn bring_near(context: &WorkerContext) {
    let longest = LongestWaits {
        inquiry_ms: context.settings.inquiry_schedule.longest_step_ms(context.payment_ttl),
        late_inquiry_ms: LONGEST_LATE_INQUIRY_WAIT_MS,
        other_ms: LONGEST_BACKOFF_MS.max(millis(context.settings.sweep_every)),
    };
    let mut pause = Duration::from_millis(100);
    loop {
        match kinds::cap_due_times(&context.store, &longest).await {
            Ok(0) => return,
            Ok(jobs) => return info!(jobs, "{jobs} jobs lay further ahead than their schedules and are brought near"),
            Err(trouble) if trouble.is_passing() => {
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            Err(trouble) => return warn!(error = %trouble, "jobs that lie too far ahead cannot be brought near"),
        }
    }
}
