//! Checks that refunds, the order's reserve for them, and their jobs fit each other.

use domain::job::JobKind;
use domain::money::som;
use domain::order::OrderStatus;
use domain::refund::{Refund, RefundState};

use super::{Case, Kind, Word};

pub(super) fn check(case: &mut Case<'_>) {
    for refund in &case.record.refunds {
        match refund.state {
            RefundState::Open if !has_job(case, refund) => {
                let says = format!("refund {} is open, and no job is to make it or to look for it", refund.id);
                case.find(Kind::RefundWithoutJob, None, says);
            }
            RefundState::Review if !case.is_before_a_person() => {
                let says = format!("the outcome of refund {} is unknown, and no person was told", refund.id);
                case.find(Kind::RefundUnseen, None, says);
            }
            RefundState::Open | RefundState::Review | RefundState::Done | RefundState::Refused => (),
        }
    }
    exceeding(case);
    differing(case);
    reserve(case);
    refunded_amount(case);
}

/// Refunds that were made or may still be made never add up to more than the order.
fn exceeding(case: &mut Case<'_>) {
    let amount = case.order().amount.get();
    let together = sum(case, |state| state.is_open() || state == RefundState::Done);
    if together > amount {
        let [together, amount] = [together, amount].map(som);
        case.find(
            Kind::RefundsExceedOrder,
            None,
            format!("its refunds come to {together} soʻm, and it is over {amount}"),
        );
    }
}

/// The gateway gives a debit back completely. If a person resolved the order as paid by another amount, the refund has
/// the order's amount, and not the amount that the customer gets.
fn differing(case: &mut Case<'_>) {
    let amount = case.order().amount.get();
    let refunds = case.record.refunds.iter().filter(|refund| refund.state != RefundState::Refused);
    let differing: Vec<_> = refunds
        .filter_map(|refund| match case.against.words.get(&refund.transaction_id)? {
            Word::Said(line) if line.report.amount != amount => Some((refund, line.report.amount)),
            Word::Said(_) | Word::Unknown | Word::NotAsked { .. } => None,
        })
        .map(|(refund, taken)| {
            let (said, taken) = (som(refund.amount), som(taken));
            let says = format!(
                "refund {} is over {said} soʻm, and the gateway took {taken}, all of which goes back",
                refund.id
            );
            (refund.transaction_id, says)
        })
        .collect();
    for (transaction_id, says) in differing {
        case.find(Kind::RefundAmountDiffers, Some(transaction_id), says);
    }
}

fn has_job(case: &Case<'_>, refund: &Refund) -> bool {
    let kind = JobKind::RefundOrder.as_str();
    case.record.jobs.iter().any(|job| job.kind == kind && job.subject_id == refund.id.0 && job.state.is_open())
}

/// The sum of the refunds in these states, in tiyin.
fn sum(case: &Case<'_>, counts: impl Fn(RefundState) -> bool) -> i64 {
    case.record.refunds.iter().filter(|refund| counts(refund.state)).map(|refund| refund.amount).sum()
}

/// The reserve is the sum of what went back and what may still go back. Otherwise money could be given back twice.
fn reserve(case: &mut Case<'_>) {
    let order = case.order();
    let expected = match order.status {
        OrderStatus::Refunded => order.amount.get(),
        _ => sum(case, |state| state.is_open() || state == RefundState::Done),
    };
    if order.refund_reserved != expected {
        let (said, expected) = (som(order.refund_reserved), som(expected));
        let says = format!("the order has set {said} soʻm apart for refunds instead of {expected}");
        case.find(Kind::RefundReserve, None, says);
    }
}

/// A reversal without a request here has no refund, and gives back everything.
fn refunded_amount(case: &mut Case<'_>) {
    let order = case.order();
    let done = sum(case, |state| state == RefundState::Done);
    let expected = if order.status == OrderStatus::Refunded { order.amount.get() } else { done };
    if order.refunded_amount != expected {
        let (said, expected) = (som(order.refunded_amount), som(expected));
        let says = format!("the order is {}, and says that {said} soʻm went back instead of {expected}", order.status);
        case.find(Kind::RefundedAmount, None, says);
    } else if order.status != OrderStatus::Refunded && done == order.amount.get() {
        let says = format!("all of it went back, and the order is {}", order.status);
        case.find(Kind::RefundedAmount, None, says);
    }
}
