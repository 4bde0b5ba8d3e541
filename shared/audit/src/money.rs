//! Compares the money at the gateway with the order.

use domain::id::{OrderId, TransactionId};
use domain::job::JobKind;
use domain::money::som;
use domain::order::OrderStatus;
use domain::time::rfc3339;
use domain::transaction::{BookLine, StoredState, StoredTransaction, TransactionState};

use super::{Case, Difference, Kind, Word};

pub(super) fn compare(case: &mut Case<'_>) {
    let (order, against) = (case.order(), case.against);
    // An order whose customer has not chosen an account has moved no money.
    let Some(own) = order.gateway() else { return };
    if own != against.gateway {
        let says = format!("it belongs to {own}, so its money was not compared");
        return case.find(Kind::OtherGateway, None, says);
    }
    let rows = &case.record.transactions;
    for row in rows.iter().filter(|row| row.gateway == *own) {
        if let Some(word) = against.words.get(&row.transaction_id) {
            transaction(case, row, word);
        }
    }
    // The order's row may name a transaction without a row.
    if let Some(payer) = payer(case)
        && !rows.iter().any(|row| row.transaction_id == payer)
        && let Some(word) = against.words.get(&payer)
    {
        paying_transaction(case, payer, None, word);
    }
}

/// A line of the gateway's ledger about a transaction without a row here.
pub fn stranger(line: &BookLine) -> Difference {
    let report = &line.report;
    let (kind, says) = match &report.state {
        TransactionState::Open | TransactionState::Closed => {
            (Kind::UnpaidDraftUnknown, "a draft that we have no row for; no money moved on it")
        }
        TransactionState::Reversed { .. } => {
            (Kind::ReversedDraftUnknown, "a transaction that we have no row for; its money came and went back")
        }
        TransactionState::Debited { .. } => {
            (Kind::DebitUnknownToUs, "money was taken on a transaction that we have no row for")
        }
        TransactionState::Unclear { .. } => {
            (Kind::DebitUnknownToUs, "money may have been taken on a transaction that we have no row for")
        }
    };
    Difference {
        kind,
        order_id: report.account.parse::<OrderId>().ok(),
        transaction_id: Some(report.transaction_id),
        job_id: None,
        says: format!("{says}: {} soʻm, account {}", som(report.amount), report.account),
    }
}

/// The transaction that paid, or had paid, the order.
fn payer(case: &Case<'_>) -> Option<TransactionId> {
    let order = case.order();
    matches!(order.status, OrderStatus::Paid | OrderStatus::Refunded).then_some(order.transaction_id).flatten()
}

fn transaction(case: &mut Case<'_>, row: &StoredTransaction, word: &Word) {
    if let Word::Said(line) = word {
        its_terms(case, row, line);
    }
    if payer(case) == Some(row.transaction_id) {
        paying_transaction(case, row.transaction_id, Some(row), word);
    } else {
        other_transaction(case, row, word);
    }
}

/// Compares account, store and amount, and checks that money was taken at most once.
fn its_terms(case: &mut Case<'_>, row: &StoredTransaction, line: &BookLine) {
    let (order, report, id) = (case.order(), &line.report, Some(row.transaction_id));
    if line.debits > 1 {
        case.find(Kind::DebitedTwice, id, format!("the gateway took money {} times on it", line.debits));
    }
    if line.reversals_asked > 1 {
        case.find(Kind::RefundSentTwice, id, format!("its money was asked back {} times", line.reversals_asked));
    }
    if was_told(case, row) || was_decided(case, row) {
        return; // a debit that does not fit is what a person has it for, or had
    }
    if report.account != order.id.to_string() {
        case.find(Kind::AccountDiffers, id, format!("the gateway has it under the account {}", report.account));
    }
    if let Some(store_id) = report.store_id.as_deref().filter(|store_id| *store_id != case.against.store_id) {
        case.find(Kind::AccountDiffers, id, format!("the gateway has it under the store {store_id}"));
    }
    if report.amount != order.amount.get() || row.amount != order.amount.get() {
        let [order, row, gateway] = [order.amount.get(), row.amount, report.amount].map(som);
        let says = format!("the order is over {order} soʻm, its transaction over {row}, at the gateway over {gateway}");
        case.find(Kind::AmountDiffers, id, says);
    }
}

