//! Which closed transactions are asked about again.
//!
//! A gateway that begins transactions itself may debit one that we have closed, because it did not show it in time (Click
//! documents no time), and its word about that may be lost. So they are asked about once more when their order ends, and by
//! each late inquiry after that.

use domain::order::Order;
use domain::terms::{LinkOrigin, OutcomeSource, Terms};
use domain::transaction::TransactionState;
use gateway::GatewayError;

use crate::inquiry_schedule::deadline_ms;

/// Whether transactions begin in calls of the gateway, which can be asked about them.
pub(super) fn begins_by_itself(terms: &Terms) -> bool {
    match (terms.link, terms.outcome) {
        (LinkOrigin::Local, OutcomeSource::Asked) => true,
        (LinkOrigin::Draft, _) | (LinkOrigin::Local, OutcomeSource::Told) => false,
    }
}

/// Whether the gateway is asked about the closed transactions of this order of which no debit was told. Each is asked about:
/// which of them a payment belongs to that names the order alone, the gateway's folder decides for each of them.
pub(super) fn is_asked_again(order: &Order, terms: &Terms, asked_at_ms: i64) -> bool {
    let is_over =
        order.final_at_ms.is_some() || deadline_ms(order).is_some_and(|deadline_ms| deadline_ms <= asked_at_ms);
    begins_by_itself(terms) && is_over
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
    use domain::order::OrderStatus;

    use super::*;
    use crate::jobs::settle_order::{an_order, asked};

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_closed_attempt_is_asked_about_again_from_the_end_of_its_order_on() {
        let click = Terms { link: LinkOrigin::Local, ..asked() };
        let order = |status| an_order(status, 0, HOUR_MS);

        assert!(!is_asked_again(&order(OrderStatus::Pending), &click, HOUR_MS - 1));
        assert!(is_asked_again(&order(OrderStatus::Pending), &click, HOUR_MS));
        for ended in [OrderStatus::Expired, OrderStatus::Canceled, OrderStatus::Paid] {
            assert!(is_asked_again(&order(ended), &click, 1), "{ended}");
        }
        let draft = Terms { link: LinkOrigin::Draft, ..click };
        let telling = Terms { outcome: OutcomeSource::Told, ..click };
        for terms in [draft, telling] {
            assert!(!is_asked_again(&order(OrderStatus::Expired), &terms, 1), "its closed transactions never debit");
        }
    }
}
