//! What the log of the jobs says about restarts after a kill.

use std::collections::HashMap;

use sqlx::{FromRow, PgConnection};

#[derive(Clone, Debug, FromRow)]
struct Line {
    at_ms: i64,
    job_id: i64,
    state: String,
    crashes: i64,
    who: String,
}

/// A worker that was killed: its process's number, and when, in epoch milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    pub(crate) process: u32,
    pub(crate) at_ms: i64,
}

/// When a server was away, in epoch milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
}

/// How long the jobs of killed workers waited until they ran elsewhere, in milliseconds, shortest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restarts {
    /// Those that nothing else held up.
    pub(crate) undisturbed_ms: Vec<i64>,
    /// Those during which PostgreSQL or Redis was away, too.
    pub(crate) disturbed_ms: Vec<i64>,
    /// Jobs that wait on purpose, as they were suspects by then.
    pub(crate) suspects: usize,
}

/// What became of the jobs that ran in the killed workers.
pub(crate) async fn of(connection: &mut PgConnection, kills: &[Kill], outages: &[Outage]) -> Restarts {
    let lines: Vec<Line> = sqlx::query_as("select at_ms, job_id, state, crashes, who from job_log order by number")
        .fetch_all(connection)
        .await
        .unwrap();
    let killed: HashMap<String, i64> =
        kills.iter().map(|kill| (format!("tasdiq {}", kill.process), kill.at_ms)).collect();
    let mut stories: HashMap<i64, Vec<&Line>> = HashMap::new();
    for line in &lines {
        stories.entry(line.job_id).or_default().push(line);
    }
    let mut restarts = Restarts::default();
    for story in stories.values() {
        for (place, line) in story.iter().enumerate() {
            let Some(killed_at_ms) = killed.get(&line.who).filter(|_| line.state == "running") else { continue };
            let later = &story[place + 1..];
            let ran_when_killed =
                line.at_ms <= *killed_at_ms && later.first().is_none_or(|next| next.at_ms > *killed_at_ms);
            let Some(again) = later.iter().find(|line| line.state == "running").filter(|_| ran_when_killed) else {
                continue;
            };
            let waited_ms = again.at_ms - killed_at_ms;
            let is_disturbed =
                outages.iter().any(|outage| outage.from_ms <= again.at_ms && outage.to_ms >= *killed_at_ms);
            match () {
                () if again.crashes >= 2 => restarts.suspects += 1,
                () if is_disturbed => restarts.disturbed_ms.push(waited_ms),
                () => restarts.undisturbed_ms.push(waited_ms),
            }
        }
    }
    restarts.undisturbed_ms.sort_unstable();
    restarts.disturbed_ms.sort_unstable();
    restarts
}

/// The value below which so many of a hundred lie; the values are sorted.
pub(crate) fn percentile(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}
