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
    // The number of an open or closed one is that of a payment that failed, and Click may have made another one for it.
    match attempt.state {
        StoredState::Open | StoredState::Closed => true,
        StoredState::Debited | StoredState::Reversed => false,
    }
}

/// Orders the attempts of an order; the lowest is taken for the one that paid. It is not closed without a debit that was
/// told; no failure of it was told; its debit was; no failed payment of it is known; it is the newest, which is the one that
/// we allowed last.
fn likelihood(attempt: &StoredTransaction) -> (bool, bool, bool, bool, Reverse<TransactionId>) {
    let (is_told, has_failed_payment) = (attempt.debited_at_ms.is_some(), attempt.success_transaction_id.is_some());
    let number = Reverse(attempt.transaction_id);
    (is_put_aside(attempt), attempt.closed_at_ms.is_some(), !is_told, has_failed_payment, number)
}

/// Whether it is closed, and no debit of it was told.
fn is_put_aside(attempt: &StoredTransaction) -> bool {
    attempt.state == StoredState::Closed && attempt.debited_at_ms.is_none()
}

#[cfg(test)]
mod tests {
    use domain::id::OrderId;
    use domain::order::GatewayIdentity;
    use proptest::prelude::*;

    use super::*;

    /// The number of a payment that no row has.
    const NEW: TransactionId = TransactionId(900);

    fn attempt(number: i64, state: StoredState, is_known: bool, is_told: bool, has_failed: bool) -> StoredTransaction {
        StoredTransaction {
            gateway: GatewayIdentity("click:12345".into()),
            transaction_id: TransactionId(number),
            order_id: OrderId(7),
            amount: 5_000,
            state,
            success_transaction_id: is_known.then_some(TransactionId(500 + number)),
            seen_amount: None,
            looked_at_ms: None,
            is_accepted: false,
            created_at_ms: number,
            external_id: Some(number.to_string()),
            account: Some("7".to_owned()),
            gateway_at_ms: None,
            debited_at_ms: is_told.then_some(number + 1),
            closed_at_ms: has_failed.then_some(number + 2),
            close_code: has_failed.then_some(-5_017),
        }
    }

    prop_compose! {
        fn attempts()(drawn in prop::collection::vec((0_usize..4, any::<[bool; 3]>()), 1..6)) -> Vec<StoredTransaction> {
            let states = [StoredState::Open, StoredState::Closed, StoredState::Debited, StoredState::Reversed];
            let numbered = (1..).zip(drawn);
            numbered.map(|(number, (state, [is_known, is_told, has_failed]))| {
                attempt(number, states[state], is_known, is_told, has_failed)
            }).collect()
        }
    }

    /// The attempts that take this payment for their own, each asked about beside the others in this order.
    fn takers(attempts: &[StoredTransaction], payment_id: TransactionId, status: i64) -> Vec<&StoredTransaction> {
        let takes = |attempt: &&StoredTransaction| {
            let others: Vec<&StoredTransaction> =
                attempts.iter().filter(|other| other.transaction_id != attempt.transaction_id).collect();
            !may_be_of_another(attempt, &others, payment_id, status)
        };
        attempts.iter().filter(|attempt| may_have_paid(attempt)).filter(takes).collect()
    }

    proptest! {
        /// Taken twice it would be a second payment that was never made; taken by none it would be lost.
        #[test]
        fn a_new_payment_is_taken_by_one_of_the_attempts_that_may_have_made_it(attempts in attempts(), status in 0_i64..3) {
            let may_have_paid = attempts.iter().filter(|attempt| may_have_paid(attempt)).count();
            prop_assert_eq!(takers(&attempts, NEW, status).len(), may_have_paid.min(1));
        }

        #[test]
        fn it_is_taken_by_one_that_has_not_failed_where_there_is_one(attempts in attempts()) {
            let has_not_failed = |attempt: &StoredTransaction| {
                may_have_paid(attempt) && !is_put_aside(attempt) && attempt.closed_at_ms.is_none()
            };
            if attempts.iter().any(has_not_failed) {
                prop_assert!(takers(&attempts, NEW, 2).into_iter().all(has_not_failed));
            }
        }

        /// What an inquiry has closed is asked about again only for a debit that no other attempt can have made.
        #[test]
        fn it_is_taken_by_one_that_is_put_aside_only_where_no_other_may_have_made_it(attempts in attempts()) {
            let has_other = attempts.iter().any(|attempt| may_have_paid(attempt) && !is_put_aside(attempt));
            prop_assert!(takers(&attempts, NEW, 2).into_iter().all(|taker| is_put_aside(taker) != has_other));
        }

        #[test]
        fn the_order_of_the_rows_is_of_no_consequence(attempts in attempts(), status in -2_i64..3) {
            let numbers = |takers: Vec<&StoredTransaction>| {
                let mut numbers: Vec<i64> = takers.iter().map(|taker| taker.transaction_id.0).collect();
                numbers.sort_unstable();
                numbers
            };
            let backwards: Vec<StoredTransaction> = attempts.iter().rev().cloned().collect();
            prop_assert_eq!(numbers(takers(&attempts, NEW, status)), numbers(takers(&backwards, NEW, status)));
        }

        #[test]
        fn a_payment_whose_number_a_row_has_is_no_other_rows(attempts in attempts(), status in -2_i64..3) {
            for owner in attempts.iter().filter(|attempt| attempt.success_transaction_id.is_some()) {
                let known = owner.success_transaction_id.unwrap();
                let strangers = |taker: &&StoredTransaction| taker.transaction_id != owner.transaction_id;
                prop_assert_eq!(takers(&attempts, known, status).into_iter().filter(strangers).count(), 0);
            }
        }

        /// A failure that can be that of an earlier attempt frees no order of a later one.
        #[test]
        fn a_failure_is_not_taken_for_an_attempts_that_was_not_told_to_have_failed_where_another_has(attempts in attempts()) {
            for taker in takers(&attempts, NEW, -1) {
                let others = attempts.iter().filter(|other| other.transaction_id != taker.transaction_id);
                prop_assert!(taker.closed_at_ms.is_some() || !others.into_iter().any(has_failed));
            }
        }
    }
}
