//! Our answers to Payme: pure functions of the verdict and of the transaction's row, so that a repeated call gets the same bytes.

use domain::callback_verdict::CallbackVerdict;
use domain::transaction::{StoredState, StoredTransaction};
use serde::Serialize;
use serde_json::value::RawValue;

use super::call::CallId;
use super::fault::{PayerMessage, PaymeFault};

/// What is answered: a result or an error.
pub type PaymeAnswer = Result<PaymeResult, PaymeFault>;

/// The `result` of an answer. Times that have not come are 0, and so a row says all that there is to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PaymeResult {
    /// The order may be paid.
    Allowed {
        /// Always so; a no is an error.
        allow: bool,
    },
    /// The transaction holds the order.
    Created {
        /// When we recorded it, epoch milliseconds.
        create_time: i64,
        /// Our number of it.
        transaction: String,
        /// 1.
        state: i8,
        /// The money is not divided.
        receivers: (),
    },
    /// The money is recorded.
    Performed {
        /// Our number of it.
        transaction: String,
        /// When Payme first told us, epoch milliseconds.
        perform_time: i64,
        /// 2.
        state: i8,
    },
    /// It is canceled.
    Canceled {
        /// Our number of it.
        transaction: String,
        /// When Payme first told us, epoch milliseconds.
        cancel_time: i64,
        /// −1, or −2 once it was performed.
        state: i8,
    },
    /// How it stands.
    Standing {
        /// When we recorded it, epoch milliseconds.
        create_time: i64,
        /// When Payme told us of its debit, or 0.
        perform_time: i64,
        /// When it was canceled, or 0.
        cancel_time: i64,
        /// Our number of it.
        transaction: String,
        /// 1, 2, −1 or −2.
        state: i8,
        /// Payme's number for why it was canceled.
        reason: Option<i64>,
    },
    /// The fiscal receipt is kept.
    Kept {
        /// Always so.
        success: bool,
    },
}

impl PaymeResult {
    /// `CheckPerformTransaction`.
    ///
    /// # Errors
    /// The order or the amount does not fit.
    pub fn checked_perform(verdict: CallbackVerdict) -> PaymeAnswer {
        match verdict {
            CallbackVerdict::Allowed => Ok(PaymeResult::Allowed { allow: true }),
            // A question without a transaction finds a paid order.
            CallbackVerdict::AlreadyPaid => Err(PaymeFault::NotPayable),
            refused => Err(PaymeFault::of_verdict(refused)),
        }
    }

    /// `CreateTransaction`.
    ///
    /// # Errors
    /// The order does not fit, or the transaction is past its creation.
    pub fn created(verdict: CallbackVerdict, row: Option<&StoredTransaction>) -> PaymeAnswer {
        match (verdict, row) {
            (CallbackVerdict::Allowed, Some(row)) if row.state == StoredState::Open => Ok(PaymeResult::Created {
                create_time: row.created_at_ms,
                transaction: row.transaction_id.to_string(),
                state: state(row.state),
                receivers: (),
            }),
            _ => Err(PaymeFault::of_verdict(verdict)),
        }
    }

    /// `PerformTransaction`.
    ///
    /// # Errors
    /// There is no such transaction, or it is canceled.
    pub fn performed(verdict: CallbackVerdict, row: Option<&StoredTransaction>) -> PaymeAnswer {
        match (verdict, row) {
            (CallbackVerdict::DebitTold | CallbackVerdict::AlreadyPaid, Some(row))
                if row.state == StoredState::Debited =>
            {
                Ok(PaymeResult::Performed {
                    transaction: row.transaction_id.to_string(),
                    perform_time: row.debited_at_ms.unwrap_or(0),
                    state: state(row.state),
                })
            }
            _ => Err(PaymeFault::of_verdict(verdict)),
        }
    }

