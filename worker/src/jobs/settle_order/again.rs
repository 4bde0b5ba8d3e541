//! Which closed transactions are asked about again.
//!
//! A gateway that begins transactions itself may debit one that we have closed, because it did not show it in time (Click
//! documents no time), and its word about that may be lost. So they are asked about once more when their order ends, and by
//! each late inquiry after that.

use domain::order::Order;
use domain::terms::{LinkOrigin, OutcomeSource, Terms};
use domain::transaction::{StoredState, StoredTransaction, TransactionState};
use gateway::GatewayError;
use gateway::coordination::Obstacle;

use crate::inquiry_schedule::deadline_ms;

/// How many closed transactions of an order one inquiry asks about again, the newest first. Each costs a few calls of those that
/// the account may make in a second, and a payer whose card is declined again and again leaves many.
const MOST_ASKED_AGAIN: usize = 6;

/// Whether transactions begin in calls of the gateway, which can be asked about them.
pub(super) fn begins_by_itself(terms: &Terms) -> bool {
    match (terms.link, terms.outcome) {
        (LinkOrigin::Local, OutcomeSource::Asked) => true,
        (LinkOrigin::Draft, _) | (LinkOrigin::Local, OutcomeSource::Told) => false,
    }
}

/// Whether so many newer closed transactions of the order are asked about again that this one is not.
pub(super) fn is_one_too_many(stored: &StoredTransaction, of_order: &[StoredTransaction]) -> bool {
    let is_newer = |other: &&StoredTransaction| {
        other.gateway == stored.gateway
            && other.state == StoredState::Closed
            && other.debited_at_ms.is_none()
            && other.transaction_id > stored.transaction_id
    };
    of_order.iter().filter(is_newer).count() >= MOST_ASKED_AGAIN
}

/// Whether the gateway is asked about the closed transactions of this order of which no debit was told. Several are asked about:
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
/// answer of the gateway that says nothing is one: the next late inquiry asks again. So it does after our own rate limit, for a
/// run that is repeated for it would reach the limit again.
pub(super) fn is_worth_repeating(order: &Order, error: &GatewayError) -> bool {
    let has_no_answer = match error {
        GatewayError::OutcomeUnknown { .. } | GatewayError::Refused { .. } => false,
        GatewayError::HeldBack { obstacle: Obstacle::RateLimit, .. } => false,
        GatewayError::Unreachable(_)
        | GatewayError::Throttled { .. }
        | GatewayError::HeldBack { .. }
        | GatewayError::NotAdmitted { .. } => true,
    };
    order.final_at_ms.is_some() && has_no_answer
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::id::{OrderId, TransactionId};
    use domain::order::{GatewayIdentity, OrderStatus};

    use super::*;
    use crate::jobs::settle_order::{an_order, asked};

    const HOUR_MS: i64 = 3_600_000;

    fn closed(number: i64) -> StoredTransaction {
        StoredTransaction {
            gateway: GatewayIdentity("click:12345".into()),
            transaction_id: TransactionId(number),
            order_id: OrderId(1),
            amount: 5_000,
            state: StoredState::Closed,
            success_transaction_id: None,
            seen_amount: None,
            looked_at_ms: None,
            is_accepted: false,
            created_at_ms: number,
            external_id: Some(number.to_string()),
            account: Some("1".into()),
            gateway_at_ms: None,
            debited_at_ms: None,
            closed_at_ms: None,
            close_code: None,
        }
    }

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

    #[test]
    fn the_newest_closed_attempts_are_asked_about_again() {
        let of_order: Vec<StoredTransaction> = (1..=20).map(closed).collect();

        let asked = of_order.iter().filter(|stored| !is_one_too_many(stored, &of_order));

        assert_eq!(asked.map(|stored| stored.transaction_id.0).collect::<Vec<_>>(), [15, 16, 17, 18, 19, 20]);
    }

    /// A run that is repeated would reach the limit again, and so would each one after it.
    #[test]
    fn our_own_rate_limit_repeats_no_inquiry_for_a_closed_attempt() {
        let ended = an_order(OrderStatus::Expired, 0, HOUR_MS);
        let held_back = |obstacle| GatewayError::HeldBack { obstacle, retry_after: Duration::from_secs(1) };

        assert!(!is_worth_repeating(&ended, &held_back(Obstacle::RateLimit)));
        assert!(is_worth_repeating(&ended, &held_back(Obstacle::Operator)));
    }
}