/// Whether an inquiry saw the debit and put the order before a person.
fn was_told(case: &Case<'_>, row: &StoredTransaction) -> bool {
    case.is_before_a_person() && matches!(row.state, StoredState::Debited | StoredState::Reversed)
}

/// Whether a person decided about the order after its money was seen: paid by whatever amount, or given back.
fn was_decided(case: &Case<'_>, row: &StoredTransaction) -> bool {
    case.order().resolution.is_some() && matches!(row.state, StoredState::Debited | StoredState::Reversed)
}

/// A debit or an unreadable answer that a person knows and leaves as it is.
fn left(case: &mut Case<'_>, row: &StoredTransaction, state: &TransactionState) {
    let says = format!("{} at the gateway, which a person knows; the order is {}", name(state), case.order().status);
    case.find(Kind::LeftByAPerson, Some(row.transaction_id), says);
}

/// When an inquiry will ask about this transaction. It never asks about one that is stored as closed or reversed.
fn next_inquiry_ms(case: &Case<'_>, row: &StoredTransaction) -> Option<i64> {
    match row.state {
        StoredState::Open | StoredState::Debited => case.open_job_due_ms(JobKind::SettleOrder),
        StoredState::Closed | StoredState::Reversed => None,
    }
}

/// When an inquiry or the refund's own job will notice a reversal.
fn reversal_noticed_ms(case: &Case<'_>, row: Option<&StoredTransaction>) -> Option<i64> {
    let inquiry_ms = row.and_then(|row| next_inquiry_ms(case, row));
    [inquiry_ms, case.open_job_due_ms(JobKind::RefundOrder)].into_iter().flatten().min()
}

fn paying_transaction(case: &mut Case<'_>, id: TransactionId, row: Option<&StoredTransaction>, word: &Word) {
    use TransactionState::*;
    let is_paid = case.order().status == OrderStatus::Paid;
    let (expected, without) = if is_paid {
        (StoredState::Debited, Kind::PaidWithoutDebit)
    } else {
        (StoredState::Reversed, Kind::RefundedWithoutReversal)
    };
    let status = case.order().status;
    let state = match word {
        Word::NotAsked { why } => return case.find(Kind::NotAsked, Some(id), why.clone()),
        Word::Unknown => {
            return case.find(without, Some(id), format!("{status} by a transaction that the gateway does not know"));
        }
        Word::Said(line) => &line.report.state,
    };
    match state {
        Debited { .. } if is_paid => its_row(case, row, expected, state),
        Reversed { .. } if is_paid => match reversal_noticed_ms(case, row) {
            // The person who has the order gave the money back, or is told why it went.
            _ if case.is_before_a_person() => (),
            Some(due_ms) => under_way(case, id, state, due_ms),
            None => case.find(Kind::ReversedNotRecorded, Some(id), "paid, and the gateway gave the money back".into()),
        },
        // A person said that the money went back: an inquiry will see it.
        Reversed { .. } if case.order().resolution.is_some() => {
            if let Some(row) = row {
                other_transaction(case, row, word);
            }
        }
        Reversed { .. } => its_row(case, row, expected, state),
        // The same decision, but the gateway has not given it back yet, or never will.
        Debited { .. } if case.order().resolution.is_some() && row.is_some() => {
            refunded_by_a_person(case, id, row, state);
        }
        Debited { .. } | Open | Closed => {
            case.find(without, Some(id), format!("{status}, and the gateway shows its transaction as {}", name(state)));
        }
        Unclear { code } => unclear(case, id, row, code),
    }
}

