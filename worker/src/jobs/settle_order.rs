//! Asks the gateway about every draft of an order and settles the order. No other job settles.

use std::time::Duration;

use domain::id::OrderId;
use domain::job::QueueName;
use domain::order::{Order, OrderStatus};
use domain::review::{FindingKind, NewFinding};
use domain::terms::Terms;
use domain::transaction::{StoredState, StoredTransaction, TransactionState};
use failpoint::{Point, reach};
use futures_util::future::join_all;
use gateway::coordination::Urgency;
use gateway::{AnswerFault, Gateway, GatewayError, InquiryFacts};
use store::Store;
use store::jobs::Finish;
use store::orders::{self, Transition};
use store::settlement::{self, Settlement};
use store::transactions;
use tokio::time::timeout;
use tracing::{error, info};

use crate::WorkerContext;
use crate::elsewhere::{gateway_of, give_back};
use crate::failure::{Done, Failure, RUN_AGAIN_MS};
use crate::handler::Attempt;
use crate::inquiry_schedule::{RECENT_HINT_MS, deadline_ms};

mod again;
mod decide;
mod finish;
mod proof;

use again::{begins_by_itself, is_asked_again, is_worth_repeating};
use decide::{Inquiry, answer_is_overdue, decide, late_inquiries_are_over, worth_keeping};
use finish::{finish_after, without_account};

pub(crate) use proof::check_again;

pub(crate) async fn run(attempt: Attempt<'_>, order_id: OrderId) -> Result<Done, Failure> {
    let Attempt { context, places, slot, lease, urgency, woken_by } = attempt;
    let store = &context.store;
    let (order, drafts, woken_by) = tokio::try_join!(
        orders::find(store, order_id),
        transactions::of_order(store, order_id),
        proof::read(store, woken_by),
    )?;
    let Some(order) = order else {
        return Err(Failure::Hopeless(format!("there is no order {order_id}")));
    };
    let asked_at_ms = store.now_ms();
    let queue = match urgency {
        Urgency::Now | Urgency::Soon => QueueName::Settle,
        Urgency::Later => QueueName::Background,
    };
    if order.account.is_none() {
        let (decision, finish) = without_account(&order, asked_at_ms, store.now_ms());
        return match settlement::settle(store, lease, &order, asked_at_ms, &[], &decision, &finish).await? {
            Transition::Made => {
                tell(&order, &decision);
                Ok(Done::Changed)
            }
            Transition::Refused => Ok(anew(store)),
        };
    }
    let Some(gateway) = gateway_of(context, &order) else {
        let is_over = order.is_before_a_person() || late_inquiries_are_over(&order, asked_at_ms);
        if is_over && order.claimed_payment().is_none() {
            return Ok(Done::NothingToDo); // a person has it, or its time has passed
        }
        return Ok(give_back(context, &order, queue).await?);
    };
    let _place = match places.take(&order, slot, queue, asked_at_ms).await {
        Ok(place) => place,
        Err(done) => return Ok(done),
    };

    proof::check_all(context, lease, &order, &woken_by).await;
    reach(Point::SettleBeforeCall);
    let ask = |draft, within| inquire(context, &order, draft, &drafts, (urgency, within), asked_at_ms);
    let (own, elsewhere): (Vec<_>, Vec<_>) = drafts.iter().partition(|draft| order.is_of(&draft.gateway));
    let mut answers = join_all(own.into_iter().map(|draft| ask(draft, None))).await;
    let terms = gateway.terms();
    // The customer has chosen another account since. The silence of the one before holds up no payment: the run that follows
    // a payment at once asks it, and tells of a second debit.
    let is_paid_here = !elsewhere.is_empty() && pays(&order, &terms, &answers, asked_at_ms, gateway.store_id());
    if !is_paid_here {
        let within = is_being_paid(&order, asked_at_ms).then_some(ELSEWHERE_WITHIN);
        answers.extend(join_all(elsewhere.into_iter().map(|draft| ask(draft, within))).await);
    }
    let (mut inquiries, mut unanswered) = (Vec::new(), None);
    for answer in answers {
        match answer {
            Ok(seen) => inquiries.push(seen),
            Err((asked, error)) => unanswered = Some((asked, error)),
        }
    }

    reach(Point::SettleAfterCall);
    let shows_unclear = inquiries.iter().any(|inquiry| matches!(inquiry.state, TransactionState::Unclear { .. }));
    // A refund may have been asked for, and sent, since the order was read.
    let order = match order.status {
        OrderStatus::Paid if shows_unclear => match orders::find(store, order_id).await? {
            Some(now) if now.status == order.status => now,
            Some(_) | None => return Ok(anew(store)),
        },
        _ => order,
    };
    if may_be_of_a_new_one(&terms, &inquiries) && transactions::of_order(store, order_id).await?.len() != drafts.len() {
        return Ok(anew(store));
    }
    let mut decision = decide(&order, &terms, &inquiries, asked_at_ms, gateway.store_id());
    let is_answered = |id| inquiries.iter().any(|inquiry| inquiry.is_about(&order, Some(id)));
    if let Some((asked, error)) = unanswered {
        decision = match decision {
            // A debit on any draft counts, also when other drafts gave no answer.
            Settlement::Paid { .. } | Settlement::Review(_) | Settlement::Noted { .. } => decision,
            Settlement::NotResolved { transaction_id, .. } if is_answered(transaction_id) => decision,
            // A wait is no answer. A person's decision waits for an answer, however old the order is.
            _ if error.is_a_wait() || order.claimed_payment().is_some() => return Err(Failure::of(asked, error)),
            _ if answer_is_overdue(&order, asked_at_ms) => Settlement::Review(NewFinding::new(
                FindingKind::NoAnswer,
                format!("three days after its time the gateway still gives no clear answer: {error}"),
            )),
            _ => return Err(Failure::of(asked, error)),
        };
    }
    let seen = worth_keeping(&order, &terms, &inquiries, asked_at_ms);
    let schedule = &context.settings.inquiry_schedule;
    let finish = match is_paid_here {
        true => Finish::Snooze { until_ms: store.now_ms(), queue: QueueName::Settle },
        false => finish_after(&order, &terms, &decision, &inquiries, schedule, asked_at_ms, store.now_ms()),
    };
    match settlement::settle_beside(store, lease, &order, asked_at_ms, &seen, &decision, &finish).await? {
        Transition::Made => {
            tell(&order, &decision);
            Ok(Done::Changed)
        }
        Transition::Refused => Ok(anew(store)),
    }
}

