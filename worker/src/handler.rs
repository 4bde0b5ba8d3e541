//! What the handler of a job is given; what it answers is [`crate::failure::Done`] or [`crate::failure::Failure`].

use domain::job::Lease;
use gateway::coordination::Urgency;

use crate::WorkerContext;

/// One run of a job, besides what the job is about.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) context: &'a WorkerContext,
    pub(crate) lease: &'a Lease,
    /// How soon the gateway must be asked.
    pub(crate) urgency: Urgency,
    /// The numbers of what woke it since a run of it took all of them up.
    pub(crate) woken_by: &'a [i64],
}
