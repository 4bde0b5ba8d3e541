//! Gives an order's money back at the gateway: sends the reversal once, then asks what became of it.

use std::time::Duration;

use domain::id::RefundId;
use domain::job::{Lease, QueueName};
use domain::order::Order;
use domain::refund::{Refund, RefundState};
use domain::transaction::{StoredTransaction, TransactionState};
use failpoint::{Point, reach};
use gateway::coordination::Urgency;
use gateway::{Gateway, GatewayError, InquiryFacts};
use store::orders::{self, Transition};
use store::{Store, StoreError};
use store::{refunds, transactions};
use tracing::{error, info, warn};

use crate::WorkerContext;
use crate::elsewhere::{gateway_of, give_back};
use crate::failure::{Done, Failure, RUN_AGAIN_MS, UNANSWERED_MS};
use crate::handler::Attempt;

/// How long the gateway may work on a refund after it was sent. An inquiry that began earlier and shows no reversal
/// decides nothing.
const UNDER_WAY_MS: i64 = 180_000;

/// The shortest and the longest wait between inquiries about a refund that was sent.
const SHORTEST_SNOOZE_MS: i64 = 1_000;
const LONGEST_SNOOZE_MS: i64 = 30_000;

/// The reason for the gateway when the shop gave none.
const NO_REASON: &str = "refund";

pub(crate) async fn run(attempt: Attempt<'_>, refund_id: RefundId) -> Result<Done, Failure> {
    let Attempt { context, places, slot, lease, .. } = attempt;
    let store = &context.store;
    let Some(refund) = refunds::find(store, refund_id).await? else {
        return Err(Failure::Hopeless(format!("there is no refund {refund_id}")));
    };
    match refund.state {
        RefundState::Open => (),
        // An inquiry has seen the money go back, or a person has it.
        RefundState::Review | RefundState::Done | RefundState::Refused => return Ok(Done::NothingToDo),
    }
    let Some(order) = orders::find(store, refund.order_id).await? else {
        return Err(Failure::Hopeless(format!("there is no order {}", refund.order_id)));
    };
    let run = RefundRun { context, lease, order: &order };
    let Some(gateway) = gateway_of(context, &order) else {
        return run.wait_for_gateway(&refund).await;
    };
    let _place = match places.take(&order, slot, QueueName::Settle, store.now_ms()).await {
        Ok(place) => place,
        Err(done) => return Ok(done),
    };
    match refund.sent_at_ms {
        Some(sent_at_ms) => run.inquire(gateway, &refund, sent_at_ms).await,
        None => run.send(gateway, refund).await,
    }
}

/// One run of one refund.
struct RefundRun<'a> {
    context: &'a WorkerContext,
    lease: &'a Lease,
    order: &'a Order,
}

