//! What an operator says about the gateway: kept until somebody says otherwise, whatever becomes of Redis.

use sqlx::Row;

use super::{Store, StoreError, Write};
use domain::gateway_rate::GatewayRate;

const RATE: &str = "gateway_rate";
const CLOSED_AT: &str = "gateway_closed_at_ms";
const OPENED_AT: &str = "gateway_opened_at_ms";
const OVERRIDDEN_AT: &str = "gateway_patience_overridden_at_ms";

/// What an operator has said, as it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptWord {
    /// The budget instead of the configured one.
    pub rate: Option<GatewayRate>,
    /// When the gateway was closed, epoch milliseconds; nothing while it is open.
    pub closed_at_ms: Option<i64>,
    /// When it was last opened, epoch milliseconds.
    pub opened_at_ms: Option<i64>,
    /// When the patience that the gateway had asked for was last overridden, epoch milliseconds.
    pub overridden_at_ms: Option<i64>,
}

/// The operator's word.
///
/// # Errors
/// [`StoreError::UnknownValue`] for what a newer release may have written, or the database did not answer.
pub async fn word(store: &Store) -> Result<KeptWord, StoreError> {
    let rows = sqlx::query(
        "-- operators_word
        select name, value from installation
        where name in ('gateway_rate', 'gateway_closed_at_ms', 'gateway_opened_at_ms',
            'gateway_patience_overridden_at_ms')",
    )
    .fetch_all(store.readers())
    .await?;
    let mut kept = KeptWord::default();
    for row in rows {
        let (name, value): (String, String) = (row.try_get("name")?, row.try_get("value")?);
        let unknown = || StoreError::UnknownValue { column: "installation.value", value: value.clone() };
        match name.as_str() {
            RATE => kept.rate = Some(value.parse().map_err(|_| unknown())?),
            OVERRIDDEN_AT => kept.overridden_at_ms = Some(value.parse().map_err(|_| unknown())?),
            CLOSED_AT => kept.closed_at_ms = Some(value.parse().map_err(|_| unknown())?),
            _ => kept.opened_at_ms = Some(value.parse().map_err(|_| unknown())?),
        }
    }
    Ok(kept)
}

/// From now on this is the budget of all processes; `None` is what each is configured with.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn set_rate(store: &Store, rate: Option<GatewayRate>) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    match rate {
        Some(rate) => say(&mut write, RATE, rate.to_string()).await?,
        None => unsay(&mut write, RATE).await?,
    }
    write.commit().await
}

/// From now on no process calls the gateway. Closing it twice keeps the first moment.
///
/// # Errors
/// As [`set_rate`].
pub async fn close(store: &Store) -> Result<(), StoreError> {
    let now_ms = store.now_ms();
    sqlx::query(
        "-- close_gateway
        insert into installation (name, value) values ('gateway_closed_at_ms', $1) on conflict (name) do nothing",
    )
    .bind(now_ms.to_string())
    .execute(store.writer())
    .await?;
    Ok(())
}

/// From now on all processes may call the gateway again, and a breaker that has opened by itself is closed. The patience
/// that the gateway has asked for is kept, unless that is overridden, too.
///
/// # Errors
/// As [`set_rate`].
pub async fn open(store: &Store, overrides_patience: bool) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    unsay(&mut write, CLOSED_AT).await?;
    let now_ms = write.now_ms();
    say(&mut write, OPENED_AT, now_ms.to_string()).await?;
    if overrides_patience {
        say(&mut write, OVERRIDDEN_AT, now_ms.to_string()).await?;
    }
    write.commit().await
}

async fn say(write: &mut Write, name: &str, value: String) -> Result<(), StoreError> {
    sqlx::query(
        "-- say_word
        insert into installation (name, value) values ($1, $2) on conflict (name) do update set value = excluded.value",
    )
    .bind(name.to_owned())
    .bind(value)
    .execute(write.transaction())
    .await?;
    Ok(())
}

async fn unsay(write: &mut Write, name: &str) -> Result<(), StoreError> {
    sqlx::query("-- unsay_word\ndelete from installation where name = $1")
        .bind(name.to_owned())
        .execute(write.transaction())
        .await?;
    Ok(())
}
