//! Commands about jobs.

use clap::{Args, Subcommand};
use domain::id::JobId;
use domain::job::{JobKind, JobState};

use super::examples::examples;
use super::names::names;
use super::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List the newest jobs
    #[command(after_help = examples!(
        "tasdiq jobs list",
        "tasdiq jobs list --state dead",
        "tasdiq jobs list --kind settle_order --limit 10 --json"
    ))]
    List(JobsFilter),
    /// Show one job with its attempts that went wrong
    #[command(after_help = examples!("tasdiq jobs show 7", "tasdiq jobs show 7 --json"))]
    Show {
        /// Its number
        id: JobId,
        #[command(flatten)]
        output: Output,
    },
    /// Run a dead letter again, or a waiting job at once
    ///
    /// Remove the cause first: `tasdiq jobs show` tells it. A failed order becomes pending again, and a refund open.
    #[command(after_help = examples!("tasdiq jobs retry 7"; exits "0 it will run, 1 it cannot be retried."))]
    Retry {
        /// Its number
        id: JobId,
        #[command(flatten)]
        output: Output,
    },
    /// Cancel a job: a payment link, and its order with it, or a refund that was not sent
    ///
    /// A job that confirms a payment is never canceled: money may have moved that only this job will notice.
    #[command(after_help = examples!("tasdiq jobs cancel 7"; exits "0 it is canceled, 1 it cannot be canceled."))]
    Cancel {
        /// Its number
        id: JobId,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(crate) struct JobsFilter {
    #[arg(long, value_parser = state, help = format!("Only jobs in this state: {}", names(JobState::ALL)))]
    pub(crate) state: Option<JobState>,
    #[arg(long, value_parser = kind, help = format!("Only jobs of this kind: {}", names(JobKind::ALL)))]
    pub(crate) kind: Option<JobKind>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) limit: u16,
    #[command(flatten)]
    pub(crate) output: Output,
}

fn state(text: &str) -> Result<JobState, String> {
    JobState::parse(text).ok_or_else(|| format!("the states are {}", names(JobState::ALL)))
}

fn kind(text: &str) -> Result<JobKind, String> {
    JobKind::parse(text).ok_or_else(|| format!("the kinds are {}", names(JobKind::ALL)))
}
