//! `tasdiq weather …`: how the gateway is, and an operator's word on how it may be called.

use std::time::Duration;

use domain::gateway_rate::GatewayRate;
use domain::time::rfc3339;
use gateway::coordination::State;
use process::weather::ToldWeather;
use serde::Serialize;
use store::kinds;
use store::processes::{self, Process};
use store::weather::{self, KeptWord};
use store::{Store, StoreError};
use tokio::time::Instant;

use crate::arguments::{BudgetWish, WeatherCommand};
use crate::config::Config;
use crate::database::open_store;
use crate::exit::Exit;
use crate::output::{lines, plain, print, print_json, short, table};

/// Runs one of the commands.
///
/// # Errors
/// The database is away, or what an operator said with another release cannot be read.
pub(crate) async fn run(config: &Config, command: WeatherCommand) -> Result<(), Exit> {
    let store = open_store(config).await?;
    let (output, said) = match command {
        WeatherCommand::Show(output) => (output, None),
        WeatherCommand::Set { rate, output } => {
            let said = match rate {
                BudgetWish::Rate(rate) => {
                    weather::set_rate(&store, Some(rate)).await?;
                    format!(
                        "the budget is {rate} from now on: {} calls per second and {} at once, of all processes together",
                        rate.per_second, rate.burst
                    )
                }
                BudgetWish::Configured => {
                    weather::set_rate(&store, None).await?;
                    "the budget is what TASDIQ_GATEWAY_RATE says again".to_owned()
                }
            };
            (output, Some(said))
        }
        WeatherCommand::Close(output) => {
            weather::close(&store).await?;
            let said = "the gateway is closed: no call leaves, and its work waits, until `tasdiq weather open`";
            (output, Some(said.to_owned()))
        }
        WeatherCommand::Open { overrides_patience, output } => {
            weather::open(&store, overrides_patience).await?;
            if overrides_patience {
                kinds::run_held_back_soon(&store).await?;
            }
            let patience = Report::read(&store).await?.patience_until();
            let said = match patience {
                Some(until) if !overrides_patience => format!(
                    "the gateway is open, and a breaker that had opened by itself is reset; but NO CALL LEAVES until {until}: \
                     the gateway has asked for patience (Retry-After); `tasdiq weather open --override` lets calls leave \
                     all the same"
                ),
                Some(_) | None => {
                    "the gateway is open: calls leave again, and a breaker that had opened by itself is reset"
                        .to_owned()
                }
            };
            (output, Some(said))
        }
    };
    match said {
        Some(said) if !output.json => Ok(print(&format!("{said}; every process follows within a second"))?),
        Some(_) => Ok(print_json(&followed(&store).await?)?),
        None => {
            let report = Report::read(&store).await?;
            if output.json { Ok(print_json(&report)?) } else { Ok(print(&report.text())?) }
        }
    }
}

/// The processes tell what they see within a second or two. One that hangs tells nothing.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(3);

