//! A gateway's answer in JSON, field by field.
//!
//! Answers may vary in their form: a number may come as a string and the reverse, also with a fraction of zeros; unknown
//! fields are ignored.

use std::collections::HashMap;

use domain::body_coding::without_byte_order_mark;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{AnswerFault, GatewayError};

/// The fields of a JSON object, each as it is written: a number that passed through a float might become another.
pub(crate) struct AnswerFields<'a>(HashMap<String, &'a RawValue>);

impl<'a> AnswerFields<'a> {
    /// The fields of an answer; none where it is JSON and no object.
    ///
    /// # Errors
    /// `OutcomeUnknown` where it is no JSON.
    pub(crate) fn of_answer(body: &'a [u8]) -> Result<Self, GatewayError> {
        let body = without_byte_order_mark(body);
        let no_json = |_| unknown("an answer that is no JSON");
        // Every part of it must be JSON, also the parts that are not read.
        let _: Value = serde_json::from_slice(body).map_err(no_json)?;
        serde_json::from_slice(body).map(Self::of).map_err(no_json)
    }

    fn of(value: &'a RawValue) -> Self {
        AnswerFields(serde_json::from_str(value.get()).unwrap_or_default())
    }

    /// The fields of the object of that name; none where there is no such object.
    pub(crate) fn object(&self, name: &str) -> Self {
        self.0.get(name).map_or_else(|| AnswerFields(HashMap::new()), |value| Self::of(value))
    }

    /// The value of that name.
    pub(crate) fn get(&self, name: &str) -> AnswerValue<'a> {
        AnswerValue(self.0.get(name).map_or("null", |value| value.get()))
    }
}

/// A value of an answer as it is written; `null` where there is none.
#[derive(Clone, Copy)]
pub(crate) struct AnswerValue<'a>(&'a str);

impl AnswerValue<'_> {
    pub(crate) fn is_absent(self) -> bool {
        self.0 == "null"
    }

    pub(crate) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// A text, or a number as text: a whole one without its fraction of zeros, any other as it is written.
    pub(crate) fn text(self) -> Option<String> {
        match self.0.as_bytes().first()? {
            b'"' => self.read(),
            b'-' | b'0'..=b'9' => Some(self.integer().map_or_else(|| self.0.to_owned(), |whole| whole.to_string())),
            _ => None,
        }
    }

    /// A text that is not empty; a value of another type is not converted.
    pub(crate) fn string(self) -> Option<String> {
        self.read::<String>().filter(|text| !text.is_empty())
    }

    /// A whole number, as such or in quotes.
    pub(crate) fn integer(self) -> Option<i64> {
        match self.0.strip_prefix('"') {
            Some(_) => {
                let text: String = self.read()?;
                // A plus before a number in quotes is a sender's format; the sender means that number.
                signed_whole_number(text.strip_prefix('+').filter(|rest| !rest.starts_with('-')).unwrap_or(&text))
            }
            None => signed_whole_number(self.0),
        }
    }

    pub(crate) fn truth(self) -> Option<bool> {
        self.read::<bool>().or_else(|| self.read::<String>()?.parse().ok())
    }

    fn read<T: DeserializeOwned>(self) -> Option<T> {
        serde_json::from_str(self.0).ok()
    }
}

fn signed_whole_number(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(unsigned) => without_zero_fraction(unsigned).and_then(|digits| format!("-{digits}").parse().ok()),
        None => whole_number(text),
    }
}

/// `5000000`, and `5000000.0` too: a sender that passes it through a float writes it so, signs what it wrote, and means the
/// same. Nothing else that a number may look like (`5e6`, `+5000000`, `0x4c4b40`, 99999999999999999999) is taken for one.
pub(crate) fn whole_number(text: &str) -> Option<i64> {
    without_zero_fraction(text).and_then(|digits| digits.parse().ok())
}

/// The digits of a whole number.
fn without_zero_fraction(text: &str) -> Option<&str> {
    let (digits, zeros) = text.split_once('.').unwrap_or((text, "0"));
    let is_whole = !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_whole && is_number).then_some(digits)
}

/// An answer that says nothing clear.
pub(crate) fn unknown(what: &str) -> GatewayError {
    AnswerFault::Unreadable(what.to_owned()).into()
}

/// A clear answer that contradicts what the gateway told or showed before.
pub(crate) fn contradiction(what: &str) -> GatewayError {
    AnswerFault::Contradiction(what.to_owned()).into()
}

/// A code of the gateway that does not say what became of the request.
pub(crate) fn unknown_code(code: &str) -> GatewayError {
    AnswerFault::Code(printable(code)).into()
}

/// A code that is safe in a log and on a console, whatever the gateway sent.
pub(crate) fn printable(code: &str) -> String {
    const LONGEST: usize = 60;
    code.chars().take(LONGEST).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}
