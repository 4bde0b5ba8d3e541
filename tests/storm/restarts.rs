//! Restarts after a kill, and zombies, counted from the log of the jobs. (A sweep waits a quarter of an hour on
//! purpose, and is left out.)

use std::collections::HashMap;

use sqlx::{FromRow, PgConnection};

#[derive(Clone, Debug, FromRow)]
struct JobLogLine {
    at_ms: i64,
    job_id: i64,
    kind: String,
    state: String,
    crashes: i64,
    who: String,
}

/// A worker that was killed: the id of its process, and the time in epoch milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    pub(crate) process: u32,
    pub(crate) at_ms: i64,
}

/// A time in which a server was away, or no worker had one of the accounts, in epoch milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// An outage that begins later than this after a kill does not excuse the wait of its jobs.
const EXCUSED_MS: i64 = 15_000;

/// How long the jobs of killed workers waited until they ran elsewhere, in milliseconds, shortest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restarts {
    /// The waits without another cause.
    pub(crate) undisturbed_ms: Vec<i64>,
    /// The waits during which PostgreSQL, Redis or an account was away, too.
    pub(crate) disturbed_ms: Vec<i64>,
    /// Jobs that waited on purpose because they were suspects by then.
    pub(crate) suspects: usize,
    /// Jobs that never ran again.
    pub(crate) stranded: Vec<i64>,
}

/// A worker that was stopped longer than its leases, and the time in epoch milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zombie {
    pub(crate) process: u32,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// How many jobs were taken from zombies while they slept.
pub(crate) async fn taken_from(connection: &mut PgConnection, zombies: &[Zombie]) -> usize {
    let mut taken = 0;
    for zombie in zombies {
        let (count,): (i64,) = sqlx::query_as(
            "select count(*) from job_log claim join lateral (
                select at_ms, crashes_counted from job_log next where next.job_id = claim.job_id
                and next.number > claim.number order by next.number limit 1) ended on true
            where claim.state = 'running' and claim.who = $1 and claim.at_ms <= $2 and ended.crashes_counted = 1
                and ended.at_ms between $2 and $3",
        )
        .bind(format!("tasdiq {}", zombie.process))
        .bind(zombie.from_ms)
        .bind(zombie.to_ms)
        .fetch_one(&mut *connection)
        .await
        .unwrap();
        taken += usize::try_from(count).unwrap();
    }
    taken
}

/// Follows the jobs that ran in the killed workers.
pub(crate) async fn of(connection: &mut PgConnection, kills: &[Kill], outages: &[Outage]) -> Restarts {
    let lines: Vec<JobLogLine> =
        sqlx::query_as("select at_ms, job_id, kind, state, crashes, who from job_log order by number")
            .fetch_all(connection)
            .await
            .unwrap();
    // The id of an ended process is used again for another one at some time.
    let mut killed: HashMap<String, Vec<i64>> = HashMap::new();
    for kill in kills {
        killed.entry(format!("tasdiq {}", kill.process)).or_default().push(kill.at_ms);
    }
    let killed_after = |line: &JobLogLine| killed.get(&line.who)?.iter().filter(|at_ms| **at_ms >= line.at_ms).min();
    let mut stories: HashMap<i64, Vec<&JobLogLine>> = HashMap::new();
    for line in &lines {
        stories.entry(line.job_id).or_default().push(line);
    }
    let mut restarts = Restarts::default();
    for story in stories.values() {
        for (place, line) in story.iter().enumerate() {
            let Some(killed_at_ms) = killed_after(line).filter(|_| line.state == "running") else { continue };
            let later = &story[place + 1..];
            // The next change of the job is its crash, unless its run has just ended.
            let crashed = later.first().filter(|next| next.at_ms > *killed_at_ms && next.crashes > line.crashes);
            let Some(crashed) = crashed.filter(|next| next.state != "dead" && next.kind != "sweep") else { continue };
            let Some(again) = later.iter().find(|line| line.state == "running") else {
                restarts.stranded.push(line.job_id);
                continue;
            };
            let waited_ms = again.at_ms - killed_at_ms;
            // Only an outage at the time of the restart excuses a wait.
            let is_disturbed = outages
                .iter()
                .any(|outage| outage.from_ms <= killed_at_ms + EXCUSED_MS && outage.to_ms >= *killed_at_ms);
            match () {
                () if crashed.crashes >= 2 => restarts.suspects += 1,
                () if is_disturbed => restarts.disturbed_ms.push(waited_ms),
                () => restarts.undisturbed_ms.push(waited_ms),
            }
        }
    }
    restarts.undisturbed_ms.sort_unstable();
    restarts.disturbed_ms.sort_unstable();
    restarts
}

/// The value below which this many percent of the sorted values lie.
pub(crate) fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}
