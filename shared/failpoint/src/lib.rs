//! Named points at which a test can kill the real process, hold it up, or make it fail.
//!
//! No release has them: without the feature `failpoints` every point is empty. With it they do nothing either, unless
//! the variable `FAILPOINTS` names them when the process starts: `name=action;name=action`. An action is `kill` (the
//! process ends on the spot, as by a power cut), `kill@3` (it does so when it comes here for the third time), or one of
//! the crate `fail`: `sleep(500)`, `panic`, `return`, `10%panic`, `3*return->off`.

#[cfg(feature = "failpoints")]
use std::sync::atomic::{AtomicU32, Ordering};

use domain::named_values::named_values;

named_values! {
    /// A named point in the program.
    Point {
        /// An order is written and not committed.
        CreateBeforeCommit = "create-before-commit",
        /// An order is committed, and no other part knows it yet.
        CreateAfterCommit = "create-after-commit",
        /// A callback was read, and nothing is decided.
        WebhookBeforeDecision = "webhook-before-decision",
        /// A callback is decided about and kept, and not committed.
        WebhookBeforeCommit = "webhook-before-commit",
        /// The decision is committed, and the gateway has no answer.
        WebhookAfterCommit = "webhook-after-commit",
        /// A gateway's Begin is decided, and its transaction not committed.
        BeginBeforeCommit = "begin-before-commit",
        /// The transaction is committed, and the gateway has no answer.
        BeginAfterCommit = "begin-after-commit",
        /// A told debit is written and not committed.
        DebitedBeforeCommit = "debited-before-commit",
        /// A told debit is committed, and the gateway has no answer.
        DebitedAfterCommit = "debited-after-commit",
        /// A told failure is written and not committed.
        FailedBeforeCommit = "failed-before-commit",
        /// A told failure is committed, and the gateway has no answer.
        FailedAfterCommit = "failed-after-commit",
        /// A told reversal is written and not committed.
        ReversedBeforeCommit = "reversed-before-commit",
        /// A told reversal is committed, and the gateway has no answer.
        ReversedAfterCommit = "reversed-after-commit",
        /// Job rows are marked enqueued, and their ids are in no queue.
        RelayBeforePush = "relay-before-push",
        /// Ids are pushed, and the relay goes on.
        RelayAfterPush = "relay-after-push",
        /// Ids are taken out of the queue, and their rows not claimed.
        ClaimBefore = "claim-before",
        /// Rows are claimed, and no handler knows of them.
        ClaimAfter = "claim-after",
        /// A handler is about to begin.
        AttemptBefore = "attempt-before",
        /// A run that wrote no effect is about to be ended in its row.
        FinishBeforeCommit = "finish-before-commit",
        /// The end of such a run is committed.
        FinishAfterCommit = "finish-after-commit",
        /// The gateway is about to be asked for a draft.
        LinkBeforeCall = "link-before-call",
        /// The gateway made a draft that no row knows.
        LinkAfterCall = "link-after-call",
        /// The payment link is written and not committed.
        LinkBeforeCommit = "link-before-commit",
        /// The payment link is committed.
        LinkAfterCommit = "link-after-commit",
        /// The gateway is about to be asked about an order.
        SettleBeforeCall = "settle-before-call",
        /// The gateway's answer is known to this process alone.
        SettleAfterCall = "settle-after-call",
        /// The result of an inquiry is written and not committed; `paid` or anything else.
        SettleBeforeCommit = "settle-before-commit",
        /// `paid` is written and not committed.
        PaidBeforeCommit = "paid-before-commit",
        /// `paid` is committed, and no other part knows it yet.
        PaidAfterCommit = "paid-after-commit",
        /// The customer's choice of an account is written and not committed.
        ChoiceBeforeCommit = "choice-before-commit",
        /// The choice is committed, and the customer has no answer.
        ChoiceAfterCommit = "choice-after-commit",
        /// The cancel of an order is written and not committed.
        CancelBeforeCommit = "cancel-before-commit",
        /// An order is canceled, and no other part knows it yet.
        CancelAfterCommit = "cancel-after-commit",
        /// A refund is written and not committed.
        RequestBeforeCommit = "request-before-commit",
        /// A refund is committed, and no other part knows it yet.
        RequestAfterCommit = "request-after-commit",
        /// A refund is about to be marked as sent.
        RefundBeforeMark = "refund-before-mark",
        /// A refund is marked as sent, and was not sent; no other run may send it.
        RefundBeforeCall = "refund-before-call",
        /// The gateway gave money back, and no row knows.
        RefundAfterCall = "refund-after-call",
        /// The return of the money is written and not committed.
        RefundBeforeCommit = "refund-before-commit",
        /// The return of the money is committed, and no other part knows it yet.
        RefundAfterCommit = "refund-after-commit",
        /// A crash is counted and not committed.
        CrashBeforeCommit = "crash-before-commit",
        /// A dead letter and its order's move are written and not committed.
        DeadLetterBeforeCommit = "dead-letter-before-commit",
        /// Missing jobs are restored, and nothing is pruned.
        SweepBetween = "sweep-between",
        /// Strikes with `return`: leases are not renewed, and the runs do not learn that they are lost.
        SkipRenewal = "skip-renewal",
        /// Strikes with `return`: this process's host believes it is a minute later.
        HostClockAhead = "host-clock-ahead",
        /// Strikes with `return`: the database's clock is an hour ahead. `3*off->return` sets it ahead while the
        /// process runs.
        DatabaseClockAhead = "database-clock-ahead",
        /// Strikes with `return`: the database's clock is an hour behind.
        DatabaseClockBehind = "database-clock-behind",
        /// One payment link or settlement of a thousand ends its process.
        DefectKills = "defect-kills",
        /// Some others panic.
        DefectPanics = "defect-panics",
        /// Some others fail, with `return`, as a defect would.
        DefectFails = "defect-fails",
    }
}

