//! The variables there are, and reading them one by one while the faults gather.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;

use super::Role;
use super::fault::{ConfigFault, ConfigFaults};
use super::names::{is_kubernetes_service, known, looks_like_ours, near_names, reads};

/// The environment as one role sees it, and what was found wrong with it so far.
pub(super) struct Environment<'a> {
    role: Role,
    get: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<ConfigFault>,
    warnings: Vec<String>,
}

impl<'a> Environment<'a> {
    pub(super) fn new(role: Role, get: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Environment { role, get, faults: Vec::new(), warnings: Vec::new() }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// The value without blanks around it, which only come from files and quoting; an empty one is unset.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = reads(self.role, name).then(|| (self.get)(name)).flatten()?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The value as `parse` reads it; what `parse` complains about becomes a fault.
    pub(super) fn parsed<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        let is_quoted = |quote| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
        if is_quoted('"') || is_quoted('\'') {
            self.fault(name, "stands in quotes, which are part of the value; take them away");
            return None;
        }
        parse(&text).map_err(|what| self.fault(name, &what)).ok()
    }

    pub(super) fn number(&mut self, name: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let (least, most) = (*range.start(), *range.end());
        let parse = |text: &str| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| {
                format!("is not a whole number from {least} to {most}; without the variable it is {default}")
            })
        };
        self.parsed(name, parse).unwrap_or(default)
    }

    pub(super) fn listen(&mut self, name: &str, default_port: u16) -> SocketAddr {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, default_port));
        self.listen_if_set(name, default_port).unwrap_or(default)
    }

    /// As [`Environment::listen`], for a listener that there need not be; the port is only an example.
    pub(super) fn listen_if_set(&mut self, name: &str, default_port: u16) -> Option<SocketAddr> {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, default_port));
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                format!("is not an IP address with a port, such as {default} (or 0.0.0.0:{default_port} for every one)")
            })
        };
        self.parsed(name, parse)
    }

    pub(super) fn fault(&mut self, variable: &str, what: &str) {
        self.faults.push(ConfigFault { variable: variable.to_owned(), what: what.to_owned() });
    }

    pub(super) fn warn(&mut self, warning: &str) {
        self.warnings.push(warning.to_owned());
    }

    /// Looks at a variable that is set: is it one of ours, and is it text?
    pub(super) fn look_over(&mut self, name: &str, is_text: bool) {
        if let Some(known) = known(name) {
            if !is_text && reads(self.role, known) {
                self.fault(name, "is not UTF-8 text; set it again");
            }
        } else if looks_like_ours(name) && !is_kubernetes_service(name) {
            self.warnings.push(match near_names(name).as_slice() {
                [] => format!("the variable {name} is set, and nothing reads it"),
                near => {
                    format!("the variable {name} is set, and nothing reads it; did you mean {}?", near.join(" or "))
                }
            });
        }
    }

    /// The warnings, if there was no fault.
    pub(super) fn finish(mut self) -> Result<Vec<String>, ConfigFaults> {
        // A value that is no text was complained about already, whatever its parser made of it.
        let mut seen = Vec::new();
        self.faults.retain(|fault| {
            let is_new = !seen.contains(&fault.variable);
            seen.push(fault.variable.clone());
            is_new
        });
        match self.faults.is_empty() {
            true => Ok(self.warnings),
            false => Err(ConfigFaults { faults: self.faults, warnings: self.warnings }),
        }
    }
}
