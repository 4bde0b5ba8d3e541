//! The statements of the counters, with the server's history and without it.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row};

use crate::{Store, StoreError};

/// The position of a counter. It only grows; jumps are compared first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CounterPosition {
    pub(super) jumps: i64,
    pub(super) next: i64,
}

/// A counter, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Its name, such as `orders`.
    pub name: String,
    /// The next number that the database gives out. Processes hold some lower ones.
    pub next: i64,
    /// When it last jumped, epoch milliseconds.
    pub jumped_at_ms: Option<i64>,
    pub(super) jumps: i64,
    /// The history on which it was last taken, and the server's present one; empty where it is not known.
    pub(super) history: String,
    pub(super) present: String,
}

/// Why counters jump. Each cause shows whether another process has made the jump already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JumpCause {
    /// The server has another history.
    AnotherHistory,
    /// A counter is lower than it was seen before.
    SetBack,
    /// A person says that a backup was restored.
    Told,
}

impl Numbers {
    pub(super) fn position(&self) -> CounterPosition {
        CounterPosition { jumps: self.jumps, next: self.next }
    }
}

/// The second that the numbers of orders are counted from where they follow the clock: 2026-01-01T00:00:00Z.
const FIRST_SECOND: i64 = 1_767_225_600;

/// The lowest number of an order where numbers follow the clock: the whole seconds of this installation's database time
/// since the year 2026 began.
pub(super) fn least_by_clock(now_ms: i64) -> i64 {
    now_ms.div_euclid(1_000) - FIRST_SECOND
}

/// How far counters jump: more than the numbers that can have been lost. A hundred per second for a whole day are
/// fewer.
const JUMP: i64 = 10_000_000;

/// The server's history as text: its cluster, the timeline that it writes, and the table's object id. A standby that
/// took over writes another timeline, and so does a restored backup; a dump is loaded into new tables, or into another
/// cluster. Empty on a standby.
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

/// Takes a block of ids, none below `least`; takes nothing where the server has another history.
pub(super) fn taking(tells_history: bool, name: &str, count: i64, least: i64) -> Query<'static, Any, AnyArguments> {
    let take = match tells_history {
        true => concat!(
            "-- take_ids\nupdate id_blocks set next = case when next < $1 then $1 else next end + $2 from ",
            present_history!(),
            " where name = $3 and (history in ('', present) or present = '') returning next, jumps"
        ),
        false => {
            "-- take_ids_alone
            update id_blocks set next = case when next < $1 then $1 else next end + $2
            where name = $3 returning next, jumps"
        }
    };
    sqlx::query(take).bind(least).bind(count).bind(name.to_owned())
}

/// Makes one counter jump, unless it has jumped already. It jumps from the seen position and from `least` at least.
pub(super) fn jumping(
    tells_history: bool,
    cause: JumpCause,
    name: &str,
    before: Option<CounterPosition>,
    least: i64,
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
    sqlx::query(jump).bind(next.max(least)).bind(JUMP).bind(jumps).bind(now_ms).bind(name.to_owned())
}

/// The first of the `count` ids that a row grants, or why they must not be used.
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