impl Point {
    /// Whether only calls of gateways reach it that begin their transactions themselves.
    pub fn is_of_a_call(self) -> bool {
        matches!(
            self,
            Point::BeginBeforeCommit
                | Point::BeginAfterCommit
                | Point::DebitedBeforeCommit
                | Point::DebitedAfterCommit
                | Point::FailedBeforeCommit
                | Point::FailedAfterCommit
                | Point::ReversedBeforeCommit
                | Point::ReversedAfterCommit
        )
    }

    /// Whether only a customer's choice of an account reaches it.
    pub fn is_of_a_choice(self) -> bool {
        matches!(self, Point::ChoiceBeforeCommit | Point::ChoiceAfterCommit)
    }

    /// Whether an order's work reaches it, so that a process may be killed there.
    pub fn is_deadly(self) -> bool {
        !matches!(
            self,
            Point::SkipRenewal
                | Point::HostClockAhead
                | Point::DatabaseClockAhead
                | Point::DatabaseClockBehind
                | Point::DefectKills
                | Point::DefectPanics
                | Point::DefectFails
        )
    }
}

/// The order's number modulo 1,000 says which injected defect the jobs of its payment link and settlement have, if any:
/// one order of a hundred, and a tenth of these end their process.
pub fn defect_of(order_number: i64) -> Option<Point> {
    match order_number.rem_euclid(1_000) {
        13 => Some(Point::DefectKills),
        113 | 313 | 513 | 713 => Some(Point::DefectPanics),
        213 | 413 | 613 | 813 | 913 => Some(Point::DefectFails),
        _ => None,
    }
}

/// This process has come to `point`; without the feature nothing happens.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_point: Point) {}

/// This process has come to `point`: the action that `FAILPOINTS` names happens here.
#[cfg(feature = "failpoints")]
pub fn reach(point: Point) {
    fail::fail_point!(point.as_str(), |_| ());
}

/// Whether `point` strikes here, by the action `return`.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn strikes(_point: Point) -> bool {
    false
}

/// Whether `point` strikes here, by the action `return`.
#[cfg(feature = "failpoints")]
pub fn strikes(point: Point) -> bool {
    fail::fail_point!(point.as_str(), |_| true);
    false
}

/// `FAILPOINTS` names an unknown point or action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("FAILPOINTS: {0}")]
pub struct FailpointFault(String);

/// Arms the points that `FAILPOINTS` names; to be called once, before anything runs.
///
/// # Errors
/// [`FailpointFault`]: an unknown point or action.
#[cfg(not(feature = "failpoints"))]
pub fn arm() -> Result<(), FailpointFault> {
    Ok(())
}

/// Arms the points that `FAILPOINTS` names; to be called once, before anything runs.
///
/// # Errors
/// [`FailpointFault`]: an unknown point or action.
#[cfg(feature = "failpoints")]
pub fn arm() -> Result<(), FailpointFault> {
    let Ok(points) = std::env::var("FAILPOINTS") else { return Ok(()) };
    for part in points.split(';').filter(|part| !part.is_empty()) {
        let (name, action) = part.split_once('=').ok_or_else(|| FailpointFault(format!("{part} names no action")))?;
        let point = Point::parse(name).ok_or_else(|| FailpointFault(format!("there is no point {name}")))?;
        let armed = match action.strip_prefix("kill") {
            Some(time) => arm_kill(point, if time.is_empty() { "@1" } else { time }),
            None => fail::cfg(point.as_str(), action),
        };
        armed.map_err(|fault| FailpointFault(format!("{part}: {fault}")))?;
    }
    Ok(())
}

/// Nothing is cleaned up, as when the machine loses its power.
#[cfg(feature = "failpoints")]
fn arm_kill(point: Point, time: &str) -> Result<(), String> {
    let time = time.strip_prefix('@').and_then(|time| time.parse::<u32>().ok()).ok_or("no number of times")?;
    let came = AtomicU32::new(0);
    fail::cfg_callback(point.as_str(), move || {
        if came.fetch_add(1, Ordering::Relaxed) + 1 == time {
            tracing::error!("failpoint {point}: this process ends here");
            telemetry::flush(std::time::Duration::from_secs(1));
            std::process::abort();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_order_of_a_hundred_has_a_defect_and_one_of_a_thousand_kills() {
        let defects: Vec<Point> = (0..10_000).filter_map(defect_of).collect();

        assert_eq!(defects.len(), 100);
        assert_eq!(defects.iter().filter(|point| **point == Point::DefectKills).count(), 10);
    }
}
