//! How many files and connections the process may have open, and how many of those are connections of callers.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are no connections of callers: the database, Redis, calls to the gateway, files, listeners.
const OTHERS: usize = 256;

/// More places than these would cost memory that nobody has asked for.
const MOST: PlaceCounts = PlaceCounts { api: 4_096, webhook: 512, health: 128, sandbox: 256 };

/// How many places for connections each listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceCounts {
    /// Of the API.
    pub api: usize,
    /// Of the webhook, where it has a listener of its own.
    pub webhook: usize,
    /// Of a worker's health.
    pub health: usize,
    /// Of the sandbox, which `up` has in the same process.
    pub sandbox: usize,
}

impl PlaceCounts {
    /// As many as this process may have.
    pub fn of_this_process() -> Self {
        Self::within(limit())
    }

    /// As many as a process that may open so many files.
    fn within(limit: usize) -> Self {
        let left = limit.saturating_sub(OTHERS).max(OTHERS / 4);
        PlaceCounts {
            api: (left / 4 * 3).min(MOST.api),
            webhook: (left / 8).min(MOST.webhook),
            health: (left / 16).min(MOST.health),
            sandbox: (left / 16).min(MOST.sandbox),
        }
    }

    /// In a sentence for `doctor`, and whether there are as many as we would use.
    pub fn describe(self) -> (String, bool) {
        let files = match limit() {
            usize::MAX => "any number of".to_owned(),
            limit => limit.to_string(),
        };
        let says = format!(
            "a process started from here may open {files} files, which gives an API {} connections, and {} more where the \
             webhook has a listener of its own",
            self.api, self.webhook
        );
        (says, self == MOST)
    }
}

/// How many files this process may open; `usize::MAX` without a limit.
fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Raises the limit of open files as far as the system lets this process: what a shell or a supervisor sets by default,
/// often 1,024, is meant for programs that have few.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where it is refused, there are as many as there were, and so many places less.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_never_take_the_descriptors_that_the_database_needs() {
        for limit in [0, 256, 300, 1_024, 4_096, 20_000, usize::MAX] {
            let counts = PlaceCounts::within(limit);
            let PlaceCounts { api, webhook, health, sandbox } = counts;

            assert!(api >= 32 && webhook >= 8 && health >= 4 && sandbox >= 4, "{limit}: {counts:?}");
            assert!(limit < 512 || api + webhook + health + sandbox + OTHERS <= limit, "{limit}: {counts:?}");
        }
        assert_eq!(PlaceCounts::within(usize::MAX), MOST);
    }
}
