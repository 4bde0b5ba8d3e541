//! Which attempt of an order a payment at Click belongs to: `status_by_mti` names the order alone.

use std::cmp::Reverse;

use domain::id::TransactionId;
use domain::transaction::{StoredState, StoredTransaction};

/// Whether the payment that Click shows for the order is, or may be, that of another attempt than `attempt`.
///
/// A payment whose number another row has is that attempt's. A new one is given to one attempt alone: to count it twice
/// would be a second payment that was never made, and to give the second one back would return the only one. A failure is not
/// taken for this attempt's where it can be that of one that has failed before.
pub(super) fn may_be_of_another(
    attempt: &StoredTransaction,
    others: &[&StoredTransaction],
    payment_id: TransactionId,
    status: i64,
) -> bool {
    if others.iter().any(|other| other.success_transaction_id == Some(payment_id)) {
        return true;
    }
    match status {
        ..0 => attempt.closed_at_ms.is_none() && others.iter().any(|other| has_failed(other)),
        0.. => others.iter().any(|other| may_have_paid(other) && likelihood(other) < likelihood(attempt)),
    }
}

fn has_failed(attempt: &StoredTransaction) -> bool {
    attempt.state == StoredState::Closed || attempt.closed_at_ms.is_some()
}

/// Whether a payment can be this attempt's that no row has the number of.
fn may_have_paid(attempt: &StoredTransaction) -> bool {
    attempt.success_transaction_id.is_none()
        && match attempt.state {
            StoredState::Open | StoredState::Closed => true,
            StoredState::Debited | StoredState::Reversed => false,
        }
}

/// Orders the attempts of an order; the lowest is taken for the one that paid. It is not closed without a debit that was
/// told; no failure of it was told; its debit was; it is the newest, which is the one that we allowed last.
fn likelihood(attempt: &StoredTransaction) -> (bool, bool, bool, Reverse<TransactionId>) {
    let is_told = attempt.debited_at_ms.is_some();
    let is_put_aside = attempt.state == StoredState::Closed && !is_told;
    (is_put_aside, attempt.closed_at_ms.is_some(), !is_told, Reverse(attempt.transaction_id))
}
