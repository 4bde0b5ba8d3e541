//! `tasdiq jobs …`: what an operator sees of jobs and may do to them.

use serde::Serialize;
use shared::id::JobId;
use shared::job::JobRow;
use shared::store::kinds;
use shared::store::{Store, jobs};
use shared::time::rfc3339;

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
    let row = jobs::show(store, id).await?.ok_or_else(|| unknown(id))?;
    let job = JobView::from(row);
    if output.json {
        return Ok(print_json(&job)?);
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
    Ok(print(&text)?)
}

/// Tells how a command ended, and with `--json` how the job stands now.
async fn after(store: &Store, id: JobId, output: Output, ended: kinds::Command, what: &str) -> Result<(), Exit> {
    match ended {
        kinds::Command::Done if output.json => show(store, id, output).await,
        kinds::Command::Done => Ok(print(&format!("job {id} {what}"))?),
        kinds::Command::Unknown => Err(unknown(id)),
        kinds::Command::Refused(why) => Err(Exit::failed(format!("job {id} stays as it is: {why}"))),
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
