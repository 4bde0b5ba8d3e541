//! The faults of the settings.

use std::fmt;

/// One fault of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// The variable; of a file of settings, the one that names the file.
    pub variable: String,
    /// The file, line and key, if it stands in a file: `tasdiq.toml:7: shops.tea.api_keys`.
    pub place: Option<String>,
    /// The fault and how to correct it; never repeats the value.
    pub what: String,
}

impl ConfigFault {
    /// A fault of a variable.
    pub fn of(variable: &str, what: impl Into<String>) -> Self {
        ConfigFault { variable: variable.to_owned(), place: None, what: what.into() }
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place.as_ref().unwrap_or(&self.variable), self.what)
    }
}

/// All faults of the settings, as a numbered list, and then the warnings: a misspelt name may be the reason why another is
/// missing.
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

    /// Adds a fault that was found outside the environment, such as in a file that a variable names.
    pub fn add(&mut self, variable: &str, what: String) {
        self.faults.push(ConfigFault::of(variable, what));
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
