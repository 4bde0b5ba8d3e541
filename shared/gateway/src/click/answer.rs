//! Our answers to Click: pure functions of the verdict and of the transaction's row, so that a repeated call gets the same
//! answer.

use domain::callback_verdict::CallbackVerdict;
use domain::id::TransactionId;
use domain::transaction::StoredTransaction;
use serde_json::{Value, json};

use super::call::{CalledIds, ClickFault, ClickStep, ToldOutcome, plain_number};

domain::named_values! {
    /// A code of our answers (Click documents, errors), with Click's own text for it.
    ClickCode {
        /// 0.
        Success = "Success",
        /// −1: no key of ours signed it.
        SignCheckFailed = "SIGN CHECK FAILED!",
        /// −2: the amount is not the order's.
        WrongAmount = "Incorrect parameter amount",
        /// −3: `action` is neither 0 nor 1.
        NoSuchAction = "Action not found",
        /// −4: the attempt was confirmed before.
        AlreadyPaid = "Already paid",
        /// −5: no such order.
        NoSuchOrder = "User does not exist",
        /// −6: no such transaction, or not one of this order.
        NoSuchTransaction = "Transaction does not exist",
        /// −7: we could not write.
        NotWritten = "Failed to update user",
        /// −8: the call has a fault.
        FaultyCall = "Error in request from click",
        /// −9: the payment may not or did not happen.
        Canceled = "Transaction cancelled",
    }
}

impl ClickCode {
    /// The number on the wire.
    pub fn number(self) -> i8 {
        match self {
            ClickCode::Success => 0,
            ClickCode::SignCheckFailed => -1,
            ClickCode::WrongAmount => -2,
            ClickCode::NoSuchAction => -3,
            ClickCode::AlreadyPaid => -4,
            ClickCode::NoSuchOrder => -5,
            ClickCode::NoSuchTransaction => -6,
            ClickCode::NotWritten => -7,
            ClickCode::FaultyCall => -8,
            ClickCode::Canceled => -9,
        }
    }

    /// The code of a call that is refused before anything is looked up.
    pub fn of_fault(fault: ClickFault) -> Self {
        match fault {
            ClickFault::Unreadable | ClickFault::ForeignService { .. } => ClickCode::FaultyCall,
            ClickFault::BadlySigned => ClickCode::SignCheckFailed,
            ClickFault::UnknownAction => ClickCode::NoSuchAction,
            ClickFault::FailedBeforeDebit => ClickCode::Canceled,
        }
    }

    /// The code of a call that our rows decide. `row` is its transaction as it stands after the call, `amount` what the call
    /// claims.
    pub fn of_verdict(
        step: ClickStep,
        verdict: CallbackVerdict,
        row: Option<&StoredTransaction>,
        amount: Option<i64>,
    ) -> Self {
        match step {
            ClickStep::Prepare => prepared(verdict, row, amount),
            ClickStep::Complete { outcome: ToldOutcome::Debited, .. } => completed(verdict),
            ClickStep::Complete { outcome: ToldOutcome::Failed { .. }, .. } => ended(verdict),
        }
    }
}

/// Prepare asks whether Click may debit; each refusal ends the payment before it.
fn prepared(verdict: CallbackVerdict, row: Option<&StoredTransaction>, amount: Option<i64>) -> ClickCode {
    match verdict {
        CallbackVerdict::Allowed => ClickCode::Success,
        // A repeat of a confirmed attempt: Click finishes it. Never for a new attempt on a paid order.
        CallbackVerdict::AlreadyPaid | CallbackVerdict::DebitTold => ClickCode::AlreadyPaid,
        CallbackVerdict::UnknownOrder => ClickCode::NoSuchOrder,
        CallbackVerdict::WrongAmount => ClickCode::WrongAmount,
        CallbackVerdict::Conflicting => match row {
            Some(row) if Some(row.amount) != amount => ClickCode::WrongAmount,
            Some(_) | None => ClickCode::NoSuchOrder,
        },
        CallbackVerdict::SecondTransaction
        | CallbackVerdict::Late
        | CallbackVerdict::NotPayable
        | CallbackVerdict::TimedOut
        | CallbackVerdict::TransactionClosed
        | CallbackVerdict::FailureTold
        | CallbackVerdict::ReversalTold
        | CallbackVerdict::ReversalRefused => ClickCode::Canceled,
        CallbackVerdict::UnknownTransaction | CallbackVerdict::OtherAccount => ClickCode::NoSuchTransaction,
        CallbackVerdict::Unreadable | CallbackVerdict::OtherAddress | CallbackVerdict::OtherStore => {
            ClickCode::FaultyCall
        }
        CallbackVerdict::BadlySigned => ClickCode::SignCheckFailed,
    }
}

