//! `tasdiq jobs …`: what an operator sees of jobs and may do to them.

use domain::id::JobId;
use domain::job::{FailedAttempt, JobRow};
use domain::time::rfc3339;
use serde::Serialize;
use store::kinds;
use store::{Store, jobs};

use crate::arguments::{JobsCommand, JobsFilter, Output};
use crate::config::Config;
use crate::database::open_store;
use crate::exit::Exit;
use crate::output::{lines, plain, print, print_json, short, table};

/// Runs one of the commands.
///
/// # Errors
/// The database is away, there is no such job, or its state does not allow what was asked.
pub(crate) async fn run(config: &Config, command: JobsCommand) -> Result<(), Exit> {
    let store = open_store(config).await?;
    match command {
        JobsCommand::List(filter) => list(&store, &filter).await,
        JobsCommand::Show { id, output } => show(&store, id, output).await,
        JobsCommand::Retry { id, output } => {
            after(&store, id, output, kinds::retry(&store, id).await?, "will run again").await
        }
        JobsCommand::Cancel { id, output } => {
            after(&store, id, output, kinds::cancel(&store, id).await?, "is canceled").await
        }
    }
}

async fn list(store: &Store, filter: &JobsFilter) -> Result<(), Exit> {
    let rows = jobs::list(store, filter.state, filter.kind, filter.limit.into()).await?;
    let rows: Vec<JobView> = rows.into_iter().map(JobView::from).collect();
    if filter.output.json {
        return Ok(print_json(&rows)?);
    }
    match rows.is_empty() {
        true => Ok(print("no job fits")?),
        false => Ok(print(&job_lines(&rows))?),
    }
}

async fn show(store: &Store, id: JobId, output: Output) -> Result<(), Exit> {
    let (row, attempts) = tokio::try_join!(jobs::show(store, id), jobs::failed_attempts(store, id))?;
    let attempts: Vec<AttemptView> = attempts.into_iter().map(AttemptView::from).collect();
    let Some(row) = row else { return show_gone(id, attempts, output) };
    let job = JobView::from(row);
    if output.json {
        return Ok(print_json(&ShownJob { job, failed_attempts: attempts })?);
    }
    let text = format!(
        "job {id}\n  kind      {} of {}\n  queue     {}\n  state     {}\n  attempts  {}\n  crashes   {}\n  staged    {}\n  \
         due       {}\n  ended     {}\n  error     {}",
        job.kind,
        job.subject_id,
        job.queue,
        job.state,
        job.attempt,
        job.crashes,
        job.created_at,
        job.due_at,
        job.finished_at.as_deref().unwrap_or("-"),
        plain(job.last_error.as_deref().unwrap_or("-")),
    );
    print(&text)?;
    Ok(print_attempts(&attempts)?)
}

/// A job that is not in the table any more, as far as its failed attempts tell of it.
fn show_gone(id: JobId, attempts: Vec<AttemptView>, output: Output) -> Result<(), Exit> {
    if attempts.is_empty() {
        return Err(unknown(id));
    }
    if output.json {
        return Ok(print_json(&GoneJob { id, state: "gone", failed_attempts: attempts })?);
    }
    print(&format!("job {id} has ended and left the table"))?;
    Ok(print_attempts(&attempts)?)
}

fn print_attempts(attempts: &[AttemptView]) -> anyhow::Result<()> {
    if attempts.is_empty() {
        return Ok(());
    }
    let mut table = table(&["attempt", "kind", "began", "took", "worker", "outcome", "error"]);
    for attempt in attempts {
        table.add_row([
            attempt.attempt.to_string(),
            attempt.kind.clone(),
            attempt.began_at.clone().unwrap_or_else(|| "-".to_owned()),
            attempt.took_ms.map_or_else(|| "-".to_owned(), |took_ms| format!("{took_ms} ms")),
            match (&attempt.worker_host, attempt.worker_pid) {
                (Some(host), Some(pid)) => format!("{host} (process {pid})"),
                _ => "-".to_owned(),
            },
            attempt.outcome.to_owned(),
            short(&attempt.error, ERROR_CHARACTERS),
        ]);
    }
    print(&format!("\nattempts that did not go well, newest first:\n{}", lines(&table)))
}

