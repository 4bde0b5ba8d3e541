//! The calls of the Merchant API and their answers, as JSON-RPC (Payme documents, Merchant API).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

/// A method of the Merchant API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PaymeMethod {
    CheckPerform,
    Create,
    Perform,
    Cancel,
    Check,
    Statement,
    FiscalData,
}

impl PaymeMethod {
    pub(crate) const ALL: [PaymeMethod; 7] = [
        PaymeMethod::CheckPerform,
        PaymeMethod::Create,
        PaymeMethod::Perform,
        PaymeMethod::Cancel,
        PaymeMethod::Check,
        PaymeMethod::Statement,
        PaymeMethod::FiscalData,
    ];

    /// The name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            PaymeMethod::CheckPerform => "CheckPerformTransaction",
            PaymeMethod::Create => "CreateTransaction",
            PaymeMethod::Perform => "PerformTransaction",
            PaymeMethod::Cancel => "CancelTransaction",
            PaymeMethod::Check => "CheckTransaction",
            PaymeMethod::Statement => "GetStatement",
            PaymeMethod::FiscalData => "SetFiscalData",
        }
    }
}

/// A call before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct RpcCall {
    /// One of [`PaymeMethod`], or anything else that a developer sends by hand.
    pub(crate) method: String,
    pub(crate) params: Value,
    /// The account's value, for faults that are limited to one.
    pub(crate) account: Option<String>,
}

impl RpcCall {
    pub(crate) fn new(method: PaymeMethod, params: Value, account: &str) -> Self {
        RpcCall { method: method.name().to_owned(), params, account: Some(account.to_owned()) }
    }

    /// The body: `method`, `params` and `id`, and no `jsonrpc` (Payme documents, request format).
    pub(crate) fn body(&self, id: u64, is_json_rpc: bool) -> String {
        let mut body = json!({"method": self.method, "params": self.params, "id": id});
        if let (true, Some(members)) = (is_json_rpc, body.as_object_mut()) {
            members.insert("jsonrpc".to_owned(), json!("2.0"));
        }
        body.to_string()
    }

    /// The same call with account values that are numbers as JSON numbers.
    pub(crate) fn with_numbers(mut self) -> Self {
        if let Some(account) = self.params.get_mut("account").and_then(Value::as_object_mut) {
            for value in account.values_mut() {
                let number = value.as_str().and_then(|text| text.parse::<i64>().ok());
                *value = number.map_or_else(|| value.clone(), Value::from);
            }
        }
        self
    }
}

/// `params` of CheckPerformTransaction.
pub(crate) fn check_params(account: &BTreeMap<String, String>, amount_tiyin: i64) -> Value {
    json!({"amount": amount_tiyin, "account": account})
}

/// `params` of CreateTransaction.
pub(crate) fn create_params(id: &str, time_ms: i64, account: &BTreeMap<String, String>, amount_tiyin: i64) -> Value {
    json!({"id": id, "time": time_ms, "amount": amount_tiyin, "account": account})
}

/// The merchant's answer, as far as it can be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MerchantWord {
    /// The member `result`.
    Result(Value),
    /// The member `error`, other than a system error.
    Error(RpcError),
    /// No answer, another HTTP status than 200, nothing readable, or a system error: the call is repeated.
    Silence(String),
}

/// An error of the merchant (Payme documents, errors).
#[derive(Clone, Debug, PartialEq, Deserialize, serde::Serialize)]
pub(crate) struct RpcError {
    pub(crate) code: i64,
    #[serde(default)]
    pub(crate) message: Value,
    #[serde(default)]
    pub(crate) data: Value,
}

/// Any HTTP status but 200 is taken as this (Payme documents, request format).
pub(crate) const SYSTEM_ERROR: i64 = -32_400;

impl MerchantWord {
    /// Reads an answer with this HTTP status.
    pub(crate) fn read(http_status: u16, body: &[u8]) -> Self {
        if http_status != 200 {
            return MerchantWord::Silence(format!("HTTP {http_status}, which is a system error"));
        }
        let answer: Value = match serde_json::from_slice(body) {
            Ok(answer) => answer,
            Err(cause) => return MerchantWord::Silence(format!("no JSON: {cause}")),
        };
        let member = |name: &str| answer.get(name).filter(|value| !value.is_null()).cloned();
        match (member("error"), member("result")) {
            (Some(error), _) => match serde_json::from_value::<RpcError>(error) {
                Ok(error) if error.code == SYSTEM_ERROR => MerchantWord::Silence("a system error".to_owned()),
                Ok(error) => MerchantWord::Error(error),
                Err(cause) => MerchantWord::Silence(format!("an error without a code: {cause}")),
            },
            (None, Some(result)) => MerchantWord::Result(result),
            (None, None) => MerchantWord::Silence("neither result nor error".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_as_documented() {
        let account = BTreeMap::from([("order_id".to_owned(), "197".to_owned())]);
        let call = RpcCall::new(PaymeMethod::CheckPerform, check_params(&account, 500_000), "197");

        let body: Value = serde_json::from_str(&call.body(1, false)).expect("JSON");

        assert_eq!(
            body,
            json!({"method":"CheckPerformTransaction","params":{"amount":500_000,"account":{"order_id":"197"}},"id":1})
        );
        let other: Value = serde_json::from_str(&call.with_numbers().body(1, true)).expect("JSON");
        assert_eq!((&other["jsonrpc"], &other["params"]["account"]["order_id"]), (&json!("2.0"), &json!(197)));
    }

    #[test]
    fn only_http_200_with_a_result_or_an_error_is_an_answer() {
        let word = |status, body: &str| MerchantWord::read(status, body.as_bytes());

        assert_eq!(
            word(200, r#"{"result":{"allow":true},"error":null}"#),
            MerchantWord::Result(json!({"allow": true}))
        );
        let MerchantWord::Error(error) = word(200, r#"{"error":{"code":-31050,"message":"x","data":"order_id"}}"#)
        else {
            panic!("an error");
        };
        assert_eq!((error.code, error.data), (-31_050, json!("order_id")));
        for (status, body) in [
            (500, r#"{"result":{}}"#),
            (200, "<html>"),
            (200, "{}"),
            (200, r#"{"error":{"code":-32400}}"#),
            (200, r#"{"error":"no"}"#),
        ] {
            assert!(matches!(word(status, body), MerchantWord::Silence(_)), "{status} {body}");
        }
    }
}
