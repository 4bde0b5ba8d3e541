//! `tasdiq gateways list`: every gateway account of the installation, and whether calls to it leave.

use std::collections::{BTreeMap, BTreeSet};

use gateway::Gateway;
use serde::Serialize;
use store::{Store, StoreError, orders, processes};

use super::AdmissionReport;
use super::report::CAUSE_CHARACTERS;
use crate::arguments::Output;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{lines, print, print_json, short, table};

/// One gateway account: a store of the shop at a gateway.
#[derive(Debug, Serialize)]
struct AccountView {
    gateway: &'static str,
    account: String,
    /// How many living processes have it.
    processes: usize,
    /// Its orders on their way.
    open_orders: i64,
    #[serde(flatten)]
    calls: CallsView,
}

/// Whether calls leave, as the processes see it.
#[derive(Debug, Serialize)]
struct CallsView {
    calls_leave: bool,
    /// `operator`, `retry_after`, `breaker` or `no_process`.
    held_back_by: Option<&'static str>,
    /// Since when an operator has paused calls, or the breaker is open.
    since: Option<String>,
    /// The end of a `Retry-After`.
    until: Option<String>,
    /// The failure that opened the breaker.
    cause: Option<String>,
}

/// Lists the accounts.
///
/// # Errors
/// The database did not answer.
pub(super) async fn list(config: &Config, store: &Store, output: Output) -> Result<(), Exit> {
    let accounts = read(config, store).await?;
    if output.json {
        return Ok(print_json(&accounts)?);
    }
    let mut table = table(&["gateway", "account", "processes", "open orders", "calls"]);
    for account in &accounts {
        table.add_row([
            account.gateway.to_owned(),
            account.account.clone(),
            account.processes.to_string(),
            account.open_orders.to_string(),
            account.calls.text(),
        ]);
    }
    Ok(print(&lines(&table))?)
}

/// The accounts of living processes and of open orders; where there are none, the account of this configuration.
async fn read(config: &Config, store: &Store) -> Result<Vec<AccountView>, StoreError> {
    let name = Gateway::NAMES[0];
    let (alive, open, report) =
        tokio::try_join!(processes::alive(store), orders::open_by_account(store), AdmissionReport::read(store, name))?;
    let mut members: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for process in &alive {
        if let Some(account) = &process.gateway {
            members.entry(account.0.clone()).or_default().insert(&process.id);
        }
    }
    for account in &open {
        members.entry(account.gateway.0.clone()).or_default();
    }
    if members.is_empty() {
        members.insert(config.atmos.identity().0, BTreeSet::new());
    }
    let open_orders = |account: &str| open.iter().find(|open| open.gateway.0 == account).map_or(0, |open| open.orders);
    Ok(members
        .into_iter()
        .map(|(account, processes)| AccountView {
            gateway: name,
            processes: processes.len(),
            open_orders: open_orders(&account),
            calls: CallsView::new(&report, &processes),
            account,
        })
        .collect())
}

impl CallsView {
    fn new(report: &AdmissionReport, processes: &BTreeSet<&str>) -> Self {
        let held_back = |by: &'static str| CallsView {
            calls_leave: false,
            held_back_by: Some(by),
            since: None,
            until: None,
            cause: None,
        };
        if let Some(since) = report.paused_since() {
            return CallsView { since: Some(since.to_owned()), ..held_back("operator") };
        }
        if processes.is_empty() {
            return held_back("no_process");
        }
        let of_account = || report.processes().filter(|process| processes.contains(process.id()));
        if let Some(until) = of_account().filter_map(|process| process.retry_after_until()).max() {
            return CallsView { until: Some(until.to_owned()), ..held_back("retry_after") };
        }
        if let Some((since, cause)) = of_account().find_map(|process| process.breaker_opened()) {
            return CallsView {
                since: since.map(str::to_owned),
                cause: Some(cause.to_owned()),
                ..held_back("breaker")
            };
        }
        CallsView { calls_leave: true, held_back_by: None, since: None, until: None, cause: None }
    }

    fn text(&self) -> String {
        let since = self.since.as_deref().unwrap_or("just now");
        match self.held_back_by {
            None => "leave".to_owned(),
            Some("operator") => format!("PAUSED by an operator since {since}"),
            Some("retry_after") => {
                format!("none leaves until {}: Retry-After of the gateway", self.until.as_deref().unwrap_or("later"))
            }
            Some("breaker") => {
                let cause = short(self.cause.as_deref().unwrap_or("unknown"), CAUSE_CHARACTERS);
                format!("held back by the circuit breaker since {since}: {cause}")
            }
            Some(_) => "none: no living process has this account".to_owned(),
        }
    }
}
