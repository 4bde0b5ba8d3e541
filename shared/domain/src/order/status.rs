//! The status of an order, and the one table of transitions.

use crate::named_values::named_values;

named_values! {
    /// The status of an order.
    OrderStatus {
        /// Made; it may not have its payment link yet.
        Pending = "pending",
        /// The gateway asked, we allowed, and the outcome is being confirmed. Not paid: do not ship.
        Confirming = "confirming",
        /// The gateway confirmed the debit with our store, account and amount.
        Paid = "paid",
        /// The whole amount went back.
        Refunded = "refunded",
        /// Its time ran out, and the gateway showed no money.
        Expired = "expired",
        /// Canceled by the shop or an operator before any money moved.
        Canceled = "canceled",
        /// The gateway finally refused to make a payment link.
        Failed = "failed",
        /// A person must decide; the reason is kept.
        Review = "review",
    }
}

use OrderStatus::*;

/// All transitions, as (from, to). No other is ever written.
pub const TRANSITIONS: &[(OrderStatus, OrderStatus)] = &[
    (Pending, Confirming),
    (Pending, Paid),
    (Pending, Expired),
    (Pending, Canceled),
    (Pending, Failed),
    (Pending, Review),
    (Confirming, Pending),
    (Confirming, Paid),
    (Confirming, Refunded),
    (Confirming, Expired),
    (Confirming, Review),
    (Expired, Review),
    (Canceled, Review),
    (Failed, Pending),
    (Review, Paid),
    (Review, Refunded),
    (Review, Canceled),
    (Paid, Refunded),
];

impl OrderStatus {
    /// Whether the table of transitions has one from here to `to`.
    pub fn may_become(self, to: OrderStatus) -> bool {
        TRANSITIONS.contains(&(self, to))
    }

    /// Whether the shop need not wait any longer. `review` is not final: a person will decide.
    pub fn is_final(self) -> bool {
        match self {
            Paid | Refunded | Expired | Canceled | Failed => true,
            Pending | Confirming | Review => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_status() -> impl Strategy<Value = OrderStatus> {
        prop::sample::select(OrderStatus::ALL)
    }

    proptest! {
        #[test]
        fn a_walk_over_the_table_never_leaves_a_refund_and_pays_only_from_open_statuses(
            steps in prop::collection::vec(any_status(), 0..40)
        ) {
            let mut status = Pending;
            for next in steps {
                if status.may_become(next) {
                    prop_assert_ne!(status, Refunded, "refunded is the end");
                    if next == Paid {
                        prop_assert!(matches!(status, Pending | Confirming | Review));
                    }
                    if status == Paid {
                        prop_assert_eq!(next, Refunded);
                    }
                    status = next;
                }
            }
        }

        #[test]
        fn a_name_is_read_back_as_it_was_written(status in any_status()) {
            prop_assert_eq!(OrderStatus::parse(status.as_str()), Some(status));
        }
    }

    #[test]
    fn every_status_can_be_reached_and_none_becomes_itself() {
        for status in OrderStatus::ALL {
            assert!(!status.may_become(*status), "{status}");
            assert!(*status == Pending || TRANSITIONS.iter().any(|(_, to)| to == status), "{status}");
        }
    }
}