/// Tells how a command ended, and with `--json` how the job stands now.
async fn after(
    store: &Store,
    id: JobId,
    output: Output,
    ended: kinds::JobCommandOutcome,
    what: &str,
) -> Result<(), Exit> {
    match ended {
        kinds::JobCommandOutcome::Done if output.json => show(store, id, output).await,
        kinds::JobCommandOutcome::Done => Ok(print(&format!("job {id} {what}"))?),
        kinds::JobCommandOutcome::Unknown => Err(unknown(id)),
        kinds::JobCommandOutcome::Refused(why) => Err(Exit::failed(format!("job {id} stays as it is: {why}"))),
    }
}

fn unknown(id: JobId) -> Exit {
    Exit::failed(format!(
        "there is no job {id}: it has completed and left the table, or there never was one; what jobs did to an order is in \
         its history (`orders show`)"
    ))
}

/// A job as it is printed: times for people and machines alike.
#[derive(Debug, Serialize)]
pub(crate) struct JobView {
    id: JobId,
    kind: String,
    subject_id: i64,
    queue: String,
    state: &'static str,
    attempt: i64,
    crashes: i64,
    due_at: String,
    last_error: Option<String>,
    created_at: String,
    finished_at: Option<String>,
    woken_by: Vec<i64>,
}

/// A job with its attempts that did not go well, newest first.
#[derive(Debug, Serialize)]
struct ShownJob {
    #[serde(flatten)]
    job: JobView,
    failed_attempts: Vec<AttemptView>,
}

/// A job that has left the table.
#[derive(Debug, Serialize)]
struct GoneJob {
    id: JobId,
    state: &'static str,
    failed_attempts: Vec<AttemptView>,
}

/// An attempt as it is printed.
#[derive(Debug, Serialize)]
struct AttemptView {
    kind: String,
    subject_id: i64,
    attempt: i64,
    crashes: i64,
    worker_host: Option<String>,
    worker_pid: Option<i64>,
    began_at: Option<String>,
    took_ms: Option<i64>,
    outcome: &'static str,
    error: String,
}

impl From<FailedAttempt> for AttemptView {
    fn from(attempt: FailedAttempt) -> Self {
        AttemptView {
            kind: attempt.kind,
            subject_id: attempt.subject_id,
            attempt: attempt.attempt,
            crashes: attempt.crashes,
            worker_host: attempt.worker_host,
            worker_pid: attempt.worker_pid,
            began_at: attempt.began_at_ms.map(rfc3339),
            took_ms: attempt.began_at_ms.map(|began_at_ms| attempt.ended_at_ms - began_at_ms),
            outcome: attempt.outcome.as_str(),
            error: attempt.error,
        }
    }
}

impl From<JobRow> for JobView {
    fn from(row: JobRow) -> Self {
        JobView {
            id: row.id,
            kind: row.kind,
            subject_id: row.subject_id,
            queue: row.queue,
            state: row.state.as_str(),
            attempt: row.attempt,
            crashes: row.crashes,
            due_at: rfc3339(row.due_at_ms),
            last_error: row.last_error,
            created_at: rfc3339(row.created_at_ms),
            finished_at: row.finished_at_ms.map(rfc3339),
            woken_by: row.woken_by,
        }
    }
}

/// The longest part of an error that fits into a table.
const ERROR_CHARACTERS: usize = 80;

/// The jobs as a table.
pub(crate) fn job_lines(jobs: &[JobView]) -> String {
    let mut table = table(&["job", "kind", "of", "queue", "state", "attempts", "crashes", "due", "error"]);
    for job in jobs {
        table.add_row([
            job.id.to_string(),
            job.kind.clone(),
            job.subject_id.to_string(),
            job.queue.clone(),
            job.state.to_owned(),
            job.attempt.to_string(),
            job.crashes.to_string(),
            if job.finished_at.is_some() { "-".to_owned() } else { job.due_at.clone() },
            short(job.last_error.as_deref().unwrap_or("-"), ERROR_CHARACTERS),
        ]);
    }
    lines(&table)
}
