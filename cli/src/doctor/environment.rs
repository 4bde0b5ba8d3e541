//! The environment: the roles that it is for, and its faults.

use std::collections::BTreeSet;

use config::Variables;
use domain::shop::ShopName;
use domain::shops::{Shop, Shops};
use http_server::ConnectionLimits;
use store::DatabaseUrl;
use store::processes::Process;

use super::check_results::CheckResults;
use crate::config::{Config, Role};

/// The environment as far as it can be read: one bad variable must not stop the other checks.
pub(super) struct ReadableEnvironment {
    pub(super) config: Config,
    /// The variables whose value is not in `config`, because it cannot be read.
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
            // A part of the gateway's settings is of no use.
            sound = sound.only(|name| !name.to_string_lossy().starts_with("ATMOS_"));
        }
        let config = Config::from_variables(Role::Operator, &sound).ok()?;
        Some(ReadableEnvironment { config, unread })
    }

    /// The roles that this environment is for. With both servers it may be for `up` as well as for `api` and `worker`: the
    /// running processes decide, and where none runs, the roles that need the most settings.
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

    /// Whether a file of settings could not be read completely: any variable may be in it.
    fn lacks_env_file(&self) -> bool {
        self.unread.iter().any(|name| name == ".env" || name == "TASDIQ_ENV_FILE")
    }

    pub(super) fn knows_database(&self) -> bool {
        !self.is_unread("DATABASE_URL") && !self.is_unread("TASDIQ_DATA_DIR")
    }

    pub(super) fn knows_gateway(&self) -> bool {
        !self.unread.iter().any(|name| {
            let leads_there = name == "TASDIQ_SANDBOX_LISTEN" || name == "TASDIQ_CONFIG";
            leads_there || ["ATMOS_", "PAYME_", "CLICK_"].iter().any(|beginning| name.starts_with(beginning))
        }) && !self.lacks_env_file()
    }
}

/// The accounts of the one shop, or each shop with its accounts.
fn sellers(shops: &Shops) -> String {
    let accounts = |shop: &Shop| {
        let accounts: Vec<&str> = shop.accounts.values().map(|account| account.0.as_str()).collect();
        if accounts.is_empty() { "no account".to_owned() } else { accounts.join(", ") }
    };
    let is_default_alone = |shop: &Shop| shop.name == ShopName::default() && shop.accounts.is_empty();
    match shops.iter().collect::<Vec<_>>().as_slice() {
        [only] => format!("gateway {}", accounts(only)),
        several => {
            let told = several.iter().filter(|shop| !is_default_alone(shop));
            format!(
                "shops {}",
                told.map(|shop| format!("{}: {}", shop.name, accounts(shop))).collect::<Vec<_>>().join("; ")
            )
        }
    }
}

/// Whether the processes of this installation, and the operator's commands, would start with this environment.
pub(super) fn look_at_configuration(roles: &[Role], variables: &Variables, results: &mut CheckResults) {
    if !variables.from_dotenv().is_empty() {
        let names = variables.from_dotenv().join(", ");
        results.ok("configuration", format!("from .env: {names}"));
    }
    let mut told = BTreeSet::new();
    for role in roles.iter().copied().chain([Role::Operator]) {
        match Config::from_variables(role, variables) {
            Ok(_) if role == Role::Operator => (),
            Ok(as_role) => {
                results.ok("configuration", format!("{}; {}", role.command(), sellers(&as_role.shops())));
                if role != Role::Worker {
                    results.ok("callbacks", as_role.callback_addresses.describe());
                }
                for warning in as_role.warnings {
                    if told.insert(warning.clone()) {
                        results.warn("configuration", warning, "mend it, or leave it if it is meant");
                    }
                }
            }
            Err(faults) => {
                for fault in faults.iter() {
                    // Several roles report the same variable in different words; once is enough.
                    if told.insert(fault.place.clone().unwrap_or_else(|| fault.variable.clone())) {
                        results.fault("configuration", fault.to_string(), "mend the variable");
                    }
                }
            }
        }
    }
}

/// Checks the limit of open files: connections and the database need them.
pub(super) fn look_at_descriptors(results: &mut CheckResults) {
    match ConnectionLimits::of_this_process().describe() {
        (says, true) => results.ok("connections", says),
        (says, false) => results.warn(
            "connections",
            says,
            "raise the hard limit of open files (`ulimit -Hn`, LimitNOFILE=, compose's `ulimits`) of the processes to 8192",
        ),
    }
}
