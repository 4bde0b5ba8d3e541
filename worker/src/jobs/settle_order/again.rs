//! Which closed transactions are asked about again.
//!
//! A gateway that begins transactions itself may debit one that we have closed, because it did not show it in time (Click
//! documents no time), and its word about that may be lost. So they are asked about once more when their order ends, and by
//! each late inquiry after that.

use domain::order::Order;
use domain::terms::{LinkOrigin, OutcomeSource, Terms};
use domain::transaction::{StoredState, StoredTransaction, TransactionState};
use gateway::GatewayError;

use crate::inquiry_schedule::deadline_ms;

/// Whether transactions begin in calls of the gateway, which can be asked about them.
pub(super) fn begins_by_itself(terms: &Terms) -> bool {
    match (terms.link, terms.outcome) {
        (LinkOrigin::Local, OutcomeSource::Asked) => true,
        (LinkOrigin::Draft, _) | (LinkOrigin::Local, OutcomeSource::Told) => false,
    }
}

/// Whether the gateway is asked about this closed transaction, no debit of which was told. `of_order` are all of its order.
///
/// Without a payment of its own it is found by its order alone, so one question is enough for all such: about the newest, and
/// only where no other transaction is likelier to be the one that paid.
pub(super) fn is_asked_again(
    order: &Order,
    terms: &Terms,
    closed: &StoredTransaction,
    of_order: &[StoredTransaction],
    asked_at_ms: i64,
) -> bool {
    let is_over =
        order.final_at_ms.is_some() || deadline_ms(order).is_some_and(|deadline_ms| deadline_ms <= asked_at_ms);
    let is_likelier = |other: &StoredTransaction| {
        other.success_transaction_id.is_none()
            && match other.state {
                StoredState::Open => true,
                StoredState::Closed => other.debited_at_ms.is_some() || other.transaction_id > closed.transaction_id,
                StoredState::Debited | StoredState::Reversed => false,
            }
    };
    begins_by_itself(terms)
        && is_over
        && (closed.success_transaction_id.is_some() || !closed.others(of_order).any(is_likelier))
}

/// What the answer about a closed transaction means: it stays closed unless money moved or the answer is unclear.
pub(super) fn meaning(state: &TransactionState) -> TransactionState {
    match state {
        TransactionState::Open | TransactionState::Closed => TransactionState::Closed,
        TransactionState::Debited { .. } | TransactionState::Reversed { .. } | TransactionState::Unclear { .. } => {
            state.clone()
        }
    }
}

/// Whether the inquiry must be repeated for the sake of a closed transaction. The order's end never waits for it, and an
/// answer of the gateway that says nothing is one: the next late inquiry asks again.
pub(super) fn is_worth_repeating(order: &Order, error: &GatewayError) -> bool {
    let has_no_answer = match error {
        GatewayError::OutcomeUnknown { .. } | GatewayError::Refused { .. } => false,
        GatewayError::Unreachable(_)
        | GatewayError::Throttled { .. }
        | GatewayError::HeldBack { .. }
        | GatewayError::NotAdmitted { .. } => true,
    };
    order.final_at_ms.is_some() && has_no_answer
}

#[cfg(test)]
mod tests {
    use domain::id::TransactionId;
    use domain::order::{GatewayIdentity, OrderStatus};

    use super::*;
    use crate::jobs::settle_order::{an_order, asked};

    const HOUR_MS: i64 = 3_600_000;

    fn attempt(id: i64, state: StoredState) -> StoredTransaction {
        let order = an_order(OrderStatus::Pending, 0, HOUR_MS);
        StoredTransaction {
            gateway: GatewayIdentity("sandbox-click:22222".into()),
            transaction_id: TransactionId(id),
            order_id: order.id,
            amount: 5_000,
            state,
            success_transaction_id: None,
            seen_amount: None,
            looked_at_ms: None,
            is_accepted: false,
            created_at_ms: 0,
            external_id: Some(id.to_string()),
            account: None,
            gateway_at_ms: None,
            debited_at_ms: None,
            closed_at_ms: None,
            close_code: None,
        }
    }

    fn click() -> Terms {
        Terms { link: LinkOrigin::Local, ..asked() }
    }

    #[test]
    fn a_closed_attempt_is_asked_about_again_from_the_end_of_its_order_on() {
        let closed = attempt(7, StoredState::Closed);
        let open_until = |status| an_order(status, 0, HOUR_MS);
        let is_asked = |order: &Order, terms: &Terms, at_ms| {
            is_asked_again(order, terms, &closed, std::slice::from_ref(&closed), at_ms)
        };

        assert!(!is_asked(&open_until(OrderStatus::Pending), &click(), HOUR_MS - 1));
        assert!(is_asked(&open_until(OrderStatus::Pending), &click(), HOUR_MS));
        for ended in [OrderStatus::Expired, OrderStatus::Canceled, OrderStatus::Paid] {
            assert!(is_asked(&open_until(ended), &click(), 1), "{ended}");
        }
        let draft = Terms { link: LinkOrigin::Draft, ..click() };
        let telling = Terms { outcome: OutcomeSource::Told, ..click() };
        for terms in [draft, telling] {
            assert!(!is_asked(&open_until(OrderStatus::Expired), &terms, 1), "its closed transactions never debit");
        }
    }

    #[test]
    fn one_question_by_the_order_is_enough_and_each_payment_of_its_own_has_one() {
        let order = an_order(OrderStatus::Paid, 0, HOUR_MS);
        let [closed, newer] = [7, 8].map(|id| attempt(id, StoredState::Closed));
        let is_asked = |of: &StoredTransaction, other: &StoredTransaction| {
            is_asked_again(&order, &click(), of, &[of.clone(), other.clone()], 1)
        };

        assert!(!is_asked(&closed, &newer));
        assert!(is_asked(&newer, &closed));
        assert!(!is_asked(&newer, &attempt(6, StoredState::Open)));
        assert!(!is_asked(&newer, &StoredTransaction { debited_at_ms: Some(1), ..closed.clone() }));
        assert!(is_asked(&closed, &attempt(8, StoredState::Debited)));
        let failed = StoredTransaction { success_transaction_id: Some(TransactionId(555)), ..closed };
        assert!(is_asked(&failed, &newer));
        assert!(is_asked(&newer, &failed));
    }
}
