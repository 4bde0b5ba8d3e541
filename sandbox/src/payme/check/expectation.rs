//! What an answer must be.

use serde_json::Value;

use super::answer::SeenAnswer;
use crate::payme::busy::{BusyCode, is_of_account};

/// What is expected of one answer.
#[derive(Clone, Debug)]
pub(super) enum ExpectedWord {
    /// This error.
    Code(i64),
    /// An error about the account.
    AccountError,
    /// The error for an order that another transaction holds.
    Busy(BusyCode),
    /// `allow` is true.
    Allowed,
    /// A transaction in this state, with this time set.
    State(i64, &'static str),
    /// The same result as before.
    Same(Value),
    /// What CheckTransaction must show.
    Shown(Shown),
}

/// The record of a transaction as CheckTransaction must show it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) state: i64,
    pub(super) transaction: Value,
    pub(super) create_time: Value,
    pub(super) perform_time: Value,
    pub(super) cancel_time: Value,
    pub(super) reason: Value,
}

impl ExpectedWord {
    /// For a person.
    pub(super) fn text(&self) -> String {
        match self {
            ExpectedWord::Code(code) => format!("error {code}"),
            ExpectedWord::AccountError => {
                "error -31099 to -31050, `message` in three languages, the field in `data`".to_owned()
            }
            ExpectedWord::Busy(code) => format!("error {code}"),
            ExpectedWord::Allowed => "allow: true".to_owned(),
            ExpectedWord::State(state, time) => format!("state {state}, a transaction, {time} of 13 digits"),
            ExpectedWord::Same(first) => format!("the same as before: {first}"),
            ExpectedWord::Shown(shown) => format!(
                "state {}, transaction {}, create_time {}, perform_time {}, cancel_time {}, reason {}",
                shown.state, shown.transaction, shown.create_time, shown.perform_time, shown.cancel_time, shown.reason
            ),
        }
    }

    /// Judges an answer whose envelope is in order.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(super) fn judge(&self, answer: &SeenAnswer) -> Result<(), String> {
        let wanted_error = |is_right: bool, wanted: String| match (answer.code(), is_right) {
            (Some(_), true) => Ok(()),
            (Some(code), false) => Err(format!("the code is {code} instead of {wanted}")),
            (None, _) => Err("it is a result instead of an error".to_owned()),
        };
        let code = answer.code().unwrap_or_default();
        match self {
            ExpectedWord::Code(expected) => wanted_error(code == *expected, expected.to_string()),
            ExpectedWord::AccountError => wanted_error(is_of_account(code), "-31099 to -31050".to_owned()),
            ExpectedWord::Busy(busy) => wanted_error(busy.accepts(code), busy.to_string()),
            ExpectedWord::Allowed | ExpectedWord::State(..) | ExpectedWord::Same(_) | ExpectedWord::Shown(_)
                if answer.code().is_some() =>
            {
                Err(format!("it is the error {code}"))
            }
            ExpectedWord::Allowed if answer.result()["allow"] == Value::Bool(true) => Ok(()),
            ExpectedWord::Allowed => Err("`allow` is not true".to_owned()),
            ExpectedWord::State(state, time) => in_state(answer.result(), *state, time),
            ExpectedWord::Same(first) if answer.result() == first => Ok(()),
            ExpectedWord::Same(first) => Err(difference(first, answer.result())),
            ExpectedWord::Shown(shown) => shown.judge(answer.result()),
        }
    }
}

/// A transaction in a state, with the time of its entering it (Payme documents, answers of Create, Perform, Cancel).
fn in_state(result: &Value, state: i64, time: &str) -> Result<(), String> {
    if result["state"] != state {
        return Err(format!("the state is {} instead of {state}", result["state"]));
    }
    if result["transaction"].as_str().is_none_or(str::is_empty) {
        return Err("`transaction` is no text".to_owned());
    }
    match result[time].as_i64() {
        Some(1_000_000_000_000..=9_999_999_999_999) => Ok(()),
        _ => Err(format!("`{time}` is no number of 13 digits")),
    }
}

/// The first member in which two results differ.
fn difference(first: &Value, second: &Value) -> String {
    let (Some(members), Some(_)) = (first.as_object(), second.as_object()) else {
        return "it differs from the first answer".to_owned();
    };
    match members.iter().find(|(name, value)| second[name.as_str()] != **value) {
        Some((name, value)) => format!("`{name}` was {value} and is {} now", second[name.as_str()]),
        None => "it has more members than the first answer".to_owned(),
    }
}

impl Shown {
    /// A time that has not come is 0; null is taken too (Payme documents, CheckTransaction; its template sends null).
    fn judge(&self, result: &Value) -> Result<(), String> {
        let is_unset = |value: &Value| value.is_null() || *value == 0;
        for (name, expected) in [
            ("state", &Value::from(self.state)),
            ("transaction", &self.transaction),
            ("create_time", &self.create_time),
            ("perform_time", &self.perform_time),
            ("cancel_time", &self.cancel_time),
            ("reason", &self.reason),
        ] {
            let seen = &result[name];
            let is_right = seen == expected || (name != "reason" && is_unset(expected) && is_unset(seen));
            if !is_right {
                return Err(format!("`{name}` is {seen} instead of {expected}"));
            }
        }
        Ok(())
    }
}
