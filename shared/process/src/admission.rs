//! Brings the operator's settings from the database to the admission of each account's calls, and writes to the log how the
//! admission changes.

use std::time::Duration;

use domain::gateway_rate::GatewayRate;
use domain::order::GatewayIdentity;
use domain::time::millis;
use futures_util::future::join_all;
use gateway::coordination::{AdmissionView, BreakerState, CoordinatedAccount, OperatorSettings};
use gateway::{Gateway, Gateways};
use serde::{Deserialize, Serialize};
use store::admission::{self, AdmissionSettings, SettingsOfAccounts, SettingsRows};
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// A setting reaches all processes within a second: this time, and one small statement.
const FOLLOW_EVERY: Duration = Duration::from_millis(700);

/// The admission as a process reports it in its row: JSON that other releases read, too.
///
/// An older release wrote it with other names; each of those is read as an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedAdmission {
    /// The rate limit that the process was configured with, such as `20/40`; `None` is unlimited.
    pub configured: Option<GatewayRate>,
    /// The rate limit in force; without Redis the part that this process uses.
    #[serde(alias = "budget")]
    pub rate_limit: Option<GatewayRate>,
    /// Whether an operator has paused the calls.
    #[serde(alias = "is_closed")]
    pub is_paused: bool,
    /// Whether all processes see the same. Without Redis each process has its own breaker.
    pub is_shared: bool,
    /// `closed` (calls leave), `open` (none does), `probing` (one does).
    pub breaker: String,
    /// When the breaker opened, epoch milliseconds.
    pub opened_at_ms: Option<i64>,
    /// When it lets the next probe through, epoch milliseconds.
    pub probe_at_ms: Option<i64>,
    /// The failure that opened it, or the failure of its last probe.
    pub cause: Option<String>,
    /// The end of the gateway's `Retry-After`, epoch milliseconds.
    #[serde(alias = "patience_until_ms")]
    pub retry_after_until_ms: Option<i64>,
}

impl ReportedAdmission {
    /// The admission with times instead of durations, because it is read later.
    pub fn new(view: &AdmissionView, now_ms: i64) -> Self {
        let breaker = &view.breaker;
        let is_open = breaker.state != BreakerState::Closed;
        ReportedAdmission {
            configured: view.configured,
            rate_limit: view.rate,
            is_paused: view.is_paused,
            is_shared: view.is_shared,
            breaker: breaker.state.as_str().to_owned(),
            opened_at_ms: breaker.opened_ago.map(|ago| now_ms - millis(ago)),
            probe_at_ms: is_open.then(|| now_ms + millis(breaker.opens_in)),
            cause: is_open.then(|| breaker.cause.clone()),
            retry_after_until_ms: view.retry_after.map(|left| now_ms + millis(left)),
        }
    }

    /// The same JSON with the names that an older release reads. It is written for one release.
    pub fn with_older_names(&self) -> String {
        serde_json::json!({
            "configured": self.configured,
            "budget": self.rate_limit,
            "is_closed": self.is_paused,
            "is_shared": self.is_shared,
            "breaker": self.breaker,
            "opened_at_ms": self.opened_at_ms,
            "probe_at_ms": self.probe_at_ms,
            "cause": self.cause,
            "patience_until_ms": self.retry_after_until_ms,
        })
        .to_string()
    }
}

/// The rows of the operator's settings for an account.
pub fn settings_rows(account: &CoordinatedAccount) -> SettingsRows {
    match account.has_older_names() {
        true => SettingsRows::with_older(account.identity()),
        false => SettingsRows::of(account.identity()),
    }
}

/// Applies the operator's settings once. Call it before the first call to a gateway, so that a pause still holds.
///
/// # Errors
/// The database did not answer.
pub async fn apply_settings(store: &Store, gateways: &Gateways) -> Result<(), StoreError> {
    let settings = admission::settings(store).await?;
    let applying = gateways.iter().map(async |gateway| {
        // A setting of a newer release must not keep this one from its work.
        if let Err(trouble) = apply(&settings, gateway, true).await {
            let account = gateway.identity();
            warn!(gateway = %account, error = %trouble, "an operator's setting for {account} cannot be read: {trouble}");
        }
        gateway.coordination().refresh().await;
    });
    join_all(applying).await;
    Ok(())
}

/// Applies the settings to one account.
async fn apply(settings: &SettingsOfAccounts, gateway: &Gateway, is_first: bool) -> Result<(), StoreError> {
    let coordination = gateway.coordination();
    let AdmissionSettings { rate, paused_at_ms, breaker_reset_at_ms, retry_after_overridden_at_ms } =
        settings.of(&settings_rows(coordination.account()))?;
    let is_paused = paused_at_ms.is_some();
    let settings = OperatorSettings { rate, is_paused, breaker_reset_at_ms, retry_after_overridden_at_ms };
    coordination.apply(settings, is_first).await;
    Ok(())
}

/// Follows the operator's settings and the state that processes share, until `stop`. While the database is away, or a setting
/// cannot be read, the last ones hold.
pub async fn follow(store: Store, gateways: Gateways, stop: CancellationToken) {
    let views = || gateways.iter().map(|gateway| gateway.coordination().view()).collect::<Vec<AdmissionView>>();
    let mut before = views();
    loop {
        gateways.iter().for_each(|gateway| gateway.coordination().gauge());
        if stop.run_until_cancelled(tokio::time::sleep(FOLLOW_EVERY)).await.is_none() {
            return;
        }
        let refreshing = join_all(gateways.iter().map(|gateway| gateway.coordination().refresh()));
        let (settings, _) = tokio::join!(admission::settings(&store), refreshing);
        if let Ok(settings) = settings {
            join_all(gateways.iter().map(|gateway| apply(&settings, gateway, false))).await;
        }
        let now = views();
        for (gateway, (before, now)) in gateways.iter().zip(before.iter().zip(&now)) {
            log_change(gateway.identity(), before, now);
        }
        before = now;
    }
}

/// Writes each change of the admission to the log, once per process.
fn log_change(account: &GatewayIdentity, before: &AdmissionView, now: &AdmissionView) {
    let limit = |rate: Option<GatewayRate>| rate.map_or("unlimited".to_owned(), |rate| rate.to_string());
    if before.rate != now.rate {
        let (now, before) = (limit(now.rate), limit(before.rate));
        info!(gateway = %account, "the rate limit of calls to {account} is {now} now, it was {before}");
    }
    match (before.is_paused, now.is_paused) {
        (false, true) => {
            warn!(gateway = %account, "an operator has paused calls to {account}: none leaves until they are resumed");
        }
        (true, false) => info!(gateway = %account, "an operator has resumed calls to {account}"),
        (false, false) | (true, true) => (),
    }
    match (before.breaker.state, now.breaker.state) {
        (BreakerState::Closed, BreakerState::Open | BreakerState::Probing) => {
            let cause = &now.breaker.cause;
            error!(
                gateway = %account,
                error = cause,
                "the circuit breaker of {account} is open, because the gateway failed several times in a row; only one call at \
                 a time probes it: {cause}"
            );
        }
        (BreakerState::Open | BreakerState::Probing, BreakerState::Closed) => {
            info!(gateway = %account, "the gateway answers again, so the circuit breaker of {account} is closed");
        }
        (BreakerState::Closed, BreakerState::Closed)
        | (BreakerState::Open | BreakerState::Probing, BreakerState::Open | BreakerState::Probing) => (),
    }
    if before.retry_after.is_none()
        && let Some(left) = now.retry_after
    {
        warn!(gateway = %account, "the gateway sent a Retry-After: no call to {account} leaves for {} s", left.as_secs());
    }
}
