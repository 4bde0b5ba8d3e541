//! The input of a job's handler. Its results are [`crate::failure::Done`] and [`crate::failure::Failure`].

use domain::job::Lease;
use gateway::coordination::Urgency;

use crate::WorkerContext;
use crate::account_places::{AccountPlaces, SlotOfRun};

/// One run of a job, without the job's own subject.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) context: &'a WorkerContext,
    /// The places of the jobs of each gateway account.
    pub(crate) places: &'a AccountPlaces,
    /// The slot, which a job leaves while it waits for a place.
    pub(crate) slot: &'a SlotOfRun,
    pub(crate) lease: &'a Lease,
    /// How soon the gateway must be asked.
    pub(crate) urgency: Urgency,
    /// The numbers of the callbacks that woke the job and that no run has checked yet.
    pub(crate) woken_by: &'a [i64],
}
