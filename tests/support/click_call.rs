//! Calls of Click, field by field as it writes them, for tests that play Click themselves.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use serde_json::{Value, json};

/// One call, field by field as Click writes them.
#[derive(Clone, Debug)]
pub(crate) struct Call(pub(crate) Vec<(&'static str, String)>);

impl Call {
    /// A Prepare of an attempt, without its signature. The amount is in soʻm: `50.00`.
    pub(crate) fn prepare_of(
        service_id: &str,
        account: impl ToString,
        amount: &str,
        click_trans_id: impl ToString,
    ) -> Self {
        let fields = [
            ("click_trans_id", click_trans_id.to_string()),
            ("service_id", service_id.to_owned()),
            ("click_paydoc_id", "998877".to_owned()),
            ("merchant_trans_id", account.to_string()),
            ("amount", amount.to_owned()),
            ("action", "0".to_owned()),
            ("error", "0".to_owned()),
            ("error_note", "Success".to_owned()),
            ("sign_time", "2026-08-22 14:03:11".to_owned()),
        ];
        Call(fields.to_vec())
    }

    /// The Complete of the same attempt; an `error` of 0 says that Click has debited.
    pub(crate) fn complete(self, prepare_id: &Value, error: i64) -> Self {
        let prepare_id = prepare_id.as_i64().unwrap_or(987_654_321);
        self.with("action", "1").with("merchant_prepare_id", prepare_id).with("error", error)
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, value.to_string()));
        self
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn signed_with(self, key: &str) -> Self {
        let prepare_id = if self.get("action") == "1" { self.get("merchant_prepare_id") } else { "" };
        let joined = [
            self.get("click_trans_id"),
            self.get("service_id"),
            key,
            self.get("merchant_trans_id"),
            prepare_id,
            self.get("amount"),
            self.get("action"),
            self.get("sign_time"),
        ];
        let sign = hex::encode(Md5::digest(joined.concat()));
        self.with("sign_string", sign)
    }

    pub(crate) fn form(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }

    pub(crate) fn json(&self) -> String {
        json!(self.0.iter().cloned().collect::<BTreeMap<_, _>>()).to_string()
    }
}
