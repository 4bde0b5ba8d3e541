//! Jobs: the table of their kinds, the queues they travel on, and where they are.

use crate::id::JobId;
use crate::named_values::named_values;

mod kinds;

pub use kinds::{Death, Job, JobKind, Subject};

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

impl JobState {
    /// Whether it is to run, or runs: there is one such job per kind and subject.
    pub fn is_open(self) -> bool {
        match self {
            JobState::Available | JobState::Enqueued | JobState::Running => true,
            JobState::Completed | JobState::Canceled | JobState::Dead => false,
        }
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
    /// The numbers of what woke it since a run of it took all of them up: for an inquiry, callbacks.
    pub woken_by: Vec<i64>,
}

named_values! {
    /// How an attempt ended that did not go well.
    AttemptOutcome {
        /// By a failure.
        Failed = "failed",
        /// At its deadline; what it did is not known.
        Aborted = "aborted",
        /// With its worker, or its lease: nobody heard of its end.
        Crashed = "crashed",
    }
}

/// An attempt that did not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// The kind that the job had then; that of a payment link becomes an inquiry.
    pub kind: String,
    /// What it was about.
    pub subject_id: i64,
    /// Which attempt it was, counted from 1.
    pub attempt: i64,
    /// Leases that had run out in a row by its end.
    pub crashes: i64,
    /// The host of its worker; `None` where an older release ran it.
    pub worker_host: Option<String>,
    /// The number of the worker's process there.
    pub worker_pid: Option<i64>,
    /// When it was claimed, epoch milliseconds.
    pub began_at_ms: Option<i64>,
    /// When it ended, or was found to have ended, epoch milliseconds.
    pub ended_at_ms: i64,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// What went wrong.
    pub error: String,
}

/// A job row as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Since when an enqueued job waits for a worker, epoch milliseconds.
    pub waiting_since_ms: Option<i64>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it was staged, epoch milliseconds.
    pub created_at_ms: i64,
    /// When it ended, epoch milliseconds.
    pub finished_at_ms: Option<i64>,
    /// The numbers of what woke it since a run of it took all of them up: for an inquiry, callbacks.
    pub woken_by: Vec<i64>,
}
