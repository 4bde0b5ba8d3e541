//! When the next inquiry about an order comes. Pure functions of the order and what its inquiries led to.

use domain::id::TransactionId;
use domain::job::QueueName;
use domain::order::{Order, OrderStatus};
use domain::terms::Terms;
use domain::time::millis;
use domain::transaction::TransactionState;
use store::jobs::Finish;
use store::settlement::{CONFIRMING_GRACE_MS, Settlement};

use super::decide::{Inquiry, closed_is_believed};
use crate::InquirySchedule;
use crate::inquiry_schedule::{deadline_ms, next_late_inquiry_ms};

/// What becomes of an order whose customer has not chosen an account, and when it is looked at next. No account can be asked
/// about it, so it only expires.
pub(super) fn without_account(order: &Order, asked_at_ms: i64, now_ms: i64) -> (Settlement, Finish) {
    let next_ms = match (order.status, deadline_ms(order)) {
        _ if order.is_before_a_person() => None,
        (OrderStatus::Pending, Some(deadline_ms)) if deadline_ms <= asked_at_ms => {
            return (Settlement::Expired, late_inquiry(now_ms, now_ms));
        }
        (OrderStatus::Pending, deadline_ms) => deadline_ms,
        _ => return (Settlement::Unchanged, late_inquiry(order.final_at_ms.unwrap_or(now_ms), now_ms)),
    };
    let finish = match next_ms {
        Some(until_ms) => Finish::Snooze { until_ms, queue: QueueName::Background },
        None => Finish::Complete,
    };
    (Settlement::Unchanged, finish)
}

fn late_inquiry(final_at_ms: i64, now_ms: i64) -> Finish {
    match next_late_inquiry_ms(final_at_ms, now_ms) {
        Some(until_ms) => Finish::Snooze { until_ms, queue: QueueName::Background },
        None => Finish::Complete,
    }
}

/// When the next inquiry about the order comes, given what this one led to.
pub(super) fn finish_after(
    order: &Order,
    terms: &Terms,
    decision: &Settlement,
    inquiries: &[Inquiry],
    schedule: &InquirySchedule,
    asked_at_ms: i64,
    now_ms: i64,
) -> Finish {
    let watch_or_ask_late = |payer: Option<TransactionId>, final_at_ms: i64| match watched_until_ms(
        order,
        terms,
        payer,
        inquiries,
        asked_at_ms,
    ) {
        Some(watched_until_ms) => {
            let (next_ms, queue) = schedule.next_inquiry(order, terms, asked_at_ms, now_ms);
            Finish::Snooze { until_ms: next_ms.min(watched_until_ms), queue }
        }
        None => late_inquiry(final_at_ms, now_ms),
    };
    match decision {
        // A person stages the next inquiry.
        Settlement::Review(_) | Settlement::Noted { .. } | Settlement::NotResolved { .. } => Finish::Complete,
        Settlement::Paid { transaction_id } => {
            let paid_twice = inquiries.iter().any(|inquiry| {
                !inquiry.is_about(order, Some(*transaction_id))
                    && matches!(inquiry.state, TransactionState::Debited { .. })
            });
            if paid_twice {
                Finish::Snooze { until_ms: now_ms, queue: QueueName::Settle } // the next inquiry tells a person
            } else {
                watch_or_ask_late(Some(*transaction_id), now_ms)
            }
        }
        Settlement::Expired => late_inquiry(now_ms, now_ms),
        Settlement::Refunded { transaction_id } => {
            watch_or_ask_late(Some(*transaction_id), order.final_at_ms.unwrap_or(now_ms))
        }
        Settlement::Unchanged
        | Settlement::Unpaid { .. }
        | Settlement::Reopened { .. }
        | Settlement::LinkClosed { .. } => match order.status {
            OrderStatus::Pending | OrderStatus::Confirming => {
                let (until_ms, queue) = schedule.next_inquiry(order, terms, asked_at_ms, now_ms);
                Finish::Snooze { until_ms, queue }
            }
            _ if order.needs_review || order.status == OrderStatus::Review => Finish::Complete,
            _ => {
                // An order that ended unpaid keeps the number of its link's draft, which may still debit.
                let is_paid = matches!(order.status, OrderStatus::Paid | OrderStatus::Refunded);
                let payer = order.transaction_id.filter(|_| is_paid);
                watch_or_ask_late(payer, order.final_at_ms.unwrap_or(now_ms))
            }
        },
    }
}

/// Until when another draft than the payer may still debit. It may after it was allowed, and for a while after any
/// callback, because the gateway may debit although it was refused. The inquiry that begins at this time is the last of
/// the frequent ones.
fn watched_until_ms(
    order: &Order,
    terms: &Terms,
    payer: Option<TransactionId>,
    inquiries: &[Inquiry],
    asked_at_ms: i64,
) -> Option<i64> {
    let may_debit = |inquiry: &&Inquiry| {
        !inquiry.is_about(order, payer)
            && match inquiry.state {
                TransactionState::Debited { .. } | TransactionState::Reversed { .. } => false,
                TransactionState::Closed => {
                    inquiry.is_about(order, order.allowed_transaction_id)
                        && !closed_is_believed(order, terms, inquiry, asked_at_ms)
                }
                TransactionState::Open | TransactionState::Unclear { .. } => true,
            }
    };
    let until_ms = |inquiry: &Inquiry| {
        let is_allowed = inquiry.is_about(order, order.allowed_transaction_id);
        let allowed_ms = order.last_allowed_at_ms.map(|at_ms| at_ms + CONFIRMING_GRACE_MS).max(order.allowed_until_ms);
        let believed_after_ms = millis(terms.closed_believed_after);
        allowed_ms.filter(|_| is_allowed).max(order.last_hint_at_ms.map(|at_ms| at_ms + believed_after_ms))
    };
    inquiries.iter().filter(may_debit).filter_map(until_ms).max().filter(|until_ms| *until_ms > asked_at_ms)
}