/// A person said that the money went back, and the gateway shows it as debited.
fn refunded_by_a_person(
    case: &mut Case<'_>,
    id: TransactionId,
    row: Option<&StoredTransaction>,
    state: &TransactionState,
) {
    let Some(row) = row else { return };
    if row.is_accepted && row.state == StoredState::Debited {
        return left(case, row, state);
    }
    if was_told(case, row) {
        return;
    }
    match next_inquiry_ms(case, row) {
        Some(due_ms) => under_way(case, id, state, due_ms),
        None => {
            let says = "refunded by a person's word, and the gateway shows its transaction as debited";
            case.find(Kind::RefundedWithoutReversal, Some(id), says.into());
        }
    }
}

/// The row must agree with the gateway: it was written with the order's status.
fn its_row(case: &mut Case<'_>, row: Option<&StoredTransaction>, expected: StoredState, state: &TransactionState) {
    let Some(row) = row else { return };
    if row.state != expected {
        return states_differ(case, row, state);
    }
    let said = match state {
        TransactionState::Debited { success_transaction_id } => Some(*success_transaction_id),
        TransactionState::Reversed { success_transaction_id } => *success_transaction_id,
        TransactionState::Open | TransactionState::Closed | TransactionState::Unclear { .. } => None,
    };
    if let (Some(ours), Some(theirs)) = (row.success_transaction_id, said)
        && ours != theirs
    {
        let says = format!("its row has the permanent id {ours}, the gateway {theirs}");
        case.find(Kind::TransactionState, Some(row.transaction_id), says);
    }
}

fn other_transaction(case: &mut Case<'_>, row: &StoredTransaction, word: &Word) {
    use StoredState as Row;
    use TransactionState::*;
    let id = row.transaction_id;
    let line = match word {
        Word::NotAsked { why } => return case.find(Kind::NotAsked, Some(id), why.clone()),
        Word::Unknown => return unknown_at_gateway(case, row),
        Word::Said(line) => line,
    };
    let state = &line.report.state;
    match (row.state, state) {
        (Row::Reversed, Debited { .. }) => states_differ(case, row, state),
        (Row::Open | Row::Closed | Row::Debited, Debited { .. }) => debit(case, row, state),
        (Row::Open | Row::Closed | Row::Debited, Reversed { .. }) => match next_inquiry_ms(case, row) {
            // The person who has the order gave the money back.
            _ if case.is_before_a_person() => (),
            Some(due_ms) => under_way(case, id, state, due_ms),
            None => states_differ(case, row, state),
        },
        // A draft that closes after the last inquiry can move no money.
        (Row::Open, Open | Closed) | (Row::Closed, Closed) | (Row::Reversed, Reversed { .. }) => (),
        (Row::Closed, Open) | (Row::Debited | Row::Reversed, Open | Closed) => states_differ(case, row, state),
        (_, Unclear { code }) => unclear(case, id, Some(row), code),
    }
}

/// Money was taken on a transaction that does not pay the order.
fn debit(case: &mut Case<'_>, row: &StoredTransaction, state: &TransactionState) {
    if was_told(case, row) {
        return;
    }
    if row.is_accepted && row.state == StoredState::Debited {
        return left(case, row, state);
    }
    let (id, status) = (row.transaction_id, case.order().status);
    if let Some(due_ms) = next_inquiry_ms(case, row) {
        return under_way(case, id, state, due_ms);
    }
    let (kind, says) = match status {
        OrderStatus::Paid | OrderStatus::Refunded => {
            (Kind::SecondDebit, format!("{status} by another transaction, and this one was debited, too"))
        }
        _ if case.is_before_a_person() => {
            (Kind::DebitUntold, "it was debited, which was not known when a person was told".into())
        }
        _ => (Kind::DebitNotSettled, format!("it was debited, the order is {status}, and no inquiry is to come")),
    };
    case.find(kind, Some(id), says);
}

