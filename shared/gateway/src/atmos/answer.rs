//! Our answer to a callback, as Atmos reads it.

use domain::callback_verdict::CallbackVerdict;
use serde_json::{Value, json};

/// The body of the answer, which goes with HTTP 200: `status` 1 lets Atmos debit, 0 does not (Atmos documents, callback).
pub fn callback_answer(verdict: CallbackVerdict) -> Value {
    json!({ "status": u8::from(verdict.allows()), "message": callback_message(verdict) })
}

/// The reason for a no, as the answer's `message`; Atmos's support may read it.
pub fn callback_message(verdict: CallbackVerdict) -> &'static str {
    match verdict {
        CallbackVerdict::Allowed | CallbackVerdict::AlreadyPaid => "Успешно",
        CallbackVerdict::Unreadable => "the callback cannot be read",
        CallbackVerdict::BadlySigned => "the signature does not fit",
        CallbackVerdict::OtherAddress => "the address is not the gateway's",
        CallbackVerdict::OtherStore => "the store is not ours",
        CallbackVerdict::UnknownTransaction => "the transaction is not known",
        CallbackVerdict::OtherAccount => "the account does not belong to the transaction",
        CallbackVerdict::WrongAmount => "the amount is not the order's",
        CallbackVerdict::SecondTransaction => "the order is being paid by another transaction",
        CallbackVerdict::Late => "the time to pay the order is over",
        CallbackVerdict::NotPayable => "the order cannot be paid any more",
        // Verdicts on the calls of other gateways.
        CallbackVerdict::UnknownOrder
        | CallbackVerdict::Conflicting
        | CallbackVerdict::TimedOut
        | CallbackVerdict::TransactionClosed
        | CallbackVerdict::DebitTold
        | CallbackVerdict::FailureTold
        | CallbackVerdict::ReversalTold
        | CallbackVerdict::ReversalRefused => "the call does not fit",
    }
}
