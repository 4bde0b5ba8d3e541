//! What can be asked about jobs.

use clap::{Args, Subcommand};
use domain::id::JobId;
use domain::job::{JobKind, JobState};

use super::names::names;
use super::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List the newest jobs
    List(JobsFilter),
    /// Show one job
    Show {
        /// Its number
        id: JobId,
        #[command(flatten)]
        output: Output,
    },
    /// Run a dead letter again, or a waiting job at once
    Retry {
        /// Its number
        id: JobId,
        #[command(flatten)]
        output: Output,
    },
    /// Call off a job; that of a payment link takes its order along
    Cancel {
        /// Its number
        id: JobId,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(crate) struct JobsFilter {
    #[arg(long, value_parser = state, help = format!("Only those in this state: {}", names(JobState::ALL)))]
    pub(crate) state: Option<JobState>,
    #[arg(long, value_parser = kind, help = format!("Only those of this kind: {}", names(JobKind::ALL)))]
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
