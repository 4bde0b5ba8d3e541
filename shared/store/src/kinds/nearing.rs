//! Open jobs whose due time lies further ahead than any schedule allows, after the database's clock was set back.

use sqlx::Any;
use sqlx::any::AnyArguments;
use sqlx::query::Query;

use crate::jobs::{LEASE_MS, grace_ms};
use crate::statement::{Statement, json};
use crate::{MOST_LEASE_FOR_THE_LINE_MS, Store, StoreError};
use domain::job::{JobKind, QueueName};

/// How far ahead an open job may be due, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongestWaits {
    /// The next inquiry about an open order.
    pub inquiry_ms: i64,
    /// The next late inquiry about an order that has ended.
    pub late_inquiry_ms: i64,
    /// Any other job: the longest backoff, or the time between two sweeps.
    pub other_ms: i64,
}

/// No lease is longer, however slow the network of its holder.
const LONGEST_LEASE_MS: i64 = LEASE_MS + MOST_LEASE_FOR_THE_LINE_MS;

/// Rows that one statement changes; the next one finds the rest.
const BATCH: u32 = 1_000;

/// The running jobs of a queue. Locked rows are skipped: a statement that waits for many locks in no fixed order could
/// deadlock with another transaction. The transaction that holds the lock writes another time, and after a step all
/// this is done once more.
const RUNNING: Statement = Statement {
    sqlite: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id in (select id from jobs where queue = $2 and state = 'running' and due_at_ms > $1 limit $3)
            and due_at_ms > $1",
    postgres: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id = any(array(select id from jobs where queue = $2 and state = 'running' and due_at_ms > $1 limit $3
                for update skip locked))
            and due_at_ms > $1",
};

const ENQUEUED: Statement = Statement {
    sqlite: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id in (select id from jobs where queue = $2 and state = 'enqueued' and due_at_ms > $1 limit $3)
            and due_at_ms > $1",
    postgres: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id = any(array(select id from jobs where queue = $2 and state = 'enqueued' and due_at_ms > $1 limit $3
                for update skip locked))
            and due_at_ms > $1",
};

const AVAILABLE: Statement = Statement {
    sqlite: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id in (select id from jobs where queue = $2 and state = 'available' and due_at_ms > $1 limit $3)
            and due_at_ms > $1",
    postgres: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id = any(array(select id from jobs where queue = $2 and state = 'available' and due_at_ms > $1 limit $3
                for update skip locked))
            and due_at_ms > $1",
};

/// Inquiries about open orders, found by their orders. They share their queue with the late inquiries, which are many
/// and a day ahead. An order whose customer has not chosen an account is only looked at when its time is over.
const INQUIRIES_ABOUT_OPEN_ORDERS: Statement = Statement {
    sqlite: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id in (
                select j.id from orders o join jobs j on j.kind = $2 and j.subject_id = o.id
                where o.status in ('pending', 'confirming', 'review') and o.status in ('pending', 'confirming')
                    and j.state in ('available', 'enqueued', 'running') and j.state = 'available'
                    and j.due_at_ms > $1
                    and (o.gateway <> '' or j.due_at_ms > o.expires_at_ms + $4)
                limit $3)
            and due_at_ms > $1",
    postgres: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id = any(array(
                select j.id from orders o join jobs j on j.kind = $2 and j.subject_id = o.id
                where o.status in ('pending', 'confirming', 'review') and o.status in ('pending', 'confirming')
                    and j.state in ('available', 'enqueued', 'running') and j.state = 'available'
                    and j.due_at_ms > $1
                    and (o.gateway <> '' or j.due_at_ms > o.expires_at_ms + $4)
                limit $3
                for update of j skip locked))
            and due_at_ms > $1",
};

/// The jobs of these kinds, of which few are open.
const OF_KINDS: Statement = Statement {
    sqlite: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id in (
                select id from jobs where kind in (select value from json_each($2))
                    and state in ('available', 'enqueued', 'running') and state = 'available' and due_at_ms > $1
                limit $3)
            and due_at_ms > $1",
    postgres: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id = any(array(
                select id from jobs where kind = any(array(select json_array_elements_text(cast($2 as json))))
                    and state in ('available', 'enqueued', 'running') and state = 'available' and due_at_ms > $1
                limit $3 for update skip locked))
            and due_at_ms > $1",
};

