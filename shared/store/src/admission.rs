//! The settings that an operator makes for calls to the gateway. They hold until the operator changes them, also if Redis
//! loses everything.

use sqlx::Row;

use super::{Store, StoreError, Write};
use domain::gateway_rate::GatewayRate;

// The rows of `installation`. A process of an older release reads and writes them, so they keep their names.
const RATE: &str = "gateway_rate";
const PAUSED_AT: &str = "gateway_closed_at_ms";
const BREAKER_RESET_AT: &str = "gateway_opened_at_ms";
const RETRY_AFTER_OVERRIDDEN_AT: &str = "gateway_patience_overridden_at_ms";

/// The settings of an operator, as they hold now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionSettings {
    /// The rate limit that takes the place of the configured one.
    pub rate: Option<GatewayRate>,
    /// When calls were paused, epoch milliseconds; `None` while they are not paused.
    pub paused_at_ms: Option<i64>,
    /// When the breaker was last reset by hand, epoch milliseconds. Resuming calls resets it, too.
    pub breaker_reset_at_ms: Option<i64>,
    /// When a `Retry-After` of the gateway was last overridden, epoch milliseconds.
    pub retry_after_overridden_at_ms: Option<i64>,
}

/// Reads the settings.
///
/// # Errors
/// [`StoreError::UnknownValue`] for a value that a newer release may have written, or the database did not answer.
pub async fn settings(store: &Store) -> Result<AdmissionSettings, StoreError> {
    let rows = sqlx::query(
        "-- admission_settings
        select name, value from installation
        where name in ('gateway_rate', 'gateway_closed_at_ms', 'gateway_opened_at_ms',
            'gateway_patience_overridden_at_ms')",
    )
    .fetch_all(store.readers())
    .await?;
    let mut settings = AdmissionSettings::default();
    for row in rows {
        let (name, value): (String, String) = (row.try_get("name")?, row.try_get("value")?);
        let unknown = || StoreError::UnknownValue { column: "installation.value", value: value.clone() };
        match name.as_str() {
            RATE => settings.rate = Some(value.parse().map_err(|_| unknown())?),
            RETRY_AFTER_OVERRIDDEN_AT => {
                settings.retry_after_overridden_at_ms = Some(value.parse().map_err(|_| unknown())?);
            }
            PAUSED_AT => settings.paused_at_ms = Some(value.parse().map_err(|_| unknown())?),
            _ => settings.breaker_reset_at_ms = Some(value.parse().map_err(|_| unknown())?),
        }
    }
    Ok(settings)
}

/// Sets the rate limit of all processes; `None` is the limit that each is configured with.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn set_rate(store: &Store, rate: Option<GatewayRate>) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    match rate {
        Some(rate) => set(&mut write, RATE, rate.to_string()).await?,
        None => unset(&mut write, RATE).await?,
    }
    write.commit().await
}

/// Pauses the calls of all processes. To pause twice keeps the first time.
///
/// # Errors
/// As [`set_rate`].
pub async fn pause(store: &Store) -> Result<(), StoreError> {
    let now_ms = store.now_ms();
    sqlx::query(
        "-- pause_gateway
        insert into installation (name, value) values ('gateway_closed_at_ms', $1) on conflict (name) do nothing",
    )
    .bind(now_ms.to_string())
    .execute(store.writer())
    .await?;
    Ok(())
}

/// Lets the calls of all processes leave again, and resets a breaker that has opened by itself. The gateway's `Retry-After`
/// is still obeyed, unless `overrides_retry_after`.
///
/// # Errors
/// As [`set_rate`].
pub async fn resume(store: &Store, overrides_retry_after: bool) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    unset(&mut write, PAUSED_AT).await?;
    let now_ms = write.now_ms();
    set(&mut write, BREAKER_RESET_AT, now_ms.to_string()).await?;
    if overrides_retry_after {
        set(&mut write, RETRY_AFTER_OVERRIDDEN_AT, now_ms.to_string()).await?;
    }
    write.commit().await
}

/// Resets a breaker that has opened by itself. A pause and a `Retry-After` still hold.
///
/// # Errors
/// As [`set_rate`].
pub async fn reset_breaker(store: &Store) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    let now_ms = write.now_ms();
    set(&mut write, BREAKER_RESET_AT, now_ms.to_string()).await?;
    write.commit().await
}

async fn set(write: &mut Write, name: &str, value: String) -> Result<(), StoreError> {
    sqlx::query(
        "-- set_admission_setting
        insert into installation (name, value) values ($1, $2) on conflict (name) do update set value = excluded.value",
    )
    .bind(name.to_owned())
    .bind(value)
    .execute(write.transaction())
    .await?;
    Ok(())
}

async fn unset(write: &mut Write, name: &str) -> Result<(), StoreError> {
    sqlx::query("-- unset_admission_setting\ndelete from installation where name = $1")
        .bind(name.to_owned())
        .execute(write.transaction())
        .await?;
    Ok(())
}
