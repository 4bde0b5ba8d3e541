//! Asks the gateway about every draft of an order and settles it; the only job that does.

use futures_util::future::join_all;
use shared::failpoint::{Point, reach};
use shared::gateway::{GatewayError, TransactionReport, TransactionState};
use shared::id::{OrderId, TransactionId};
use shared::job::{Lease, QueueName};
use shared::order::{Order, OrderStatus, SuggestedAct};
use shared::store::jobs::Finish;
use shared::store::orders::{self, Transition};
use shared::store::settlement::{self, CLOSED_BELIEVED_MS, MAX_LINKS, Settlement};
use shared::store::sweeping::LOOK_BACK_MS;
use shared::store::transactions::{self, Seen, StoredState, StoredTransaction};
use tracing::{error, info, warn};

use crate::failure::{Done, Failure};
use crate::look_schedule::{deadline_ms, next_look_back_ms};
use crate::{LookSchedule, WorkerContext};

/// An order of a gateway that is not configured is looked at again after this long.
pub(crate) const ELSEWHERE_SNOOZE_MS: i64 = 3_600_000;

/// So long after an order's time the gateway must have said something clear.
const OVERDUE_MS: i64 = 72 * 3_600_000;

/// A guard that refused has seen a newer state than we: look again after this.
const LOOK_AGAIN_MS: i64 = 250;

pub(crate) async fn settle_order(context: &WorkerContext, lease: &Lease, order_id: OrderId) -> Result<Done, Failure> {
    let store = &context.store;
    let Some(order) = orders::find(store, order_id).await? else {
        return Err(Failure::Hopeless(format!("there is no order {order_id}")));
    };
    let asked_at_ms = store.now_ms();
    if order.gateway != *context.gateway.identity() {
        if order.status == OrderStatus::Review || order.needs_review || look_back_is_over(&order, asked_at_ms) {
            return Ok(Done::NothingToDo); // a person has it, or its time has passed
        }
        warn!(order.id = %order_id, gateway = %order.gateway, "order {order_id} belongs to a gateway that is not configured");
        return Ok(Done::Snooze { until_ms: asked_at_ms + ELSEWHERE_SNOOZE_MS, queue: QueueName::Background });
    }

    let drafts = transactions::of_order(store, order_id).await?;
    reach(Point::SettleBeforeCall);
    let (mut looked, mut unanswered) = (Vec::new(), None);
    for answer in join_all(drafts.iter().map(|draft| look(context, draft))).await {
        match answer {
            Ok(seen) => looked.push(seen),
            Err(error) => unanswered = Some(error),
        }
    }

    reach(Point::SettleAfterCall);
    let mut decision = decide(&order, &looked, asked_at_ms, context.gateway.store_id());
    if let Some(error) = unanswered {
        decision = match decision {
            // A debit on any draft counts, whatever is not known of the others.
            Settlement::Paid { .. } | Settlement::Review { .. } | Settlement::Noted { .. } => decision,
            _ if answer_is_overdue(&order, asked_at_ms) => Settlement::Review {
                reason: format!("three days after its time the gateway still gives no clear answer: {error}"),
                act: SuggestedAct::AskGateway,
            },
            _ => return Err(error.into()),
        };
    }
    let seen = worth_keeping(&order, &looked, asked_at_ms);
    let finish = finish_after(&order, &decision, &looked, &context.look_schedule, asked_at_ms, store.now_ms());
    match settlement::settle(store, lease, &order, asked_at_ms, &seen, &decision, &finish).await? {
        Transition::Made => {
            tell(&order, &decision);
            Ok(Done::Changed)
        }
        Transition::Refused => Ok(Done::Snooze { until_ms: store.now_ms() + LOOK_AGAIN_MS, queue: QueueName::Settle }),
    }
}

/// One transaction of the order as it is now.
#[derive(Clone, Debug)]
struct Looked {
    transaction_id: TransactionId,
    was: StoredState,
    /// Whether the permanent id of its debit is kept already; a refund needs it.
    has_permanent_id: bool,
    state: TransactionState,
    /// What the gateway says of it; `None` where it was not asked, or knows no such transaction.
    report: Option<TransactionReport>,
}

/// Asks about a transaction unless nothing can happen to it any more.
async fn look(context: &WorkerContext, stored: &StoredTransaction) -> Result<Looked, GatewayError> {
    let has_permanent_id = stored.success_transaction_id.is_some();
    let known = |state| Looked {
        transaction_id: stored.transaction_id,
        was: stored.state,
        has_permanent_id,
        state,
        report: None,
    };
    match stored.state {
        StoredState::Closed => return Ok(known(TransactionState::Closed)),
        StoredState::Reversed => {
            let success_transaction_id = stored.success_transaction_id;
            return Ok(known(TransactionState::Reversed { success_transaction_id }));
        }
        StoredState::Open | StoredState::Debited => (),
    }
    match context.gateway.look(stored.transaction_id).await {
        Ok(report) => Ok(Looked { report: Some(report.clone()), ..known(report.state) }),
        // It does not know a transaction that it made itself.
        Err(GatewayError::Refused { code }) => Ok(known(TransactionState::Unclear { code })),
        Err(error) => Err(error),
    }
}

