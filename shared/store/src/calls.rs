//! Calls of gateways whose transaction is born in a call to us (Payme, Click): may it be paid, it begins, it debited, it
//! failed, its money goes back.
//!
//! A gateway's folder authenticates and parses a call; a function here decides about it from our own rows, keeps it, and
//! answers the verdict with the transaction's row as it stands. The wire answer is a pure function of those two, so a
//! repeated call gets the same answer.
//!
//! An order's `settle_order` row is locked before the order's row, and that before its transactions, as everywhere.

use crate::callbacks::KeptCallback;
use domain::callback_verdict::CallbackVerdict;
use domain::id::{OrderId, TransactionId};
use domain::order::GatewayIdentity;
use domain::terms::{OutcomeSource, Terms};
use domain::time::millis;
use domain::transaction::StoredTransaction;

mod account_text;
mod beginning;
mod deciding;
mod finding;
mod rows;
mod telling;
mod unheard;

pub(super) use beginning::Beginning;
pub use beginning::begin;
pub use finding::{StatementPage, StatementPlace, inspect, may_pay, statement};
pub(super) use telling::Telling;
pub use telling::{CabinetRefunds, canceled, debited, failed};
pub(super) use unheard::Unheard;

/// The gateway account that a call is for, and how its gateway works.
#[derive(Clone, Debug)]
pub struct CalledAccount {
    /// The account.
    pub gateway: GatewayIdentity,
    /// How its gateway works.
    pub terms: Terms,
    /// The close code of a transaction that counts as canceled because the gateway began it longer ago than
    /// [`Terms::debit_within`], by the gateway's own time against our clock (Payme documents 12 hours, reason 4). `None`
    /// where transactions do not end by themselves.
    pub timeout_code: Option<i64>,
    /// The close code of a transaction that began although its caller had left, or was told that we could not write it: it
    /// is closed at once. `None` where the gateway repeats such a call until it is answered (Payme documents,
    /// CreateTransaction), so that the transaction stands.
    pub unheard_code: Option<i64>,
}

impl CalledAccount {
    /// Whether a transaction that the gateway began at that time counts as canceled.
    fn is_timed_out(&self, gateway_at_ms: Option<i64>, now_ms: i64) -> bool {
        let within_ms = millis(self.terms.debit_within);
        self.timeout_code.is_some() && gateway_at_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) > within_ms)
    }

    /// Until when a debit may come that is allowed now, epoch milliseconds. A gateway's clock that is far ahead holds no
    /// order for ever.
    fn allowed_until_ms(&self, gateway_at_ms: i64, now_ms: i64) -> i64 {
        let within_ms = millis(self.terms.debit_within);
        match self.timeout_code {
            Some(_) => gateway_at_ms.min(now_ms + within_ms) + within_ms,
            None => now_ms + within_ms,
        }
    }

    /// The number of a kept call whose signature the inquiry that it wakes checks again; `None` where the call is signed by
    /// nothing in its body (Payme documents, authorization).
    fn checked_again(&self, kept: &KeptCallback) -> Option<i64> {
        match self.terms.outcome {
            OutcomeSource::Told => None,
            OutcomeSource::Asked => Some(kept.id.0),
        }
    }

    fn tells(&self) -> bool {
        match self.terms.outcome {
            OutcomeSource::Told => true,
            OutcomeSource::Asked => false,
        }
    }
}

/// The decision about a call, and the transaction that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAnswer {
    /// The verdict.
    pub verdict: CallbackVerdict,
    /// The transaction as its row stands after the call; `None` if there is none.
    pub transaction: Option<StoredTransaction>,
}

/// What a gateway claims as it begins a transaction. Nothing of it is compared with our rows yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginCall {
    /// The gateway's own id of the transaction (Payme `params.id`, Click `click_trans_id`).
    pub external_id: String,
    /// The `account` as it came, kept with the transaction. A repeat must bring the same account, in any spelling.
    pub account: String,
    /// The order that the account names, by [`order_named`].
    pub order_id: Option<OrderId>,
    /// The amount in tiyin; `None` if it is no whole number of tiyin.
    pub amount: Option<i64>,
    /// When the gateway says it began the transaction, epoch milliseconds of its clock (Payme `params.time`).
    pub gateway_at_ms: i64,
}

/// A call about a transaction that the gateway began before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldCall {
    /// The gateway's own id of the transaction.
    pub external_id: String,
    /// What the call says of it besides; `None` where it names nothing but the id (Payme).
    pub claims: Option<CallClaims>,
}

/// What a call says of a transaction besides its id. It must fit the row (Click documents, Complete).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallClaims {
    /// The `account` as it came.
    pub account: String,
    /// The order that the account names, by [`order_named`].
    pub order_id: Option<OrderId>,
    /// Our number of the transaction (Click `merchant_prepare_id`); `None` if it is none that we could have given.
    pub transaction_id: Option<TransactionId>,
    /// The amount in tiyin; `None` if it is no whole number of tiyin.
    pub amount: Option<i64>,
}

/// The order that an account names: its number in decimal, as a link carries it. Another way to write the number names
/// no order.
pub fn order_named(account: &str) -> Option<OrderId> {
    account.parse().ok().filter(|order_id: &OrderId| order_id.0 > 0 && order_id.to_string() == account)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::terms::{LinkOrigin, RefundWay};

    use super::*;

    #[test]
    fn an_account_names_an_order_in_one_way_only() {
        assert_eq!(order_named("197"), Some(OrderId(197)));
        for account in
            ["", "0", "-1", "+197", "0197", " 197", "197 ", "197.0", "1e2", "order_197", "９", "99999999999999999999"]
        {
            assert_eq!(order_named(account), None, "{account:?}");
        }
    }

    fn account(timeout_code: Option<i64>) -> CalledAccount {
        let terms = Terms {
            link: LinkOrigin::Local,
            outcome: OutcomeSource::Told,
            debit_within: Duration::from_millis(43_200_000),
            closed_believed_after: Duration::ZERO,
            refunds: RefundWay::Cabinet,
        };
        CalledAccount { gateway: GatewayIdentity("payme:a".into()), terms, timeout_code, unheard_code: None }
    }

    /// Payme documents 43,200,000 ms from its own time of creation.
    #[test]
    fn a_transaction_of_exactly_twelve_hours_still_counts_and_one_of_a_millisecond_more_does_not() {
        let began_ms = 1_399_114_284_039;
        let is_timed_out = |age_ms: i64| account(Some(4)).is_timed_out(Some(began_ms), began_ms + age_ms);

        assert!(!is_timed_out(43_199_999));
        assert!(!is_timed_out(43_200_000));
        assert!(is_timed_out(43_200_001));
        // The gateway's clock is ahead.
        assert!(!is_timed_out(-60_000));
        assert!(!account(Some(4)).is_timed_out(None, began_ms), "its time is not known");
        assert!(!account(None).is_timed_out(Some(began_ms), i64::MAX), "its transactions do not end by themselves");
    }
}
