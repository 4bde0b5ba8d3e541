//! A request's body as one JSON object: separate fields with values not yet parsed.

use std::fmt;

use domain::body_coding::without_byte_order_mark;
use poem::http::header;
use poem::{Request, RequestBody};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::problem::{Problem, ProblemType};
use crate::request_body;

const BODY_LIMIT: usize = 64 * 1024;

/// The labels of UTF-8 (WHATWG Encoding §4.2).
const UTF_8_LABELS: [&str; 6] =
    ["utf-8", "utf8", "unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8"];

/// The differences between the bodies: their fields and error texts.
pub(super) struct BodyShape {
    /// All fields. Any other field is refused: a misspelt `refrence` must not be ignored.
    pub(super) fields: &'static [&'static str],
    /// The object in error texts, such as `an order`.
    pub(super) noun: &'static str,
    /// The beginning of a valid body, for error texts.
    pub(super) example: &'static str,
    /// Whether an empty body means `{}`.
    pub(super) may_be_empty: bool,
}

/// The fields of a body, in their order.
#[derive(Debug)]
pub(super) struct JsonObject(Vec<(String, Box<RawValue>)>);

impl JsonObject {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// The body is too large, not JSON or not an object, or a field is unknown or appears twice.
    pub(super) async fn read(request: &Request, body: &mut RequestBody, shape: &BodyShape) -> Result<Self, Problem> {
        // Read even if the request is refused for another reason: a response in the middle of a body costs the sender
        // its connection.
        let bytes = request_body::read(request.headers(), body.take().map_err(Problem::from)?, BODY_LIMIT).await?;
        let bytes = without_byte_order_mark(&bytes);
        if bytes.is_empty() && shape.may_be_empty {
            return Ok(JsonObject(Vec::new()));
        }
        check_content_type(request.header(header::CONTENT_TYPE))?;
        let unreadable = |error: serde_json::Error| {
            Problem::new(ProblemType::UnreadableBody, format!("the body is not JSON: {error}"))
        };
        let text: &RawValue = serde_json::from_slice(bytes).map_err(unreadable)?;
        if !text.get().trim_start().starts_with('{') {
            return Err(Problem::new(
                ProblemType::NotAnObject,
                format!("the body must be an object: {}", shape.example),
            ));
        }
        let ObjectFields(fields) = serde_json::from_str(text.get()).map_err(unreadable)?;
        for (place, (name, _)) in fields.iter().enumerate() {
            if !shape.fields.contains(&name.as_str()) {
                let name: String = name.chars().take(100).collect();
                let detail = match shape.fields {
                    [only] => format!("`{name}` is not a field of {}; there is only `{only}`", shape.noun),
                    fields => format!("`{name}` is not a field of {}; there are {}", shape.noun, fields.join(", ")),
                };
                return Err(Problem::with_field(ProblemType::UnknownField, &name, detail));
            }
            if fields[..place].iter().any(|(earlier, _)| earlier == name) {
                let detail = format!("`{name}` appears twice; send it once");
                return Err(Problem::with_field(ProblemType::RepeatedField, name, detail));
            }
        }
        Ok(JsonObject(fields))
    }

    /// The raw value of a field; `null` is the same as leaving it out.
    pub(super) fn raw(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == field).map(|(_, value)| value.get()).filter(|value| *value != "null")
    }

    /// Like [`JsonObject::raw`], for a required field.
    ///
    /// # Errors
    /// [`ProblemType::MissingField`].
    pub(super) fn required(&self, field: &str) -> Result<&str, Problem> {
        self.raw(field).ok_or_else(|| {
            Problem::with_field(ProblemType::MissingField, field, format!("the field `{field}` is missing"))
        })
    }
}

/// Accepts `application/json`, if it names a charset then UTF-8.
fn check_content_type(content_type: Option<&str>) -> Result<(), Problem> {
    let mut parts = content_type.unwrap_or_default().split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            let label = value.trim_matches(|c: char| c == '"' || c == '\'' || c.is_whitespace());
            UTF_8_LABELS.iter().any(|known| label.eq_ignore_ascii_case(known))
        }
        _ => true,
    });
    match is_json && is_utf8 {
        true => Ok(()),
        false => Err(Problem::new(
            ProblemType::UnsupportedMediaType,
            "send JSON in UTF-8, with the header `Content-Type: application/json`",
        )),
    }
}

/// The fields of a JSON object in their order, repeated ones included.
struct ObjectFields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for ObjectFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsVec;

        impl<'de> Visitor<'de> for AsVec {
            type Value = ObjectFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectFields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(ObjectFields(fields))
            }
        }

        deserializer.deserialize_map(AsVec)
    }
}