/// Whether an order has ended so long ago that nobody looks back any more.
fn look_back_is_over(order: &Order, now_ms: i64) -> bool {
    order.final_at_ms.is_some_and(|final_at_ms| next_look_back_ms(final_at_ms, now_ms).is_none())
}

/// Whether a gateway that still says nothing clear is a matter for a person: nothing waits for ever.
fn answer_is_overdue(order: &Order, asked_at_ms: i64) -> bool {
    let ended_ms = order.final_at_ms.map(|final_at_ms| final_at_ms + LOOK_BACK_MS);
    ended_ms.or(deadline_ms(order)).is_some_and(|over_ms| over_ms + OVERDUE_MS <= asked_at_ms)
}

/// What the looks lead to. Pure: every rule of DESIGN "Money guards" that is not SQL stands here.
fn decide(order: &Order, looked: &[Looked], asked_at_ms: i64, store_id: &str) -> Settlement {
    let debited: Vec<&Looked> =
        looked.iter().filter(|looked| matches!(looked.state, TransactionState::Debited { .. })).collect();
    match order.status {
        OrderStatus::Pending | OrderStatus::Confirming => {
            if let Some(misfit) = debited.iter().find_map(|looked| misfit(order, looked, store_id)) {
                return Settlement::Review { reason: misfit, act: SuggestedAct::CompareDebit };
            }
            match debited.first() {
                Some(paid) => Settlement::Paid { transaction_id: paid.transaction_id },
                None => decide_unpaid(order, looked, asked_at_ms),
            }
        }
        OrderStatus::Paid | OrderStatus::Refunded => {
            let second = debited.iter().find(|looked| Some(looked.transaction_id) != order.transaction_id);
            let reversed = looked.iter().find(|looked| {
                Some(looked.transaction_id) == order.transaction_id
                    && matches!(looked.state, TransactionState::Reversed { .. })
            });
            match (second, reversed) {
                (Some(second), None) => Settlement::Review {
                    reason: format!("the order was paid a second time, by transaction {}", second.transaction_id),
                    act: SuggestedAct::ReturnSecondPayment,
                },
                (Some(second), Some(reversed)) => Settlement::Review {
                    reason: format!(
                        "the order was paid a second time, by transaction {}, and transaction {} was reversed",
                        second.transaction_id, reversed.transaction_id
                    ),
                    act: SuggestedAct::ReturnSecondPayment,
                },
                (None, Some(reversed)) if order.status == OrderStatus::Paid => {
                    Settlement::Refunded { transaction_id: reversed.transaction_id }
                }
                (None, Some(_)) => Settlement::Unchanged,
                (None, None) => unclear_after_the_end(order, looked),
            }
        }
        OrderStatus::Expired | OrderStatus::Canceled | OrderStatus::Failed => match debited.first() {
            Some(late) => Settlement::Review {
                reason: format!(
                    "transaction {} was debited although the order is {}",
                    late.transaction_id, order.status
                ),
                act: SuggestedAct::ReturnLatePayment,
            },
            None => unclear_after_the_end(order, looked),
        },
        // A person has it, and must hear of money that moved since.
        OrderStatus::Review => match debited.iter().find(|looked| looked.was != StoredState::Debited) {
            Some(fresh) => {
                Settlement::Noted { what: format!("the gateway shows transaction {} as debited", fresh.transaction_id) }
            }
            None => Settlement::Unchanged,
        },
    }
}

/// The gateway answers about an order that has ended with something nobody can read: money may have moved.
fn unclear_after_the_end(order: &Order, looked: &[Looked]) -> Settlement {
    let unclear = looked.iter().find_map(|looked| match (&looked.state, &looked.report) {
        (TransactionState::Unclear { code }, Some(_)) => Some((looked.transaction_id, code)),
        _ => None,
    });
    match unclear {
        Some((id, code)) => Settlement::Review {
            reason: format!("the order is {}, and the gateway says of transaction {id} only: {code}", order.status),
            act: SuggestedAct::AskGateway,
        },
        None => Settlement::Unchanged,
    }
}

/// Why a debit does not fit the order, if it does not.
fn misfit(order: &Order, looked: &Looked, store_id: &str) -> Option<String> {
    let report = looked.report.as_ref()?;
    let id = looked.transaction_id;
    if report.amount != order.amount.get() {
        return Some(format!(
            "transaction {id} was debited with {} tiyin instead of {}",
            report.amount,
            order.amount.get()
        ));
    }
    if report.account != order.id.to_string() {
        return Some(format!("transaction {id} was debited for another account"));
    }
    if report.store_id.as_deref().is_some_and(|store| store != store_id) {
        return Some(format!("transaction {id} was debited for another store"));
    }
    None
}

