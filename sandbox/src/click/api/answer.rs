//! Answers of the Merchant API.

use poem::http::StatusCode;
use serde_json::{Value, json};

/// An answer of the Merchant API, before it is written.
#[derive(Clone, Debug)]
pub(super) struct MerchantApiAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl MerchantApiAnswer {
    /// The call worked.
    pub(super) fn done(body: Value) -> Self {
        let mut answer = MerchantApiAnswer { status: StatusCode::OK, body };
        if let Value::Object(fields) = &mut answer.body {
            fields.insert("error_code".to_owned(), json!(0));
            fields.insert("error_note".to_owned(), json!("Success"));
        }
        answer
    }

    /// The call did not work. Click does not publish its codes, so these are the sandbox's own.
    pub(super) fn refused(status: StatusCode, error_code: i64, error_note: &str) -> Self {
        MerchantApiAnswer { status, body: json!({"error_code": error_code, "error_note": error_note}) }
    }
}