    /// `CancelTransaction`. One that is canceled already is answered from its row.
    ///
    /// # Errors
    /// There is no such transaction, or its refund is refused.
    pub fn canceled(verdict: CallbackVerdict, row: Option<&StoredTransaction>) -> PaymeAnswer {
        match (verdict, row) {
            (
                CallbackVerdict::FailureTold
                | CallbackVerdict::ReversalTold
                | CallbackVerdict::TransactionClosed
                | CallbackVerdict::TimedOut,
                Some(row),
            ) if matches!(row.state, StoredState::Closed | StoredState::Reversed) => Ok(PaymeResult::Canceled {
                transaction: row.transaction_id.to_string(),
                cancel_time: row.closed_at_ms.unwrap_or(0),
                state: state(row.state),
            }),
            _ => Err(PaymeFault::of_verdict(verdict)),
        }
    }

    /// `CheckTransaction`.
    ///
    /// # Errors
    /// There is no such transaction.
    pub fn standing(row: Option<&StoredTransaction>) -> PaymeAnswer {
        let row = row.ok_or(PaymeFault::UnknownTransaction)?;
        Ok(PaymeResult::Standing {
            create_time: row.created_at_ms,
            perform_time: row.debited_at_ms.unwrap_or(0),
            cancel_time: row.closed_at_ms.unwrap_or(0),
            transaction: row.transaction_id.to_string(),
            state: state(row.state),
            reason: row.close_code,
        })
    }

    /// `SetFiscalData`, once the receipt is kept.
    pub fn kept() -> PaymeResult {
        PaymeResult::Kept { success: true }
    }
}

/// The states of Payme (Payme documents, data types).
fn state(state: StoredState) -> i8 {
    match state {
        StoredState::Open => 1,
        StoredState::Debited => 2,
        StoredState::Closed => -1,
        StoredState::Reversed => -2,
    }
}

/// The body of an answer: always with HTTP 200, for any other status is a system error to Payme.
pub fn answer_text(id: &CallId, answer: &PaymeAnswer, account_field: &str) -> String {
    #[derive(Serialize)]
    struct ErrorObject<'a> {
        code: i32,
        message: PayerMessage,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a str>,
    }

    let (member, value) = match answer {
        Ok(result) => ("result", text(result)),
        Err(fault) => {
            let (code, message, data) = (fault.code(), fault.message(), fault.data(account_field));
            ("error", text(&ErrorObject { code, message, data }))
        }
    };
    format!("{{\"{member}\":{value},\"id\":{id}}}")
}

/// The beginning of the answer to `GetStatement`, before its transactions; commas go between those.
pub const STATEMENT_BEGINS: &str = r#"{"result":{"transactions":["#;

/// The end of that answer.
pub fn statement_end(id: &CallId) -> String {
    format!("]}},\"id\":{id}}}")
}

/// One transaction of a statement. `None` for one that Payme has not created.
pub fn statement_line(row: &StoredTransaction, account_field: &str) -> Option<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        id: &'a str,
        time: i64,
        amount: i64,
        account: Box<RawValue>,
        create_time: i64,
        perform_time: i64,
        cancel_time: i64,
        transaction: String,
        state: i8,
        reason: Option<i64>,
        receivers: (),
    }

    Some(text(&Line {
        id: row.external_id.as_deref()?,
        time: row.gateway_at_ms?,
        amount: row.amount,
        account: account_of(row, account_field),
        create_time: row.created_at_ms,
        perform_time: row.debited_at_ms.unwrap_or(0),
        cancel_time: row.closed_at_ms.unwrap_or(0),
        transaction: row.transaction_id.to_string(),
        state: state(row.state),
        reason: row.close_code,
        receivers: (),
    }))
}

/// The account as it came; without that, the order's number in the account's field.
fn account_of(row: &StoredTransaction, account_field: &str) -> Box<RawValue> {
    let as_it_came = row.account.clone().filter(|account| account.starts_with('{'));
    let written = || {
        let account = serde_json::json!({ account_field: row.order_id.to_string() });
        RawValue::from_string(account.to_string()).unwrap_or_default()
    };
    as_it_came.and_then(|account| RawValue::from_string(account).ok()).unwrap_or_else(written)
}

/// A struct of numbers and strings always serializes; an empty body would be a system error to Payme, which calls again.
fn text(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
}
