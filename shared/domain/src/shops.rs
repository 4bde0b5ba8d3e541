//! The shops of an installation: who sells, through which accounts, and in which words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::order::{GatewayIdentity, Language, PaymentType};
use crate::shop::ShopName;

/// A shop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shop {
    /// Its name.
    pub name: ShopName,
    /// Its accounts: at most one for each payment type.
    pub accounts: BTreeMap<PaymentType, GatewayIdentity>,
    /// What customers read of it.
    pub words: ShopWords,
    /// The hosts to which a `return_url` or `cancel_url` may lead, in small letters; empty where every host may be named.
    pub return_hosts: Vec<String>,
    /// After this time a customer who has just paid is sent to the order's `return_url`; `None` where nothing leads there by
    /// itself.
    pub return_after_paid: Option<Duration>,
}

impl Shop {
    /// The payment types for which it has an account.
    pub fn payment_types(&self) -> impl Iterator<Item = PaymentType> {
        self.accounts.keys().copied()
    }

    /// Whether its customers may be sent to this host.
    pub fn allows_host(&self, host: &str) -> bool {
        self.return_hosts.is_empty() || self.return_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

/// What customers read of a shop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShopWords {
    /// Its name in Uzbek.
    pub name_uz: Option<String>,
    /// Its name in Russian.
    pub name_ru: Option<String>,
    /// Its name in English.
    pub name_en: Option<String>,
    /// How customers reach it: a telephone number or an address.
    pub support: Option<String>,
    /// The address of its logo.
    pub logo_url: Option<Url>,
}

impl ShopWords {
    /// Its name in this language, or else in another one.
    pub fn name(&self, language: Language) -> Option<&str> {
        let named = match language {
            Language::Uz => &self.name_uz,
            Language::Ru => &self.name_ru,
            Language::En => &self.name_en,
        };
        let others = [&self.name_uz, &self.name_ru, &self.name_en];
        named.as_deref().or_else(|| others.into_iter().find_map(|name| name.as_deref()))
    }
}

/// All shops of an installation, by name; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shops(Arc<BTreeMap<ShopName, Shop>>);

impl FromIterator<Shop> for Shops {
    /// Of two shops with one name the last counts.
    fn from_iter<I: IntoIterator<Item = Shop>>(shops: I) -> Self {
        Shops(Arc::new(shops.into_iter().map(|shop| (shop.name.clone(), shop)).collect()))
    }
}

impl Shops {
    /// The shop of this name.
    pub fn get(&self, name: &ShopName) -> Option<&Shop> {
        self.0.get(name)
    }

    /// All shops, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Shop> {
        self.0.values()
    }

    /// The shop of this account. An account belongs to one shop.
    pub fn of_account(&self, account: &GatewayIdentity) -> Option<&Shop> {
        self.iter().find(|shop| shop.accounts.values().any(|own| own == account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop(name: &str, account: &str) -> Shop {
        Shop {
            name: ShopName::parse(name).unwrap(),
            accounts: BTreeMap::from([(PaymentType::Atmos, GatewayIdentity(account.to_owned()))]),
            ..Shop::default()
        }
    }

    #[test]
    fn an_account_leads_to_its_shop() {
        let shops: Shops = [shop("tea", "atmos:1"), shop("rice", "atmos:2")].into_iter().collect();

        let found =
            |account: &str| shops.of_account(&GatewayIdentity(account.to_owned())).map(|shop| shop.name.as_str());
        assert_eq!((found("atmos:1"), found("atmos:2"), found("sandbox:1")), (Some("tea"), Some("rice"), None));
    }

    #[test]
    fn a_name_that_a_language_lacks_is_taken_from_another() {
        let words = ShopWords { name_ru: Some("Чай".to_owned()), ..ShopWords::default() };

        assert_eq!(words.name(Language::En), Some("Чай"));
        assert_eq!(ShopWords::default().name(Language::Uz), None);
    }

    #[test]
    fn a_shop_that_lists_no_host_allows_every_one() {
        let listed = Shop { return_hosts: vec!["tea.uz".to_owned()], ..Shop::default() };

        assert!(Shop::default().allows_host("any.example"));
        assert!(
            listed.allows_host("TEA.uz") && !listed.allows_host("evil.tea.uz") && !listed.allows_host("tea.uz.evil")
        );
    }
}
