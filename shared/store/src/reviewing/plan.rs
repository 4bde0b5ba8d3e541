//! The effect of a person's decision on an order, as a pure function.

use super::Decision;
use domain::id::TransactionId;
use domain::order::{Order, OrderStatus};
use domain::review::ReviewFinding;
use domain::transaction::{StoredState, StoredTransaction};

/// A refund whose outcome a person must tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RefundInReview {
    pub(super) id: i64,
    /// In tiyin.
    pub(super) amount: i64,
}

/// The effect of a decision.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plan {
    /// Ask the gateway whether this transaction was debited.
    Ask(TransactionId),
    /// End the order in review; if it was paid, by this transaction.
    End { status: OrderStatus, transaction_id: Option<TransactionId> },
    /// Take back the decision that is being carried out.
    TakeBack(TransactionId),
    /// Remove the mark; the status stays.
    Unmark(OrderStatus),
    /// The refund was made.
    RefundMade(RefundInReview),
    /// The refund was not made.
    RefundNotMade(RefundInReview),
}

/// # Errors
/// The error is a sentence that says why the decision is not possible.
pub(super) fn plan(
    order: &Order,
    findings: &[ReviewFinding],
    transactions: &[StoredTransaction],
    refund: Option<RefundInReview>,
    decision: &Decision,
) -> Result<Plan, String> {
    use OrderStatus::*;
    if let Some(id) = decision.transaction_id
        && transactions.iter().all(|transaction| transaction.transaction_id != id)
    {
        return Err(format!("transaction {id} is none of its transactions; see `tasdiq orders show {}`", order.id));
    }
    let names_payment = decision.transaction_id.is_some();
    if refund.is_some() && !findings.iter().any(ReviewFinding::is_about_refund) {
        return Err(
            "what became of a refund of it has just been put before a person; see `tasdiq orders review`".into()
        );
    }
    match (order.status, decision.status) {
        (Review, Review) => match order.claimed_payment() {
            Some(transaction_id) => Ok(Plan::TakeBack(transaction_id)),
            None => Err("it is in review, and no decision about it is being carried out".into()),
        },
        (Review, _) if order.claimed_payment().is_some() => {
            Err(being_asked(order.resolution.as_ref().map_or("another person", |resolution| &resolution.by)))
        }
        (Review, Paid) => Ok(Plan::Ask(payment(decision, transactions)?)),
        (Review, Refunded) => {
            let transaction_id = Some(refunded_payment(order, decision, transactions)?);
            Ok(Plan::End { status: Refunded, transaction_id })
        }
        (Review, Canceled) if names_payment => Err("an order that is resolved as canceled was paid by none".into()),
        (Review, Canceled) => Ok(Plan::End { status: Canceled, transaction_id: order.transaction_id }),
        (Review, Pending | Confirming | Expired | Failed) => {
            Err("an order in review is resolved as paid, refunded or canceled".into())
        }
        (status, _) if !order.needs_review => Err(format!("it is {status}, and no person has to look at it")),
        (_, _) if names_payment => Err("a transaction is named only for an order in review".into()),
        (Paid, Refunded) => match refund {
            Some(refund) => Ok(Plan::RefundMade(refund)),
            None => Err(format!(
                "no refund of it waits for a person; if its payment was given back, `tasdiq orders reconcile {}` sees it",
                order.id
            )),
        },
        (Paid, Paid) => Ok(refund.map_or(Plan::Unmark(Paid), Plan::RefundNotMade)),
        (status, wanted) if status == wanted => Ok(Plan::Unmark(status)),
        (status, _) => Err(format!("it is {status} and stays so; resolving it as {status} says that it was looked at")),
    }
}

/// The transaction that is said to be the payment: the named one, or the only one known as debited.
fn payment(decision: &Decision, transactions: &[StoredTransaction]) -> Result<TransactionId, String> {
    if let Some(id) = decision.transaction_id {
        return Ok(id);
    }
    let debited = transactions.iter().filter(|transaction| transaction.state == StoredState::Debited);
    match debited.map(|transaction| transaction.transaction_id).collect::<Vec<_>>().as_slice() {
        [id] => Ok(*id),
        [] => Err("no transaction of it is known as debited; name the one that paid with --transaction-id".into()),
        several => {
            let ids = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(format!("transactions {ids} were debited; name the one that paid with --transaction-id"))
        }
    }
}

/// The transaction whose money went back.
fn refunded_payment(
    order: &Order,
    decision: &Decision,
    transactions: &[StoredTransaction],
) -> Result<TransactionId, String> {
    let moved = |row: &&StoredTransaction| matches!(row.state, StoredState::Debited | StoredState::Reversed);
    let with_money: Vec<_> = transactions.iter().filter(moved).map(|row| row.transaction_id).collect();
    let named = match with_money.as_slice() {
        [only] => Some(*only),
        _ => order.transaction_id,
    };
    let only = (transactions.len() == 1).then(|| transactions.first().map(|row| row.transaction_id)).flatten();
    decision.transaction_id.or(named).or(only).ok_or_else(|| {
        if transactions.is_empty() {
            "it has no transaction, so no money can have gone back; resolve it as canceled".into()
        } else {
            "name the transaction whose money went back with --transaction-id".into()
        }
    })
}

/// The answer to a second decision while the gateway is asked.
pub(super) fn being_asked(by: &str) -> String {
    format!("{by} resolved it as paid, and the gateway is being asked; resolving it as `review` takes that back")
}
