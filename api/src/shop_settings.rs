//! What customers read of a shop, and where they may be sent.

use std::time::Duration;

use config::values;
use domain::shops::ShopWords;
use domain::text;
use url::Url;

/// The longest name of a shop, and the longest support contact, in characters.
const LONGEST_WORDS: usize = 100;

config::settings! {
    /// What customers read of a shop, and where they may be sent.
    #[derive(Clone, Debug)]
    pub struct ShopSettings {
        /// The shop's name in Uzbek, for its customers.
        #[env("TASDIQ_SHOP_NAME_UZ", default = none, check = words)]
        pub name_uz: Option<String>,

        /// The same in Russian.
        #[env("TASDIQ_SHOP_NAME_RU", default = none, check = words)]
        pub name_ru: Option<String>,

        /// The same in English.
        #[env("TASDIQ_SHOP_NAME_EN", default = none, check = words)]
        pub name_en: Option<String>,

        /// How the shop's customers reach it: a telephone number or an address.
        #[env("TASDIQ_SHOP_SUPPORT", default = none, check = words)]
        pub support: Option<String>,

        /// The https address of the shop's logo.
        #[env("TASDIQ_SHOP_LOGO_URL", default = none, check = logo_url)]
        pub logo_url: Option<Url>,

        /// The hosts to which a `return_url` or `cancel_url` may lead, comma-separated: `tea.uz,www.tea.uz`.
        #[env("TASDIQ_RETURN_HOSTS", default = "", shown = "every host", check = hosts)]
        pub return_hosts: Vec<String>,

        /// After so many seconds, 1 to 60, a customer who has just paid goes to the order's `return_url`
        /// by itself.
        #[env("TASDIQ_RETURN_AFTER_PAID_S", default = none, shown = "never", check = values::seconds(1..=60))]
        pub return_after_paid: Option<Duration>,
    }
}

impl ShopSettings {
    /// What customers read of the shop.
    pub fn words(&self) -> ShopWords {
        ShopWords {
            name_uz: self.name_uz.clone(),
            name_ru: self.name_ru.clone(),
            name_en: self.name_en.clone(),
            support: self.support.clone(),
            logo_url: self.logo_url.clone(),
        }
    }
}

fn words(given: &str) -> Result<String, String> {
    match text::check(given, LONGEST_WORDS) {
        Ok(()) => Ok(given.to_owned()),
        Err(fault) => Err(format!("must have 1 to {LONGEST_WORDS} characters that can be read: {fault}")),
    }
}

fn logo_url(text: &str) -> Result<Url, String> {
    let example = "https://shop.example/logo.png";
    match values::web_url(text, example)? {
        url if url.scheme() == "https" => Ok(url),
        _ => Err(format!("is not https, so browsers would not show it; write {example}")),
    }
}

/// Hosts as an address has them: without scheme, port and path.
fn hosts(text: &str) -> Result<Vec<String>, String> {
    let is_host = |host: &str| url::Host::parse(host).is_ok() && !host.contains(['/', ':', '@', '*']);
    let hosts: Vec<String> = text.split(',').map(|host| host.trim().to_ascii_lowercase()).collect();
    match hosts.iter().all(|host| is_host(host)) {
        _ if text.is_empty() => Ok(Vec::new()),
        true => Ok(hosts),
        false => {
            Err("holds an entry that is no host; write names such as tea.uz,www.tea.uz, without https:// and port"
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_without_scheme_port_and_path() {
        assert_eq!(hosts("Tea.uz, www.tea.uz"), Ok(vec!["tea.uz".to_owned(), "www.tea.uz".to_owned()]));
        assert_eq!(hosts(""), Ok(Vec::new()));
        for wrong in ["https://tea.uz", "tea.uz:443", "tea.uz/", "tea.uz,", "*.tea.uz", "a b"] {
            assert!(hosts(wrong).is_err(), "{wrong}");
        }
    }
}
