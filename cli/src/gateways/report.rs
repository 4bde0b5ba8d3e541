//! The admission of calls as the operator has set it, and as each living process sees it.

use std::collections::BTreeMap;

use domain::gateway_rate::GatewayRate;
use domain::time::rfc3339;
use gateway::coordination::BreakerState;
use process::admission::ReportedAdmission;
use serde::Serialize;
use store::admission::{self, AdmissionSettings};
use store::processes::{self, Process};
use store::{Store, StoreError};

use super::accounts::KnownAccount;
use crate::output::{lines, plain, short, table};

/// The admission as it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct AdmissionReport {
    gateway: &'static str,
    account: String,
    operator: OperatorView,
    processes: Vec<ProcessView>,
}

#[derive(Debug, Serialize)]
struct OperatorView {
    is_paused: bool,
    paused_at: Option<String>,
    rate_limit: Option<GatewayRate>,
}

/// The admission as one living process sees it.
#[derive(Debug, Serialize)]
pub(super) struct ProcessView {
    id: String,
    role: String,
    told_at: String,
    configured: Option<GatewayRate>,
    rate_limit: Option<GatewayRate>,
    is_paused: bool,
    is_shared: bool,
    breaker: String,
    opened_at: Option<String>,
    probe_at: Option<String>,
    cause: Option<String>,
    retry_after_until: Option<String>,
}

impl AdmissionReport {
    /// Reads the operator's settings for this account, and what living processes that have it report of it.
    ///
    /// # Errors
    /// The database did not answer.
    pub(crate) async fn read(store: &Store, account: &KnownAccount) -> Result<Self, StoreError> {
        let settings = admission::settings(store).await?.of(&account.rows())?;
        let AdmissionSettings { rate, paused_at_ms, .. } = settings;
        let operator =
            OperatorView { is_paused: paused_at_ms.is_some(), paused_at: paused_at_ms.map(rfc3339), rate_limit: rate };
        let alive = processes::alive(store).await?;
        let processes = alive.into_iter().filter_map(|process| ProcessView::new(process, account)).collect();
        Ok(AdmissionReport { gateway: account.gateway(), account: account.identity.0.clone(), operator, processes })
    }

    /// Whether every process sees the operator's settings; a breaker counts only where calls are not paused.
    pub(super) fn is_followed(&self) -> bool {
        let OperatorView { is_paused, rate_limit, .. } = &self.operator;
        self.processes.iter().all(|process| {
            process.is_paused == *is_paused
                && process.rate_limit == rate_limit.or(process.configured)
                && (*is_paused || process.breaker == BreakerState::Closed.as_str())
        })
    }

    /// Since when an operator has paused calls.
    pub(crate) fn paused_since(&self) -> Option<&str> {
        self.operator.paused_at.as_deref()
    }

    /// The end of the gateway's `Retry-After`, as far as a living process knows.
    pub(crate) fn retry_after_until(&self) -> Option<String> {
        self.processes.iter().filter_map(|process| process.retry_after_until.clone()).max()
    }

    /// The living processes.
    pub(super) fn processes(&self) -> impl Iterator<Item = &ProcessView> {
        self.processes.iter()
    }

    /// Everything about the processes that is not as it should be, each once.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let mut troubles: Vec<String> = Vec::new();
        for process in &self.processes {
            let told = [process.breaker_trouble(), process.retry_after_trouble(), process.alone_trouble()];
            for trouble in told.into_iter().flatten() {
                if !troubles.contains(&trouble) {
                    troubles.push(trouble);
                }
            }
        }
        troubles
    }

    /// The rate limit in one phrase: an operator's, or the configured one.
    pub(crate) fn rate_limit(&self) -> String {
        match (self.operator.rate_limit, self.processes.first()) {
            (Some(rate), _) => format!("{rate}, set by an operator"),
            (None, Some(process)) => limit(process.configured),
            (None, None) => "as configured".to_owned(),
        }
    }

    /// Whether calls may leave, where they are not paused and there is no `Retry-After`.
    fn breaker_line(&self) -> String {
        match self.processes.iter().find_map(ProcessView::breaker_opened) {
            Some((since, _)) => {
                let since = since.unwrap_or("just now");
                format!(
                    "only probes leave: the circuit breaker is open since {since}; it closes when the gateway answers"
                )
            }
            None => "may leave".to_owned(),
        }
    }

    pub(super) fn text(&self) -> String {
        let calls = match (&self.operator.paused_at, self.retry_after_until()) {
            (Some(at), _) => {
                format!(
                    "PAUSED by an operator since {at}: no call leaves; `tasdiq gateways resume {}` lets them leave again",
                    self.account
                )
            }
            (None, Some(until)) => format!(
                "not paused, but no call leaves until {until}: the gateway sent a Retry-After; `tasdiq gateways resume {} \
                 --override` lets calls leave all the same",
                self.account
            ),
            (None, None) => self.breaker_line(),
        };
        let (gateway, account, rate_limit) = (self.gateway, &self.account, self.rate_limit());
        let mut text =
            format!("gateway     {gateway}\naccount     {account}\ncalls       {calls}\nrate limit  {rate_limit}");
        if self.processes.is_empty() {
            return text + "\nprocesses   none is alive to report how the gateway is";
        }
        let columns =
            ["process", "role", "rate limit", "calls", "breaker", "since", "next probe", "retry after", "cause"];
        let mut table = table(&columns);
        for process in &self.processes {
            let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            table.add_row([
                process.id.clone(),
                process.role.clone(),
                limit(process.rate_limit),
                if process.is_paused { "paused" } else { "not paused" }.to_owned(),
                process.breaker_text(),
                word(&process.opened_at),
                word(&process.probe_at),
                word(&process.retry_after_until),
                short(process.cause.as_deref().unwrap_or("-"), CAUSE_CHARACTERS),
            ]);
        }
        text.push_str("\n\n");
        text.push_str(&lines(&table));
        text
    }
}

