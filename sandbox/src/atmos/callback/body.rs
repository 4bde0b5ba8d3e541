//! The body of a callback: its JSON and its signature.

use md5::{Digest, Md5};
use serde::Serialize;
use sha2::Sha256;
use url::form_urlencoded;

use crate::atmos::faults::AtmosFault;
use crate::atmos::transaction::Transaction;
use crate::atmos::wire::{NumberOrText, hex};
use crate::clock::now_ms;
use crate::config::{CallbackHash, SandboxConfig};

/// A callback as it is sent.
#[derive(Clone, Debug)]
pub(crate) struct CallbackRequest {
    pub(crate) transaction_id: i64,
    pub(crate) account: String,
    pub(crate) body: String,
    /// The fault that changed it, or that sends it in another way.
    pub(crate) fault: Option<AtmosFault>,
    /// Whether it is a form instead of JSON.
    pub(crate) is_form: bool,
    /// Whether it is sent from an address that is not the gateway's.
    pub(crate) is_from_elsewhere: bool,
}

/// The form in which a callback is written; the default is the form of real callbacks in 2026.
///
/// Atmos' documentation, its examples and real callbacks differ. The signature is the same in every form, because it is
/// made over the bare values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallbackShape {
    pub(crate) account_key: AccountKey,
    /// Values that are numbers are written as `5000000` instead of `"5000000"`.
    pub(crate) has_numbers: bool,
    /// The signature is in upper case.
    pub(crate) is_signed_in_capitals: bool,
    /// A form instead of JSON.
    pub(crate) is_form: bool,
}

/// The key of the merchant's account in a callback (Atmos API, callback body).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AccountKey {
    /// `account`, as in real callbacks.
    #[default]
    Account,
    /// `invoice`, as in the documentation.
    Invoice,
    /// Both keys with the same value.
    Both,
}

/// The callback's body (Atmos API, callback). The keys are in the order of the documentation.
#[derive(Serialize)]
struct CallbackBody<'a> {
    store_id: NumberOrText,
    transaction_id: NumberOrText,
    transaction_time: NumberOrText,
    amount: NumberOrText,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a NumberOrText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice: Option<&'a NumberOrText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sign: Option<String>,
}

/// The faults that change the content of a callback.
pub(crate) const SPOILING: [AtmosFault; 8] = [
    AtmosFault::CallbackBadlySigned,
    AtmosFault::CallbackUnsigned,
    AtmosFault::CallbackWrongAmount,
    AtmosFault::CallbackDecimalAmount,
    AtmosFault::CallbackWrongStore,
    AtmosFault::CallbackUnknownTransaction,
    AtmosFault::CallbackUnknownAccount,
    AtmosFault::CallbackSlid,
];

/// Writes the body, changed if a fault says so.
pub(crate) fn write_body(
    config: &SandboxConfig,
    transaction: &Transaction,
    shape: CallbackShape,
    fault: Option<AtmosFault>,
) -> String {
    let mut store_id = config.store_id.clone();
    let mut transaction_id = transaction.id.to_string();
    let mut account = transaction.account.clone();
    let mut amount = transaction.amount_tiyin.to_string();
    match fault {
        Some(AtmosFault::CallbackWrongAmount) => "1".clone_into(&mut amount),
        Some(AtmosFault::CallbackWrongStore) => store_id.push('9'),
        Some(AtmosFault::CallbackDecimalAmount) => amount.push_str(".0"),
        Some(AtmosFault::CallbackUnknownTransaction) => transaction_id.push_str("000"),
        Some(AtmosFault::CallbackUnknownAccount) => account.push_str("000"),
        _ => (),
    }
    let mut sign = sign(config.sign_algorithm, &store_id, &transaction_id, &account, &amount, &config.api_key);
    match fault {
        Some(AtmosFault::CallbackBadlySigned) => sign = sign.chars().rev().collect(),
        // The last character of the account becomes the first of the amount: the signed text is the same.
        Some(AtmosFault::CallbackSlid) => amount.insert_str(0, &account.pop().map(String::from).unwrap_or_default()),
        _ => (),
    }
    if shape.is_signed_in_capitals {
        sign = sign.to_uppercase();
    }

    let scalar = |text: String| match shape.has_numbers {
        true => NumberOrText::new(&text),
        false => NumberOrText::Text(text),
    };
    let account = scalar(account);
    let body = CallbackBody {
        store_id: scalar(store_id),
        transaction_id: scalar(transaction_id),
        transaction_time: scalar(now_ms().to_string()),
        amount: scalar(amount),
        account: (shape.account_key != AccountKey::Invoice).then_some(&account),
        invoice: (shape.account_key != AccountKey::Account).then_some(&account),
        sign: (fault != Some(AtmosFault::CallbackUnsigned)).then_some(sign),
    };
    // A struct of texts and numbers can always be written as JSON.
    let json = || serde_json::to_string(&body).unwrap_or_default();
    if shape.is_form { form_of(&json()) } else { json() }
}

