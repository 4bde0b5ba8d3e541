//! What the environment is for, and what is wrong with it.

use std::collections::BTreeSet;

use config::Variables;
use http_server::PlaceCounts;
use store::DatabaseUrl;
use store::processes::Process;

use super::findings::Findings;
use crate::config::{Config, Role};

/// The environment as far as it can be read: one bad variable must not hide what the others lead to.
pub(super) struct ReadableEnvironment {
    pub(super) config: Config,
    /// Variables whose value is not in `config`, because it cannot be read.
    pub(super) unread: Vec<String>,
}

impl ReadableEnvironment {
    pub(super) fn read(variables: &Variables) -> Option<Self> {
        let faults = match Config::from_variables(Role::Operator, variables) {
            Ok(config) => return Some(ReadableEnvironment { config, unread: Vec::new() }),
            Err(faults) => faults,
        };
        let unread: Vec<String> = faults.iter().map(|fault| fault.variable.clone()).collect();
        let mut sound = variables.without(&faults);
        if unread.iter().any(|name| name.starts_with("ATMOS_")) {
            // Half a gateway is none.
            sound = sound.only(|name| !name.to_string_lossy().starts_with("ATMOS_"));
        }
        let config = Config::from_variables(Role::Operator, &sound).ok()?;
        Some(ReadableEnvironment { config, unread })
    }

    /// Which processes this environment is for. With both servers it may be for `up` as well as for `api` and `worker`;
    /// what runs there decides, and where nothing does, the roles that need the most.
    pub(super) fn roles(&self, running: &[Process]) -> Vec<Role> {
        let has_redis = self.config.redis.url.is_some() || self.is_unread("REDIS_URL");
        let runs = |role: &str| running.iter().any(|process| process.role == role);
        match &self.config.database.url {
            DatabaseUrl::Postgres(_) if has_redis && !runs("up") => vec![Role::Api, Role::Worker],
            DatabaseUrl::Postgres(_) if runs("api") || runs("worker") => vec![Role::Up, Role::Api, Role::Worker],
            DatabaseUrl::Postgres(_) | DatabaseUrl::Sqlite(_) => vec![Role::Up],
        }
    }

    pub(super) fn is_unread(&self, variable: &str) -> bool {
        self.unread.iter().any(|name| name.strip_suffix("_FILE").unwrap_or(name) == variable) || self.lacks_env_file()
    }

    /// Whether a file of settings could not be read whole: any variable may have stood there.
    fn lacks_env_file(&self) -> bool {
        self.unread.iter().any(|name| name == ".env" || name == "TASDIQ_ENV_FILE")
    }

    pub(super) fn knows_database(&self) -> bool {
        !self.is_unread("DATABASE_URL") && !self.is_unread("TASDIQ_DATA_DIR")
    }

    pub(super) fn knows_gateway(&self) -> bool {
        !self.unread.iter().any(|name| name.starts_with("ATMOS_") || name == "TASDIQ_SANDBOX_LISTEN")
            && !self.lacks_env_file()
    }
}

/// Whether the processes of this installation, and the operator's commands, would start with this environment.
pub(super) fn look_at_configuration(roles: &[Role], variables: &Variables, findings: &mut Findings) {
    if !variables.from_dotenv().is_empty() {
        let names = variables.from_dotenv().join(", ");
        findings.ok("configuration", format!("from .env: {names}"));
    }
    let mut told = BTreeSet::new();
    for role in roles.iter().copied().chain([Role::Operator]) {
        match Config::from_variables(role, variables) {
            Ok(_) if role == Role::Operator => (),
            Ok(as_role) => {
                findings.ok("configuration", format!("{}; gateway {}", role.command(), as_role.atmos.identity()));
                if role != Role::Worker {
                    findings.ok("callbacks", as_role.callback_addresses.describe());
                }
                for warning in as_role.warnings {
                    if told.insert(warning.clone()) {
                        findings.warn("configuration", warning, "mend it, or leave it if it is meant");
                    }
                }
            }
            Err(faults) => {
                for fault in faults.iter() {
                    // Roles complain of the same variable in their own words; once is enough.
                    if told.insert(fault.variable.clone()) {
                        findings.fault("configuration", fault.to_string(), "mend the variable");
                    }
                }
            }
        }
    }
}

/// Connections need descriptors, and so does the database.
pub(super) fn look_at_descriptors(findings: &mut Findings) {
    match PlaceCounts::of_this_process().describe() {
        (says, true) => findings.ok("connections", says),
        (says, false) => findings.warn(
            "connections",
            says,
            "raise the hard limit of open files (`ulimit -Hn`, LimitNOFILE=, compose's `ulimits`) of the processes to 8192",
        ),
    }
}