/// The longest part of a cause that fits into a table.
pub(super) const CAUSE_CHARACTERS: usize = 120;

impl ProcessView {
    /// `None` for a process that does not have the account, or of a release that does not report it.
    fn new(process: Process, account: &KnownAccount) -> Option<Self> {
        let reported = reported(&process, account)?;
        Some(ProcessView {
            id: process.id,
            role: process.role,
            told_at: rfc3339(process.heartbeat_at_ms),
            configured: reported.configured,
            rate_limit: reported.rate_limit,
            is_paused: reported.is_paused,
            is_shared: reported.is_shared,
            breaker: reported.breaker,
            opened_at: reported.opened_at_ms.map(rfc3339),
            probe_at: reported.probe_at_ms.map(rfc3339),
            cause: reported.cause,
            retry_after_until: reported.retry_after_until_ms.map(rfc3339),
        })
    }

    pub(super) fn retry_after_until(&self) -> Option<&str> {
        self.retry_after_until.as_deref()
    }

    /// Since when the breaker is open and why, while it is.
    pub(super) fn breaker_opened(&self) -> Option<(Option<&str>, &str)> {
        self.cause.as_deref().map(|cause| (self.opened_at.as_deref(), cause))
    }

    /// The breaker's state, and what it means for calls.
    fn breaker_text(&self) -> String {
        let text = match self.breaker.as_str() {
            "closed" => "closed (calls leave)",
            "open" => "open (no call leaves)",
            "probing" => "probing (one call leaves)",
            other => other,
        };
        if self.is_shared { text.to_owned() } else { format!("{text}, of its own") }
    }

    fn breaker_trouble(&self) -> Option<String> {
        let cause = plain(self.cause.as_deref()?);
        let since = self.opened_at.as_deref().unwrap_or("just now");
        Some(format!("the circuit breaker is open since {since}: {cause}"))
    }

    fn retry_after_trouble(&self) -> Option<String> {
        let until = self.retry_after_until.as_deref()?;
        Some(format!("the gateway sent a Retry-After, so no call leaves until {until}"))
    }

    fn alone_trouble(&self) -> Option<String> {
        let alone = format!(
            "{} {} is without Redis: it has its own circuit breaker, and a rate limit of {}",
            self.role,
            self.id,
            limit(self.rate_limit)
        );
        (!self.is_shared).then_some(alone)
    }
}

/// The admission of the account, as this process reports it.
fn reported(process: &Process, account: &KnownAccount) -> Option<ReportedAdmission> {
    if let Some(accounts) = &process.accounts {
        let mut accounts: BTreeMap<String, ReportedAdmission> = serde_json::from_str(accounts).ok()?;
        return accounts.remove(&account.identity.0);
    }
    // A release with one account; one that does not tell which has the account that it can have.
    let has_it = process.gateway.as_ref().map_or(account.has_older_names, |gateway| *gateway == account.identity);
    let reported = process.admission.as_deref().or(process.weather.as_deref()).filter(|_| has_it)?;
    serde_json::from_str(reported).ok()
}

fn limit(rate: Option<GatewayRate>) -> String {
    rate.map_or("unlimited".to_owned(), |rate| rate.to_string())
}
