//! The results as tables in Markdown and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::load::Figures;
use super::usage::{Usage, Who, memory_kib};

/// One section of the report.
pub(super) enum Section {
    /// Loads, as a table of speed and one of cost.
    Loads {
        /// The setup that carried the loads.
        title: String,
        /// The loads, in the order of measurement.
        rows: Vec<LoadRow>,
    },
    /// A table of other results.
    Table {
        /// The title of the table.
        title: String,
        /// The table in Markdown, with its head.
        table: String,
        /// The same results for programs.
        json: Vec<Value>,
    },
}

impl Section {
    pub(super) fn of_rows(title: impl Into<String>, rows: Vec<LoadRow>) -> Self {
        Section::Loads { title: title.into(), rows }
    }

    /// The text for people. `limit` is the limit of the machine, a second.
    pub(super) fn text(&self, limit: Option<u128>) -> String {
        match self {
            Section::Table { title, table, .. } => format!("### {title}\n\n{table}\n"),
            Section::Loads { title, rows } => {
                let speeds: String = rows.iter().map(|row| row.speed(limit)).collect();
                let costs: String = rows.iter().filter_map(LoadRow::cost).collect();
                format!("### {title}\n\n{SPEED}{speeds}\n{COST}{costs}\n")
            }
        }
    }

    /// The figures for programs.
    pub(super) fn json(&self, limit: Option<u128>) -> Vec<Value> {
        match self {
            Section::Table { json, .. } => json.clone(),
            Section::Loads { title, rows } => rows.iter().map(|row| row.json(title, limit)).collect(),
        }
    }
}

/// One measured load.
pub(super) struct LoadRow {
    what: &'static str,
    load: String,
    figures: Figures,
    /// The number of wrong answers.
    errors: usize,
    cost: Option<Cost>,
    /// One-row inserts a second around this load, if they were measured for it alone.
    limit: Option<u128>,
}

/// The cost of a load, by process.
pub(super) struct Cost {
    used: Vec<(Who, Duration)>,
    /// KiB at its end.
    memory: Vec<(Who, u64)>,
}

impl Cost {
    /// The cost of these processes since `before`.
    pub(super) fn since(before: &Usage, processes: &[(Who, u32)]) -> Self {
        let used = Usage::now(processes).since(before);
        let ours = processes.iter().filter(|(who, _)| who.is_ours());
        Cost { used, memory: ours.map(|(who, id)| (*who, memory_kib(*id))).collect() }
    }

    fn ours(&self) -> u128 {
        self.used.iter().filter(|(who, _)| who.is_ours()).map(|(_, time)| time.as_micros()).sum()
    }
}

impl LoadRow {
    pub(super) fn new(what: &'static str, load: impl Into<String>, figures: Figures) -> Self {
        LoadRow { what, load: load.into(), figures, errors: 0, cost: None, limit: None }
    }

    pub(super) fn with_load(self, load: String) -> Self {
        LoadRow { load, ..self }
    }

    pub(super) fn with_errors(self, errors: usize) -> Self {
        LoadRow { errors, ..self }
    }

    pub(super) fn with_cost(self, cost: Cost) -> Self {
        LoadRow { cost: Some(cost), ..self }
    }

    pub(super) fn with_limit(self, limit: u128) -> Self {
        LoadRow { limit: Some(limit), ..self }
    }

    /// Its rate as a part of its own limit, or else of `limit`, computed by `of`.
    fn part<T>(&self, limit: Option<u128>, of: impl FnOnce(u128, u128) -> T) -> Option<T> {
        Some(of(self.per_second()?, self.limit.or(limit)?))
    }

    fn per_second(&self) -> Option<u128> {
        self.figures.per_second()
    }

    /// Pieces of work for each busy second of a processor, with the work of PostgreSQL and Redis.
    fn per_processor_second(&self) -> Option<u128> {
        Some(self.figures.count() as u128 * 1_000_000 / self.cost.as_ref()?.ours().max(1))
    }

