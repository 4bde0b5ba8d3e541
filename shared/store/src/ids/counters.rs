//! The statements of the counters, with the server's history and without it.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row};

use crate::{Store, StoreError};

/// Where a counter stands: it only grows, by its jumps first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CounterPosition {
    pub(super) jumps: i64,
    pub(super) next: i64,
}

/// A counter, as operators are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// What it counts, such as `orders`.
    pub name: String,
    /// The next number that the database gives out. Processes hold some that are lower.
    pub next: i64,
    /// When it last jumped, epoch milliseconds.
    pub jumped_at_ms: Option<i64>,
    pub(super) jumps: i64,
    /// On which history it was taken from last, and on which the server is; empty where that is not known.
    pub(super) history: String,
    pub(super) present: String,
}

/// Why counters jump. Each tells by itself whether another process has seen to it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JumpCause {
    /// The server is on another history.
    AnotherHistory,
    /// A counter stands lower than it was seen.
    SetBack,
    /// A person says that a backup was restored.
    Told,
}

impl Numbers {
    pub(super) fn position(&self) -> CounterPosition {
        CounterPosition { jumps: self.jumps, next: self.next }
    }
}

/// How far counters jump: further than numbers can have been lost. A hundred a second for a whole day are fewer.
const JUMP: i64 = 10_000_000;

/// On which history the server is, as text: its cluster, the timeline that it writes, and which making of the table this is.
/// A standby that took over writes another timeline, and so does a backup that was recovered; a dump goes into tables, or a
/// cluster, of its own. Empty on a standby.
macro_rules! present_history {
    () => {
        "(select case when pg_is_in_recovery() then '' else
            cast((select system_identifier from pg_control_system()) as text)
            || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
            || '/' || cast(cast(cast('id_blocks' as regclass) as oid) as text) end as present) as server"
    };
}

pub(super) use present_history;

pub(super) async fn read(store: &Store, tells_history: bool) -> Result<Vec<Numbers>, StoreError> {
    let query = match tells_history {
        true => concat!(
            "-- read_counters\nselect name, next, jumps, jumped_at_ms, history, present from id_blocks, ",
            present_history!(),
            " order by name"
        ),
        false => {
            "-- read_counters_alone\nselect name, next, jumps, jumped_at_ms, history, '' as present from id_blocks order by name"
        }
    };
    let rows = sqlx::query(query).fetch_all(store.upkeep_readers()).await?;
    rows.iter()
        .map(|row| {
            Ok(Numbers {
                name: row.try_get("name")?,
                next: row.try_get("next")?,
                jumped_at_ms: row.try_get("jumped_at_ms")?,
                jumps: row.try_get("jumps")?,
                history: row.try_get("history")?,
                present: row.try_get("present")?,
            })
        })
        .collect()
}

/// Takes a block; nothing where the server is on another history.
pub(super) fn taking(tells_history: bool, name: &str, count: i64) -> Query<'static, Any, AnyArguments> {
    let take = match tells_history {
        true => concat!(
            "-- take_ids\nupdate id_blocks set next = next + $1 from ",
            present_history!(),
            " where name = $2 and (history in ('', present) or present = '') returning next, jumps"
        ),
        false => "-- take_ids_alone\nupdate id_blocks set next = next + $1 where name = $2 returning next, jumps",
    };
    sqlx::query(take).bind(count).bind(name.to_owned())
}

/// Makes one counter jump, unless that was done already. What was seen of it is the least that it jumps from.
pub(super) fn jumping(
    tells_history: bool,
    cause: JumpCause,
    name: &str,
    before: Option<CounterPosition>,
    now_ms: i64,
) -> Query<'static, Any, AnyArguments> {
    let jump = match (tells_history, cause) {
        (true, JumpCause::AnotherHistory) => concat!(
            "-- jump_to_another_history
            update id_blocks set next = case when next < $1 then $1 else next end + $2,
                jumps = case when jumps < $3 then $3 else jumps end + 1, jumped_at_ms = $4, history = present
            from ",
            present_history!(),
            " where name = $5 and history not in ('', present) and present <> ''"
        ),
        (true, JumpCause::SetBack | JumpCause::Told) => concat!(
            "-- jump
            update id_blocks set next = case when next < $1 then $1 else next end + $2, jumps = $3 + 1, jumped_at_ms = $4,
                history = case when present = '' then history else present end
            from ",
            present_history!(),
            " where name = $5 and jumps <= $3"
        ),
        (false, JumpCause::AnotherHistory | JumpCause::SetBack | JumpCause::Told) => {
            "-- jump_alone
            update id_blocks set next = case when next < $1 then $1 else next end + $2, jumps = $3 + 1, jumped_at_ms = $4
            where name = $5 and jumps <= $3"
        }
    };
    let CounterPosition { jumps, next } = before.unwrap_or(CounterPosition { jumps: 0, next: 0 });
    sqlx::query(jump).bind(next).bind(JUMP).bind(jumps).bind(now_ms).bind(name.to_owned())
}

/// Where the `count` ids begin that a row was answered with, or why they must not be used.
pub(super) fn first_of(
    rows: &[AnyRow],
    count: i64,
    before: Option<CounterPosition>,
) -> Result<Result<CounterPosition, JumpCause>, StoreError> {
    let Some(row) = rows.first() else { return Ok(Err(JumpCause::AnotherHistory)) };
    let first = CounterPosition { jumps: row.try_get("jumps")?, next: row.try_get::<i64, _>("next")? - count };
    Ok(match before {
        Some(before) if first < before => Err(JumpCause::SetBack),
        Some(_) | None => Ok(first),
    })
}
