//! Calls to our webhooks as Payme and Click send them, for the accounts of the sandbox.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest, Md5};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

/// The key of the sandbox's Payme account.
pub(crate) const PAYME_KEY: &str = "sandbox-payme-key";

/// The key of the sandbox's Click account.
pub(crate) const CLICK_KEY: &str = "sandbox-click-secret";

/// A call of Payme to the API at `url`.
pub(crate) fn payme_call(client: &Client, url: &str, key: &str, method: &str, params: &Value) -> RequestBuilder {
    let credentials = format!("Basic {}", BASE64_STANDARD.encode(format!("Paycom:{key}")));
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }).to_string();
    let request = client.post(format!("{url}/payme/webhook/")).header(AUTHORIZATION, credentials);
    request.header(CONTENT_TYPE, "text/json; charset=UTF-8").body(body)
}

/// What CheckPerformTransaction and CreateTransaction say of an order of 50 soʻm.
pub(crate) fn payme_payment(order_id: i64) -> Value {
    json!({ "amount": 5_000, "account": { "order_id": order_id.to_string() } })
}

/// The parameters of CreateTransaction for an order of 50 soʻm, with Payme's time.
pub(crate) fn payme_create(external_id: &str, order_id: i64, now_ms: i64) -> Value {
    let mut params = payme_payment(order_id);
    (params["id"], params["time"]) = (json!(external_id), json!(now_ms));
    params
}

/// Prepare (`prepare_id` is `None`) or Complete of Click's attempt to pay an order of 50 soʻm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClickStepCall {
    pub(crate) click_trans_id: i64,
    pub(crate) order_id: i64,
    pub(crate) prepare_id: Option<i64>,
}

impl ClickStepCall {
    /// The form, signed with this key.
    pub(crate) fn form(self, key: &str) -> String {
        const SERVICE: &str = "22222";
        const AMOUNT: &str = "50.00";
        const TIME: &str = "2026-08-22 14:03:11";
        let (trans, order) = (self.click_trans_id.to_string(), self.order_id.to_string());
        let prepare_id = self.prepare_id.map(|id| id.to_string()).unwrap_or_default();
        let action = if self.prepare_id.is_some() { "1" } else { "0" };
        let signed = [trans.as_str(), SERVICE, key, &order, &prepare_id, AMOUNT, action, TIME].concat();
        let sign = hex::encode(Md5::digest(signed));
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([
            ("click_trans_id", trans.as_str()),
            ("service_id", SERVICE),
            ("click_paydoc_id", &trans),
            ("merchant_trans_id", &order),
            ("amount", AMOUNT),
            ("action", action),
            ("error", "0"),
            ("error_note", "Success"),
            ("sign_time", TIME),
            ("sign_string", &sign),
        ]);
        if self.prepare_id.is_some() {
            form.append_pair("merchant_prepare_id", &prepare_id);
        }
        form.finish()
    }

    /// The call to the API at `url`.
    pub(crate) fn request(self, client: &Client, url: &str, key: &str) -> RequestBuilder {
        let request = client.post(format!("{url}/click/webhook/"));
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(self.form(key))
    }
}
