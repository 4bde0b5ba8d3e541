//! Jobs: the kinds there are, the queues they travel on, and their pinned JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{CallbackId, JobId, OrderId, RefundId};
use crate::named_values::named_values;

named_values! {
    /// The list a job's id travels on.
    QueueName {
        /// What decides about money.
        Settle = "settle",
        /// Payment links a customer is waiting for.
        Links = "links",
        /// What may wait.
        Background = "background",
        /// Jobs that crashed their worker twice; each runs alone. Every worker takes this one.
        Suspect = "suspect",
    }
}

named_values! {
    /// Which sort of work a job is.
    JobKind {
        /// Makes a draft at the gateway, stores it and the payment link.
        CreatePaymentLink = "create_payment_link",
        /// Re-checks a stored callback's signature and wakes its order's `settle_order`.
        ProcessCallback = "process_callback",
        /// Asks the gateway about an order and settles it; the only one that writes *paid*.
        SettleOrder = "settle_order",
        /// Gives an order's money back at the gateway.
        RefundOrder = "refund_order",
        /// Restores missing jobs and prunes old rows.
        Sweep = "sweep",
    }
}

impl JobKind {
    /// The queue that a job of this kind is staged on.
    pub fn queue(self) -> QueueName {
        match self {
            JobKind::CreatePaymentLink => QueueName::Links,
            JobKind::ProcessCallback | JobKind::SettleOrder | JobKind::RefundOrder => QueueName::Settle,
            JobKind::Sweep => QueueName::Background,
        }
    }

    /// How long one attempt may run before it is aborted as *outcome unknown*.
    pub fn deadline(self) -> Duration {
        match self {
            JobKind::CreatePaymentLink | JobKind::SettleOrder | JobKind::Sweep => Duration::from_secs(60),
            JobKind::ProcessCallback => Duration::from_secs(10),
            JobKind::RefundOrder => Duration::from_secs(180),
        }
    }
}

/// One durable piece of work. Its JSON is stored in the job row and is pinned by a test: a running
/// installation holds jobs of the release before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Job {
    /// Make a payment link for this order.
    CreatePaymentLink {
        /// The order.
        order_id: OrderId,
    },
    /// Look through this callback again.
    ProcessCallback {
        /// The callback.
        callback_id: CallbackId,
    },
    /// Ask the gateway about this order.
    SettleOrder {
        /// The order.
        order_id: OrderId,
    },
    /// Give the money of this refund back.
    RefundOrder {
        /// The refund.
        refund_id: RefundId,
    },
    /// Restore and prune; there is one such row.
    Sweep,
}

impl Job {
    /// Which sort of work it is.
    pub fn kind(self) -> JobKind {
        match self {
            Job::CreatePaymentLink { .. } => JobKind::CreatePaymentLink,
            Job::ProcessCallback { .. } => JobKind::ProcessCallback,
            Job::SettleOrder { .. } => JobKind::SettleOrder,
            Job::RefundOrder { .. } => JobKind::RefundOrder,
            Job::Sweep => JobKind::Sweep,
        }
    }

    /// What it is about: the id of the order, callback or refund, 0 for `sweep`. One open job per kind and subject.
    pub fn subject_id(self) -> i64 {
        match self {
            Job::CreatePaymentLink { order_id } | Job::SettleOrder { order_id } => order_id.0,
            Job::ProcessCallback { callback_id } => callback_id.0,
            Job::RefundOrder { refund_id } => refund_id.0,
            Job::Sweep => 0,
        }
    }
}

named_values! {
    /// Where a job is.
    JobState {
        /// Waits for its due time.
        Available = "available",
        /// Its id was pushed to the queue.
        Enqueued = "enqueued",
        /// A worker holds its lease.
        Running = "running",
        /// Done.
        Completed = "completed",
        /// Called off by an operator.
        Canceled = "canceled",
        /// A dead letter: it will not run again until a person says so.
        Dead = "dead",
    }
}

/// The right to run one job until the lease ends; every write of the job's effect is fenced by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job_id: JobId,
    /// Random per claim; a row that carries another token belongs to somebody else.
    pub token: i64,
    /// How often the job had been woken when it was claimed; more by its end means: run again.
    pub wakes: i64,
}

/// A job that was claimed, with the lease to run it.
#[derive(Clone, Debug)]
pub struct ClaimedJob {
    /// The right to run it.
    pub lease: Lease,
    /// The work, or the JSON that this release cannot read (a newer release's job).
    pub job: Result<Job, String>,
    /// The kind as stored.
    pub kind: String,
    /// The queue it stands on.
    pub queue: QueueName,
    /// Which attempt this is, counted from 1.
    pub attempt: i64,
    /// How many leases of it ran out in a row.
    pub crashes: i64,
    /// When it was staged, epoch milliseconds.
    pub created_at_ms: i64,
}

/// A job row as operators see it.
#[derive(Clone, Debug, Serialize)]
pub struct JobRow {
    /// Its number.
    pub id: JobId,
    /// The queue it stands on.
    pub queue: String,
    /// Which sort of work.
    pub kind: String,
    /// What it is about.
    pub subject_id: i64,
    /// Where it is.
    pub state: JobState,
    /// Attempts so far that count.
    pub attempt: i64,
    /// Leases that ran out in a row.
    pub crashes: i64,
    /// When somebody must look at it again, epoch milliseconds.
    pub due_at_ms: i64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it was staged, epoch milliseconds.
    pub created_at_ms: i64,
    /// When it ended, epoch milliseconds.
    pub finished_at_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_every_kind_stays_as_older_releases_wrote_it() {
        for (job, json) in [
            (Job::CreatePaymentLink { order_id: OrderId(7) }, r#"{"kind":"create_payment_link","order_id":7}"#),
            (Job::ProcessCallback { callback_id: CallbackId(8) }, r#"{"kind":"process_callback","callback_id":8}"#),
            (Job::SettleOrder { order_id: OrderId(9) }, r#"{"kind":"settle_order","order_id":9}"#),
            (Job::RefundOrder { refund_id: RefundId(10) }, r#"{"kind":"refund_order","refund_id":10}"#),
            (Job::Sweep, r#"{"kind":"sweep"}"#),
        ] {
            assert_eq!(serde_json::to_string(&job).unwrap(), json);
            assert_eq!(serde_json::from_str::<Job>(json).unwrap(), job);
            assert!(json.contains(job.kind().as_str()), "the JSON and the column `kind` say the same");
        }
    }
}
