//! Reads variables one by one and collects the faults.

use super::contract::FILE;
use super::definition::Definition;
use super::fault::{ConfigFault, ConfigFaults};

/// The variables as one process sees them, and their faults so far.
pub struct Environment<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<ConfigFault>,
    warnings: Vec<String>,
}

impl std::fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment")
            .field("faults", &self.faults)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

impl<'a> Environment<'a> {
    /// `get` answers a variable's value.
    pub fn new(get: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Environment { get, faults: Vec::new(), warnings: Vec::new() }
    }

    /// Whether the variable has a value; an empty one is none.
    pub fn is_set(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// Whether the variable has a value that could be read.
    pub fn has_read(&self, name: &str) -> bool {
        self.is_set(name) && !self.is_faulty(name)
    }

    /// Whether the variable has a fault.
    pub fn is_faulty(&self, name: &str) -> bool {
        self.faults.iter().any(|fault| fault.variable == name)
    }

    /// The value without blanks around it, which come only from files and quotes; an empty one counts as unset.
    fn text(&self, name: &str) -> Option<String> {
        let value = (self.get)(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The value as `parse` reads it; an error of `parse` becomes a fault.
    pub fn parsed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        let is_quoted = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
        if is_quoted('"') || is_quoted('\'') {
            self.fault(name, "stands in quotes, which are part of the value; take them away");
            return None;
        }
        parse(&text).map_err(|what| self.fault(name, what)).ok()
    }

    /// A setting with a default; `None` where even the default cannot be read.
    pub fn value<T>(&mut self, definition: &Definition, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let default = definition.default.unwrap_or_default();
        let parse = |text: &str| {
            check(text).map_err(|what| match definition.shown {
                // An example may be the default.
                None if !what.contains(&format!("such as {default} ")) => {
                    format!("{what}; without the variable it is {default}")
                }
                None | Some(_) => what,
            })
        };
        self.parsed(definition.name, parse).or_else(|| {
            check(default).map_err(|what| self.fault(definition.name, format!("has a default that {what}"))).ok()
        })
    }

    /// A setting without a default.
    pub fn optional<T>(&mut self, definition: &Definition, check: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.parsed(definition.name, check)
    }

    /// Adds a fault of the variable. `what` continues the sentence after its name, and never repeats its value.
    pub fn fault(&mut self, variable: &str, what: impl Into<String>) {
        self.faults.push(ConfigFault::of(variable, what));
    }

    /// Adds faults that were found elsewhere, such as in a file that a variable names.
    pub fn add(&mut self, faults: impl IntoIterator<Item = ConfigFault>) {
        self.faults.extend(faults);
    }

    /// Adds a warning, which is no fault. It must hold no secret.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// The warnings, if there was no fault.
    ///
    /// # Errors
    /// All faults, one for each variable and each place of a file: the first one.
    pub fn finish(mut self) -> Result<Vec<String>, ConfigFaults> {
        // The first fault of a value that is no text says so; its parser may have added another. A secret whose file cannot be
        // read is not missing as well.
        let mut seen: Vec<(String, Option<String>)> = Vec::new();
        let files: Vec<String> =
            self.faults.iter().filter_map(|fault| fault.variable.strip_suffix(FILE)).map(str::to_owned).collect();
        self.faults.retain(|fault| {
            let subject = (fault.variable.clone(), fault.place.clone());
            let is_new = !seen.contains(&subject) && !files.contains(&fault.variable);
            seen.push(subject);
            is_new
        });
        match self.faults.is_empty() {
            true => Ok(self.warnings),
            false => Err(ConfigFaults { faults: self.faults, warnings: self.warnings }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values;

    #[test]
    fn a_complaint_tells_the_default_once() {
        let named = |name, default| Definition { name, doc: "", default: Some(default), shown: None, is_secret: false };
        let get = |_: &str| Some("x".to_owned());
        let mut env = Environment::new(&get);

        env.value(&named("TEA_LISTEN", "127.0.0.1:8000"), values::listen(8000));
        env.value(&named("TEA_PORT", "127.0.0.1:80"), values::listen(8000));
        env.value(&named("TEA_IS_HOT", "false"), values::yes_or_no);

        let faults: Vec<String> = env.finish().unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "TEA_LISTEN is not an IP address with a port, such as 127.0.0.1:8000 (or 0.0.0.0:8000 for every one)",
                "TEA_PORT is not an IP address with a port, such as 127.0.0.1:8000 (or 0.0.0.0:8000 for every one); \
                 without the variable it is 127.0.0.1:80",
                "TEA_IS_HOT is neither true nor false; without the variable it is false",
            ]
        );
    }
}
