//! The result of playing a gateway's scenarios against a merchant's endpoint.

use std::fmt;

use serde::Serialize;

/// One scenario, and how the merchant answered.
#[derive(Clone, Debug, Serialize)]
pub struct CheckLine {
    /// The scenario in a few words.
    pub name: String,
    /// Whether the answer is as documented.
    pub is_green: bool,
    /// The call as it was sent, without any key.
    pub sent: String,
    /// The answers that are accepted.
    pub expected: String,
    /// The answer that came.
    pub answered: String,
    /// Which of several accepted readings was seen, or what is wrong; empty if there is nothing to say.
    pub note: String,
}

/// All scenarios, in the order in which they were played.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    /// One line for each scenario.
    pub lines: Vec<CheckLine>,
}

impl CheckReport {
    /// Whether no line is red.
    pub fn is_green(&self) -> bool {
        self.lines.iter().all(|line| line.is_green)
    }

    /// How many lines are red.
    pub fn red(&self) -> usize {
        self.lines.iter().filter(|line| !line.is_green).count()
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let mark = if line.is_green { "green" } else { "RED  " };
            let note = if line.note.is_empty() { String::new() } else { format!(": {}", line.note) };
            writeln!(formatter, "{mark}  {}{note}", line.name)?;
            for (what, text) in [("sent", &line.sent), ("expected", &line.expected), ("answered", &line.answered)] {
                if !text.is_empty() {
                    writeln!(formatter, "         {what:<8}  {text}")?;
                }
            }
        }
        let red = self.red();
        write!(formatter, "{} green, {red} red", self.lines.len() - red)
    }
}
