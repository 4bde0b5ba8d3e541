//! The merchant's answer to a call of SHOP-API.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::exchange::Exchange;

/// The most characters of an answer that a report shows.
const SHOWN_CHARACTERS: usize = 400;

/// What came back from a merchant.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ShopApiReply {
    /// Null if no answer came.
    pub(crate) http_status: Option<u16>,
    /// The answer's `error`, if it has one that is an integer.
    pub(crate) error: Option<i64>,
    /// The answer as text, cut if it is long.
    pub(crate) body: String,
    /// Why there is no answer, or why it could not be read.
    pub(crate) failure: Option<String>,
    /// The whole JSON object.
    #[serde(skip)]
    pub(crate) fields: Map<String, Value>,
}

impl ShopApiReply {
    /// Reads what came.
    pub(crate) fn read(came: &Exchange) -> Self {
        let (fields, failure) = match (&came.error, serde_json::from_slice::<Map<String, Value>>(&came.body)) {
            (Some(_), _) if came.timed_out => (Map::new(), Some("no answer in time".to_owned())),
            (Some(error), _) => (Map::new(), Some(format!("no answer: {error}"))),
            (None, Ok(fields)) => (fields, None),
            (None, Err(cause)) => (Map::new(), Some(format!("the answer is no JSON object: {cause}"))),
        };
        ShopApiReply {
            http_status: came.http_status.filter(|_| came.error.is_none()),
            error: fields.get("error").and_then(Value::as_i64),
            body: shown(&String::from_utf8_lossy(&came.body)),
            failure,
            fields,
        }
    }

    /// The answer's `error`, if Click would read it: HTTP 200 and an integer.
    pub(crate) fn code(&self) -> Option<i64> {
        if self.http_status == Some(200) { self.error } else { None }
    }

    /// An integer of the answer; Click documents the ids that a merchant gives as `int`.
    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        self.fields.get(name).and_then(Value::as_i64)
    }

    /// A value as text, whether the merchant wrote a number or a text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self.fields.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

/// Text from outside, cut and without control characters.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS).filter(|character| !character.is_control()).collect();
    if text.chars().count() > SHOWN_CHARACTERS {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> ShopApiReply {
        let (http_status, body) = (Some(status), body.as_bytes().to_vec());
        ShopApiReply::read(&Exchange { http_status, body, timed_out: false, error: None, milliseconds: 1 })
    }

    #[test]
    fn only_an_integer_with_http_200_is_an_answer() {
        let code = |status, body: &str| reply(status, body).code();

        assert_eq!(code(200, r#"{"error":-9}"#), Some(-9));
        assert_eq!(code(500, r#"{"error":0}"#), None);
        assert_eq!(code(200, r#"{"error":"0"}"#), None);
        assert_eq!(code(200, r#"{"error":0.0}"#), None);
        assert_eq!(code(200, "[0]"), None);
        assert_eq!(code(200, "OK"), None);
    }

    #[test]
    fn a_long_answer_is_shown_in_part() {
        let reply = reply(200, &"ў\u{1b}[31m".repeat(1000));

        assert!(reply.body.chars().count() <= SHOWN_CHARACTERS + 1);
        assert!(!reply.body.contains('\u{1b}') && reply.body.ends_with('…'), "{}", reply.body);
    }
}
