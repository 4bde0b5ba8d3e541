//! Checks that an order's row and its history agree.

use std::collections::HashSet;

use domain::id::TransactionId;
use domain::order::{HistoryLine, Order, OrderStatus, PaymentType};

use super::{Case, Kind};

pub(super) fn check(case: &mut Case<'_>) {
    let faults = faults(case);
    if !faults.is_empty() {
        case.find(Kind::OrderInconsistent, None, faults.join("; "));
    }
    history(case);
}

/// Contradictions in the order's row, or between it and the rows of its transactions.
fn faults(case: &Case<'_>) -> Vec<String> {
    use OrderStatus::*;
    let order = case.order();
    let status = order.status;
    let is_open = matches!(status, Pending | Confirming);
    let mut faults = Vec::new();
    let mut check = |is_fault: bool, what: &str| {
        if is_fault {
            faults.push(format!("{status} {what}"));
        }
    };
    check(status.is_final() && order.final_at_ms.is_none(), "without the time when it ended");
    check(is_open && order.final_at_ms.is_some(), "with a time when it ended");
    check(matches!(status, Paid | Refunded) && order.transaction_id.is_none(), "without a transaction");
    check(order.payment_url.is_some() && order.expires_at_ms.is_none(), "with a link and without an end of its time");
    let has_draft = order.payment_type().is_some_and(PaymentType::has_drafts);
    check(
        has_draft && order.payment_url.is_some() && order.transaction_id.is_none(),
        "with a link and without a transaction",
    );
    check(status == Confirming && order.allowed_transaction_id.is_none(), "without the transaction that was allowed");
    check(status == Confirming && order.last_allowed_at_ms.is_none(), "without the time when it was allowed");
    check(status == Confirming && order.expires_at_ms.is_none(), "without an end of its time");
    // An order may be put before a person in the middle of a payment, and another draft than the allowed one may pay
    // it.
    let may_be_allowed = match status {
        Confirming | Review => true,
        Paid | Refunded => order.allowed_transaction_id != order.transaction_id,
        Pending | Expired | Canceled | Failed => false,
    };
    check(!may_be_allowed && order.allowed_transaction_id.is_some(), "with a transaction that may still debit");
    let is_found = !case.record.findings.is_empty();
    check(status == Failed && order.reason.is_none(), "without a reason");
    check(status == Review && !is_found, "without a reason");
    check(order.needs_review && !is_found, "and marked for a person without a reason");

    let rows = &case.record.transactions;
    let has_row = |id: TransactionId| rows.iter().any(|row| row.transaction_id == id && order.is_of(&row.gateway));
    for id in [order.transaction_id, order.allowed_transaction_id].into_iter().flatten() {
        let what = format!("and names transaction {id}, which has no row among its own");
        if !has_row(id) && !faults.iter().any(|fault| fault.ends_with(&what)) {
            faults.push(format!("{status} {what}"));
        }
    }
    let own = order.gateway().map_or("no account", |gateway| &gateway.0);
    // Only a second choice of the customer leaves transactions at another account.
    let may_have_changed = order.choices.is_some_and(|choices| choices > 1);
    for row in rows.iter().filter(|row| !order.is_of(&row.gateway) && !may_have_changed) {
        faults.push(format!("of {own}, with transaction {} of {}", row.transaction_id, row.gateway));
    }
    if order.account.is_none() && (order.choices != Some(0) || order.payment_url.is_some()) {
        faults.push("without an account, and not as before its customer's first choice".to_owned());
    }
    faults
}

fn history(case: &mut Case<'_>) {
    let numbered = &case.record.history;
    let doubled = doubled(numbered.iter().map(|(_, line)| line));
    let broken = broken(case.order().status, numbered).or_else(|| fact_untold(case.order(), numbered));
    if let Some(says) = doubled {
        case.find(Kind::HistoryDoubled, None, says);
    }
    if let Some(says) = broken {
        case.find(Kind::HistoryBroken, None, says);
    }
}

/// Returns a line that follows itself, a fact about a pending order (its link, the end of its link) that is there
/// twice, or a second entry into *paid*.
fn doubled<'a>(lines: impl Iterator<Item = &'a HistoryLine>) -> Option<String> {
    let mut facts = HashSet::new();
    let mut before: Option<&HistoryLine> = None;
    let mut times_paid = 0;
    for line in lines {
        let is_fact = line.from == Some(OrderStatus::Pending) && line.to == OrderStatus::Pending;
        if before.is_some_and(|before| is_repeated(before, line)) || (is_fact && !facts.insert(&line.cause)) {
            return Some(format!("the line “{}” stands there twice", line.cause));
        }
        if line.to == OrderStatus::Paid && line.from != Some(OrderStatus::Paid) {
            times_paid += 1;
        }
        before = Some(line);
    }
    (times_paid > 1).then(|| format!("it became paid {times_paid} times"))
}

fn is_repeated(before: &HistoryLine, line: &HistoryLine) -> bool {
    (before.from, before.to, &before.cause) == (line.from, line.to, &line.cause)
}

/// Returns where the lines are not a chain from nothing to the order's status. [`doubled`] reports a line that follows
/// itself.
fn broken(status: OrderStatus, lines: &[(i64, HistoryLine)]) -> Option<String> {
    let mut reached = None;
    let mut before: Option<&HistoryLine> = None;
    for (position, (number, line)) in (1..).zip(lines) {
        if *number != position {
            return Some(format!("line {position} is missing"));
        }
        if before.is_some_and(|before| is_repeated(before, line)) {
            continue;
        }
        if line.from != reached {
            let [from, reached] = [line.from, reached].map(|status| status.map_or("nothing", OrderStatus::as_str));
            return Some(format!("line {number} comes from {from}, and the one before ended at {reached}"));
        }
        let may_follow = match line.from {
            None => line.to == OrderStatus::Pending,
            Some(from) => from == line.to || from.may_become(line.to),
        };
        if !may_follow {
            let from = line.from.map_or("nothing", OrderStatus::as_str);
            return Some(format!("line {number} goes from {from} to {}, which no rule allows", line.to));
        }
        reached = Some(line.to);
        before = Some(line);
    }
    match reached {
        None => Some("it has none".into()),
        Some(reached) if reached != status => Some(format!("it ends at {reached}, and the order is {status}")),
        Some(_) => None,
    }
}

/// A fact in the order's row without a history line. The chain shows each missing line, except a last one that changed
/// no status.
fn fact_untold(order: &Order, lines: &[(i64, HistoryLine)]) -> Option<String> {
    let has_fact =
        |is_it: fn(OrderStatus) -> bool| lines.iter().any(|(_, line)| line.from == Some(line.to) && is_it(line.to));
    let tells_of_link = has_fact(|status| status == OrderStatus::Pending);
    let tells_a_person = has_fact(|status| status != OrderStatus::Pending);
    let has_drafts = order.payment_type().is_some_and(PaymentType::has_drafts);
    // A link without a draft behind it is made with the order, and told by the order's first line.
    if order.payment_url.is_some() && has_drafts && !tells_of_link {
        return Some("no line tells of the payment link".into());
    }
    (order.needs_review && !tells_a_person).then(|| "no line tells why a person must look".into())
}