/// No money has been seen; what that means depends on what may still come.
fn decide_unpaid(order: &Order, looked: &[Looked], asked_at_ms: i64) -> Settlement {
    let is_over = deadline_ms(order).is_some_and(|deadline| deadline <= asked_at_ms);
    let unclear = looked.iter().find_map(|looked| match &looked.state {
        TransactionState::Unclear { code } => Some((looked.transaction_id, code)),
        _ => None,
    });
    if is_over {
        return match unclear {
            Some((id, code)) => Settlement::Review {
                reason: format!("its time is over, and the gateway says of transaction {id} only: {code}"),
                act: SuggestedAct::AskGateway,
            },
            None => Settlement::Expired,
        };
    }
    let is_closed = |id: Option<TransactionId>| {
        looked.iter().any(|looked| Some(looked.transaction_id) == id && is_closed_unpaid(&looked.state))
    };
    match (order.status, order.allowed_transaction_id) {
        (OrderStatus::Confirming, Some(allowed))
            if is_closed(Some(allowed)) && closed_is_believed(order, asked_at_ms) =>
        {
            let link_is_closed = order.transaction_id == Some(allowed);
            Settlement::Reopened { transaction_id: allowed, link_is_closed }
        }
        (OrderStatus::Pending, None) if is_closed(order.transaction_id) && order.links_made < MAX_LINKS => {
            match order.transaction_id {
                Some(transaction_id) => Settlement::LinkClosed { transaction_id },
                None => Settlement::Unchanged,
            }
        }
        _ => Settlement::Unchanged,
    }
}

fn is_closed_unpaid(state: &TransactionState) -> bool {
    matches!(state, TransactionState::Closed | TransactionState::Reversed { .. })
}

/// An apply that was allowed just now may still debit, whatever the gateway shows meanwhile.
fn closed_is_believed(order: &Order, asked_at_ms: i64) -> bool {
    order.last_allowed_at_ms.is_none_or(|allowed_at_ms| allowed_at_ms <= asked_at_ms - CLOSED_BELIEVED_MS)
}

/// What was seen and is not yet known. That the allowed draft is closed is kept only once it may be believed.
fn worth_keeping(order: &Order, looked: &[Looked], asked_at_ms: i64) -> Vec<Seen> {
    looked
        .iter()
        .filter_map(|looked| {
            let (state, success_transaction_id) = match &looked.state {
                TransactionState::Closed => (StoredState::Closed, None),
                TransactionState::Debited { success_transaction_id } => {
                    (StoredState::Debited, Some(*success_transaction_id))
                }
                TransactionState::Reversed { success_transaction_id } => {
                    (StoredState::Reversed, *success_transaction_id)
                }
                TransactionState::Open | TransactionState::Unclear { .. } => return None,
            };
            let too_early = state == StoredState::Closed
                && order.allowed_transaction_id == Some(looked.transaction_id)
                && !closed_is_believed(order, asked_at_ms);
            let is_new = state != looked.was || (success_transaction_id.is_some() && !looked.has_permanent_id);
            (is_new && !too_early).then_some(Seen {
                transaction_id: looked.transaction_id,
                state,
                success_transaction_id,
            })
        })
        .collect()
}

/// When the order is looked at next, given what this look led to.
fn finish_after(
    order: &Order,
    decision: &Settlement,
    looked: &[Looked],
    schedule: &LookSchedule,
    asked_at_ms: i64,
    now_ms: i64,
) -> Finish {
    let look_back = |final_at_ms: i64| match next_look_back_ms(final_at_ms, now_ms) {
        Some(until_ms) => Finish::Snooze { until_ms, queue: QueueName::Background },
        None => Finish::Complete,
    };
    match decision {
        Settlement::Review { .. } | Settlement::Noted { .. } => Finish::Complete, // a person stages the next look
        Settlement::Paid { transaction_id } => {
            let paid_twice = looked.iter().any(|looked| {
                looked.transaction_id != *transaction_id && matches!(looked.state, TransactionState::Debited { .. })
            });
            if paid_twice {
                Finish::Snooze { until_ms: now_ms, queue: QueueName::Settle } // the next look tells a person
            } else {
                look_back(now_ms)
            }
        }
        Settlement::Expired => look_back(now_ms),
        Settlement::Refunded { .. } => look_back(order.final_at_ms.unwrap_or(now_ms)),
        Settlement::Unchanged | Settlement::Reopened { .. } | Settlement::LinkClosed { .. } => match order.status {
            OrderStatus::Pending | OrderStatus::Confirming => {
                let (until_ms, queue) = schedule.next_look(order, asked_at_ms, now_ms);
                Finish::Snooze { until_ms, queue }
            }
            _ if order.needs_review || order.status == OrderStatus::Review => Finish::Complete,
            _ => look_back(order.final_at_ms.unwrap_or(now_ms)),
        },
    }
}

fn tell(order: &Order, decision: &Settlement) {
    let id = order.id;
    match decision {
        Settlement::Unchanged => (),
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
        Settlement::Review { reason: what, .. } | Settlement::Noted { what } => {
            error!(order.id = %id, reason = what, "order {id} needs a person: {what}");
        }
        Settlement::Refunded { transaction_id } => {
            info!(order.id = %id, transaction.id = %transaction_id, "order {id} is refunded");
        }
    }
}

#[cfg(test)]
#[path = "settle_order_tests.rs"]
mod tests;

#[cfg(test)]
pub(crate) use tests::an_order;
