//! The file of shops, which `TASDIQ_CONFIG` names: `[shops.NAME]` with its API keys, words and hosts, and a table for each
//! of its accounts.

use std::path::Path;

use api::{API_KEYS, ApiKey, ApiSettings, KeyStrength, ShopSettings};
use config::{ConfigFault, Definition, Environment, Section, Settings, Table};
use domain::order::PaymentType;
use domain::shop::ShopName;
use domain::shops::Shop;
use gateway::AccountSettings;
use gateway::atmos::AtmosSettings;
use gateway::click::ClickSettings;
use gateway::payme::PaymeSettings;

use super::click::whole_click;
use super::components::{Config, reads};
use super::file_shop::FileShop;
use super::gateway::{Published, whole_atmos};
use super::known_gateway::{KnownGateway, OfProcess};
use super::payme::whole_payme;

/// The variable that names the file.
const FILE: &str = "TASDIQ_CONFIG";

/// The table of all shops.
const SHOPS: &str = "shops";

/// The tables of the file, not yet read.
pub(super) struct ShopTables(Option<Table>);

impl ShopTables {
    /// Opens the file, if there is one. Its faults are faults of `env`.
    pub(super) fn open(env: &mut Environment<'_>, config: &Config) -> Self {
        let Some(path) = &config.shops_file.path else { return ShopTables(None) };
        match Table::read(FILE, Path::new(path)) {
            Ok(table) => {
                env.add(table.tables_alone(Some(&[SHOPS])));
                if let Some(shops) = table.table(SHOPS) {
                    env.add(shops.tables_alone(None));
                }
                ShopTables(Some(table))
            }
            Err(faults) => {
                env.add(faults);
                ShopTables(None)
            }
        }
    }

    /// The shops' tables, with their names.
    fn shops(&self) -> impl Iterator<Item = (&str, &Table)> {
        self.0.iter().filter_map(|table| table.table(SHOPS)).flat_map(Table::tables)
    }

    /// Whether a shop of the file has an account.
    pub(super) fn have_accounts(&self) -> bool {
        self.shops().any(|(_, shop)| shop.tables().any(|(name, _)| PaymentType::parse(name).is_some()))
    }

    /// Reads the shops and their accounts. Returns what is known of the accounts' gateways.
    pub(super) fn read(
        &self,
        env: &mut Environment<'_>,
        config: &mut Config,
        published: &Published,
    ) -> Vec<KnownGateway> {
        let process = OfProcess { role: config.role, sandbox_listen: config.sandbox.listen };
        let mut known = Vec::new();
        for (name, table) in self.shops() {
            let Some(name) = shop_name(name).map_err(|what| env.add([table.fault(what)])).ok() else { continue };
            let mut accounts: Vec<(&Table, AccountSettings)> = Vec::new();
            for (payment_type, table) in
                table.tables().filter_map(|(name, table)| Some((PaymentType::parse(name)?, table)))
            {
                match account(payment_type, table, process, published) {
                    Ok(((settings, gateway), warnings)) => {
                        warnings.into_iter().for_each(|warning| env.warn(warning));
                        known.push(gateway);
                        accounts.push((table, settings));
                    }
                    Err(faults) => {
                        env.add(faults);
                        known.push(KnownGateway::Unknown);
                    }
                }
            }
            for (table, settings) in &accounts {
                if let Some(owner) = config.owner_of(settings) {
                    let what = format!("is the account of the shop {owner}, too; an account belongs to one shop");
                    env.add([table.fault(what)]);
                } else if let Some(owner) = config.has_key_of(settings) {
                    let what = format!(
                        "has a payme_key that the account of the shop {owner} has, too; Payme's calls name no cashbox, so \
                         the key alone says whose call it is: give each cashbox its own"
                    );
                    env.add([table.fault(what)]);
                }
            }
            let accounts: Vec<AccountSettings> = accounts.into_iter().map(|(_, settings)| settings).collect();
            let identities = accounts.iter().map(|account| (account.payment_type(), account.identity())).collect();
            config.file_shops.push(FileShop { shop: Shop { name, accounts: identities, ..Shop::default() }, accounts });
        }
        known
    }

