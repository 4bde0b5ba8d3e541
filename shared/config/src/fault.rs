//! What is wrong with the settings.

use std::fmt;

/// One thing that is wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// The variable.
    pub variable: String,
    /// What is wrong with it and what to do; never repeats the value.
    pub what: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.variable, self.what)
    }
}

/// Everything that is wrong with the environment, as a numbered list; then what is odd, for a misspelt name may be
/// why another one is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFaults {
    pub(super) faults: Vec<ConfigFault>,
    pub(super) warnings: Vec<String>,
}

impl ConfigFaults {
    /// The faults one by one, in the order in which the variables were read.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigFault> {
        self.faults.iter()
    }

    /// Adds one that was found outside the environment, where a variable led.
    pub fn add(&mut self, variable: &str, what: String) {
        self.faults.push(ConfigFault { variable: variable.to_owned(), what });
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => write!(f, "the configuration has a fault:")?,
            faults => write!(f, "the configuration has {faults} faults:")?,
        }
        for (index, fault) in self.faults.iter().enumerate() {
            write!(f, "\n  {}. {fault}", index + 1)?;
        }
        for warning in &self.warnings {
            write!(f, "\n  and: {warning}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}
