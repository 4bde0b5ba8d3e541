//! The settings that an operator makes for the calls of a gateway account. They hold until the operator changes them, also if
//! Redis loses everything.

use std::collections::HashMap;

use sqlx::Row;

use super::{Store, StoreError, Write};
use domain::gateway_rate::GatewayRate;
use domain::order::GatewayIdentity;

/// The names of the rows of `installation` that hold the settings of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsRows {
    own: RowNames,
    /// The rows of a release that had one account, for the account that it could have.
    older: Option<RowNames>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct RowNames {
    rate: String,
    paused_at: String,
    breaker_reset_at: String,
    retry_after_overridden_at: String,
}

impl SettingsRows {
    /// The rows of this account.
    pub fn of(account: &GatewayIdentity) -> Self {
        let row = |name: &str| format!("{name}:{account}");
        let own = RowNames {
            rate: row("gateway_rate"),
            paused_at: row("gateway_paused_at_ms"),
            breaker_reset_at: row("gateway_breaker_reset_at_ms"),
            retry_after_overridden_at: row("gateway_retry_after_overridden_at_ms"),
        };
        SettingsRows { own, older: None }
    }

    /// The rows of an account that a release with one account may have, too.
    ///
    /// A running process of such a release reads and writes rows without an account's name. They are this account's, under
    /// their old names: each process obeys what an operator types for the other. The account's own rows are obeyed, too; they
    /// are written where a command cannot tell that the account is this one.
    pub fn with_older(account: &GatewayIdentity) -> Self {
        let older = RowNames {
            rate: "gateway_rate".to_owned(),
            paused_at: "gateway_closed_at_ms".to_owned(),
            breaker_reset_at: "gateway_opened_at_ms".to_owned(),
            retry_after_overridden_at: "gateway_patience_overridden_at_ms".to_owned(),
        };
        SettingsRows { older: Some(older), ..SettingsRows::of(account) }
    }

    /// The rows that are written.
    fn written(&self) -> &RowNames {
        self.older.as_ref().unwrap_or(&self.own)
    }
}

/// The settings of an operator for one account, as they hold now.
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

/// The settings of all accounts, as they were read in one statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsOfAccounts(HashMap<String, String>);

impl SettingsOfAccounts {
    /// The settings of the account with these rows.
    ///
    /// # Errors
    /// [`StoreError::UnknownValue`] for a value that a newer release may have written.
    pub fn of(&self, rows: &SettingsRows) -> Result<AdmissionSettings, StoreError> {
        let own = self.read(&rows.own)?;
        let Some(older) = &rows.older else { return Ok(own) };
        let older = self.read(older)?;
        Ok(AdmissionSettings {
            rate: older.rate.or(own.rate),
            paused_at_ms: older.paused_at_ms.or(own.paused_at_ms),
            breaker_reset_at_ms: older.breaker_reset_at_ms.max(own.breaker_reset_at_ms),
            retry_after_overridden_at_ms: older.retry_after_overridden_at_ms.max(own.retry_after_overridden_at_ms),
        })
    }

    fn read(&self, names: &RowNames) -> Result<AdmissionSettings, StoreError> {
        Ok(AdmissionSettings {
            rate: self.value(&names.rate)?,
            paused_at_ms: self.value(&names.paused_at)?,
            breaker_reset_at_ms: self.value(&names.breaker_reset_at)?,
            retry_after_overridden_at_ms: self.value(&names.retry_after_overridden_at)?,
        })
    }

    fn value<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let unknown = |_| StoreError::UnknownValue { column: "installation.value", value: value.clone() };
        value.parse().map(Some).map_err(unknown)
    }
}

/// Reads the settings of all accounts.
///
/// # Errors
/// The database did not answer.
pub async fn settings(store: &Store) -> Result<SettingsOfAccounts, StoreError> {
    let rows = sqlx::query("-- admission_settings\nselect name, value from installation where name like 'gateway%'")
        .fetch_all(store.readers())
        .await?;
    let rows = rows.iter().map(|row| Ok((row.try_get("name")?, row.try_get("value")?)));
    rows.collect::<Result<_, StoreError>>().map(SettingsOfAccounts)
}

/// Sets the rate limit that all processes together keep to; `None` is the limit that each is configured with.
///
/// # Errors
/// [`StoreError`] when the database did not do it.
pub async fn set_rate(store: &Store, rows: &SettingsRows, rate: Option<GatewayRate>) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    unset(&mut write, &rows.own.rate).await?;
    match rate {
        Some(rate) => set(&mut write, &rows.written().rate, rate.to_string()).await?,
        None => unset(&mut write, &rows.written().rate).await?,
    }
    write.commit().await
}

/// Pauses the calls of all processes. To pause twice keeps the first time.
///
/// # Errors
/// As [`set_rate`].
pub async fn pause(store: &Store, rows: &SettingsRows) -> Result<(), StoreError> {
    let now_ms = store.now_ms();
    sqlx::query(
        "-- pause_gateway
        insert into installation (name, value) values ($1, $2) on conflict (name) do nothing",
    )
    .bind(rows.written().paused_at.clone())
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
pub async fn resume(store: &Store, rows: &SettingsRows, overrides_retry_after: bool) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    unset(&mut write, &rows.own.paused_at).await?;
    unset(&mut write, &rows.written().paused_at).await?;
    let now_ms = write.now_ms();
    set(&mut write, &rows.written().breaker_reset_at, now_ms.to_string()).await?;
    if overrides_retry_after {
        set(&mut write, &rows.written().retry_after_overridden_at, now_ms.to_string()).await?;
    }
    write.commit().await
}

/// Resets a breaker that has opened by itself. A pause and a `Retry-After` still hold.
///
/// # Errors
/// As [`set_rate`].
pub async fn reset_breaker(store: &Store, rows: &SettingsRows) -> Result<(), StoreError> {
    let mut write = store.begin(0).await?;
    let now_ms = write.now_ms();
    set(&mut write, &rows.written().breaker_reset_at, now_ms.to_string()).await?;
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
