//! The bodies of `/merchant/pay/*`: our requests and the gateway's answers.
//!
//! Answers may vary in their form: a number may come as a string and the reverse, also with a fraction of zeros; unknown
//! fields are ignored. They may not vary in their meaning: an answer that is not clear is an unknown outcome.

use domain::id::TransactionId;
use domain::transaction::{Draft, DraftRequest, TransactionReport, TransactionState};
use serde::Serialize;

use super::AtmosSettings;
use crate::json_answer::{AnswerFields, AnswerValue, printable, unknown, unknown_code};
use crate::{AnswerFault, GatewayError};

/// The request of `POST /merchant/pay/create`.
#[derive(Debug, Serialize)]
pub(super) struct CreateBody<'a> {
    /// Tiyin.
    amount: i64,
    /// The order's number. Integrations that sent anything but digits report trouble.
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

/// The request of `POST /merchant/pay/reverse`. Its `transaction_id` is the permanent id of the debit.
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
    pub(super) fn new(settings: &'a AtmosSettings, request: &DraftRequest) -> Self {
        CreateBody {
            amount: request.amount.get(),
            account: request.order_id.to_string(),
            store_id: StoreId::new(&settings.store_id),
            terminal_id: settings.terminal_id.as_deref(),
            lang: request.language.as_str(),
        }
    }
}

impl<'a> GetBody<'a> {
    pub(super) fn new(settings: &'a AtmosSettings, transaction_id: TransactionId) -> Self {
        GetBody { store_id: StoreId::new(&settings.store_id), transaction_id }
    }
}

impl<'a> ReverseBody<'a> {
    pub(super) fn new(settings: &'a AtmosSettings, success_transaction_id: TransactionId, reason: &'a str) -> Self {
        let store_id = StoreId::new(&settings.store_id);
        ReverseBody { transaction_id: success_transaction_id, store_id, reason }
    }
}

/// The transaction is closed: paid, cancelled or expired; only `store_transaction` says which.
const CLOSED: &str = "STPIMS-ERR-092";

/// Codes that mean no for good (Atmos documents, result codes): repeating the request changes nothing, and no money moved.
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
    let answer = AnswerFields::of_answer(body)?;
    match result_code(&answer)?.as_str() {
        "OK" => (),
        code => return Err(no(code)),
    }
    let transaction = answer.object("store_transaction");
    let said = [answer.get("transaction_id"), transaction.get("trans_id")];
    let ids: Vec<Option<i64>> = said.into_iter().filter(|value| !value.is_absent()).map(AnswerValue::integer).collect();
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
    let answer = AnswerFields::of_answer(body)?;
    let code = result_code(&answer)?;
    if code != "OK" && code != CLOSED {
        return Err(no(&code));
    }
    if !answer.get("store_transaction").is_object() {
        return Err(unknown(&format!("no store_transaction, code {}", printable(&code))));
    }
    let found = answer.object("store_transaction");
    if found.get("trans_id").integer() != Some(asked.0) {
        return Err(unknown("an answer about another transaction"));
    }
    Ok(TransactionReport {
        transaction_id: asked,
        account: found.get("account").text().ok_or_else(|| unknown("no account"))?,
        store_id: found.object("store").get("id").text().or_else(|| found.get("store_id").text()),
        amount: found.get("amount").integer().ok_or_else(|| unknown("no amount"))?,
        unpaid_payment_id: None,
        state: state(code == CLOSED, &found)?,
    })
}

/// Reads the answer of `/merchant/pay/reverse`. Only `OK` says that the money went back; which transaction it names besides
/// differs from one integration to the next.
///
/// # Errors
/// `Refused` for a final code, else `OutcomeUnknown`: code 092 says "closed", which a reversed transaction is as well.
pub(super) fn read_reversed(body: &[u8]) -> Result<(), GatewayError> {
    match result_code(&AnswerFields::of_answer(body)?)?.as_str() {
        "OK" => Ok(()),
        code => Err(no(code)),
    }
}

/// The state of a transaction. It is debited with `confirmed`, a permanent id, and a status code that is 0 or absent.
/// `confirmed` alone stays true after a reversal, and code 092 alone says paid, cancelled or expired.
fn state(is_closed: bool, found: &AnswerFields<'_>) -> Result<TransactionState, GatewayError> {
    let unclear = |what: &str| TransactionState::Unclear { code: printable(what) };
    let permanent_id = match (found.get("success_trans_id").is_absent(), found.get("success_trans_id").integer()) {
        (true, _) | (_, Some(0)) => None,
        (_, Some(id)) if id > 0 => Some(TransactionId(id)),
        // There is a value, so money may have moved.
        _ => return Ok(unclear("unreadable success_trans_id")),
    };
    let status = match found.get("status_code") {
        code if code.is_absent() => String::new(),
        code => code.text().unwrap_or_else(|| "unreadable".to_owned()),
    };
    if status == "-20" {
        return Ok(TransactionState::Reversed { success_transaction_id: permanent_id });
    }
    let is_confirmed = found.get("confirmed").truth().ok_or_else(|| unknown("no `confirmed`"))?;
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

fn result_code(answer: &AnswerFields<'_>) -> Result<String, GatewayError> {
    answer.object("result").get("code").text().ok_or_else(|| match answer.object("status").get("code").text() {
        // Atmos's other APIs answer so. We do not know the code, but an operator may.
        Some(code) => AnswerFault::Code(format!("{}, outside of `result`", printable(&code))).into(),
        None => unknown("no result.code"),
    })
}

fn no(code: &str) -> GatewayError {
    if FINAL.contains(&code) { GatewayError::Refused { code: code.to_owned() } } else { unknown_code(code) }
}

/// Whether an unknown outcome came in the gateway's own words: a code that we do not know. Then the gateway works and reads
/// our requests, whatever it makes of this one. Its internal error, 001, does not count.
pub(super) fn is_understood(fault: &AnswerFault) -> bool {
    match fault {
        AnswerFault::Code(code) | AnswerFault::NotFound(code) => code != "STPIMS-ERR-001",
        AnswerFault::Contradiction(_) => true,
        AnswerFault::Timeout
        | AnswerFault::BrokenConnection
        | AnswerFault::HttpStatus(_)
        | AnswerFault::Unreadable(_) => false,
    }
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
mod tests;
