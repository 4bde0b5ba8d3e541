//! Which web cashbox is ours at Payme, and with which keys Payme calls us.

use std::fmt;

use config::values;
use domain::order::GatewayIdentity;
use domain::secret::Secret;
use ipnet::IpNet;
use url::Url;

use crate::callback_addresses::{AddressCheck, address_check, networks};

/// The sandbox's key. It and its cashbox are the defaults: they are published, hence worthless, and open no door to money.
pub const SANDBOX_KEY: &str = "sandbox-payme-key";

/// The beginning of the keys of further cashboxes of a sandbox: Payme's calls name no cashbox, so each needs a key of its own.
const FURTHER_SANDBOX_KEYS: &str = "sandbox-payme-key-";

/// Whether this key is the sandbox's, or one of a further cashbox of a sandbox.
pub fn is_sandbox_key(key: &str) -> bool {
    key == SANDBOX_KEY || key.starts_with(FURTHER_SANDBOX_KEYS)
}

config::settings! {
    /// Which web cashbox is ours at Payme, and with which keys Payme calls us.
    #[derive(Clone)]
    pub struct PaymeSettings {
        /// The id of the web cashbox, as Payme's cabinet shows it.
        #[env("PAYME_ID", default = "64a1f0c2b7e8d9034f5a6b7c", shown = "the sandbox's", check = cashbox_id)]
        pub cashbox_id: String,

        /// The cashbox's key, with which Payme calls us; a second key, after a comma, serves while keys are changed.
        /// `sandbox-payme-key`, or a key that begins with `sandbox-payme-key-`, means: this is the sandbox, and no money is
        /// real.
        #[env("PAYME_KEY", default = "sandbox-payme-key", shown = "the sandbox's", check = keys, secret)]
        pub keys: Vec<Secret>,

        /// The name of the cashbox's account field that holds the order's number.
        #[env("PAYME_ACCOUNT_FIELD", default = "order_id", check = account_field)]
        pub account_field: String,

        /// `True`, `true` or `1`: the default payment page is `https://test.paycom.uz`.
        #[env("PAYME_TEST_MODE", default = "false", check = values::yes_or_no)]
        pub is_test: bool,

        /// The payment page; what the link says is added.
        #[env(
            "PAYME_CHECKOUT_URL",
            default = "http://127.0.0.1:8100/payme",
            shown = "`https://checkout.paycom.uz`",
            check = checkout_url
        )]
        pub checkout_url: Url,

        /// `accept` or `refuse`: how a refund that a person asks for in Payme's cabinet is answered. A refused one leaves the
        /// money with the shop.
        #[env("PAYME_REFUND", default = "accept", check = CancelPolicy::parse)]
        pub refund: CancelPolicy,

        /// How a call with a right key from an unlisted address is treated: `off` like any other, `watch` logged, `refuse`
        /// logged and refused.
        #[env("PAYME_CALLBACK_ADDRESS_CHECK", default = "off", check = address_check)]
        pub address_check: AddressCheck,

        /// The networks and addresses of Payme, comma-separated; used with `watch` and `refuse`.
        // 185.234.113.1 to .15, and no other (Payme documents, request format).
        #[env(
            "PAYME_CALLBACK_ADDRESSES",
            default = "185.234.113.1,185.234.113.2/31,185.234.113.4/30,185.234.113.8/29",
            shown = "`185.234.113.1` to `185.234.113.15`",
            check = networks
        )]
        pub addresses: Vec<IpNet>,
    }
}

/// The answer to Payme's cancellation of a performed transaction, which is a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelPolicy {
    /// The money goes back to the customer.
    Accept,
    /// The goods or the service were delivered in full; the money stays (Payme documents, CancelTransaction, −31007).
    Refuse,
}

impl CancelPolicy {
    /// `accept` or `refuse`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "accept" => Ok(CancelPolicy::Accept),
            "refuse" => Ok(CancelPolicy::Refuse),
            _ => Err("is neither accept nor refuse".to_owned()),
        }
    }
}

