//! Refunds at a gateway that answers as the test says. Each is made once, although calls and answers are lost.

use domain::id::TransactionId;
use domain::job::{JobState, QueueName};
use domain::order::{Order, OrderStatus, SuggestedAct};
use domain::refund::{Refund, RefundState};
use store::kinds;

use super::gateway::{HeldGateway, PER_ORDER, Reversal};
use super::{Working, inquire_now};
use crate::support::fixture::{Fixture, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    a_refund_is_made_and_told
    a_refund_whose_answer_was_lost_is_found_and_never_sent_again
    a_refund_that_may_be_under_way_is_only_asked_about_until_a_person_has_it
    a_refund_that_was_marked_as_sent_by_a_worker_that_died_is_never_sent
    a_refund_that_was_turned_away_unprocessed_is_sent_again
    a_refund_that_the_gateway_refuses_leaves_the_order_paid
    a_refusal_of_money_that_went_back_already_is_a_refund
    an_inquiry_that_sees_the_money_go_back_ends_the_refund_that_waits
    no_gateway_is_asked_for_another_ones_refund
}

const PAYER: i64 = PER_ORDER + 1;

/// Order 1 is paid and its refund requested. The worker starts after the results of the reversals are set.
async fn begin(f: Fixture, reversals: &[Reversal]) -> (Working, Order, Refund) {
    let order = f.paid_order_as(PAYER, TransactionId(PAYER + 500)).await;
    let refund = f.refund(&order).await;
    let gateway = HeldGateway::start().await;
    gateway.debit(PAYER);
    gateway.answer_reversals(reversals);
    (Working::start_with(f, gateway, &[QueueName::Settle]).await, order, refund)
}

impl Working {
    async fn wait_for_refund(&self, refund: &Refund, state: RefundState) -> Refund {
        let what = format!("refund {} to be {state}", refund.id);
        wait_until(&what, PATIENCE, async || {
            Some(self.f.refund_again(refund).await).filter(|refund| refund.state == state)
        })
        .await
    }

    /// Waits until the gateway was asked about order 1 this many times.
    async fn wait_until_asked(&self, times: usize) {
        wait_until("the gateway to be asked", PATIENCE, async || (self.gateway.asked(1) >= times).then_some(())).await;
    }

    /// Changes the rows as if the refund had been sent earlier by this much, and makes its job due.
    async fn sent_earlier(&self, refund: &Refund, by_ms: i64) {
        let earlier = format!("update refunds set sent_at_ms = sent_at_ms - {by_ms} where id = {}", refund.id);
        self.f.execute(&[earlier]).await;
        let job = self.refund_job(refund).await;
        kinds::retry(&self.f.store, job.id).await.unwrap();
    }

    async fn wait_until_refund_jobs_are_complete(&self, refund: &Refund) {
        wait_until("the job of the refund to be complete", PATIENCE, async || {
            let jobs = kinds::jobs_of_order(&self.f.store, refund.order_id).await.unwrap();
            jobs.iter().all(|job| job.kind != "refund_order").then_some(())
        })
        .await;
    }

    async fn refund_job(&self, refund: &Refund) -> domain::job::JobRow {
        let jobs = kinds::jobs_of_order(&self.f.store, refund.order_id).await.unwrap();
        jobs.into_iter().find(|job| job.kind == "refund_order").unwrap()
    }
}

async fn a_refund_is_made_and_told(f: Fixture) {
    let (w, order, refund) = begin(f, &[]).await;

    let done = w.wait_for_refund(&refund, RefundState::Done).await;

    assert!(done.sent_at_ms.is_some() && done.finished_at_ms.is_some(), "{done:?}");
    assert_eq!(w.f.row(&order).await, (OrderStatus::Refunded, 5_000, 5_000, false));
    assert_eq!(w.gateway.reversals_asked(), 1);
    w.wait_until_refund_jobs_are_complete(&refund).await;
}

/// Shows: INVARIANT-20
async fn a_refund_whose_answer_was_lost_is_found_and_never_sent_again(f: Fixture) {
    let (w, order, refund) = begin(f, &[Reversal::MadeUntold]).await;

    w.wait_for_refund(&refund, RefundState::Done).await;

    assert_eq!(w.f.row(&order).await, (OrderStatus::Refunded, 5_000, 5_000, false));
    assert_eq!(w.gateway.reversals_asked(), 1);
}

/// Shows: MONEY-21
async fn a_refund_that_may_be_under_way_is_only_asked_about_until_a_person_has_it(f: Fixture) {
    let (w, order, refund) = begin(f, &[Reversal::Lost]).await;
    w.wait_until_asked(3).await; // the reversal, and two inquiries
    assert_eq!(w.f.row(&order).await, (OrderStatus::Paid, 5_000, 0, false));
    assert_eq!(w.f.refund_again(&refund).await.state, RefundState::Open);

    w.sent_earlier(&refund, 180_000).await;
    let review = w.wait_for_refund(&refund, RefundState::Review).await;

    assert!(review.outcome.unwrap().contains("debited"));
    assert_eq!(w.f.row(&order).await, (OrderStatus::Paid, 5_000, 0, true), "it keeps its reserve");
    assert_eq!(w.f.find(&order).await.suggested_act, Some(SuggestedAct::CheckRefund));
    assert_eq!(w.gateway.reversals_asked(), 1, "and is never sent again");
}