/// The report once every process sees what the operator has just said, or after three seconds as it is then.
async fn followed(store: &Store) -> Result<Report, StoreError> {
    let until = Instant::now() + FOLLOWED_WITHIN;
    loop {
        let report = Report::read(store).await?;
        if report.is_followed() || Instant::now() >= until {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The weather as it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    operator: OperatorView,
    processes: Vec<ProcessView>,
}

#[derive(Debug, Serialize)]
struct OperatorView {
    #[serde(rename = "is_closed_by_operator")]
    is_closed: bool,
    closed_at: Option<String>,
    budget: Option<GatewayRate>,
}

/// One living process and what it sees.
#[derive(Debug, Serialize)]
struct ProcessView {
    id: String,
    role: String,
    told_at: String,
    configured: Option<GatewayRate>,
    budget: Option<GatewayRate>,
    #[serde(rename = "is_closed_by_operator")]
    is_closed: bool,
    is_shared: bool,
    breaker: String,
    opened_at: Option<String>,
    probe_at: Option<String>,
    cause: Option<String>,
    patience_until: Option<String>,
}

impl Report {
    /// Reads what was said, and what each living process has told.
    ///
    /// # Errors
    /// The database did not answer.
    pub(crate) async fn read(store: &Store) -> Result<Self, StoreError> {
        let KeptWord { rate, closed_at_ms, .. } = weather::word(store).await?;
        let operator =
            OperatorView { is_closed: closed_at_ms.is_some(), closed_at: closed_at_ms.map(rfc3339), budget: rate };
        let processes = processes::alive(store).await?.into_iter().filter_map(ProcessView::new).collect();
        Ok(Report { operator, processes })
    }

    /// Whether every process sees what the operator has said; a breaker counts only where calls may leave.
    fn is_followed(&self) -> bool {
        let OperatorView { is_closed, budget, .. } = &self.operator;
        self.processes.iter().all(|process| {
            process.is_closed == *is_closed
                && process.budget == budget.or(process.configured)
                && (*is_closed || process.breaker == State::Closed.as_str())
        })
    }

    /// Whether an operator has closed the gateway, and since when.
    pub(crate) fn closed_since(&self) -> Option<&str> {
        self.operator.closed_at.as_deref()
    }

    /// Until when the gateway has asked for patience, as far as a living process knows: no call leaves before.
    pub(crate) fn patience_until(&self) -> Option<String> {
        self.processes.iter().filter_map(|process| process.patience_until.clone()).max()
    }

    /// What of each process is not as it should be, each said once.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let mut troubles: Vec<String> = Vec::new();
        for process in &self.processes {
            let told = [process.breaker_trouble(), process.patience_trouble(), process.alone_trouble()];
            for trouble in told.into_iter().flatten() {
                if !troubles.contains(&trouble) {
                    troubles.push(trouble);
                }
            }
        }
        troubles
    }

    /// The budget in one word: an operator's, or the configured one.
    pub(crate) fn budget(&self) -> String {
        match (self.operator.budget, self.processes.first()) {
            (Some(rate), _) => format!("{rate}, set by an operator"),
            (None, Some(process)) => limit(process.configured),
            (None, None) => "as configured".to_owned(),
        }
    }

    fn text(&self) -> String {
        let operator = match (&self.operator.closed_at, self.patience_until()) {
            (Some(at), _) => {
                format!("CLOSED by an operator since {at}: no call leaves; `tasdiq weather open` opens it")
            }
            (None, Some(until)) => format!(
                "open, but no call leaves until {until}: the gateway has asked for patience (Retry-After); `tasdiq weather \
                 open --override` lets calls leave all the same"
            ),
            (None, None) => "open: calls may leave".to_owned(),
        };
        let mut text = format!("gateway   {operator}\nbudget    {}", self.budget());
        if self.processes.is_empty() {
            return text + "\nprocesses none is alive to tell how the gateway is";
        }
        let mut table =
            table(&["process", "role", "budget", "gateway", "breaker", "since", "next try", "patience until", "cause"]);
        for process in &self.processes {
            let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            table.add_row([
                process.id.clone(),
                process.role.clone(),
                limit(process.budget),
                if process.is_closed { "closed" } else { "open" }.to_owned(),
                process.breaker_says(),
                word(&process.opened_at),
                word(&process.probe_at),
                word(&process.patience_until),
                short(process.cause.as_deref().unwrap_or("-"), CAUSE_CHARACTERS),
            ]);
        }
        text.push_str("\n\n");
        text.push_str(&lines(&table));
        text
    }
}

/// The longest part of a cause that fits into a table.
const CAUSE_CHARACTERS: usize = 120;

impl ProcessView {
    /// Nothing for a process of a release that tells no weather.
    fn new(process: Process) -> Option<Self> {
        let told: ToldWeather = serde_json::from_str(process.weather.as_deref()?).ok()?;
        Some(ProcessView {
            id: process.id,
            role: process.role,
            told_at: rfc3339(process.heartbeat_at_ms),
            configured: told.configured,
            budget: told.budget,
            is_closed: told.is_closed,
            is_shared: told.is_shared,
            breaker: told.breaker,
            opened_at: told.opened_at_ms.map(rfc3339),
            probe_at: told.probe_at_ms.map(rfc3339),
            cause: told.cause,
            patience_until: told.patience_until_ms.map(rfc3339),
        })
    }

    /// In a breaker's language *open* means that nothing passes; so it is said what passes.
    fn breaker_says(&self) -> String {
        let says = match self.breaker.as_str() {
            "closed" => "lets calls pass",
            "open" => "keeps calls back",
            "probing" => "tries one call",
            other => other,
        };
        if self.is_shared { says.to_owned() } else { format!("{says} (of its own)") }
    }

    fn breaker_trouble(&self) -> Option<String> {
        let cause = plain(self.cause.as_deref()?);
        let since = self.opened_at.as_deref().unwrap_or("just now");
        Some(format!("the breaker keeps calls back since {since}: {cause}"))
    }

    fn patience_trouble(&self) -> Option<String> {
        Some(format!(
            "the gateway has asked for patience (Retry-After), so no call leaves until {}",
            self.patience_until.as_deref()?
        ))
    }

    fn alone_trouble(&self) -> Option<String> {
        let alone = format!(
            "{} {} is without Redis: it goes by a breaker of its own, and a budget of {}",
            self.role,
            self.id,
            limit(self.budget)
        );
        (!self.is_shared).then_some(alone)
    }
}

fn limit(rate: Option<GatewayRate>) -> String {
    rate.map_or("unlimited".to_owned(), |rate| rate.to_string())
}
