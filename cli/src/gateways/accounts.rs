//! The gateway accounts that a command may be about.

use std::collections::BTreeMap;

use domain::order::{GatewayIdentity, PaymentType};
use store::admission::SettingsRows;
use store::processes::{self, Process};
use store::{Store, StoreError, orders};

use crate::config::Config;
use crate::exit::Exit;

/// One gateway account of the installation: one contract of a shop with one gateway.
#[derive(Clone, Debug)]
pub(crate) struct KnownAccount {
    pub(crate) identity: GatewayIdentity,
    /// Its orders on their way.
    pub(super) open_orders: i64,
    /// Whether a release with one account could have this one.
    pub(super) has_older_names: bool,
}

impl KnownAccount {
    /// The name of its gateway, such as `atmos`.
    pub(crate) fn gateway(&self) -> &'static str {
        self.identity.payment_type().map_or("unknown", PaymentType::as_str)
    }

    /// Whether its gateway is ever called. Payme is not.
    pub(super) fn is_called(&self) -> bool {
        self.identity.payment_type() != Some(PaymentType::Payme)
    }

    /// The rows of the operator's settings for it.
    pub(super) fn rows(&self) -> SettingsRows {
        match self.has_older_names {
            true => SettingsRows::with_older(&self.identity),
            false => SettingsRows::of(&self.identity),
        }
    }
}

/// The accounts of living processes and of open orders; where no process lives, those of this configuration, too.
#[derive(Clone, Debug)]
pub(crate) struct KnownAccounts {
    pub(crate) accounts: Vec<KnownAccount>,
}

impl KnownAccounts {
    /// Reads them.
    ///
    /// # Errors
    /// The database did not answer.
    pub(crate) async fn read(config: &Config, store: &Store) -> Result<Self, StoreError> {
        let (alive, open) = tokio::try_join!(processes::alive(store), orders::open_by_account(store))?;
        let mut known: BTreeMap<GatewayIdentity, i64> = BTreeMap::new();
        for identity in alive.iter().flat_map(Process::account_identities) {
            known.insert(identity, 0);
        }
        if known.is_empty() {
            // The operator's shell need not have the settings of the processes, so they count only where nothing else is known.
            let is_alone = open.is_empty() || !config.is_sandbox();
            known.extend(config.accounts().iter().filter(|_| is_alone).map(|account| (account.identity(), 0)));
        }
        known.extend(open.into_iter().map(|open| (open.gateway, open.orders)));
        let older = older_accounts(config, &alive, known.keys());
        let account = |(identity, open_orders)| {
            let has_older_names = older.contains(&identity);
            KnownAccount { identity, open_orders, has_older_names }
        };
        Ok(KnownAccounts { accounts: known.into_iter().map(account).collect() })
    }

    /// The accounts that this word means: an identity, or the name of a gateway. All accounts without one.
    ///
    /// # Errors
    /// There is no such account.
    pub(super) fn named(&self, name: Option<&str>) -> Result<Vec<&KnownAccount>, Exit> {
        let fits =
            |account: &&KnownAccount| name.is_none_or(|name| account.identity.0 == name || account.gateway() == name);
        let named: Vec<&KnownAccount> = self.accounts.iter().filter(fits).collect();
        match (named.is_empty(), name) {
            (true, Some(name)) => {
                Err(Exit::failed(format!("there is no gateway account {name}; there are: {}", self.list())))
            }
            _ => Ok(named),
        }
    }

    /// The one account that this word means; without a word the only one that there is.
    ///
    /// # Errors
    /// There is none, or several fit.
    pub(super) fn one(&self, name: Option<&str>) -> Result<&KnownAccount, Exit> {
        match (self.named(name)?.as_slice(), name) {
            ([account], _) => Ok(account),
            (_, None) => Err(Exit::failed(format!("say which gateway account: {}", self.list()))),
            (several, Some(name)) => Err(Exit::failed(format!(
                "{name} has {} accounts; say which: {}",
                several.len(),
                join(several.iter().copied())
            ))),
        }
    }

    /// The account that a release with one account would have; the only one where that is not known.
    ///
    /// # Errors
    /// There are several, and none of them is that one.
    pub(super) fn older(&self) -> Result<&KnownAccount, Exit> {
        match self.accounts.iter().find(|account| account.has_older_names) {
            Some(account) => Ok(account),
            None => self.one(None),
        }
    }

    fn list(&self) -> String {
        join(self.accounts.iter())
    }
}

fn join<'a>(accounts: impl Iterator<Item = &'a KnownAccount>) -> String {
    accounts.map(|account| account.identity.0.as_str()).collect::<Vec<_>>().join(", ")
}

/// The accounts that share their state with processes of a release with one account. Living processes say which; where none
/// lives it is the account that this configuration has as such, or the only one at Atmos.
fn older_accounts<'a>(
    config: &Config,
    alive: &[Process],
    known: impl Iterator<Item = &'a GatewayIdentity>,
) -> Vec<GatewayIdentity> {
    if !alive.is_empty() {
        return alive.iter().filter_map(|process| process.gateway.clone()).collect();
    }
    let of_atmos: Vec<_> = known.filter(|identity| identity.payment_type() == Some(PaymentType::Atmos)).collect();
    let configured = config.older_account().filter(|account| of_atmos.contains(&account));
    match (configured, of_atmos.as_slice()) {
        (Some(account), _) => vec![account],
        (None, [only]) => vec![(*only).clone()],
        (None, _) => Vec::new(),
    }
}
