//! The bodies of `/merchant/pay/*`: what we send, and what an answer says.
//!
//! Answers are read with patience for their shape (a number may come as a string and the reverse, unknown fields
//! are passed over) and with none for their meaning: what is not clearly said is an unknown outcome.

use serde::Serialize;
use serde_json::Value;

use super::AtmosConfig;
use crate::body_coding::without_byte_order_mark;
use crate::gateway::{Draft, DraftRequest, GatewayError, TransactionReport, TransactionState};
use crate::id::TransactionId;

/// The request of `POST /merchant/pay/create`.
#[derive(Debug, Serialize)]
pub(super) struct CreateBody<'a> {
    /// Tiyin.
    amount: i64,
    /// The order's number; integrations that sent anything but digits report trouble.
    account: String,
    store_id: StoreId<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terminal_id: Option<&'a str>,
    lang: &'static str,
}

/// The request of `POST /merchant/pay/get`.
#[derive(Debug, Serialize)]
pub(super) struct GetBody<'a> {
    store_id: StoreId<'a>,
    transaction_id: TransactionId,
}

/// The request of `POST /merchant/pay/reverse`. What it calls a transaction is the debit, by its permanent id.
#[derive(Debug, Serialize)]
pub(super) struct ReverseBody<'a> {
    transaction_id: TransactionId,
    store_id: StoreId<'a>,
    reason: &'a str,
}

/// The documents' samples show a string, most integrations send a number: a number where it is one.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum StoreId<'a> {
    Number(u64),
    Text(&'a str),
}

impl<'a> StoreId<'a> {
    fn new(text: &'a str) -> Self {
        match text.parse::<u64>() {
            Ok(number) if number.to_string() == text => StoreId::Number(number),
            _ => StoreId::Text(text),
        }
    }
}

impl<'a> CreateBody<'a> {
    pub(super) fn new(config: &'a AtmosConfig, request: &DraftRequest) -> Self {
        CreateBody {
            amount: request.amount.get(),
            account: request.order_id.to_string(),
            store_id: StoreId::new(&config.store_id),
            terminal_id: config.terminal_id.as_deref(),
            lang: request.language.as_str(),
        }
    }
}

impl<'a> GetBody<'a> {
    pub(super) fn new(config: &'a AtmosConfig, transaction_id: TransactionId) -> Self {
        GetBody { store_id: StoreId::new(&config.store_id), transaction_id }
    }
}

impl<'a> ReverseBody<'a> {
    pub(super) fn new(config: &'a AtmosConfig, success_transaction_id: TransactionId, reason: &'a str) -> Self {
        let store_id = StoreId::new(&config.store_id);
        ReverseBody { transaction_id: success_transaction_id, store_id, reason }
    }
}

/// The transaction is closed: paid, cancelled or expired; only `store_transaction` says which.
const CLOSED: &str = "STPIMS-ERR-092";

/// Codes that mean no for good (ATMOS.md §3): repeating the request changes nothing, and no money moved.
/// `001`, an internal error, and every code not listed are unknown outcomes.
const FINAL: &[&str] = &[
    "STPIMS-ERR-003",
    "STPIMS-ERR-005",
    "STPIMS-ERR-008",
    "STPIMS-ERR-009", // wrong parameters
    "STPIMS-ERR-061", // no such record
    "STPIMS-ERR-080",
    "STPIMS-ERR-102",
    "STPIMS-ERR-117",
];

/// Reads the answer of `/merchant/pay/create`.
///
/// # Errors
/// `Refused` for a final code, else `OutcomeUnknown`.
pub(super) fn read_created(body: &[u8]) -> Result<Draft, GatewayError> {
    let answer = json(body)?;
    match result_code(&answer)?.as_str() {
        "OK" => (),
        code => return Err(no(code)),
    }
    let said = [&answer["transaction_id"], &answer["store_transaction"]["trans_id"]];
    let ids: Vec<Option<i64>> = said.into_iter().filter(|value| !value.is_null()).map(integer).collect();
    match ids.as_slice() {
        [] => Err(unknown("no transaction_id")),
        [Some(id)] if *id > 0 => Ok(Draft { transaction_id: TransactionId(*id) }),
        [Some(id), same] if *id > 0 && *same == Some(*id) => Ok(Draft { transaction_id: TransactionId(*id) }),
        _ => Err(unknown("two different or impossible transaction ids")),
    }
}

