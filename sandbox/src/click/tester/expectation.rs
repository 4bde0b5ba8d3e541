//! What an answer must be, and whether it is.

use std::fmt;

use serde_json::Value;

use crate::click::answer::ShopApiReply;
use crate::click::shop_api::ShopApiCall;

/// A code that is accepted, and how it is read where there are several readings.
pub(super) type AcceptedCode = (i64, &'static str);

/// The answer to a call.
#[derive(Clone, Debug)]
pub(super) struct Expectation {
    accepted: Vec<AcceptedCode>,
    prepare_id: PrepareIdRule,
}

/// What an answer with 0 to Prepare says about `merchant_prepare_id`.
#[derive(Clone, Copy, Debug)]
enum PrepareIdRule {
    /// Any integer.
    Any,
    /// The one that was given before.
    Same(i64),
}

impl Expectation {
    /// One code, and nothing else.
    pub(super) fn code(code: i64) -> Self {
        Expectation::any(&[(code, "")])
    }

    /// One of several codes.
    pub(super) fn any(accepted: &[AcceptedCode]) -> Self {
        Expectation { accepted: accepted.to_vec(), prepare_id: PrepareIdRule::Any }
    }

    /// 0, with the same `merchant_prepare_id` as before.
    pub(super) fn prepared_as(prepare_id: i64) -> Self {
        Expectation { prepare_id: PrepareIdRule::Same(prepare_id), ..Expectation::code(0) }
    }

    /// How the answer is read, or what is wrong with it.
    pub(super) fn judge(&self, call: &ShopApiCall, answer: &ShopApiReply) -> Result<&'static str, String> {
        let Some(http_status) = answer.http_status else {
            return Err("the merchant did not answer".to_owned());
        };
        if http_status != 200 {
            return Err(format!("the answer is HTTP {http_status}; Click reads JSON with HTTP 200"));
        }
        if let Some(failure) = &answer.failure {
            return Err(failure.clone());
        }
        let Some(code) = answer.error else {
            return Err("`error` is missing or no integer".to_owned());
        };
        let accepted = self.accepted.iter().find(|(accepted, _)| *accepted == code);
        let (_, seen) = accepted.ok_or_else(|| format!("`error` is {code}"))?;
        if !answer.fields.get("error_note").is_some_and(Value::is_string) {
            return Err("`error_note` is missing or no text".to_owned());
        }
        if code == 0 {
            echoes(call, answer)?;
            if call.is_prepare() {
                self.judge_prepare_id(answer)?;
            } else {
                confirm_id(answer)?;
            }
        }
        Ok(seen)
    }

    fn judge_prepare_id(&self, answer: &ShopApiReply) -> Result<(), String> {
        let given = int(answer, "merchant_prepare_id")?;
        match self.prepare_id {
            PrepareIdRule::Same(before) if before != given => {
                Err(format!("`merchant_prepare_id` was {before} and is {given}: a repeat is answered alike"))
            }
            PrepareIdRule::Same(_) | PrepareIdRule::Any => Ok(()),
        }
    }
}

/// The answer names the attempt and the order of the call (Click documents, answers of Prepare and Complete).
fn echoes(call: &ShopApiCall, answer: &ShopApiReply) -> Result<(), String> {
    for (name, sent) in [("click_trans_id", &call.click_trans_id), ("merchant_trans_id", &call.merchant_trans_id)] {
        match answer.text(name) {
            Some(value) if value == *sent => (),
            Some(value) => return Err(format!("`{name}` is {value} instead of {sent}")),
            None => return Err(format!("`{name}` is missing")),
        }
    }
    Ok(())
}

/// An `int` of the answer; clocks in milliseconds, which some merchants take for it, are none.
fn int(answer: &ShopApiReply, name: &str) -> Result<i64, String> {
    let value = answer.integer(name).ok_or_else(|| format!("`{name}` is missing or no integer"))?;
    match i32::try_from(value) {
        Ok(_) => Ok(value),
        Err(_) => Err(format!("`{name}` is {value}, which is no int of 32 bits")),
    }
}

/// `merchant_confirm_id` is an int or null (Click documents, answer of Complete).
fn confirm_id(answer: &ShopApiReply) -> Result<(), String> {
    match answer.fields.get("merchant_confirm_id") {
        None | Some(Value::Null) => Ok(()),
        Some(_) => int(answer, "merchant_confirm_id").map(|_| ()),
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<String> = self.accepted.iter().map(|(code, _)| code.to_string()).collect();
        write!(formatter, "error {}", codes.join(" or "))?;
        if let PrepareIdRule::Same(before) = self.prepare_id {
            write!(formatter, ", merchant_prepare_id {before}")?;
        }
        Ok(())
    }
}