    /// The line of this load in the table of speed.
    fn speed(&self, limit: Option<u128>) -> String {
        let dash = || "–".to_owned();
        let [p50, p90, p99, longest] = [50, 90, 99, 100].map(|percent| self.figures.percentile_ms(percent));
        let per_second = self.per_second().map_or_else(dash, |rate| rate.to_string());
        let ratio = self.part(limit, ratio).unwrap_or_else(dash);
        format!(
            "| {} | {} | {} | {} | {per_second} | {ratio} | {p50} | {p90} | {p99} | {longest} |\n",
            self.what,
            self.load,
            self.figures.count(),
            self.errors
        )
    }

    /// The line of this load in the table of cost.
    fn cost(&self) -> Option<String> {
        let (cost, count) = (self.cost.as_ref()?, self.figures.count().max(1) as u128);
        let shares = cost.used.iter().map(|(who, time)| format!("{} {}", who.name(), time.as_micros() / count));
        let memory = cost.memory.iter().map(|(who, kib)| format!("{} {}", who.name(), kib / 1_024));
        Some(format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            self.what,
            self.load,
            cost.ours() / count,
            self.per_processor_second()?,
            shares.collect::<Vec<_>>().join(", "),
            memory.collect::<Vec<_>>().join(", ")
        ))
    }

    /// The figures for programs.
    fn json(&self, setup: &str, limit: Option<u128>) -> Value {
        let count = self.figures.count().max(1) as u128;
        let of = |cost: &Cost| {
            let used = cost.used.iter().map(|(who, time)| (who.name().to_owned(), json!(time.as_micros() / count)));
            let memory = cost.memory.iter().map(|(who, kib)| json!([who.name(), kib]));
            json!({
                "processor_us_each": used.collect::<serde_json::Map<_, _>>(),
                "memory_kib": memory.collect::<Vec<_>>(),
            })
        };
        let [p50, p90, p99, longest] = [50, 90, 99, 100].map(|percent| self.figures.percentile_ms(percent));
        json!({
            "setup": setup, "what": self.what, "load": self.load, "number": self.figures.count(), "errors": self.errors,
            "per_second": self.per_second(),
            "one_row_inserts": self.limit.or(limit),
            "thousandths_of_inserts": self.part(limit, |rate, limit| rate * 1_000 / limit.max(1)),
            "per_processor_second": self.per_processor_second(),
            "p50_ms": p50, "p90_ms": p90, "p99_ms": p99, "longest_ms": longest, "cost": self.cost.as_ref().map(of),
        })
    }
}

/// The head of the lines of [`LoadRow::speed`].
const SPEED: &str = "\
    | what | load | number | wrong | per second | of one-row inserts | p50 ms | p90 ms | p99 ms | longest ms |\n\
    |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";

/// The head of the lines of [`LoadRow::cost`].
const COST: &str = "\
    | what | load | processor µs each, ours | per processor second | of which | memory MiB |\n\
    |---|---|---:|---:|---|---|\n";

/// One number as a part of another, to two places.
pub(super) fn ratio(part: u128, whole: u128) -> String {
    let hundredths = part * 100 / whole.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_its_part_of_the_limit() {
        let row = LoadRow::new("callbacks", "64 clients", Figures::in_time(vec![Duration::from_millis(2); 500], 1_000));

        assert_eq!(
            row.speed(Some(1_000)),
            "| callbacks | 64 clients | 500 | 0 | 500 | 0.50 | 2.0 | 2.0 | 2.0 | 2.0 |\n"
        );
        assert_eq!(ratio(3, 0), "3.00");
        assert_eq!(row.json("up", Some(1_000))["thousandths_of_inserts"], 500);
        assert_eq!(row.with_limit(2_000).json("up", Some(1_000))["thousandths_of_inserts"], 250);
    }
}
