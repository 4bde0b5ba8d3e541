//! The answer of an endpoint under test.

use serde_json::Value;

use crate::exchange::Exchange;
use crate::payme::busy::is_of_account;

/// The most characters of an answer in a report.
const SHOWN: usize = 400;

/// An answer, and what can be said of it without knowing what was asked.
#[derive(Clone, Debug)]
pub(super) struct SeenAnswer {
    came: Exchange,
    body: Value,
}

impl SeenAnswer {
    pub(super) fn new(came: Exchange) -> Self {
        let body = serde_json::from_slice(&came.body).unwrap_or_default();
        SeenAnswer { came, body }
    }

    /// The member `result`; null where there is none.
    pub(super) fn result(&self) -> &Value {
        &self.body["result"]
    }

    /// The error's code, if it is an error.
    pub(super) fn code(&self) -> Option<i64> {
        self.body["error"]["code"].as_i64()
    }

    /// The answer for a person.
    pub(super) fn text(&self) -> String {
        let status = self.came.http_status.map_or_else(String::new, |status| format!("HTTP {status} "));
        let body: String = String::from_utf8_lossy(&self.came.body).chars().take(SHOWN).collect();
        match &self.came.error {
            Some(error) => format!("{status}{error}"),
            None => format!("{status}{body}"),
        }
    }

    /// What is wrong with the envelope: the rules that hold for every answer (Payme documents, request format).
    pub(super) fn envelope_fault(&self, id: u64, account_field: &str) -> Option<String> {
        match (self.came.http_status, &self.came.error) {
            (_, Some(error)) => return Some(format!("no answer: {error}")),
            (Some(200), None) => (),
            (Some(status), None) => {
                return Some(format!("HTTP {status} is taken as a system error; answer 200 always"));
            }
            (None, None) => return Some("no answer".to_owned()),
        }
        if !self.body.is_object() {
            return Some("the body is no JSON object".to_owned());
        }
        if self.body["id"] != id {
            return Some("the `id` of the call is not given back".to_owned());
        }
        match (self.body["result"].is_null(), self.body["error"].is_null()) {
            (true, true) => return Some("there is neither a result nor an error".to_owned()),
            (false, false) => return Some("there are both a result and an error".to_owned()),
            (false, true) => return None,
            (true, false) => (),
        }
        match self.code() {
            None => Some("the error's code is no whole number".to_owned()),
            Some(code) if is_of_account(code) => self.account_error_fault(account_field),
            Some(_) => None,
        }
    }

    /// An error about the account has three languages and names the field (Payme documents, errors).
    fn account_error_fault(&self, account_field: &str) -> Option<String> {
        let error = &self.body["error"];
        let has = |language: &&str| error["message"][*language].as_str().is_some_and(|text| !text.trim().is_empty());
        if let Some(language) = ["ru", "uz", "en"].iter().find(|language| !has(language)) {
            return Some(format!("the message has no text in {language:?}; it is an object of ru, uz and en"));
        }
        let names_field = error["data"].as_str() == Some(account_field);
        (!names_field).then(|| format!("`data` does not name the account field {account_field:?}"))
    }
}