fn unknown_at_gateway(case: &mut Case<'_>, row: &StoredTransaction) {
    let (order, id) = (case.order(), row.transaction_id);
    match row.state {
        StoredState::Debited | StoredState::Reversed => {
            let says = format!("its row says {}, and the gateway does not know it", row.state);
            case.find(Kind::TransactionState, Some(id), says);
        }
        StoredState::Open | StoredState::Closed => {
            let is_open = matches!(order.status, OrderStatus::Pending | OrderStatus::Confirming);
            let (kind, says) = if is_open && order.transaction_id == Some(id) {
                (Kind::LinkUnknown, "the gateway does not know the transaction behind the payment link")
            } else {
                (Kind::DraftUnknownAtGateway, "the gateway does not know it (any more)")
            };
            case.find(kind, Some(id), says.into());
        }
    }
}

fn unclear(case: &mut Case<'_>, id: TransactionId, row: Option<&StoredTransaction>, code: &str) {
    if case.is_before_a_person() {
        return;
    }
    if let Some(row) = row
        && row.is_accepted
    {
        return left(case, row, &TransactionState::Unclear { code: code.to_owned() });
    }
    let says = format!("the gateway says of it only: {code}");
    match row.and_then(|row| next_inquiry_ms(case, row)) {
        Some(due_ms) => {
            case.find(Kind::UnderWay, Some(id), format!("{says}; the next inquiry is due {}", rfc3339(due_ms)))
        }
        None => case.find(Kind::GatewayUnclear, Some(id), says),
    }
}

fn under_way(case: &mut Case<'_>, id: TransactionId, state: &TransactionState, due_ms: i64) {
    let (order, due) = (case.order(), rfc3339(due_ms));
    let allowed = order.last_allowed_at_ms.map_or(String::new(), |at_ms| format!(" since {}", rfc3339(at_ms)));
    let says = format!(
        "{} at the gateway{allowed}, the order is {}; the next inquiry is due {due}",
        name(state),
        order.status
    );
    let kind = if is_too_long(case, due_ms) { Kind::UnderWayTooLong } else { Kind::UnderWay };
    case.find(kind, Some(id), says);
}

/// Inquiries about an open order come at least every ten minutes, and see what this audit sees. Late inquiries about an
/// ended order come once a day.
const NOTICED_WITHIN_MS: i64 = 15 * 60_000;
const ALLOWED_FOR_LONG_MS: i64 = 30 * 60_000;
const NOTICED_AFTER_THE_END_MS: i64 = 25 * 3_600_000;

/// Whether an inquiry should have noticed by now, or will come too late.
fn is_too_long(case: &Case<'_>, due_ms: i64) -> bool {
    let (order, now_ms) = (case.order(), case.against.now_ms);
    match order.status {
        OrderStatus::Pending | OrderStatus::Confirming => {
            let is_allowed = order.allowed_transaction_id.is_some();
            let may_come = order.allowed_until_ms.is_some_and(|until_ms| now_ms <= until_ms);
            let is_old = |allowed_at_ms: i64| is_allowed && !may_come && now_ms - allowed_at_ms > ALLOWED_FOR_LONG_MS;
            due_ms - now_ms > NOTICED_WITHIN_MS || order.last_allowed_at_ms.is_some_and(is_old)
        }
        OrderStatus::Paid
        | OrderStatus::Refunded
        | OrderStatus::Expired
        | OrderStatus::Canceled
        | OrderStatus::Failed
        | OrderStatus::Review => due_ms - now_ms > NOTICED_AFTER_THE_END_MS,
    }
}

fn states_differ(case: &mut Case<'_>, row: &StoredTransaction, state: &TransactionState) {
    let says = format!("its row says {}, the gateway {}", row.state, name(state));
    case.find(Kind::TransactionState, Some(row.transaction_id), says);
}

fn name(state: &TransactionState) -> &'static str {
    match state {
        TransactionState::Open => "open",
        TransactionState::Debited { .. } => "debited",
        TransactionState::Closed => "closed",
        TransactionState::Reversed { .. } => "reversed",
        TransactionState::Unclear { .. } => "unclear",
    }
}
