//! Faults that change the answer of a call whose work is done.

use poem::Response;
use poem::http::{StatusCode, header};
use serde_json::{Value, json};

use crate::answers::{html, json};
use crate::atmos::codes::{Code, ResultLanguage};
use crate::atmos::faults::AtmosFault;
use crate::atmos::wire::ApiAnswer;
use crate::faults::Strike;

/// Writes `answer`, changed by the faults that strike.
pub(super) fn write(
    mut answer: ApiAnswer,
    language: ResultLanguage,
    strikes: impl Fn(AtmosFault) -> Option<Strike>,
) -> Response {
    if strikes(AtmosFault::UnknownCode).is_some() {
        answer = ApiAnswer::bare(Code::NeverHeardOf, language);
    }
    if strikes(AtmosFault::NoStoreTransaction).is_some() {
        answer.store_transaction = None;
    }
    if strikes(AtmosFault::Html).is_some() {
        return html(StatusCode::OK, "Ведутся технические работы");
    }
    if strikes(AtmosFault::Empty).is_some() {
        return Response::builder().header(header::CONTENT_TYPE, JSON).body(());
    }
    let has_other_types = strikes(AtmosFault::OtherTypes).is_some();
    let has_extra_fields = strikes(AtmosFault::ExtraFields).is_some();
    if strikes(AtmosFault::Malformed).is_some() {
        return half_of(&answer);
    }
    if !has_other_types && !has_extra_fields {
        return json(StatusCode::OK, &answer);
    }
    let mut body = serde_json::to_value(&answer).unwrap_or_default();
    if has_other_types {
        swap_types(&mut body);
    }
    if has_extra_fields {
        add_fields(&mut body);
    }
    json(StatusCode::OK, &body)
}

const JSON: &str = "application/json; charset=utf-8";

/// An answer cut in the middle, with a content length that fits.
fn half_of(answer: &ApiAnswer) -> Response {
    let mut bytes = serde_json::to_vec(answer).unwrap_or_default();
    bytes.truncate(bytes.len() / 2);
    Response::builder().header(header::CONTENT_TYPE, JSON).body(bytes)
}

/// Numbers become strings, and strings of digits become numbers: Atmos' samples and real answers have both.
fn swap_types(value: &mut Value) {
    match value {
        Value::Number(number) => *value = Value::String(number.to_string()),
        Value::String(text) => {
            if let Ok(number) = text.parse::<i64>()
                && number.to_string() == *text
            {
                *value = Value::from(number);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(swap_types),
        Value::Object(fields) => fields.values_mut().for_each(swap_types),
        Value::Null | Value::Bool(_) => (),
    }
}

/// A newer gateway may send fields that no client knows yet.
fn add_fields(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(add_fields);
        fields.insert("trace_id".to_owned(), json!("5f2c"));
        fields.insert("extra".to_owned(), json!({"code": "NO", "confirmed": false, "list": [1, null]}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapped_types_lose_no_digit() {
        let mut body = json!({"id": 7, "amount": "5000", "code": "OK", "zero": "007", "none": null, "in": [{"a": -1}]});

        swap_types(&mut body);

        assert_eq!(
            body,
            json!({"id": "7", "amount": 5000, "code": "OK", "zero": "007", "none": null, "in": [{"a": "-1"}]})
        );
    }
}
