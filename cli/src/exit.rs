//! How the program ends: what is said, and the exit code a supervisor acts upon.

use std::process::ExitCode;

use config::ConfigFaults;
use store::StoreError;
use telemetry::{self, causes};

use crate::output::fault;

/// A code that the program ends with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExitCodeMeaning {
    /// As a shell shows it; two where two signals mean the same.
    pub(crate) code: &'static str,
    /// Its meaning.
    pub(crate) meaning: &'static str,
    /// Whether a supervisor should start the process again, where it did not end as it was told.
    pub(crate) start_again: Option<bool>,
}

/// Every code that the program ends with, as in `sysexits.h` from 64 on.
pub(crate) const CODES: [ExitCodeMeaning; 7] = [
    ExitCodeMeaning { code: "0", meaning: "done", start_again: None },
    ExitCodeMeaning {
        code: "1",
        meaning: "the command failed, `doctor` found a fault, or `audit` a difference",
        start_again: None,
    },
    ExitCodeMeaning { code: "2", meaning: "the command line cannot be read", start_again: None },
    ExitCodeMeaning {
        code: "69",
        meaning: "an address is taken, the data directory's disk is full, or a part of the process ended",
        start_again: Some(true),
    },
    ExitCodeMeaning {
        code: "75",
        meaning: "the database cannot be reached (a process waits 30 s for it), `migrate` waited 10 min for a lock, or the \
                  gateway that `audit` asks cannot be reached",
        start_again: Some(true),
    },
    ExitCodeMeaning {
        code: "78",
        meaning: "the configuration is at fault, as standard error says: a setting; a Redis that is too old or evicts; a \
                  database that refuses the login, TLS or its certificate, is not UTF8, or lies behind a pooler that shares \
                  sessions; a data directory or database in use; a gateway that does not admit `audit`",
        start_again: Some(false),
    },
    ExitCodeMeaning {
        code: "130, 143",
        meaning: "a second Ctrl-C or SIGTERM ended the process at once",
        start_again: None,
    },
];

/// Why a command did not succeed, sorted by what its caller does about it.
#[derive(Debug)]
pub(crate) enum Exit {
    /// To start again does not help until an operator corrects the configuration (78, `EX_CONFIG`).
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
            assert!(CODES.iter().any(|known| known.code == code.to_string()), "{exit:?} is told of");
        }
    }

    #[test]
    fn the_reference_has_every_exit_code() {
        let rows = CODES.map(|ExitCodeMeaning { code, meaning, start_again }| {
            let act = match start_again {
                Some(true) => "start it again",
                Some(false) => "not start it again",
                None => "",
            };
            [code.to_owned(), meaning.to_owned(), act.to_owned()]
        });

        let table = documents::table(["code", "meaning", "a supervisor should"], rows);
        documents::part("docs/reference/exit-codes.md", "exit-codes", &table);
    }
}
