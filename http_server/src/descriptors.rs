//! How many files the process may open, and how many of them may be connections of callers.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything else: the database, Redis, calls to the gateway, files, listeners.
const OTHERS: usize = 256;

/// The upper bounds: more connections than these would reserve memory without a need.
const MOST: ConnectionLimits = ConnectionLimits { api: 4_096, webhook: 512, health: 128, sandbox: 256 };

/// How many connections each listener may have at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The listener of the API.
    pub api: usize,
    /// The webhook's own listener, if it has one.
    pub webhook: usize,
    /// The health listener of a worker.
    pub health: usize,
    /// The sandbox, which `tasdiq up` runs in the same process.
    pub sandbox: usize,
}

impl ConnectionLimits {
    /// The limits for this process, from its limit of open files.
    pub fn of_this_process() -> Self {
        Self::within(limit())
    }

    /// The limits for a process that may open `limit` files.
    fn within(limit: usize) -> Self {
        let left = limit.saturating_sub(OTHERS).max(OTHERS / 4);
        ConnectionLimits {
            api: (left / 4 * 3).min(MOST.api),
            webhook: (left / 8).min(MOST.webhook),
            health: (left / 16).min(MOST.health),
            sandbox: (left / 16).min(MOST.sandbox),
        }
    }

    /// A sentence for `tasdiq doctor`, and whether all upper bounds are reached.
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

/// How many files this process may open; `usize::MAX` if there is no limit.
fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Raises the soft limit of open files to the hard limit. The default of shells and supervisors, often 1,024, is meant
/// for programs that open few files.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // If the system refuses, the old limit stays, and with it fewer connections.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_limits_leave_descriptors_for_the_database() {
        for limit in [0, 256, 300, 1_024, 4_096, 20_000, usize::MAX] {
            let counts = ConnectionLimits::within(limit);
            let ConnectionLimits { api, webhook, health, sandbox } = counts;

            assert!(api >= 32 && webhook >= 8 && health >= 4 && sandbox >= 4, "{limit}: {counts:?}");
            assert!(limit < 512 || api + webhook + health + sandbox + OTHERS <= limit, "{limit}: {counts:?}");
        }
        assert_eq!(ConnectionLimits::within(usize::MAX), MOST);
    }
}
