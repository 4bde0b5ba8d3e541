//! The sandbox's own ledger, `GET /_sim/ledger`. Atmos shows none.

use domain::body_coding::without_byte_order_mark;
use domain::id::TransactionId;
use domain::transaction::{BookLine, TransactionReport, TransactionState};
use serde::Deserialize;

use crate::GatewayError;
use crate::json_answer::unknown;

/// The answer of `GET /_sim/ledger`.
#[derive(Debug, Deserialize)]
struct LedgerAnswer {
    transactions: Vec<LedgerLine>,
}

/// One transaction in it. It is typed, unlike Atmos's answers: a ledger has many lines, and the sandbox is ours.
#[derive(Debug, Deserialize)]
struct LedgerLine {
    transaction_id: TransactionId,
    account: String,
    /// Tiyin.
    amount: i64,
    state: String,
    debits: u32,
    reversals_asked: u32,
    success_trans_id: Option<TransactionId>,
}

/// Reads the whole ledger.
///
/// # Errors
/// `OutcomeUnknown` when the body is no such ledger.
pub(super) fn read(body: &[u8]) -> Result<Vec<BookLine>, GatewayError> {
    let body = without_byte_order_mark(body);
    let ledger: LedgerAnswer = serde_json::from_slice(body).map_err(|_| unknown("an answer that is no ledger"))?;
    Ok(ledger.transactions.into_iter().map(BookLine::from).collect())
}

impl From<LedgerLine> for BookLine {
    fn from(line: LedgerLine) -> Self {
        let state = match (line.state.as_str(), line.success_trans_id) {
            ("draft" | "prepaid", None) => TransactionState::Open,
            ("closed", None) => TransactionState::Closed,
            ("debited", Some(success_transaction_id)) => TransactionState::Debited { success_transaction_id },
            ("reversed", success_transaction_id) => TransactionState::Reversed { success_transaction_id },
            (other, _) => TransactionState::Unclear { code: other.to_owned() },
        };
        BookLine {
            report: TransactionReport {
                transaction_id: line.transaction_id,
                account: line.account,
                store_id: None,
                amount: line.amount,
                unpaid_payment_id: None,
                state,
            },
            debits: line.debits,
            reversals_asked: line.reversals_asked,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_the_ledger_is_read_as_an_inquiry_would_report_it() {
        let debit = TransactionId(9);
        for (state, permanent_id, expected) in [
            ("draft", "null", TransactionState::Open),
            ("prepaid", "null", TransactionState::Open),
            ("closed", "null", TransactionState::Closed),
            ("debited", "9", TransactionState::Debited { success_transaction_id: debit }),
            ("reversed", "9", TransactionState::Reversed { success_transaction_id: Some(debit) }),
            ("debited", "null", TransactionState::Unclear { code: "debited".to_owned() }),
            ("draft", "9", TransactionState::Unclear { code: "draft".to_owned() }),
            ("new", "null", TransactionState::Unclear { code: "new".to_owned() }),
        ] {
            let body = format!(
                r#"{{"transactions":[{{"transaction_id":7,"account":"1","amount":5000,"state":"{state}","debits":1,"reversals_asked":0,
                "success_trans_id":{permanent_id}}}]}}"#
            );

            let lines = read(body.as_bytes()).unwrap();

            assert_eq!(lines[0].report.state, expected, "{state} {permanent_id}");
            assert_eq!((lines[0].report.transaction_id, lines[0].debits), (TransactionId(7), 1));
        }
    }

    #[test]
    fn something_else_is_no_ledger() {
        for body in ["", "<html>", "{}", r#"{"transactions":[{"transaction_id":"7"}]}"#] {
            assert!(matches!(read(body.as_bytes()), Err(GatewayError::OutcomeUnknown { .. })), "{body}");
        }
    }
}
