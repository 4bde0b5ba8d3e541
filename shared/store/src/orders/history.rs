//! The history of orders, line by line.

use serde::Serialize;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::parse_status;
use crate::statement::{Statement, json};
use crate::{Store, StoreError, Write};
use domain::id::OrderId;
use domain::order::{HistoryLine, OrderStatus};

/// An order's history, oldest line first.
///
/// # Errors
/// [`StoreError`] when the database did not answer.
pub async fn history(store: &Store, id: OrderId) -> Result<Vec<HistoryLine>, StoreError> {
    let rows = sqlx::query(
        "-- order_history
        select at_ms, from_status, to_status, cause from order_history where order_id = $1 order by number limit 1000",
    )
    .bind(id.0)
    .fetch_all(store.readers())
    .await?;
    rows.iter().map(history_line).collect()
}

pub(crate) fn history_line(row: &AnyRow) -> Result<HistoryLine, StoreError> {
    let from: Option<String> = row.try_get("from_status")?;
    Ok(HistoryLine {
        at_ms: row.try_get("at_ms")?,
        from: from.map(parse_status).transpose()?,
        to: parse_status(row.try_get("to_status")?)?,
        cause: row.try_get("cause")?,
    })
}

/// Adds a history line. Call it in the transaction of the transition, while the order's row is locked.
pub(crate) async fn tell(
    write: &mut Write,
    id: OrderId,
    from: Option<OrderStatus>,
    to: OrderStatus,
    cause: &str,
) -> Result<(), StoreError> {
    tell_all(write, &[Told { id, from, to, cause: cause.to_owned() }]).await
}

/// A new history line.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: OrderId,
    pub(crate) from: Option<OrderStatus>,
    pub(crate) to: OrderStatus,
    pub(crate) cause: String,
}

const ADD_HISTORY_LINES: Statement = Statement {
    sqlite: "-- add_history_lines
        insert into order_history (order_id, number, at_ms, from_status, to_status, cause)
        select value ->> 'order_id',
            coalesce((select max(number) from order_history where order_id = value ->> 'order_id'), 0) + 1,
            $2, value ->> 'from_status', value ->> 'to_status', value ->> 'cause'
        from json_each($1)",
    postgres: "-- add_history_lines
        insert into order_history (order_id, number, at_ms, from_status, to_status, cause)
        select new.order_id,
            coalesce((select max(told.number) from order_history told where told.order_id = new.order_id), 0) + 1,
            $2, new.from_status, new.to_status, new.cause
        from json_populate_recordset(cast(null as order_history), cast($1 as json)) new",
};

/// As [`tell`], for several orders.
pub(crate) async fn tell_all(write: &mut Write, lines: &[Told]) -> Result<(), StoreError> {
    #[derive(Serialize)]
    struct NewLine<'a> {
        order_id: OrderId,
        from_status: Option<&'static str>,
        to_status: &'static str,
        cause: &'a str,
    }
    let mut new = Vec::with_capacity(lines.len());
    for Told { id, from, to, cause } in lines {
        let from_status = from.map(OrderStatus::as_str);
        new.push(NewLine { order_id: *id, from_status, to_status: to.as_str(), cause });
    }
    let text = ADD_HISTORY_LINES.on(write.store.database());
    sqlx::query(text).bind(json(&new)?).bind(write.now_ms()).execute(write.transaction()).await?;
    for told in lines {
        if told.from != Some(told.to) {
            write.transitions.push(told.to);
        }
        // An order that is just being made has no followers yet.
        if told.from.is_some() && !write.changed.contains(&told.id) {
            write.changed.push(told.id);
        }
    }
    Ok(())
}
