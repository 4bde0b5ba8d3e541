//! What `doctor` found, thing by thing.

use serde::Serialize;

use crate::output::plain;

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Health {
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// Payments suffer, now or soon.
    Fault,
}

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) what: &'static str,
    pub(super) state: Health,
    pub(super) says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) act: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn ok(&mut self, what: &'static str, says: impl Into<String>) {
        self.0.push(Finding { what, state: Health::Ok, says: says.into(), act: None });
    }

    pub(super) fn warn(&mut self, what: &'static str, says: impl Into<String>, act: impl Into<String>) {
        self.0.push(Finding { what, state: Health::Warn, says: says.into(), act: Some(act.into()) });
    }

    pub(super) fn fault(&mut self, what: &'static str, says: impl Into<String>, act: impl Into<String>) {
        self.0.push(Finding { what, state: Health::Fault, says: says.into(), act: Some(act.into()) });
    }

    pub(super) fn text(&self) -> String {
        let line = |finding: &Finding| {
            let state = match finding.state {
                Health::Ok => "ok",
                Health::Warn => "warn",
                Health::Fault => "FAULT",
            };
            let act = finding.act.as_ref().map_or(String::new(), |act| format!("\n{:22}-> {act}", ""));
            format!("{state:5}  {:13}  {}{act}", finding.what, plain(&finding.says))
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_what_to_do_stands_below() {
        let mut findings = Findings::default();
        findings.ok("database", "answers");
        findings.fault("redis", "gone\u{1b}[2J", "start it");

        let text = findings.text();

        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ok     database       answers");
        assert_eq!(lines[1], "FAULT  redis          gone\u{fffd}[2J");
        assert_eq!(lines[2].trim(), "-> start it");
    }
}
