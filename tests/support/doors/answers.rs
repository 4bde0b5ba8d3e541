//! Answers to the requests of the tests.

use std::fmt;

use reqwest::header::{HeaderMap, LOCATION};
use serde_json::Value;

/// An HTTP answer with its body.
#[derive(Clone, Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl HttpAnswer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// A header's value, empty if it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The address of a redirection.
    pub(crate) fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    /// The `status` of the webhook's answer, which must be HTTP 200 in every case.
    pub(crate) fn callback_status(&self) -> i64 {
        assert_eq!(self.status, 200, "{self}");
        let body = self.json();
        assert!(body["message"].is_string(), "{self}");
        body["status"].as_i64().unwrap()
    }
}

impl fmt::Display for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {} {}", self.status, self.text)
    }
}

/// A transaction in the gateway's ledger.
#[derive(Clone, Debug)]
pub(crate) struct LedgerTransaction {
    pub(crate) transaction_id: i64,
    pub(crate) account: String,
    pub(crate) amount: i64,
    pub(crate) state: String,
    /// How often money was taken.
    pub(crate) debits: i64,
    /// How often we requested a reversal.
    pub(crate) reversals_asked: i64,
}

impl LedgerTransaction {
    pub(super) fn read(line: &Value) -> LedgerTransaction {
        LedgerTransaction {
            transaction_id: line["transaction_id"].as_i64().unwrap(),
            account: line["account"].as_str().unwrap().to_owned(),
            amount: line["amount"].as_i64().unwrap(),
            state: line["state"].as_str().unwrap().to_owned(),
            debits: line["debits"].as_i64().unwrap(),
            reversals_asked: line["reversals_asked"].as_i64().unwrap(),
        }
    }
}

/// An order's history, oldest line first.
#[derive(Clone, Debug)]
pub(crate) struct OrderHistory(Vec<HistoryStep>);

#[derive(Clone, Debug)]
pub(crate) struct HistoryStep {
    pub(crate) at: String,
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    pub(crate) cause: String,
}

impl OrderHistory {
    pub(super) fn read(lines: &Value) -> OrderHistory {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let step = |line: &Value| HistoryStep {
            at: text(&line["at"]).unwrap(),
            from: text(&line["from"]),
            to: text(&line["to"]).unwrap(),
            cause: text(&line["cause"]).unwrap(),
        };
        OrderHistory(lines.as_array().unwrap().iter().map(step).collect())
    }

    pub(crate) fn steps(&self) -> &[HistoryStep] {
        &self.0
    }

    /// The statuses after each step.
    pub(crate) fn statuses(&self) -> Vec<&str> {
        self.0.iter().map(|step| step.to.as_str()).collect()
    }

    /// How often the order changed to this status from another one.
    pub(crate) fn times_entered(&self, status: &str) -> usize {
        self.0.iter().filter(|step| step.to == status && step.from.as_deref() != Some(status)).count()
    }
}

impl fmt::Display for OrderHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.0 {
            writeln!(f, "{} {} -> {}: {}", step.at, step.from.as_deref().unwrap_or("-"), step.to, step.cause)?;
        }
        Ok(())
    }
}
