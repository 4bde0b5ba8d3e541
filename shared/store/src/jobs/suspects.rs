//! Suspects: jobs whose lease ran out twice. One of the jobs that ran in a process may have ended it, so suspects run
//! in separate processes, in groups that become smaller with each crash.

use serde::{Deserialize, Serialize};
use sqlx::Row;

use super::claiming::{claim_under, unclaim};
use crate::statement::{Statement, json};
use crate::{Store, StoreError};
use domain::id::JobId;
use domain::job::ClaimedJob;

/// The number of crashes that makes a job a suspect.
pub(super) const SUSPECT_CRASHES: i64 = 2;

/// The number of crashes from which on a suspect runs alone in its process.
pub(super) const ALONE_CRASHES: i64 = 4;

/// The number of crashes alone that makes a job a dead letter.
const CRASHES_ALONE: i64 = 3;

/// The number of crashes that makes a job a dead letter; the last ones were alone.
pub(super) const DEADLY_CRASHES: i64 = ALONE_CRASHES + CRASHES_ALONE;

/// How many suspects run in one process, by their crashes so far.
///
/// Most suspects are innocent, so the first group is large: if the worker was killed from outside, one run does them
/// all. If that process dies, its jobs run in groups of eight, and the jobs of a group that dies run alone. Two crashes
/// find one job among 64.
fn run_together(crashes: i64) -> usize {
    if crashes <= SUSPECT_CRASHES {
        64
    } else if crashes < ALONE_CRASHES {
        8
    } else {
        1
    }
}

/// The suspects that run in one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuspectGroup {
    /// The jobs.
    pub jobs: Vec<JobId>,
    /// Crashes of each of them so far.
    pub crashes: i64,
    /// The random lease token under which their process claims them.
    pub token: i64,
}

const GROUP_SUSPECTS: Statement = Statement {
    sqlite: "-- group_suspects
        select id, crashes from jobs
        where id in (select value from json_each($1)) and state = 'enqueued' and queue = 'suspect'
        order by crashes, id",
    postgres: "-- group_suspects
        select id, crashes from jobs
        where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($1 as json))))
            and coalesce(state, '') = 'enqueued' and queue = 'suspect'
        order by crashes, id",
};

/// Sorts enqueued suspects into groups, one for each process. Ids of other rows are left out.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn group_suspects(store: &Store, ids: &[JobId]) -> Result<Vec<SuspectGroup>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut groups: Vec<SuspectGroup> = Vec::new();
    let query = sqlx::query(GROUP_SUSPECTS.on(store.database())).bind(json(ids)?);
    for row in query.fetch_all(store.readers()).await? {
        let (id, crashes) = (JobId(row.try_get("id")?), row.try_get("crashes")?);
        match groups.last_mut() {
            Some(group) if group.crashes == crashes && group.jobs.len() < run_together(crashes) => group.jobs.push(id),
            _ => groups.push(SuspectGroup { jobs: vec![id], crashes, token: rand::random() }),
        }
    }
    Ok(groups)
}

/// Claims the jobs of a group that are still enqueued and have not crashed again. Only their process calls this, and it
/// runs nothing else.
///
/// # Errors
/// As [`super::claim`].
pub async fn claim_suspects(store: &Store, group: &SuspectGroup) -> Result<Vec<ClaimedJob>, StoreError> {
    claim_under(store, &group.jobs, group.token, Some(group.crashes)).await
}

/// Hands back suspects whose process ended before it ran any of them, or whose worker was killed. This counts as no
/// crash.
///
/// # Errors
/// [`StoreError`] when the database did not do it; their leases then run out.
pub async fn hand_back_suspects(store: &Store, group: &SuspectGroup) -> Result<(), StoreError> {
    unclaim(store, group.token, &group.jobs).await
}

const END_LEASES_OF_SUSPECTS: Statement = Statement {
    sqlite: "-- end_leases_of_suspects
        update jobs set due_at_ms = $2
        where id in (select value from json_each($3)) and lease_token = $1 and state = 'running'",
    postgres: "-- end_leases_of_suspects
        update jobs set due_at_ms = $2
        where id = any(array(select cast(value as bigint) from json_array_elements_text(cast($3 as json))))
            and lease_token = $1 and coalesce(state, '') = 'running'",
};

/// Ends the leases of suspects whose process died, so that the relay counts the crash at once.
///
/// # Errors
/// [`StoreError`] when the database did not do it; their leases then run out.
pub async fn end_leases_of_suspects(store: &Store, group: &SuspectGroup) -> Result<u64, StoreError> {
    let query = sqlx::query(END_LEASES_OF_SUSPECTS.on(store.database()));
    let query = query.bind(group.token).bind(store.now_ms()).bind(json(&group.jobs)?);
    Ok(query.execute(store.writer()).await?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: JOB-20
    #[test]
    fn a_job_has_crashed_alone_three_times_before_it_is_a_dead_letter() {
        let alone = (SUSPECT_CRASHES..DEADLY_CRASHES).filter(|crashes| run_together(*crashes) == 1).count();

        assert_eq!(alone, 3);
        assert_eq!(run_together(DEADLY_CRASHES - 1), 1, "the last crash is alone");
    }

    #[test]
    fn each_crash_makes_groups_smaller_until_a_suspect_is_alone() {
        let sizes: Vec<usize> = (SUSPECT_CRASHES..=ALONE_CRASHES).map(run_together).collect();

        assert_eq!(sizes, [64, 8, 1]);
    }
}