/// Reads the answer of `/merchant/pay/get` about the transaction `asked`.
///
/// # Errors
/// `Refused` for a final code, else `OutcomeUnknown`.
pub(super) fn read_report(asked: TransactionId, body: &[u8]) -> Result<TransactionReport, GatewayError> {
    let answer = json(body)?;
    let code = result_code(&answer)?;
    if code != "OK" && code != CLOSED {
        return Err(no(&code));
    }
    let found = &answer["store_transaction"];
    if !found.is_object() {
        return Err(unknown(&format!("no store_transaction, code {}", printable(&code))));
    }
    if integer(&found["trans_id"]) != Some(asked.0) {
        return Err(unknown("an answer about another transaction"));
    }
    Ok(TransactionReport {
        transaction_id: asked,
        account: text(&found["account"]).ok_or_else(|| unknown("no account"))?,
        store_id: text(&found["store"]["id"]).or_else(|| text(&found["store_id"])),
        amount: integer(&found["amount"]).ok_or_else(|| unknown("no amount"))?,
        state: state(code == CLOSED, found)?,
    })
}

/// Reads the answer of `/merchant/pay/reverse`. Only `OK` says that the money went back; which transaction it names besides
/// differs from one integration to the next.
///
/// # Errors
/// `Refused` for a final code, else `OutcomeUnknown`: code 092 says "closed", which a reversed transaction is as well.
pub(super) fn read_reversed(body: &[u8]) -> Result<(), GatewayError> {
    match result_code(&json(body)?)?.as_str() {
        "OK" => Ok(()),
        code => Err(no(code)),
    }
}

/// Where a transaction is. The paid predicate is ATMOS.md §2.4: `confirmed`, a permanent id, and a status code of
/// success. `confirmed` alone stays true after a reversal, and code 092 alone says paid, cancelled or expired.
fn state(is_closed: bool, found: &Value) -> Result<TransactionState, GatewayError> {
    let unclear = |what: &str| TransactionState::Unclear { code: printable(what) };
    let permanent_id = match (&found["success_trans_id"], integer(&found["success_trans_id"])) {
        (Value::Null, _) | (_, Some(0)) => None,
        (_, Some(id)) if id > 0 => Some(TransactionId(id)),
        // Something stands there, so money may have moved.
        _ => return Ok(unclear("unreadable success_trans_id")),
    };
    let status = match &found["status_code"] {
        Value::Null => String::new(),
        code => text(code).unwrap_or_else(|| "unreadable".to_owned()),
    };
    if status == "-20" {
        return Ok(TransactionState::Reversed { success_transaction_id: permanent_id });
    }
    let is_confirmed = truth(&found["confirmed"]).ok_or_else(|| unknown("no `confirmed`"))?;
    Ok(match (is_confirmed, permanent_id) {
        (true, Some(success_transaction_id)) if status.is_empty() || status == "0" => {
            TransactionState::Debited { success_transaction_id }
        }
        (true, Some(_)) => unclear(&status),
        (true, None) => unclear("confirmed without success_trans_id"),
        (false, Some(_)) => unclear("success_trans_id without confirmed"),
        (false, None) if is_closed => TransactionState::Closed,
        (false, None) => TransactionState::Open,
    })
}

fn json(body: &[u8]) -> Result<Value, GatewayError> {
    serde_json::from_slice(without_byte_order_mark(body)).map_err(|_| unknown("an answer that is no JSON"))
}

fn result_code(answer: &Value) -> Result<String, GatewayError> {
    text(&answer["result"]["code"]).ok_or_else(|| match text(&answer["status"]["code"]) {
        // How Atmos's other APIs answer; here it says nothing that we would know, but an operator may.
        Some(code) => unknown(&format!("code {}, outside of `result`", printable(&code))),
        None => unknown("no result.code"),
    })
}

fn no(code: &str) -> GatewayError {
    if FINAL.contains(&code) {
        GatewayError::Refused { code: code.to_owned() }
    } else {
        unknown(&format!("code {}", printable(code)))
    }
}

/// Whether an unknown outcome was told in the gateway's own words: a code nobody knows. Then it is there and reads us,
/// whatever it makes of this one request. Its internal error, 001, is none of these.
pub(super) fn is_understood(what: &str) -> bool {
    what.strip_prefix("code ").is_some_and(|code| code != "STPIMS-ERR-001")
}

pub(super) fn unknown(what: &str) -> GatewayError {
    GatewayError::OutcomeUnknown { what: what.to_owned(), source: None }
}

/// A code as it may stand in a log and on a console, whatever the gateway sent.
fn printable(code: &str) -> String {
    const LONGEST: usize = 60;
    code.chars().take(LONGEST).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

pub(super) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_i64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
mod tests;