/// Complete with `error` 0 comes after a successful debit: of a transaction that we prepared it is never refused, whatever the
/// order has become since (Click documents, Complete: answer success, then reverse).
fn completed(verdict: CallbackVerdict) -> ClickCode {
    match verdict {
        CallbackVerdict::DebitTold
        | CallbackVerdict::AlreadyPaid
        | CallbackVerdict::Allowed
        // Its money went back since; it was confirmed before.
        | CallbackVerdict::TransactionClosed
        | CallbackVerdict::ReversalTold => ClickCode::Success,
        CallbackVerdict::UnknownOrder => ClickCode::NoSuchOrder,
        CallbackVerdict::UnknownTransaction | CallbackVerdict::OtherAccount | CallbackVerdict::Conflicting => {
            ClickCode::NoSuchTransaction
        }
        CallbackVerdict::WrongAmount => ClickCode::WrongAmount,
        CallbackVerdict::SecondTransaction
        | CallbackVerdict::Late
        | CallbackVerdict::NotPayable
        | CallbackVerdict::TimedOut
        | CallbackVerdict::FailureTold
        | CallbackVerdict::ReversalRefused => ClickCode::Canceled,
        CallbackVerdict::Unreadable | CallbackVerdict::OtherAddress | CallbackVerdict::OtherStore => ClickCode::FaultyCall,
        CallbackVerdict::BadlySigned => ClickCode::SignCheckFailed,
    }
}

/// Complete with `error` −1 or below is answered −9 (Click documents, Complete).
fn ended(verdict: CallbackVerdict) -> ClickCode {
    match verdict {
        CallbackVerdict::UnknownOrder => ClickCode::NoSuchOrder,
        CallbackVerdict::UnknownTransaction | CallbackVerdict::OtherAccount | CallbackVerdict::Conflicting => {
            ClickCode::NoSuchTransaction
        }
        // Click contradicts itself.
        CallbackVerdict::AlreadyPaid | CallbackVerdict::DebitTold => ClickCode::AlreadyPaid,
        CallbackVerdict::FailureTold
        | CallbackVerdict::Allowed
        | CallbackVerdict::WrongAmount
        | CallbackVerdict::TransactionClosed
        | CallbackVerdict::SecondTransaction
        | CallbackVerdict::Late
        | CallbackVerdict::NotPayable
        | CallbackVerdict::TimedOut
        | CallbackVerdict::ReversalTold
        | CallbackVerdict::ReversalRefused => ClickCode::Canceled,
        CallbackVerdict::Unreadable | CallbackVerdict::OtherAddress | CallbackVerdict::OtherStore => {
            ClickCode::FaultyCall
        }
        CallbackVerdict::BadlySigned => ClickCode::SignCheckFailed,
    }
}

/// The body of the answer, which goes with HTTP 200. `merchant_prepare_id` and `merchant_confirm_id` are our number of the
/// transaction, the same on a repeat; `null` where there is none, and in a refused Complete.
pub fn click_answer(ids: &CalledIds, code: ClickCode, transaction_id: Option<TransactionId>) -> Value {
    let number = match code {
        ClickCode::Success | ClickCode::AlreadyPaid => transaction_id.map(|id| id.0),
        _ => None,
    };
    let ours = if ids.is_complete { "merchant_confirm_id" } else { "merchant_prepare_id" };
    // Click's samples show a number, which is what it is; any other text is repeated as it came.
    let click_trans_id = ids.click_trans_id.as_ref().map(|text| match plain_number(text) {
        Some(number) => json!(number),
        None => json!(text),
    });
    json!({
        "click_trans_id": click_trans_id,
        "merchant_trans_id": ids.merchant_trans_id,
        ours: number,
        "error": code.number(),
        "error_note": code.as_str(),
    })
}