    /// Reads the words, hosts and API keys of the shops, whose keys must have this strength.
    pub(super) fn read_shops(
        &self,
        env: &mut Environment<'_>,
        config: &mut Config,
        strength: KeyStrength,
    ) -> Vec<(ApiKey, ConfigFault)> {
        let (role, mut keys) = (config.role, Vec::new());
        for (name, table) in self.shops() {
            let Ok(name) = shop_name(name) else { continue };
            let types: Vec<&str> = PaymentType::ALL.iter().map(|payment_type| payment_type.as_str()).collect();
            let section = Section::new(table, of_shop(), &types, |variable| reads(role, variable));
            let read = section.read(|env| {
                let keys = ApiSettings::read_keys(env, &name, strength);
                ShopSettings::read(env).map(|settings| (keys, settings))
            });
            match read {
                Ok(((own, settings), warnings)) => {
                    warnings.into_iter().for_each(|warning| env.warn(warning));
                    keys.extend(own.into_iter().map(|key| (key, table.fault(NAME_TAKEN))));
                    if let Some(known) = config.file_shops.iter_mut().find(|known| known.shop.name == name) {
                        known.shop.words = settings.words();
                        known.shop.return_hosts = settings.return_hosts;
                        known.shop.return_after_paid = settings.return_after_paid;
                    }
                }
                Err(faults) => env.add(faults),
            }
        }
        keys
    }
}

/// The fault of a table with an API key whose name or key stands elsewhere, too.
const NAME_TAKEN: &str = "has an API key whose name, or which itself, another shop has; in the whole installation keys differ \
     and names of keys are unique, for idempotency keys belong to them";

fn shop_name(name: &str) -> Result<ShopName, String> {
    match ShopName::parse(name) {
        Ok(name) if name == ShopName::default() => {
            Err("is the shop that the variables describe; give this one another name".to_owned())
        }
        Ok(name) => Ok(name),
        Err(what) => Err(format!("has a name that {what}")),
    }
}

/// The settings of a shop's own table.
pub(super) fn of_shop() -> Vec<&'static Definition> {
    let keys = ApiSettings::DEFINITIONS.iter().filter(|definition| definition.name == API_KEYS);
    keys.chain(ShopSettings::DEFINITIONS).collect()
}

/// The settings of an account's table.
pub(super) fn of_account(payment_type: PaymentType) -> Vec<&'static Definition> {
    match payment_type {
        PaymentType::Atmos => AtmosSettings::DEFINITIONS.iter().collect(),
        PaymentType::Payme => PaymeSettings::DEFINITIONS.iter().collect(),
        PaymentType::Click => ClickSettings::DEFINITIONS.iter().collect(),
    }
}

type Read<T> = Result<(T, Vec<String>), Vec<ConfigFault>>;

fn account(
    payment_type: PaymentType,
    table: &Table,
    process: OfProcess,
    published: &Published,
) -> Read<(AccountSettings, KnownGateway)> {
    match payment_type {
        PaymentType::Atmos => {
            let section = Section::new(table, of_account(payment_type), &[], |variable| reads(process.role, variable));
            section.read(|env| {
                let mut settings = AtmosSettings::read(env)?;
                let gateway = whole_atmos(env, &mut settings, process, &published.atmos);
                Some((AccountSettings::Atmos(settings), gateway))
            })
        }
        PaymentType::Payme => {
            let section = Section::new(table, of_account(payment_type), &[], |variable| reads(process.role, variable));
            section.read(|env| {
                let mut settings = PaymeSettings::read(env)?;
                let gateway = whole_payme(env, &mut settings, process, &published.payme);
                Some((AccountSettings::Payme(settings), gateway))
            })
        }
        PaymentType::Click => {
            let section = Section::new(table, of_account(payment_type), &[], |variable| reads(process.role, variable));
            section.read(|env| {
                let mut settings = ClickSettings::read(env)?;
                let gateway = whole_click(env, &mut settings, process, &published.click);
                Some((AccountSettings::Click(settings), gateway))
            })
        }
    }
}