/// Shows: INVARIANT-20
async fn a_refund_that_was_marked_as_sent_by_a_worker_that_died_is_never_sent(f: Fixture) {
    let order = f.paid_order_as(PAYER, TransactionId(PAYER + 500)).await;
    let refund = f.refund(&order).await;
    let now_ms = f.store.now_ms();
    f.execute(&[format!("update refunds set sent_at_ms = {now_ms} where id = {}", refund.id)]).await;
    let gateway = HeldGateway::start().await;
    gateway.debit(PAYER);
    let w = Working::start_with(f, gateway, &[QueueName::Settle]).await;

    w.wait_until_asked(2).await;
    w.sent_earlier(&refund, 180_000).await;

    w.wait_for_refund(&refund, RefundState::Review).await;
    assert_eq!(w.gateway.reversals_asked(), 0);
}

/// Shows: MONEY-22
async fn a_refund_that_was_turned_away_unprocessed_is_sent_again(f: Fixture) {
    let (w, order, refund) = begin(f, &[Reversal::Forbidden]).await;

    w.wait_for_refund(&refund, RefundState::Done).await;

    assert_eq!(w.gateway.reversals_asked(), 2);
    assert_eq!(w.f.row(&order).await, (OrderStatus::Refunded, 5_000, 5_000, false));
}

/// Shows: MONEY-23
async fn a_refund_that_the_gateway_refuses_leaves_the_order_paid(f: Fixture) {
    let (w, order, refund) = begin(f, &[Reversal::Refused]).await;

    let refused = w.wait_for_refund(&refund, RefundState::Refused).await;

    assert!(refused.outcome.unwrap().contains("STPIMS-ERR-009"));
    assert_eq!(w.f.row(&order).await, (OrderStatus::Paid, 0, 0, false), "another one may be asked for");
    let another = w.f.refund(&order).await;
    w.wait_for_refund(&another, RefundState::Done).await;
    assert_eq!(w.gateway.reversals_asked(), 2);
}

/// Shows: MONEY-23
async fn a_refusal_of_money_that_went_back_already_is_a_refund(f: Fixture) {
    let order = f.paid_order_as(PAYER, TransactionId(PAYER + 500)).await;
    let refund = f.refund(&order).await;
    let gateway = HeldGateway::start().await;
    gateway.debit(PAYER);
    gateway.reverse(PAYER);
    gateway.answer_reversals(&[Reversal::Refused]);
    let w = Working::start_with(f, gateway, &[QueueName::Settle]).await;

    w.wait_for_refund(&refund, RefundState::Done).await;

    assert_eq!(w.f.row(&order).await, (OrderStatus::Refunded, 5_000, 5_000, false));
}

/// The answer to the reversal is delayed, and the order's own inquiry comes first.
async fn an_inquiry_that_sees_the_money_go_back_ends_the_refund_that_waits(f: Fixture) {
    let (w, order, refund) = begin(f, &[Reversal::Lost]).await;
    w.wait_until_asked(2).await;
    w.gateway.reverse(PAYER);
    let inquiry = inquire_now(&w.f, &order).await;
    let stage = format!("update jobs set queue = 'settle' where id = {inquiry}");
    w.f.execute(&[stage]).await;

    w.wait_for_refund(&refund, RefundState::Done).await;

    assert_eq!(w.f.row(&order).await, (OrderStatus::Refunded, 5_000, 5_000, false));
    w.wait_until_refund_jobs_are_complete(&refund).await;
    let entered = w.f.history(&order).await.iter().filter(|(_, to)| *to == "refunded").count();
    assert_eq!((entered, w.gateway.reversals_asked()), (1, 1));
}

async fn no_gateway_is_asked_for_another_ones_refund(f: Fixture) {
    let order = f.paid_order_as(PAYER, TransactionId(PAYER + 500)).await;
    let refund = f.refund(&order).await;
    f.execute(&["update orders set gateway = 'atmos:9'".to_owned()]).await;
    let w = Working::start(f).await;
    let job = w.refund_job(&refund).await;
    let waits = async |w: &Working| {
        Some(w.job(job.id).await).filter(|job| job.state == JobState::Available && job.due_at_ms > w.f.store.now_ms())
    };
    wait_until("the refund to wait", PATIENCE, async || waits(&w).await).await;
    assert_eq!((w.gateway.asked(1), w.f.refund_again(&refund).await.sent_at_ms), (0, None));

    let three_days = 72 * 3_600_000;
    w.f.execute(&[format!("update refunds set created_at_ms = created_at_ms - {three_days}")]).await;
    kinds::retry(&w.f.store, job.id).await.unwrap();

    w.wait_for_refund(&refund, RefundState::Refused).await;
    assert_eq!(w.f.row(&order).await, (OrderStatus::Paid, 0, 0, false));
    assert_eq!(w.gateway.reversals_asked(), 0);
}
