//! `tasdiq gateways list`: every gateway account of the installation, and whether calls to it leave.

use domain::shops::Shops;
use serde::Serialize;
use store::{Store, StoreError};

use super::AdmissionReport;
use super::accounts::KnownAccounts;
use super::report::CAUSE_CHARACTERS;
use crate::arguments::Output;
use crate::config::Config;
use crate::exit::Exit;
use crate::output::{lines, print, print_json, short, table};

/// One gateway account, as it is printed.
#[derive(Debug, Serialize)]
struct AccountView {
    gateway: &'static str,
    account: String,
    /// The shop that has it, as this configuration says.
    shop: Option<String>,
    /// How many living processes have it.
    processes: usize,
    /// Its orders on their way.
    open_orders: i64,
    /// Whether its gateway is ever called.
    is_called: bool,
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
pub(super) async fn list(config: &Config, store: &Store, known: &KnownAccounts, output: Output) -> Result<(), Exit> {
    let accounts = read(&config.shops(), store, known).await?;
    if output.json {
        return Ok(print_json(&accounts)?);
    }
    let mut table = table(&["gateway", "account", "shop", "processes", "open orders", "calls"]);
    for account in &accounts {
        table.add_row([
            account.gateway.to_owned(),
            account.account.clone(),
            account.shop.clone().unwrap_or_else(|| "-".to_owned()),
            account.processes.to_string(),
            account.open_orders.to_string(),
            match account.is_called || !account.calls.calls_leave {
                true => account.calls.text(),
                false => "none is made: Payme calls us".to_owned(),
            },
        ]);
    }
    Ok(print(&lines(&table))?)
}

async fn read(shops: &Shops, store: &Store, known: &KnownAccounts) -> Result<Vec<AccountView>, StoreError> {
    let mut views = Vec::new();
    for account in &known.accounts {
        let report = AdmissionReport::read(store, account).await?;
        views.push(AccountView {
            gateway: account.gateway(),
            shop: shops.of_account(&account.identity).map(|shop| shop.name.to_string()),
            is_called: account.is_called(),
            processes: report.processes().count(),
            open_orders: account.open_orders,
            calls: CallsView::new(&report),
            account: account.identity.0.clone(),
        });
    }
    Ok(views)
}

impl CallsView {
    fn new(report: &AdmissionReport) -> Self {
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
        if report.processes().next().is_none() {
            return held_back("no_process");
        }
        if let Some(until) = report.processes().filter_map(|process| process.retry_after_until()).max() {
            return CallsView { until: Some(until.to_owned()), ..held_back("retry_after") };
        }
        if let Some((since, cause)) = report.processes().find_map(|process| process.breaker_opened()) {
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
