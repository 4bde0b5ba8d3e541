//! Jobs: the table of their kinds, their queues and states.

use crate::id::JobId;
use crate::named_values::named_values;

mod kinds;

pub use kinds::{Death, Job, JobKind, Subject};

named_values! {
    /// The queue that carries a job's id.
    QueueName {
        /// Jobs that decide about money.
        Settle = "settle",
        /// Payment links that a customer is waiting for.
        Links = "links",
        /// Jobs that may wait.
        Background = "background",
        /// Jobs that crashed their worker twice; each runs alone. Every worker takes from this queue.
        Suspect = "suspect",
    }
}

named_values! {
    /// The state of a job.
    JobState {
        /// Waits for its due time.
        Available = "available",
        /// Its id was pushed to the queue.
        Enqueued = "enqueued",
        /// A worker holds its lease.
        Running = "running",
        /// Done.
        Completed = "completed",
        /// Canceled by an operator.
        Canceled = "canceled",
        /// A dead letter: it will not run again until a person says so.
        Dead = "dead",
    }
}

impl JobState {
    /// Whether it waits or runs: there is at most one such job per kind and subject.
    pub fn is_open(self) -> bool {
        match self {
            JobState::Available | JobState::Enqueued | JobState::Running => true,
            JobState::Completed | JobState::Canceled | JobState::Dead => false,
        }
    }
}

/// The right to run one job until the lease ends; it fences every write of the job's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job_id: JobId,
    /// Random per claim; a row with another token belongs to another worker.
    pub token: i64,
    /// How often the job had been woken when it was claimed. If the number has grown by its end, the job runs again.
    pub wakes: i64,
}

/// A job that was claimed, with the lease to run it.
#[derive(Clone, Debug)]
pub struct ClaimedJob {
    /// The right to run it.
    pub lease: Lease,
    /// The work, or JSON that this release cannot read, because a newer release staged the job.
    pub job: Result<Job, String>,
    /// The kind as stored.
    pub kind: String,
    /// Its queue.
    pub queue: QueueName,
    /// The number of this attempt, counted from 1.
    pub attempt: i64,
    /// How many of its leases ran out in a row.
    pub crashes: i64,
    /// When it was staged, epoch milliseconds.
    pub created_at_ms: i64,
    /// The numbers of the causes that woke it and that no run has handled: for an inquiry, callbacks.
    pub woken_by: Vec<i64>,
}

named_values! {
    /// How a failed attempt ended.
    AttemptOutcome {
        /// By an error.
        Failed = "failed",
        /// At its deadline; its effect is unknown.
        Aborted = "aborted",
        /// With its worker or its lease: no end was reported.
        Crashed = "crashed",
    }
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// The job's kind at that time; the job of a payment link becomes an inquiry later.
    pub kind: String,
    /// The id of its subject.
    pub subject_id: i64,
    /// The number of the attempt, counted from 1.
    pub attempt: i64,
    /// Leases that had run out in a row by its end.
    pub crashes: i64,
    /// The host of its worker; `None` if an older release ran it.
    pub worker_host: Option<String>,
    /// The worker's process id on that host.
    pub worker_pid: Option<i64>,
    /// When it was claimed, epoch milliseconds.
    pub began_at_ms: Option<i64>,
    /// When it ended, or its end was found, epoch milliseconds.
    pub ended_at_ms: i64,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The error.
    pub error: String,
}

/// A job row, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Its number.
    pub id: JobId,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// The id of its subject.
    pub subject_id: i64,
    /// Its state.
    pub state: JobState,
    /// The attempts so far that count.
    pub attempt: i64,
    /// The leases that ran out in a row.
    pub crashes: i64,
    /// When the row must be handled again, epoch milliseconds.
    pub due_at_ms: i64,
    /// Since when an enqueued job waits for a worker, epoch milliseconds.
    pub waiting_since_ms: Option<i64>,
    /// The last error.
    pub last_error: Option<String>,
    /// When it was staged, epoch milliseconds.
    pub created_at_ms: i64,
    /// When it ended, epoch milliseconds.
    pub finished_at_ms: Option<i64>,
    /// The numbers of the causes that woke it and that no run has handled: for an inquiry, callbacks.
    pub woken_by: Vec<i64>,
}