impl PaymeSettings {
    /// `sandbox-payme:<cashbox>` with keys of the sandbox alone, else `payme:<cashbox>`.
    pub fn identity(&self) -> GatewayIdentity {
        let kind = if self.is_sandbox() { "sandbox-payme" } else { "payme" };
        GatewayIdentity(format!("{kind}:{}", self.cashbox_id))
    }

    /// Whether this is the sandbox, where no money is real. One key of a shop makes it a shop's.
    pub fn is_sandbox(&self) -> bool {
        self.keys.iter().all(|key| is_sandbox_key(key.expose()))
    }
}

/// The keys stay out of it.
impl fmt::Debug for PaymeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymeSettings")
            .field("identity", &self.identity().0)
            .field("account_field", &self.account_field)
            .field("host", &self.checkout_url.host_str())
            .finish_non_exhaustive()
    }
}

/// 24 hexadecimal digits (Payme documents, data types: ID).
fn cashbox_id(text: &str) -> Result<String, String> {
    match text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_owned()),
        false => Err("is not written as Payme's cabinet gives it: 24 digits and letters from a to f".to_owned()),
    }
}

/// The key of the cashbox, and a second one during a rotation. It may hold every sign that can be printed.
fn keys(text: &str) -> Result<Vec<Secret>, String> {
    let keys: Vec<&str> = text.split(',').map(str::trim).collect();
    if keys.len() > 2 {
        Err("holds more than two keys; one serves, and a second one during a rotation".to_owned())
    } else if keys.iter().any(|key| key.is_empty()) {
        Err("holds an empty key; take the comma away".to_owned())
    } else if keys.iter().any(|key| key.len() > 500 || !key.bytes().all(|byte| byte.is_ascii_graphic())) {
        Err("holds blanks or signs that no key has; copy it again".to_owned())
    } else {
        Ok(keys.into_iter().map(Secret::new).collect())
    }
}

/// It stands in payment links and in Payme's calls.
fn account_field(text: &str) -> Result<String, String> {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match (1..=64).contains(&text.len()) && text.bytes().all(is_sign) {
        true => Ok(text.to_owned()),
        false => Err("is not the name of an account field: 1 to 64 letters, digits, - or _".to_owned()),
    }
}

fn checkout_url(text: &str) -> Result<Url, String> {
    values::web_url(text, "https://checkout.paycom.uz")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::callback_addresses::holds;

    fn with_keys(text: &str) -> PaymeSettings {
        PaymeSettings { keys: keys(text).unwrap(), ..config::defaults().unwrap() }
    }

    #[test]
    fn the_published_key_alone_is_the_sandbox() {
        for text in [SANDBOX_KEY, "sandbox-payme-key-of-rice", "sandbox-payme-key-2,sandbox-payme-key"] {
            assert_eq!(with_keys(text).identity().0, "sandbox-payme:64a1f0c2b7e8d9034f5a6b7c", "{text}");
        }
        for text in ["mine", "mine,sandbox-payme-key", "sandbox-payme-key,mine", "sandbox-payme-key2"] {
            assert_eq!(with_keys(text).identity().0, "payme:64a1f0c2b7e8d9034f5a6b7c", "{text}");
        }
    }

    #[test]
    fn a_key_may_hold_every_sign_but_a_blank_and_a_comma() {
        assert_eq!(with_keys("a:b&c?d@e%f#g, h").keys, [Secret::new("a:b&c?d@e%f#g"), Secret::new("h")]);
        for text in ["a,", ",a", "a,b,c", "a b", "ключ"] {
            assert!(keys(text).is_err(), "{text}");
        }
    }

    #[test]
    fn payme_is_listed_with_its_fifteen_addresses_and_no_other() {
        let settings: PaymeSettings = config::defaults().unwrap();

        let listed: Vec<u8> =
            (0..=255).filter(|last| holds(&settings.addresses, IpAddr::from([185, 234, 113, *last]))).collect();

        assert_eq!(listed, (1..=15).collect::<Vec<u8>>());
    }

    #[test]
    fn keys_are_not_printed() {
        assert!(!format!("{:?}", with_keys("abcdefgh")).contains("abcdefgh"));
    }
}
