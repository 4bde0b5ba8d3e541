//! The settings of this process: each component's own, and the rules that tie them together.

use std::net::SocketAddr;

use ::gateway::AccountSettings;
use ::gateway::atmos::AtmosSettings;
use config::{ConfigFault, ConfigFaults, Environment, Variables};
use domain::shops::{Shop, Shops};
use store::DatabaseUrl;

use crate::local_address::{leads_to, local_base, local_url};

mod components;
mod gateway;
mod role;
mod rules;

pub(crate) use components::{CONTRACT, Config};
pub(crate) use role::Role;

use components::reads;

impl Config {
    /// Reads the variables that this role uses; `get` answers a variable's value, an empty one counts as unset.
    ///
    /// # Errors
    /// All faults at once. None repeats a value: any value may be a secret that went into the wrong variable.
    #[cfg(test)]
    pub(crate) fn from_environment(role: Role, get: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigFaults> {
        let get = |name: &str| if reads(role, name) { get(name) } else { None };
        config(role, Environment::new(&get))
    }

    /// Reads all that was given, such as [`Variables::of_this_process`], opens the files of secrets that it names, and
    /// warns of names that look like ours and are not.
    ///
    /// # Errors
    /// All faults at once, a value of ours that is not UTF-8 and a file that cannot be read among them. None repeats a
    /// value: any value may be a secret that went into the wrong variable.
    pub(crate) fn from_variables(role: Role, variables: &Variables) -> Result<Config, ConfigFaults> {
        let (opened, faults) = variables.opened(&CONTRACT, |name| reads(role, name));
        let get = |name: &str| if reads(role, name) { opened.get(name) } else { None };
        let mut env = Environment::new(&get);
        for ConfigFault { variable, what } in faults {
            env.fault(&variable, what);
        }
        for (name, value) in variables.iter() {
            let name = name.to_string_lossy();
            let is_read = CONTRACT.known(&name).is_some_and(|known| reads(role, known));
            if is_read && value.to_str().is_none() {
                env.fault(&name, "is not UTF-8 text; set it again");
            } else if let Some(warning) = CONTRACT.warning(&name) {
                env.warn(warning);
            }
        }
        Ok(Config { variables: opened.ours(&CONTRACT), ..config(role, env)? })
    }

    /// The gateway accounts of all shops.
    pub(crate) fn accounts(&self) -> Vec<AccountSettings> {
        vec![AccountSettings::Atmos(self.atmos.clone())]
    }

    /// The shops of this installation.
    pub(crate) fn shops(&self) -> Shops {
        let accounts = self.accounts().iter().map(|account| (account.payment_type(), account.identity())).collect();
        Shops::from_iter([Shop { accounts, ..Shop::default() }])
    }

    /// Whether this process brings its own sandbox: `up` with the sandbox's key, unless `ATMOS_BASE_URL` says
    /// that the sandbox is somewhere else.
    pub(crate) fn starts_sandbox(&self) -> bool {
        self.role == Role::Up && self.atmos.is_sandbox() && leads_to(&self.atmos.base_url, self.sandbox.listen)
    }

    /// The variable that says which database it is; in the data directory it is that directory's.
    pub(crate) fn database_variable(&self) -> &'static str {
        match self.database.url == DatabaseUrl::embedded(&self.data_dir.path) {
            true => "TASDIQ_DATA_DIR",
            false => "DATABASE_URL",
        }
    }

    /// Takes the address at which the API really listens: after port 0, the system's choice is the port.
    pub(crate) fn api_listens_at(&mut self, bound: SocketAddr) {
        if local_url(self.address.listen).as_ref() == Some(self.address.public_url.url())
            && let Ok(url) = local_base(bound).parse()
        {
            self.address.public_url = url;
        }
        self.address.listen = bound;
    }

    /// Takes the address at which our own sandbox really listens.
    pub(crate) fn sandbox_listens_at(&mut self, bound: SocketAddr) {
        if self.starts_sandbox()
            && let Some(url) = local_url(bound)
        {
            if self.atmos.checkout_url == self.atmos.base_url {
                self.atmos.checkout_url = url.clone();
            }
            self.atmos.base_url = url;
        }
        self.sandbox.listen = bound;
    }
}

fn config(role: Role, mut env: Environment<'_>) -> Result<Config, ConfigFaults> {
    let defaults = config::defaults::<AtmosSettings>();
    let config = Config::read(role, &mut env).zip(defaults).map(|(mut config, published)| {
        rules::apply(&mut env, &mut config, &published);
        config
    });
    let warnings = env.finish()?;
    // Without a fault it is there; the pattern keeps us from making it up where there was one.
    config.map(|config| Config { warnings, ..config }).ok_or_else(ConfigFaults::default)
}

#[cfg(test)]
mod tests;
