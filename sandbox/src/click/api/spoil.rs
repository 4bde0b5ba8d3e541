//! Faults that change the answer of a call whose work is done.

use std::time::Duration;

use poem::Response;
use poem::http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::answer::MerchantApiAnswer;
use crate::answers::{html, json};
use crate::click::faults::ClickSimFault;
use crate::faults::Strike;

const JSON: &str = "application/json; charset=utf-8";

/// Writes an answer as it is.
pub(super) fn plain(answer: &MerchantApiAnswer) -> Response {
    json(answer.status, &answer.body)
}

/// Writes an answer, changed by the faults that strike.
pub(super) fn write(mut answer: MerchantApiAnswer, strikes: impl Fn(ClickSimFault) -> Option<Strike>) -> Response {
    if strikes(ClickSimFault::ApiHtml).is_some() {
        return html(StatusCode::OK, "Ведутся технические работы");
    }
    if strikes(ClickSimFault::ApiEmpty).is_some() {
        return Response::builder().header(header::CONTENT_TYPE, JSON).body(());
    }
    if strikes(ClickSimFault::ApiMalformed).is_some() {
        let mut bytes = serde_json::to_vec(&answer.body).unwrap_or_default();
        bytes.truncate(bytes.len() / 2);
        return Response::builder().header(header::CONTENT_TYPE, JSON).body(bytes);
    }
    if strikes(ClickSimFault::ApiOtherTypes).is_some()
        && let Some(fields) = answer.body.as_object_mut()
    {
        for value in fields.values_mut().filter(|value| value.is_number()) {
            *value = Value::from(value.to_string());
        }
    }
    plain(&answer)
}

/// The answer to too many calls. Click documents none; a proxy in front of it may answer so.
pub(super) fn throttled(wait: Duration) -> Response {
    let mut response =
        json(StatusCode::TOO_MANY_REQUESTS, &json!({"error_code": -429, "error_note": "Too many requests"}));
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}