impl RefundRun<'_> {
    /// Marks the refund as sent, and then sends it. A run that finds the mark never sends.
    async fn send(&self, gateway: &Gateway, refund: Refund) -> Result<Done, Failure> {
        let store = &self.context.store;
        let payment = self.payment(&refund).await?;
        // The month may have ended since the refund was asked for.
        let allowed = gateway.terms().refunds.check(payment.paid_at_ms(self.order.final_at_ms), store.now_ms());
        if let Err(why) = allowed {
            return self.refused(&refund, &why.to_string()).await;
        }
        gateway.prepare().await.map_err(|error| Failure::of(gateway, error))?;
        reach(Point::RefundBeforeMark);
        let Some(sent_at_ms) = refunds::begin_sending(store, self.lease, refund.id).await? else {
            return Ok(again(store));
        };
        reach(Point::RefundBeforeCall);
        let reason = refund.reason.as_deref().unwrap_or(NO_REASON);
        let answer = gateway.reverse(&payment, reason).await;
        reach(Point::RefundAfterCall);
        match answer {
            Ok(()) => self.done(&refund).await,
            Err(trouble) if trouble.is_unprocessed() => {
                self.take_back(&refund, sent_at_ms).await?;
                Err(Failure::of(gateway, trouble))
            }
            Err(GatewayError::Refused { code }) => {
                refunds::keep_refusal(store, self.lease, refund.id, &code).await?;
                self.inquire(gateway, &Refund { refused_code: Some(code), ..refund }, sent_at_ms).await
            }
            Err(unknown) => {
                warn!(
                    order.id = %refund.order_id, refund.id = %refund.id, error = %unknown,
                    "the outcome of refund {} is not known yet: {unknown}", refund.id
                );
                self.inquire(gateway, &refund, sent_at_ms).await
            }
        }
    }

    /// The transaction whose money goes back.
    async fn payment(&self, refund: &Refund) -> Result<StoredTransaction, Failure> {
        let payments = transactions::of_order(&self.context.store, refund.order_id).await?;
        let payment = payments
            .into_iter()
            .find(|payment| payment.transaction_id == refund.transaction_id && self.order.is_of(&payment.gateway));
        let payment =
            payment.ok_or_else(|| Failure::Hopeless(format!("there is no transaction {}", refund.transaction_id)))?;
        // The refund keeps the number of the debit that it gives back.
        Ok(StoredTransaction { success_transaction_id: Some(refund.success_transaction_id), ..payment })
    }

    /// Removes the mark of a refund that was not sent after all. Tried several times while the database is in trouble:
    /// with the mark the refund would end before a person.
    async fn take_back(&self, refund: &Refund, sent_at_ms: i64) -> Result<(), StoreError> {
        let store = &self.context.store;
        for pause_ms in [100, 400, 1_600, 3_200] {
            match refunds::take_back_sending(store, self.lease, refund.id, sent_at_ms).await {
                Err(trouble) if trouble.is_passing() => tokio::time::sleep(Duration::from_millis(pause_ms)).await,
                ended => return ended,
            }
        }
        refunds::take_back_sending(store, self.lease, refund.id, sent_at_ms).await
    }

    /// Asks the gateway what became of a refund that was sent, now or before.
    async fn inquire(&self, gateway: &Gateway, refund: &Refund, sent_at_ms: i64) -> Result<Done, Failure> {
        let store = &self.context.store;
        let payment = self.payment(refund).await?;
        let asked_at_ms = store.now_ms();
        // The number of its debit is known, and no other transaction of the order can be meant.
        let facts = InquiryFacts { others: &[], allowed_until_ms: None, asked_at_ms };
        let seen = match gateway.inquire(&payment, &facts, Urgency::Now).await {
            Ok(report) => report.state,
            // The gateway does not know a transaction that it debited itself.
            Err(GatewayError::Refused { code }) => TransactionState::Unclear { code },
            Err(trouble) if trouble.is_a_wait() || asked_at_ms < sent_at_ms + UNANSWERED_MS => {
                return Err(Failure::of(gateway, trouble));
            }
            Err(trouble) => {
                return self
                    .review(refund, &format!("in three days the gateway gave no clear answer: {trouble}"))
                    .await;
            }
        };
        let shown = match (&seen, &refund.refused_code) {
            (TransactionState::Reversed { .. }, _) => return self.done(refund).await,
            (TransactionState::Debited { .. }, Some(code)) => {
                return self.refused(refund, &format!("the gateway refused it with code {code}")).await;
            }
            (TransactionState::Debited { .. }, None) => "debited".to_owned(),
            (TransactionState::Open, _) => "open".to_owned(),
            (TransactionState::Closed, _) => "closed".to_owned(),
            (TransactionState::Unclear { code }, _) => code.clone(),
        };
        if asked_at_ms < sent_at_ms + UNDER_WAY_MS {
            let until_ms = next_inquiry_ms(sent_at_ms, self.context.store.now_ms());
            return Ok(Done::Snooze { until_ms, queue: QueueName::Settle });
        }
        let id = refund.transaction_id;
        self.review(
            refund,
            &format!("{} s after it was sent the gateway shows transaction {id} as {shown}", UNDER_WAY_MS / 1_000),
        )
        .await
    }

    /// This process has no account at the gateway that holds the money. A refund that was never sent can be given up
    /// safely.
    async fn wait_for_gateway(&self, refund: &Refund) -> Result<Done, Failure> {
        let now_ms = self.context.store.now_ms();
        let why = "its gateway is no longer configured";
        if now_ms < refund.created_at_ms + UNANSWERED_MS {
            return Ok(give_back(self.context, self.order, QueueName::Settle).await?);
        }
        match refund.sent_at_ms {
            None => self.refused(refund, why).await,
            Some(_) => self.review(refund, why).await,
        }
    }

    async fn done(&self, refund: &Refund) -> Result<Done, Failure> {
        let made = refunds::close_as_done(&self.context.store, self.lease, self.order, refund).await?;
        if made == Transition::Made {
            info!(order.id = %refund.order_id, refund.id = %refund.id, "refund {} is done", refund.id);
        }
        Ok(self.end(made))
    }

    async fn refused(&self, refund: &Refund, why: &str) -> Result<Done, Failure> {
        let made = refunds::close_as_refused(&self.context.store, self.lease, refund, why).await?;
        if made == Transition::Made {
            warn!(order.id = %refund.order_id, refund.id = %refund.id, reason = why, "refund {} was not made: {why}", refund.id);
        }
        Ok(self.end(made))
    }

    async fn review(&self, refund: &Refund, what: &str) -> Result<Done, Failure> {
        let made = refunds::put_in_review(&self.context.store, self.lease, refund, what).await?;
        if made == Transition::Made {
            error!(order.id = %refund.order_id, refund.id = %refund.id, reason = what, "refund {} needs a person: {what}", refund.id);
        }
        Ok(self.end(made))
    }

    /// If the guards refused, the refund was closed meanwhile, and the next run reads that.
    fn end(&self, made: Transition) -> Done {
        match made {
            Transition::Made => Done::Changed,
            Transition::Refused => again(&self.context.store),
        }
    }
}

fn again(store: &Store) -> Done {
    Done::Snooze { until_ms: store.now_ms() + RUN_AGAIN_MS, queue: QueueName::Settle }
}

/// When the next inquiry is due: the waits double, and the last one ends when an answer decides. Pure.
fn next_inquiry_ms(sent_at_ms: i64, now_ms: i64) -> i64 {
    let wait_ms = (now_ms - sent_at_ms).clamp(SHORTEST_SNOOZE_MS, LONGEST_SNOOZE_MS);
    (now_ms + wait_ms).min(sent_at_ms + UNDER_WAY_MS).max(now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inquiries_about_a_refund_that_was_sent_come_quickly_then_every_half_minute_and_right_at_the_end() {
        let mut inquiries = vec![0];
        while let Some(now_ms) = inquiries.last().copied().filter(|now_ms| *now_ms < UNDER_WAY_MS) {
            inquiries.push(next_inquiry_ms(0, now_ms));
        }

        assert_eq!(
            inquiries,
            [0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 62_000, 92_000, 122_000, 152_000, 180_000]
        );
    }
}
