//! Open jobs that lie further ahead than any schedule puts them, which is so after the database's clock was set back.

use sqlx::AssertSqlSafe;

use crate::job::{JobKind, QueueName};
use crate::store::jobs::{LEASE_MS, OPEN, grace_ms, quoted_kinds};
use crate::store::{Database, MOST_LEASE_FOR_THE_LINE_MS, Store, StoreError};

/// How far ahead an open job may lie, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongestWaits {
    /// The next look at an order that is open.
    pub look_ms: i64,
    /// The next look back at an order that has ended.
    pub look_back_ms: i64,
    /// Anything else: the longest backoff, or the distance between two sweeps.
    pub other_ms: i64,
}

/// A lease is no longer, whatever the line of the process that holds it.
const LONGEST_LEASE_MS: i64 = LEASE_MS + MOST_LEASE_FOR_THE_LINE_MS;

/// Rows brought near in one statement; more are found by the next one.
const BATCH: usize = 1_000;

/// Brings open jobs that lie further ahead to the furthest place they may have, and returns how many. Harmless at any
/// time: a job that comes too early finds that, and waits again.
///
/// # Errors
/// [`StoreError`] when the database did not do it; some may lie near by then.
pub async fn bring_near(store: &Store, longest: &LongestWaits) -> Result<u64, StoreError> {
    let mut brought = 0;
    for queue in QueueName::ALL {
        let available_ms = match queue {
            QueueName::Background => longest.look_back_ms,
            QueueName::Settle | QueueName::Links | QueueName::Suspect => longest.other_ms,
        };
        for (state, furthest_ms) in
            [("running", LONGEST_LEASE_MS), ("enqueued", grace_ms(*queue)), ("available", available_ms)]
        {
            let far = format!("select id from jobs where queue = '{queue}' and state = '{state}' and due_at_ms > $1");
            brought += bring(store, &far, furthest_ms).await?;
        }
    }
    // Looks at open orders stand beside the looks back, which are many and lie a day ahead: found by their orders.
    let far = format!(
        "select j.id from orders o join jobs j on j.kind = '{kind}' and j.subject_id = o.id
        where o.status in ('pending', 'confirming', 'review') and o.status in ('pending', 'confirming')
            and j.{OPEN} and j.state = 'available' and j.due_at_ms > $1",
        kind = JobKind::SettleOrder
    );
    let lock = match store.database() {
        Database::Sqlite => "",
        Database::Postgres => "for update of j skip locked",
    };
    brought += bring_locked(store, &far, lock, longest.look_ms).await?;
    // A link or a refund that may wait stands there, too. Found by their kinds, of which few are open.
    let few = JobKind::ALL.iter().copied().filter(|kind| kind.asks_gateway() && *kind != JobKind::SettleOrder);
    let background = format!(
        "select id from jobs where kind in ({})
            and {OPEN} and state = 'available' and queue = '{}' and due_at_ms > $1",
        quoted_kinds(few),
        QueueName::Background
    );
    brought += bring(store, &background, longest.other_ms).await?;
    let sweep = format!(
        "select id from jobs where kind = '{kind}' and subject_id = 0
            and {OPEN} and state = 'available' and due_at_ms > $1",
        kind = JobKind::Sweep
    );
    brought += bring(store, &sweep, longest.other_ms).await?;
    Ok(brought)
}

/// The gateway asks for no longer patience; what lies further ahead waits for something else.
const LONGEST_PATIENCE_MS: i64 = 3_600_000;

/// Every process has heard of the operator's word by then.
const WORD_IS_HEARD_MS: i64 = 1_500;

/// Brings the jobs near whose last run was told to wait or failed, and returns how many: an operator has overridden the
/// patience that the gateway asked for. A job that waits for something else as well finds that, and waits again.
///
/// # Errors
/// As [`bring_near`].
pub async fn hurry_held_back(store: &Store) -> Result<u64, StoreError> {
    let until_ms = store.now_ms() + LONGEST_PATIENCE_MS;
    let mut brought = 0;
    for queue in [QueueName::Settle, QueueName::Links, QueueName::Background] {
        let held_back = format!(
            "select id from jobs where queue = '{queue}' and state = 'available' and due_at_ms > $1
                and due_at_ms <= {until_ms} and last_error is not null and kind in ({})",
            quoted_kinds(JobKind::ALL.iter().copied().filter(|kind| kind.asks_gateway()))
        );
        brought += bring(store, &held_back, WORD_IS_HEARD_MS).await?;
    }
    Ok(brought)
}

/// Brings the rows that this selects to `furthest_ms` from now.
async fn bring(store: &Store, far: &str, furthest_ms: i64) -> Result<u64, StoreError> {
    bring_locked(store, far, store.skip_locked(), furthest_ms).await
}

/// As [`bring`]; `lock` says which rows the select locks.
async fn bring_locked(store: &Store, far: &str, lock: &str, furthest_ms: i64) -> Result<u64, StoreError> {
    // Locked rows are passed over: many rows that wait for locks in no order could block another transaction, and be
    // blocked by it. The writer of a row gives it another time, and after a step this is done once more.
    let far = store.one_of(&format!("{far} limit {BATCH} {lock}"));
    let sql = format!("-- bring_jobs_near\nupdate jobs set due_at_ms = $1 where id {far} and due_at_ms > $1");
    let mut brought = 0;
    loop {
        let query = sqlx::query(AssertSqlSafe(sql.as_str())).bind(store.now_ms() + furthest_ms);
        let rows = query.execute(store.writer()).await?.rows_affected();
        brought += rows;
        if rows < BATCH as u64 {
            return Ok(brought);
        }
    }
}
