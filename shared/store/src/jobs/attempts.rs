//! Failed attempts: each leaves a line, in the transaction that ends it.

use std::sync::LazyLock;

use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::statement::{Statement, json};
use crate::{Store, StoreError, Write};
use domain::id::JobId;
use domain::job::{AttemptOutcome, FailedAttempt};

/// How many lines of a job are kept, the newest ones: a job that is tried every 15 min during a day of outage must not
/// fill the table.
pub const ATTEMPTS_OF_A_JOB: i64 = 20;

/// The name of this process's host.
pub(super) static HOST: LazyLock<String> =
    LazyLock::new(|| rustix::system::uname().nodename().to_string_lossy().into_owned());

/// The process id on its host.
pub(super) fn pid() -> i64 {
    i64::from(std::process::id())
}

/// An attempt that ends in this transaction.
#[derive(Debug, Serialize)]
pub(super) struct Ended<'a> {
    job_id: JobId,
    outcome: &'static str,
    error: &'a str,
}

impl<'a> Ended<'a> {
    pub(super) fn of(id: JobId, outcome: AttemptOutcome, error: &'a str) -> Self {
        Ended { job_id: id, outcome: outcome.as_str(), error }
    }
}

// A job that was woken while it ran has its attempts reset to 0 already.
const KEEP_ATTEMPTS: Statement = Statement {
    sqlite: "-- keep_attempts
        insert into job_attempts (job_id, number, kind, subject_id, attempt, crashes, worker_host, worker_pid, began_at_ms,
            ended_at_ms, outcome, error)
        select jobs.id,
            (select coalesce(max(before.number), 0) + 1 from job_attempts before where before.job_id = jobs.id),
            jobs.kind, jobs.subject_id, case when jobs.attempt < 1 then 1 else jobs.attempt end, jobs.crashes,
            jobs.worker_host, jobs.worker_pid, jobs.began_at_ms, $2, ended.value ->> 'outcome', ended.value ->> 'error'
        from json_each($1) as ended join jobs on jobs.id = ended.value ->> 'job_id' where true
        returning job_id, number",
    postgres: "-- keep_attempts
        insert into job_attempts (job_id, number, kind, subject_id, attempt, crashes, worker_host, worker_pid, began_at_ms,
            ended_at_ms, outcome, error)
        select jobs.id,
            (select coalesce(max(before.number), 0) + 1 from job_attempts before where before.job_id = jobs.id),
            jobs.kind, jobs.subject_id, case when jobs.attempt < 1 then 1 else jobs.attempt end, jobs.crashes,
            jobs.worker_host, jobs.worker_pid, jobs.began_at_ms, $2, ended.outcome, ended.error
        from json_populate_recordset(cast(null as job_attempts), cast($1 as json)) as ended
        join jobs on jobs.id = ended.job_id
        where jobs.id = any(array(
            select job_id from json_populate_recordset(cast(null as job_attempts), cast($1 as json))))
        returning job_id, number",
};

const FORGET_RUNNERS: Statement = Statement {
    sqlite: "-- forget_runners
        update jobs set began_at_ms = null, worker_host = null, worker_pid = null
        where id in (select value from json_each($1))",
    postgres: "-- forget_runners
        update jobs set began_at_ms = null, worker_host = null, worker_pid = null
        where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))",
};

/// Writes a line for each attempt, then clears the names of their runners. The transaction must have locked the rows
/// before. An older release claims a job without writing its own name, so an old name would be taken for that runner.
pub(super) async fn keep(write: &mut Write, ended: &[Ended<'_>]) -> Result<(), StoreError> {
    if ended.is_empty() {
        return Ok(());
    }
    let (text, now_ms) = (KEEP_ATTEMPTS.on(write.store.database()), write.now_ms());
    let kept = sqlx::query(text).bind(json(ended)?).bind(now_ms).fetch_all(write.transaction()).await?;
    for row in kept {
        let (job_id, number): (i64, i64) = (row.try_get("job_id")?, row.try_get("number")?);
        if number > ATTEMPTS_OF_A_JOB {
            sqlx::query("-- forget_attempts\ndelete from job_attempts where job_id = $1 and number <= $2")
                .bind(job_id)
                .bind(number - ATTEMPTS_OF_A_JOB)
                .execute(write.transaction())
                .await?;
        }
    }
    let ids: Vec<JobId> = ended.iter().map(|ended| ended.job_id).collect();
    let forget = sqlx::query(FORGET_RUNNERS.on(write.store.database())).bind(json(&ids)?);
    forget.execute(write.transaction()).await?;
    Ok(())
}

/// The failed attempts of a job, newest first, at most [`ATTEMPTS_OF_A_JOB`]. They outlive the job's row.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn failed_attempts(store: &Store, id: JobId) -> Result<Vec<FailedAttempt>, StoreError> {
    let rows = sqlx::query(
        "-- attempts_of_job
        select kind, subject_id, attempt, crashes, worker_host, worker_pid, began_at_ms, ended_at_ms, outcome, error
        from job_attempts where job_id = $1 order by number desc limit $2",
    )
    .bind(id.0)
    .bind(ATTEMPTS_OF_A_JOB)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &AnyRow) -> Result<FailedAttempt, StoreError> {
    let outcome: String = row.try_get("outcome")?;
    Ok(FailedAttempt {
        kind: row.try_get("kind")?,
        subject_id: row.try_get("subject_id")?,
        attempt: row.try_get("attempt")?,
        crashes: row.try_get("crashes")?,
        worker_host: row.try_get("worker_host")?,
        worker_pid: row.try_get("worker_pid")?,
        began_at_ms: row.try_get("began_at_ms")?,
        ended_at_ms: row.try_get("ended_at_ms")?,
        outcome: AttemptOutcome::parse(&outcome)
            .ok_or(StoreError::UnknownValue { column: "job_attempts.outcome", value: outcome })?,
        error: row.try_get("error")?,
    })
}
