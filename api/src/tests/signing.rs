//! A second implementation of how the gateway writes and signs callbacks: the product is checked against it.

use md5::{Digest, Md5};
use sha2::Sha256;

use super::support::API_KEY;

/// The signed fields of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallbackFields<'a> {
    pub(crate) store_id: &'a str,
    pub(crate) transaction_id: &'a str,
    pub(crate) account: &'a str,
    pub(crate) amount: &'a str,
}

impl CallbackFields<'_> {
    /// The signed text before the key: the fields without separators.
    pub(crate) fn concatenated(&self) -> String {
        let CallbackFields { store_id, transaction_id, account, amount } = self;
        format!("{store_id}{transaction_id}{account}{amount}")
    }

    pub(crate) fn md5(&self, key: &str) -> String {
        md5_hex(format!("{}{key}", self.concatenated()).as_bytes())
    }

    pub(crate) fn sha256(&self, key: &str) -> String {
        sha256_hex(format!("{}{key}", self.concatenated()).as_bytes())
    }

    /// The documented body with a valid signature.
    pub(crate) fn signed(&self) -> String {
        self.signed_as(&self.md5(API_KEY))
    }

    pub(crate) fn signed_as(&self, sign: &str) -> String {
        let CallbackFields { store_id, transaction_id, account, amount } = self;
        format!(
            r#"{{"store_id":"{store_id}","transaction_id":"{transaction_id}","transaction_time":"1656326529324","amount":"{amount}","account":"{account}","sign":"{sign}"}}"#
        )
    }

    /// The same with bare numbers.
    pub(crate) fn as_numbers(&self) -> String {
        let CallbackFields { store_id, transaction_id, account, amount } = self;
        let sign = self.md5(API_KEY);
        format!(
            r#"{{"store_id":{store_id},"transaction_id":{transaction_id},"transaction_time":1656326529324,"amount":{amount},"account":{account},"sign":"{sign}"}}"#
        )
    }

    /// The same as a form.
    pub(crate) fn as_form(&self) -> String {
        let CallbackFields { store_id, transaction_id, account, amount } = self;
        let sign = self.md5(API_KEY);
        format!("store_id={store_id}&transaction_id={transaction_id}&amount={amount}&account={account}&sign={sign}")
    }
}

pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