type Answer<'a> = Result<Inquiry, (&'a Gateway, GatewayError)>;

/// How long an account that the customer chose before is waited for while a payment may be under way. One that needs longer is
/// asked again once it is not.
const ELSEWHERE_WITHIN: Duration = Duration::from_secs(2);

/// Whether the order's account may tell its debit at any moment, and must find this job free.
fn is_being_paid(order: &Order, asked_at_ms: i64) -> bool {
    let is_open = deadline_ms(order).is_some_and(|deadline_ms| asked_at_ms < deadline_ms);
    is_open && order.last_sign_ms().is_some_and(|sign_ms| asked_at_ms - sign_ms <= RECENT_HINT_MS)
}

/// Whether the answers of the order's own account alone make it *paid*.
fn pays(order: &Order, terms: &Terms, answers: &[Answer<'_>], asked_at_ms: i64, store_id: &str) -> bool {
    let seen: Vec<Inquiry> = answers.iter().filter_map(|answer| answer.as_ref().ok()).cloned().collect();
    matches!(decide(order, terms, &seen, asked_at_ms, store_id), Settlement::Paid { .. })
}

/// Whether a debit that was not known before may be that of a transaction that began while the gateway was asked: its answer
/// may name the order alone (Click documents, payment/status_by_mti).
fn may_be_of_a_new_one(terms: &Terms, inquiries: &[Inquiry]) -> bool {
    begins_by_itself(terms)
        && inquiries.iter().any(|inquiry| {
            matches!(inquiry.state, TransactionState::Debited { .. }) && inquiry.was != StoredState::Debited
        })
}

/// The order has changed since it was read.
fn anew(store: &Store) -> Done {
    Done::Snooze { until_ms: store.now_ms() + RUN_AGAIN_MS, queue: QueueName::Settle }
}

/// Asks the account that has a transaction about it, unless nothing can happen to it any more. If a person said that it is
/// the payment, it is asked about in any case.
async fn inquire<'a>(
    context: &'a WorkerContext,
    order: &Order,
    stored: &StoredTransaction,
    of_order: &[StoredTransaction],
    (urgency, within): (Urgency, Option<Duration>),
    asked_at_ms: i64,
) -> Answer<'a> {
    let known = |state| Inquiry {
        gateway: stored.gateway.clone(),
        transaction_id: stored.transaction_id,
        was: stored.state,
        is_accepted: stored.is_accepted,
        end_is_told: stored.closed_at_ms.is_some(),
        debit_told_ms: stored.debited_at_ms,
        has_permanent_id: stored.success_transaction_id.is_some(),
        state,
        report: None,
    };
    let gateway = context.gateways.get(&stored.gateway);
    let is_again = match stored.state {
        _ if order.claimed_payment() == Some(stored.transaction_id) => false,
        // The gateway has told a debit on it: it must be asked whether it is closed after all.
        StoredState::Closed if stored.debited_at_ms.is_some() => false,
        StoredState::Closed => {
            let terms = gateway.map(Gateway::terms);
            let is_asked = terms.is_some_and(|terms| is_asked_again(order, &terms, asked_at_ms));
            if !is_asked || again::is_one_too_many(stored, of_order) {
                return Ok(known(TransactionState::Closed));
            }
            true
        }
        StoredState::Reversed => {
            let success_transaction_id = stored.success_transaction_id;
            return Ok(known(TransactionState::Reversed { success_transaction_id }));
        }
        StoredState::Open | StoredState::Debited => false,
    };
    let Some(gateway) = gateway else {
        // Its customer has chosen another account since, whose word must not wait for this one.
        return Ok(known(TransactionState::Open));
    };
    let others: Vec<&StoredTransaction> = stored.others(of_order).collect();
    let allowed_until_ms = order.allowed_until_ms_of(&stored.gateway, stored.transaction_id);
    let facts = InquiryFacts { others: &others, allowed_until_ms, asked_at_ms };
    let call = gateway.inquire(stored, &facts, urgency);
    let answer = match within {
        Some(within) => timeout(within, call).await.unwrap_or_else(|_| Err(AnswerFault::Timeout.into())),
        None => call.await,
    };
    match answer {
        Ok(report) if is_again => Ok(Inquiry { report: Some(report.clone()), ..known(again::meaning(&report.state)) }),
        Ok(report) => Ok(Inquiry { report: Some(report.clone()), ..known(report.state) }),
        Err(error) if is_again && !is_worth_repeating(order, &error) => Ok(known(TransactionState::Closed)),
        // The gateway does not know a transaction that it made itself.
        Err(GatewayError::Refused { code }) => Ok(known(TransactionState::Unclear { code })),
        Err(error) => Err((gateway, error)),
    }
}

fn tell(order: &Order, decision: &Settlement) {
    let id = order.id;
    match decision {
        Settlement::Unchanged | Settlement::Unpaid { .. } => (),
        Settlement::Paid { transaction_id } => {
            info!(order.id = %id, transaction.id = %transaction_id, "order {id} is paid");
        }
        Settlement::Reopened { transaction_id, .. } => {
            info!(order.id = %id, transaction.id = %transaction_id, "order {id} is pending again: its transaction was closed unpaid");
        }
        Settlement::LinkClosed { transaction_id } => {
            info!(order.id = %id, transaction.id = %transaction_id, "order {id} gets a new payment link");
        }
        Settlement::Expired => info!(order.id = %id, "order {id} has expired unpaid"),
        Settlement::Review(NewFinding { text: what, .. })
        | Settlement::Noted { what }
        | Settlement::NotResolved { what, .. } => {
            error!(order.id = %id, reason = what, "order {id} needs a person: {what}");
        }
        Settlement::Refunded { transaction_id } => {
            info!(order.id = %id, transaction.id = %transaction_id, "order {id} is refunded");
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::{an_order, asked};
