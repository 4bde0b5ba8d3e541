//! The results of `doctor`, one for each thing that it checked.

use serde::Serialize;

use crate::output::plain;

/// The state of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Health {
    Ok,
    /// It works, and an operator should look at it.
    Warn,
    /// Payments suffer, now or soon.
    Fault,
}

#[derive(Debug, Serialize)]
pub(super) struct CheckResult {
    pub(super) what: &'static str,
    pub(super) state: Health,
    pub(super) says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) act: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct CheckResults(pub(super) Vec<CheckResult>);

impl CheckResults {
    pub(super) fn ok(&mut self, what: &'static str, says: impl Into<String>) {
        self.0.push(CheckResult { what, state: Health::Ok, says: says.into(), act: None });
    }

    pub(super) fn warn(&mut self, what: &'static str, says: impl Into<String>, act: impl Into<String>) {
        self.0.push(CheckResult { what, state: Health::Warn, says: says.into(), act: Some(act.into()) });
    }

    pub(super) fn fault(&mut self, what: &'static str, says: impl Into<String>, act: impl Into<String>) {
        self.0.push(CheckResult { what, state: Health::Fault, says: says.into(), act: Some(act.into()) });
    }

    pub(super) fn text(&self) -> String {
        let line = |result: &CheckResult| {
            let state = match result.state {
                Health::Ok => "ok",
                Health::Warn => "warn",
                Health::Fault => "FAULT",
            };
            let act = result.act.as_ref().map_or(String::new(), |act| format!("\n{:22}-> {act}", ""));
            format!("{state:5}  {:13}  {}{act}", result.what, plain(&result.says))
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_what_to_do_stands_below() {
        let mut results = CheckResults::default();
        results.ok("database", "answers");
        results.fault("redis", "gone\u{1b}[2J", "start it");

        let text = results.text();

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ok     database       answers");
        assert_eq!(lines[1], "FAULT  redis          gone\u{fffd}[2J");
        assert_eq!(lines[2].trim(), "-> start it");
    }
}
