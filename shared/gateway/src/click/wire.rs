//! The answers of the Merchant API.

use domain::id::TransactionId;

use crate::json_answer::{AnswerFields, unknown, unknown_code};
use crate::{AnswerFault, GatewayError};

/// A payment in Click's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClickPayment {
    /// Its number, needed for a reversal.
    pub(super) payment_id: TransactionId,
    /// `payment_status`; `None` where the answer has none.
    pub(super) status: Option<i64>,
}

/// `payment_status` 2: paid. 0 is created, 1 is in processing, below 0 is an error (Click documents, payment status).
pub(super) const PAID: i64 = 2;

/// Reads the answer of `payment/status`.
///
/// # Errors
/// `OutcomeUnknown` where it is no clear answer about this payment.
pub(super) fn read_status(asked: TransactionId, body: &[u8], not_found_codes: &[i64]) -> Result<i64, GatewayError> {
    let answer = accepted(body, not_found_codes)?;
    if answer.get("payment_id").integer() != Some(asked.0) {
        return Err(unknown("an answer about another payment"));
    }
    answer.get("payment_status").integer().ok_or_else(|| unknown("no payment_status"))
}

/// Reads the answer of `payment/status_by_mti` about the order `asked`. Click's example shows `merchant_trans_id` in the place of
/// `payment_status`.
///
/// # Errors
/// As [`read_status`].
pub(super) fn read_status_by_mti(
    asked: &str,
    body: &[u8],
    not_found_codes: &[i64],
) -> Result<ClickPayment, GatewayError> {
    let answer = accepted(body, not_found_codes)?;
    if answer.get("merchant_trans_id").text().is_some_and(|named| named != asked) {
        return Err(unknown("an answer about another order"));
    }
    let payment_id = answer.get("payment_id").integer().filter(|id| *id > 0);
    let payment_id = TransactionId(payment_id.ok_or_else(|| unknown("no payment_id"))?);
    let status = match answer.get("payment_status") {
        status if status.is_absent() => None,
        status => Some(status.integer().ok_or_else(|| unknown("an unreadable payment_status"))?),
    };
    Ok(ClickPayment { payment_id, status })
}

/// Reads the answer of `payment/reversal`. `error_code` 0 alone says that the money goes back.
///
/// # Errors
/// `Refused` for another code, which says that this call did nothing; else `OutcomeUnknown`.
pub(super) fn read_reversed(asked: TransactionId, body: &[u8]) -> Result<(), GatewayError> {
    let answer = AnswerFields::of_answer(body)?;
    let is_about_another = answer.get("payment_id").integer().is_some_and(|named| named != asked.0);
    match answer.get("error_code").integer() {
        Some(0) if is_about_another => Err(unknown("an answer about another payment")),
        Some(0) => Ok(()),
        Some(code) => Err(GatewayError::Refused { code: code.to_string() }),
        None => Err(unknown("no error_code")),
    }
}

/// The fields of an answer whose `error_code` is 0. Other codes are not published, so none of them says what became of a payment,
/// but those that an operator has named.
fn accepted<'a>(body: &'a [u8], not_found_codes: &[i64]) -> Result<AnswerFields<'a>, GatewayError> {
    let answer = AnswerFields::of_answer(body)?;
    match answer.get("error_code").integer() {
        Some(0) => Ok(answer),
        Some(code) if not_found_codes.contains(&code) => Err(AnswerFault::NotFound(code.to_string()).into()),
        Some(code) => Err(unknown_code(&code.to_string())),
        None => match answer.get("error_code").text() {
            Some(code) => Err(unknown_code(&code)),
            None => Err(unknown("no error_code")),
        },
    }
}

/// Reads the body of HTTP 404, which Click documents for what it does not find. It is Click's word only with an `error_code`
/// other than 0: a proxy, or another server at a wrong address, sends the same status, and this word frees an order.
pub(super) fn read_not_found(body: &[u8]) -> Option<AnswerFault> {
    let code = AnswerFields::of_answer(body).ok()?.get("error_code").integer()?;
    (code != 0).then(|| AnswerFault::NotFound(code.to_string()))
}

/// Whether an unknown outcome came in Click's own form. Then Click works and reads our requests: an attempt that its payer left
/// is not found, and must not open the breaker.
pub(super) fn is_understood(fault: &AnswerFault) -> bool {
    match fault {
        AnswerFault::Code(_) | AnswerFault::NotFound(_) | AnswerFault::Contradiction(_) => true,
        AnswerFault::Timeout
        | AnswerFault::BrokenConnection
        | AnswerFault::HttpStatus(_)
        | AnswerFault::Unreadable(_) => false,
    }
}
