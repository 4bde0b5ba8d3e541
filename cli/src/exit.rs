//! How the program ends: what is said, and the exit code a supervisor acts upon.

use std::process::ExitCode;

use config::ConfigFaults;
use store::StoreError;
use telemetry::{self, causes};

use crate::output::fault;

/// Why a command did not succeed, sorted by what its caller does about it.
#[derive(Debug)]
pub(crate) enum Exit {
    /// Starting again changes nothing until somebody mends the configuration (78, `EX_CONFIG`).
    Configuration(anyhow::Error),
    /// PostgreSQL is away; a supervisor starts us again (75, `EX_TEMPFAIL`).
    DatabaseAway(anyhow::Error),
    /// The gateway cannot be asked, and there is nothing to do without its word (75).
    GatewayAway(anyhow::Error),
    /// Something we need is taken or ended: an address, a task of ours (69, `EX_UNAVAILABLE`).
    Unavailable(anyhow::Error),
    /// Anything else (1).
    Failed(anyhow::Error),
    /// The command has printed its findings, and they are bad (1).
    Findings,
}

impl Exit {
    /// The code, as in `sysexits.h`.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Exit::Configuration(_) => 78,
            Exit::DatabaseAway(_) | Exit::GatewayAway(_) => 75,
            Exit::Unavailable(_) => 69,
            Exit::Failed(_) | Exit::Findings => 1,
        }
    }

    /// Says why on standard error, to machines as JSON.
    pub(crate) fn report(&self, for_machines: bool) -> ExitCode {
        match self {
            Exit::Configuration(error)
            | Exit::DatabaseAway(error)
            | Exit::GatewayAway(error)
            | Exit::Unavailable(error)
            | Exit::Failed(error) => {
                let why = causes(error.as_ref());
                telemetry::say(&match for_machines {
                    true => fault(&why, self.code()),
                    false => format!("tasdiq: {why}"),
                });
            }
            Exit::Findings => (),
        }
        ExitCode::from(self.code())
    }

    /// A configuration fault in a sentence.
    pub(crate) fn configuration(what: impl std::fmt::Display) -> Self {
        Exit::Configuration(anyhow::anyhow!("{what}"))
    }

    /// A failure in a sentence.
    pub(crate) fn failed(what: impl std::fmt::Display) -> Self {
        Exit::Failed(anyhow::anyhow!("{what}"))
    }
}

impl From<anyhow::Error> for Exit {
    fn from(error: anyhow::Error) -> Self {
        Exit::Failed(error)
    }
}

impl From<ConfigFaults> for Exit {
    fn from(faults: ConfigFaults) -> Self {
        Exit::Configuration(faults.into())
    }
}

impl From<StoreError> for Exit {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Conflict(_) => Exit::DatabaseAway(error.into()),
            StoreError::NewerDatabase { .. } | StoreError::Refused(_) | StoreError::Unsuitable(_) => {
                Exit::Configuration(error.into())
            }
            StoreError::NotMigrated
            | StoreError::LeaseLost
            | StoreError::Migration(_)
            | StoreError::Statement(_)
            | StoreError::UnknownValue { .. } => Exit::Failed(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn supervisors_get_the_codes_they_know() {
        for (exit, code) in [
            (Exit::configuration("x"), 78),
            (Exit::DatabaseAway(anyhow!("x")), 75),
            (Exit::GatewayAway(anyhow!("x")), 75),
            (Exit::Unavailable(anyhow!("x")), 69),
            (Exit::failed("x"), 1),
            (Exit::Findings, 1),
            (StoreError::NewerDatabase { version: 9 }.into(), 78),
            (StoreError::NotMigrated.into(), 1),
        ] {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }
}