/// The same names and values as a form.
fn form_of(json: &str) -> String {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).unwrap_or_default();
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields {
        form.append_pair(&name, value.as_str().unwrap_or(&value.to_string()));
    }
    form.finish()
}

/// Signs a callback: the hash of the five values without separators, in lower-case hex (Atmos API, field `sign`).
fn sign(
    algorithm: CallbackHash,
    store_id: &str,
    transaction_id: &str,
    account: &str,
    amount: &str,
    api_key: &str,
) -> String {
    let text = [store_id, transaction_id, account, amount, api_key].concat();
    match algorithm {
        CallbackHash::Md5 => hex(&Md5::digest(text)),
        CallbackHash::Sha256 => hex(&Sha256::digest(text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn config() -> SandboxConfig {
        let mut config = SandboxConfig::new(([127, 0, 0, 1], 0).into(), "unused".into(), None);
        "test_api_key".clone_into(&mut config.api_key);
        config
    }

    fn transaction() -> Transaction {
        Transaction::draft(202_072, "12345".into(), 5_000_000, None)
    }

    fn body(config: &SandboxConfig, fault: Option<AtmosFault>) -> Value {
        shaped(config, CallbackShape::default(), fault)
    }

    fn shaped(config: &SandboxConfig, shape: CallbackShape, fault: Option<AtmosFault>) -> Value {
        serde_json::from_str(&write_body(config, &transaction(), shape, fault)).expect("JSON")
    }

    /// Computed independently, with Python's hashlib.
    #[test]
    fn signatures_are_those_of_an_independent_implementation() {
        let vectors = [
            (CallbackHash::Md5, ["1234", "202072", "12345", "5000000"], "81cf2d62ac965a94cda887ae406d37d4"),
            (
                CallbackHash::Sha256,
                ["1234", "202072", "12345", "5000000"],
                "7a045b5f5900ed628205e466a68d65043d4a818a277193e9fd09d310833f2fee",
            ),
            (CallbackHash::Md5, ["1234", "202072", "12345", "5000000.0"], "fbacee95c46195f0573d7e34177d5b91"),
            (CallbackHash::Md5, ["1234", "123456", "1", "5000"], "90768594b7b10865eb1dbc62d44afe37"),
            (CallbackHash::Md5, ["test_store", "123456", "12345", "5000000"], "0eeeebc613e6d252edc1ab051a106460"),
        ];
        for (algorithm, [store_id, transaction_id, account, amount], expected) in vectors {
            let signed = sign(algorithm, store_id, transaction_id, account, amount, "test_api_key");

            assert_eq!(signed, expected);
        }
    }

    #[test]
    fn the_body_is_that_of_a_live_callback() {
        let body = body(&config(), None);

        assert_eq!(body["store_id"], "1234");
        assert_eq!(body["transaction_id"], "202072");
        assert!(body["transaction_time"].is_string());
        assert_eq!(body["amount"], "5000000");
        assert_eq!(body["account"], "12345");
        assert_eq!(body.get("invoice"), None);
        assert_eq!(body["sign"], "81cf2d62ac965a94cda887ae406d37d4");
    }

    #[test]
    fn the_body_can_be_that_of_older_examples() {
        let shape = CallbackShape { account_key: AccountKey::Both, has_numbers: true, ..CallbackShape::default() };

        let body = shaped(&config(), shape, None);

        assert_eq!(body["store_id"], 1234);
        assert_eq!(body["transaction_id"], 202_072);
        assert!(body["transaction_time"].is_number());
        assert_eq!(body["amount"], 5_000_000);
        assert_eq!(body["account"], 12_345);
        assert_eq!(body["invoice"], 12_345);
        assert_eq!(body["sign"], "81cf2d62ac965a94cda887ae406d37d4");
    }

    #[test]
    fn a_signature_can_be_in_capitals_or_missing() {
        let capitals =
            shaped(&config(), CallbackShape { is_signed_in_capitals: true, ..CallbackShape::default() }, None);
        let unsigned = body(&config(), Some(AtmosFault::CallbackUnsigned));

        assert_eq!(capitals["sign"], "81CF2D62AC965A94CDA887AE406D37D4");
        assert_eq!(unsigned.get("sign"), None);
        assert_eq!(unsigned["amount"], "5000000");
    }

    #[test]
    fn an_amount_can_be_written_and_signed_as_a_decimal() {
        let body = body(&config(), Some(AtmosFault::CallbackDecimalAmount));

        assert_eq!(body["amount"], "5000000.0");
        assert_eq!(body["sign"], "fbacee95c46195f0573d7e34177d5b91");
    }

    #[test]
    fn a_form_says_the_same() {
        let shape = CallbackShape { is_form: true, has_numbers: true, ..CallbackShape::default() };

        let form = write_body(&config(), &transaction(), shape, None);

        let find = |name: &str| form_urlencoded::parse(form.as_bytes()).find(|(other, _)| other == name).expect(name).1;
        assert_eq!(find("account"), "12345");
        assert_eq!(find("amount"), "5000000");
        assert_eq!(find("sign"), "81cf2d62ac965a94cda887ae406d37d4");
    }

    #[test]
    fn a_slid_boundary_leaves_the_signature_right() {
        let body = body(&config(), Some(AtmosFault::CallbackSlid));

        assert_eq!(body["account"], "1234");
        assert_eq!(body["amount"], "55000000");
        assert_eq!(body["sign"], "81cf2d62ac965a94cda887ae406d37d4");
    }

    #[test]
    fn a_spoiled_callback_is_spoiled_in_one_place() {
        let config = config();
        let resigned = |body: &Value| {
            let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
            sign(
                CallbackHash::Md5,
                &text("store_id"),
                &text("transaction_id"),
                &text("account"),
                &text("amount"),
                "test_api_key",
            )
        };

        let wrong_amount = body(&config, Some(AtmosFault::CallbackWrongAmount));
        assert_eq!(wrong_amount["amount"], "1");
        assert_eq!(wrong_amount["sign"], resigned(&wrong_amount));

        let wrong_store = body(&config, Some(AtmosFault::CallbackWrongStore));
        assert_ne!(wrong_store["store_id"], "1234");
        assert_eq!(wrong_store["sign"], resigned(&wrong_store));

        let unknown = body(&config, Some(AtmosFault::CallbackUnknownTransaction));
        assert_ne!(unknown["transaction_id"], "202072");
        assert_eq!(unknown["sign"], resigned(&unknown));

        let badly_signed = body(&config, Some(AtmosFault::CallbackBadlySigned));
        assert_eq!(badly_signed["amount"], "5000000");
        assert_ne!(badly_signed["sign"], resigned(&badly_signed));
    }
}
