//! Joins the operator's word, which the database keeps, and the weather that processes share: every process follows the
//! one and tells of the other.

use std::time::Duration;

use domain::gateway_rate::GatewayRate;
use domain::time::millis;
use gateway::coordination::{Coordination, OperatorsWord, State, View, gauge_weather};
use serde::{Deserialize, Serialize};
use store::weather::{self, KeptWord};
use store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// An operator's word reaches everybody within a second, this and one small statement.
const FOLLOW_EVERY: Duration = Duration::from_millis(700);

/// The weather at the gateway as a process tells it in its row: JSON that other releases read, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldWeather {
    /// The budget it was configured with, such as `20/40`; `None` is unlimited.
    pub configured: Option<GatewayRate>,
    /// The budget in force; without Redis its share.
    pub budget: Option<GatewayRate>,
    /// Whether an operator has closed the gateway.
    pub is_closed: bool,
    /// Whether this is what all processes see. Without Redis each has a breaker of its own.
    pub is_shared: bool,
    /// `closed` (calls pass), `open` (none does), `probing` (one does).
    pub breaker: String,
    /// When the breaker opened, epoch milliseconds.
    pub opened_at_ms: Option<i64>,
    /// When it lets the next probe through, epoch milliseconds.
    pub probe_at_ms: Option<i64>,
    /// The failure that opened it, or that its last probe met.
    pub cause: Option<String>,
    /// Until when the gateway has asked for patience, epoch milliseconds.
    pub patience_until_ms: Option<i64>,
}

impl ToldWeather {
    /// The weather in words that last: moments and not durations.
    pub fn new(view: &View, now_ms: i64) -> Self {
        let breaker = &view.breaker;
        let is_open = breaker.state != State::Closed;
        ToldWeather {
            configured: view.configured,
            budget: view.rate,
            is_closed: view.is_closed,
            is_shared: view.is_shared,
            breaker: breaker.state.as_str().to_owned(),
            opened_at_ms: breaker.opened_ago.map(|ago| now_ms - millis(ago)),
            probe_at_ms: is_open.then(|| now_ms + millis(breaker.opens_in)),
            cause: is_open.then(|| breaker.cause.clone()),
            patience_until_ms: view.told_for.map(|told_for| now_ms + millis(told_for)),
        }
    }
}

/// Takes the operator's word once. To be done before the first call: a gateway that was closed stays closed.
///
/// # Errors
/// The database did not answer.
pub async fn heed(store: &Store, coordination: &Coordination) -> Result<(), StoreError> {
    match weather::word(store).await {
        Ok(kept) => coordination.obey(word_of(kept), true).await,
        // A newer release's word must not keep this one from its work.
        Err(trouble @ StoreError::UnknownValue { .. }) => {
            warn!(error = %trouble, "what an operator has said about the gateway cannot be read: {trouble}");
        }
        Err(trouble) => return Err(trouble),
    }
    coordination.look().await;
    Ok(())
}

/// Follows the operator's word and the weather that others see, until `stop`. While the database is away the last word
/// holds.
pub async fn follow(store: Store, coordination: Coordination, stop: CancellationToken) {
    let mut before = coordination.view();
    loop {
        gauge_weather(&before);
        if stop.run_until_cancelled(tokio::time::sleep(FOLLOW_EVERY)).await.is_none() {
            return;
        }
        let (word, ()) = tokio::join!(weather::word(&store), coordination.look());
        if let Ok(kept) = word {
            coordination.obey(word_of(kept), false).await;
        }
        let now = coordination.view();
        tell_change(&before, &now);
        before = now;
    }
}

fn word_of(kept: KeptWord) -> OperatorsWord {
    let KeptWord { rate, closed_at_ms, opened_at_ms, overridden_at_ms } = kept;
    OperatorsWord { rate, is_closed: closed_at_ms.is_some(), opened_at_ms, overridden_at_ms }
}

/// The story of the weather in the log, once per change and process.
fn tell_change(before: &View, now: &View) {
    let limit = |rate: Option<GatewayRate>| rate.map_or("unlimited".to_owned(), |rate| rate.to_string());
    if before.rate != now.rate {
        info!("the budget of gateway calls is {} now, it was {}", limit(now.rate), limit(before.rate));
    }
    match (before.is_closed, now.is_closed) {
        (false, true) => warn!("an operator has closed the gateway: no call leaves until it is opened"),
        (true, false) => info!("an operator has opened the gateway"),
        (false, false) | (true, true) => (),
    }
    match (before.breaker.state, now.breaker.state) {
        (State::Closed, State::Open | State::Probing) => {
            let cause = &now.breaker.cause;
            error!(
                error = cause,
                "the gateway failed several times in a row; only one call at a time tries it: {cause}"
            );
        }
        (State::Open | State::Probing, State::Closed) => info!("the gateway answers again"),
        (State::Closed, State::Closed) | (State::Open | State::Probing, State::Open | State::Probing) => (),
    }
    if before.told_for.is_none()
        && let Some(told_for) = now.told_for
    {
        warn!("the gateway asks for patience: no call for {} s", told_for.as_secs());
    }
}