/// The jobs of a queue and of these kinds whose last run failed or was told to wait.
const HELD_BACK: Statement = Statement {
    sqlite: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id in (
                select id from jobs where queue = $2 and state = 'available' and due_at_ms > $1 and due_at_ms <= $4
                    and last_error is not null and kind in (select value from json_each($3))
                limit $5)
            and due_at_ms > $1",
    postgres: "-- cap_due_times
        update jobs set due_at_ms = $1
        where id = any(array(
                select id from jobs where queue = $2 and state = 'available' and due_at_ms > $1 and due_at_ms <= $4
                    and last_error is not null and kind = any(array(select json_array_elements_text(cast($3 as json))))
                limit $5 for update skip locked))
            and due_at_ms > $1",
};

/// Moves open jobs that are due too far ahead to the latest time that they may have, and returns how many. This is
/// harmless at any time: a job that runs too early finds that out, and waits again.
///
/// # Errors
/// [`StoreError`] when the database did not do it; some may have been moved by then.
pub async fn cap_due_times(store: &Store, longest: &LongestWaits) -> Result<u64, StoreError> {
    let (mut brought, database) = (0, store.database());
    for queue in QueueName::ALL {
        let available_ms = match queue {
            QueueName::Background => longest.late_inquiry_ms,
            QueueName::Settle | QueueName::Links | QueueName::Suspect => longest.other_ms,
        };
        for (statement, furthest_ms) in
            [(&RUNNING, LONGEST_LEASE_MS), (&ENQUEUED, grace_ms(*queue)), (&AVAILABLE, available_ms)]
        {
            brought += bring(store, furthest_ms, |at_ms| {
                sqlx::query(statement.on(database)).bind(at_ms).bind(queue.as_str()).bind(i64::from(BATCH))
            })
            .await?;
        }
    }
    let inquiry = JobKind::SettleOrder;
    brought += bring(store, longest.inquiry_ms, |at_ms| {
        let query = sqlx::query(INQUIRIES_ABOUT_OPEN_ORDERS.on(database));
        query.bind(at_ms).bind(inquiry.as_str()).bind(i64::from(BATCH)).bind(longest.other_ms)
    })
    .await?;
    // A link or a refund that may wait shares the queue of the late inquiries.
    let others = names(|kind| kind != inquiry)?;
    brought += bring(store, longest.other_ms, |at_ms| {
        sqlx::query(OF_KINDS.on(database)).bind(at_ms).bind(others.clone()).bind(i64::from(BATCH))
    })
    .await?;
    Ok(brought)
}

/// The longest Retry-After; a job that is due later waits for something else.
const LONGEST_PATIENCE_MS: i64 = 3_600_000;

/// By then every process has learned of the operator's command.
const WORD_IS_HEARD_MS: i64 = 1_500;

/// Makes the jobs due soon whose last run failed or was told to wait, and returns how many: an operator has overridden
/// the gateway's Retry-After. A job that also waits for something else finds that out, and waits again.
///
/// # Errors
/// As [`cap_due_times`].
pub async fn run_held_back_soon(store: &Store) -> Result<u64, StoreError> {
    let (mut brought, database) = (0, store.database());
    let until_ms = store.now_ms() + LONGEST_PATIENCE_MS;
    let asking = names(JobKind::asks_gateway)?;
    for queue in [QueueName::Settle, QueueName::Links, QueueName::Background] {
        brought += bring(store, WORD_IS_HEARD_MS, |at_ms| {
            let query = sqlx::query(HELD_BACK.on(database)).bind(at_ms).bind(queue.as_str());
            query.bind(asking.clone()).bind(until_ms).bind(i64::from(BATCH))
        })
        .await?;
    }
    Ok(brought)
}

/// The names of these kinds, as a parameter.
fn names(are_meant: impl Fn(JobKind) -> bool) -> Result<String, StoreError> {
    json(&JobKind::ALL.iter().filter(|kind| are_meant(**kind)).map(|kind| kind.as_str()).collect::<Vec<_>>())
}

/// Moves the rows of a statement to `furthest_ms` from now, until none is left.
async fn bring(
    store: &Store,
    furthest_ms: i64,
    query: impl Fn(i64) -> Query<'static, Any, AnyArguments>,
) -> Result<u64, StoreError> {
    let mut brought = 0;
    loop {
        let rows = query(store.now_ms() + furthest_ms).execute(store.writer()).await?.rows_affected();
        brought += rows;
        if rows < u64::from(BATCH) {
            return Ok(brought);
        }
    }
}
