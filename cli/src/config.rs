//! The settings of this process: each component's own, and the rules that tie them together.

use std::net::SocketAddr;

use ::gateway::AccountSettings;
use ::gateway::atmos::AtmosSettings;
use ::gateway::click::ClickSettings;
use config::{ConfigFaults, Environment, Variables};
use domain::gateway_rate::GatewayRate;
use domain::order::{GatewayIdentity, PaymentType};
use domain::shop::ShopName;
use domain::shops::{Shop, Shops};
use store::DatabaseUrl;
use url::Url;

use crate::local_address::{leads_to, local_base, local_url};

mod click;
mod components;
mod file;
mod file_shop;
mod gateway;
mod known_gateway;
mod payme;
mod role;
mod rules;

pub(crate) use components::{CONTRACT, Config};
pub(crate) use role::Role;

use components::reads;
use gateway::Published;

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
        env.add(faults);
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

    /// The accounts that the variables describe: those of the default shop.
    fn own_accounts(&self) -> impl Iterator<Item = AccountSettings> {
        self.own_accounts.iter().map(|payment_type| match payment_type {
            PaymentType::Atmos => AccountSettings::Atmos(self.atmos.clone()),
            PaymentType::Payme => AccountSettings::Payme(self.payme.clone()),
            PaymentType::Click => AccountSettings::Click(self.click.clone()),
        })
    }

    /// The gateway accounts of all shops.
    pub(crate) fn accounts(&self) -> Vec<AccountSettings> {
        self.own_accounts().chain(self.file_shops.iter().flat_map(|shop| shop.accounts.iter().cloned())).collect()
    }

    /// The shops of this installation. The default shop is one of them, also without an account.
    pub(crate) fn shops(&self) -> Shops {
        let default = Shop {
            accounts: self.own_accounts().map(|account| (account.payment_type(), account.identity())).collect(),
            words: self.shop.words(),
            return_hosts: self.shop.return_hosts.clone(),
            return_after_paid: self.shop.return_after_paid,
            ..Shop::default()
        };
        self.file_shops.iter().map(|file_shop| file_shop.shop.clone()).chain([default]).collect()
    }

    /// Whether no money is real. Accounts of the sandbox and others are never together.
    pub(crate) fn is_sandbox(&self) -> bool {
        self.accounts().iter().all(|account| match account {
            AccountSettings::Atmos(atmos) => atmos.is_sandbox(),
            AccountSettings::Payme(payme) => payme.is_sandbox(),
            AccountSettings::Click(click) => click.is_sandbox(),
        })
    }

    /// The addresses at which the accounts of the sandbox reach it.
    fn sandbox_addresses(&self) -> Vec<Url> {
        let address = |account: AccountSettings| match account {
            AccountSettings::Atmos(atmos) => atmos.is_sandbox().then_some(atmos.base_url),
            AccountSettings::Payme(payme) => payme.is_sandbox().then_some(payme.checkout_url),
            AccountSettings::Click(click) => click.is_sandbox().then_some(click.api_url),
        };
        self.accounts().into_iter().filter_map(address).collect()
    }

    /// The shop that has this account already.
    fn owner_of(&self, account: &AccountSettings) -> Option<ShopName> {
        self.shops().of_account(&account.identity()).map(|shop| shop.name.clone())
    }

    /// The shop whose account at Payme has a key of this account, which is at Payme, too. Click's calls name their service and
    /// Atmos's their store, and their signatures hold the name: accounts there may share a key.
    fn has_key_of(&self, account: &AccountSettings) -> Option<ShopName> {
        let AccountSettings::Payme(payme) = account else { return None };
        let shares = |other: &AccountSettings| matches!(other, AccountSettings::Payme(other) if other.keys.iter().any(|key| payme.keys.contains(key)));
        self.accounts().iter().find(|other| shares(other)).and_then(|other| self.owner_of(other))
    }

    /// The account that a release with one account would have: the default shop's at Atmos, else the only one at Atmos. It
    /// shares rate limit, breaker and the operator's settings with processes of such a release.
    pub(crate) fn older_account(&self) -> Option<GatewayIdentity> {
        let shops = self.shops();
        let of_atmos = |shop: &Shop| shop.accounts.get(&PaymentType::Atmos).cloned();
        shops.get(&ShopName::default()).and_then(of_atmos).or_else(|| {
            let mut all = shops.iter().filter_map(of_atmos);
            all.next().filter(|_| all.next().is_none())
        })
    }

    /// Whether this process brings its own sandbox: `up` with an account of the sandbox whose address is not set to
    /// somewhere else.
    pub(crate) fn starts_sandbox(&self) -> bool {
        self.role == Role::Up && self.sandbox_addresses().iter().any(|url| leads_to(url, self.sandbox.listen))
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

    /// Changes the rate limit of every account that has one.
    pub(crate) fn change_rates(&mut self, change: impl Fn(GatewayRate) -> GatewayRate) {
        self.atmos.rate = self.atmos.rate.map(&change);
        self.click.rate = self.click.rate().map(&change);
        for account in self.file_shops.iter_mut().flat_map(|shop| &mut shop.accounts) {
            match account {
                AccountSettings::Atmos(atmos) => atmos.rate = atmos.rate.map(&change),
                AccountSettings::Payme(_) => (), // It is never called.
                AccountSettings::Click(click) => click.rate = click.rate().map(&change),
            }
        }
    }

    /// Takes the address at which our own sandbox really listens.
    pub(crate) fn sandbox_listens_at(&mut self, bound: SocketAddr) {
        if self.starts_sandbox() {
            let before = self.sandbox.listen;
            let of_file = self.file_shops.iter_mut().flat_map(|shop| &mut shop.accounts);
            for account in of_file {
                match account {
                    AccountSettings::Atmos(atmos) => atmos_sandbox_listens_at(atmos, before, bound),
                    AccountSettings::Payme(payme) => leads_elsewhere(&mut payme.checkout_url, before, bound),
                    AccountSettings::Click(click) => click_sandbox_listens_at(click, before, bound),
                }
            }
            atmos_sandbox_listens_at(&mut self.atmos, before, bound);
            leads_elsewhere(&mut self.payme.checkout_url, before, bound);
            click_sandbox_listens_at(&mut self.click, before, bound);
        }
        self.sandbox.listen = bound;
    }
}

fn atmos_sandbox_listens_at(atmos: &mut AtmosSettings, before: SocketAddr, bound: SocketAddr) {
    if atmos.is_sandbox() {
        let is_page_of_api = atmos.checkout_url == atmos.base_url;
        leads_elsewhere(&mut atmos.base_url, before, bound);
        if is_page_of_api {
            atmos.checkout_url = atmos.base_url.clone();
        }
    }
}

fn click_sandbox_listens_at(click: &mut ClickSettings, before: SocketAddr, bound: SocketAddr) {
    leads_elsewhere(&mut click.pay_url, before, bound);
    leads_elsewhere(&mut click.api_url, before, bound);
}

/// Gives an address that leads to `before` the port and host of `bound`.
fn leads_elsewhere(url: &mut Url, before: SocketAddr, bound: SocketAddr) {
    if leads_to(url, before)
        && let Some(mut moved) = local_url(bound)
    {
        moved.set_path(url.path());
        *url = moved;
    }
}

fn config(role: Role, mut env: Environment<'_>) -> Result<Config, ConfigFaults> {
    let atmos_and_payme = config::defaults().zip(config::defaults());
    let published = atmos_and_payme.zip(config::defaults());
    let defaults = published.map(|((atmos, payme), click)| Published { atmos, payme, click });
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
