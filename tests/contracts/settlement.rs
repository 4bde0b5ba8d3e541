use domain::callback_verdict::CallbackVerdict;
use domain::id::TransactionId;
use domain::job::{Job, JobState, QueueName};
use domain::order::OrderStatus;
use domain::review::{FindingKind, NewFinding};
use domain::transaction::StoredState;
use store::jobs::{self, Finish};
use store::orders::Transition;
use store::settlement::{self, Settlement};
use store::sweeping;
use store::{Store, StoreError};

use crate::support::fixture::settling::{far, paid, seen_closed};
use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, gateway, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    an_order_is_paid_once_whatever_is_repeated
    a_paid_order_names_the_draft_that_paid_it_and_not_the_linked_one
    a_settlement_with_a_lost_lease_writes_nothing
    a_refused_settlement_leaves_the_job_running
    a_callback_between_the_answer_and_the_end_of_an_inquiry_is_not_lost
    an_order_expires_only_by_an_inquiry_after_its_time
    a_confirming_order_is_not_reopened_too_early
    a_draft_that_may_debit_is_never_put_aside_as_closed
    a_closed_draft_that_is_allowed_is_asked_about_again
    a_closed_link_is_replaced_by_a_new_one
    that_nothing_was_taken_is_kept_until_the_next_sign_of_a_payment_and_moves_nothing
    what_a_person_must_know_of_an_order_in_review_stands_in_its_history
    an_order_whose_time_ended_between_two_links_still_has_its_last_inquiry
    a_second_payment_marks_the_order_and_leaves_it_paid
    a_reversal_refunds_the_whole_order
    sweep_restores_what_is_missing_and_nothing_else
}

/// Shows: INVARIANT-3, PROMISE-2
async fn an_order_is_paid_once_whatever_is_repeated(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.pay(&order, 7).await;

    for _ in 0..2 {
        let again = f.settle_job(&order).await;
        let result =
            settlement::settle(&f.store, &again.lease, &order, f.store.now_ms(), &[], &paid(7), &far()).await.unwrap();
        assert_eq!(result, Transition::Refused);
        jobs::finish_alone(&f.store, &again.lease, &far()).await.unwrap();
    }

    let entered = f.history(&order).await.iter().filter(|(_, to)| *to == "paid").count();
    assert_eq!(entered, 1);
    let order = f.find(&order).await;
    assert_eq!((order.status, order.transaction_id), (OrderStatus::Paid, Some(TransactionId(7))));
}

/// By it later inquiries tell a reversal from a second payment.
async fn a_paid_order_names_the_draft_that_paid_it_and_not_the_linked_one(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.stray_draft(&order, 8).await;

    f.pay(&order, 8).await;

    assert_eq!(f.find(&order).await.transaction_id, Some(TransactionId(8)));
    assert_eq!(f.ask(&order, 8).await, CallbackVerdict::AlreadyPaid);
    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::SecondTransaction);
}

/// Shows: INVARIANT-4, PROMISE-3, MONEY-9
async fn a_settlement_with_a_lost_lease_writes_nothing(f: Fixture) {
    let order = f.order_with_link(7).await;
    let mut job = f.settle_job(&order).await;
    job.lease.token ^= 1;

    let result = settlement::settle(&f.store, &job.lease, &order, f.store.now_ms(), &[], &paid(7), &far()).await;

    assert!(matches!(result, Err(StoreError::LeaseLost)), "{result:?}");
    assert_eq!(f.find(&order).await.status, OrderStatus::Pending);
    assert_eq!(f.history(&order).await.len(), 2);
}

/// Shows: INVARIANT-5, MONEY-9
async fn a_refused_settlement_leaves_the_job_running(f: Fixture) {
    let order = f.order_with_link(7).await;
    let job = f.settle_job(&order).await;

    let early = settlement::settle(&f.store, &job.lease, &order, 0, &[], &Settlement::Expired, &far()).await.unwrap();

    assert_eq!(early, Transition::Refused);
    assert_eq!(f.state_of(job.lease.job_id).await.0, "running");
}

/// Shows: INVARIANT-11, JOB-3
async fn a_callback_between_the_answer_and_the_end_of_an_inquiry_is_not_lost(f: Fixture) {
    let order = f.order_with_link(7).await;
    let inquiry = f.settle_job(&order).await;
    // The gateway has just answered that nothing is paid; now the customer confirms.
    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Allowed);
    assert_eq!(f.claim(QueueName::Settle).await.len(), 0, "a worker runs it already");

    let asked_at_ms = f.store.now_ms();
    settlement::settle(&f.store, &inquiry.lease, &order, asked_at_ms, &[], &Settlement::Unchanged, &far())
        .await
        .unwrap();

    let job = jobs::show(&f.store, inquiry.lease.job_id).await.unwrap().unwrap();
    assert_eq!((job.state, job.queue.as_str()), (JobState::Available, "settle"));
    assert!(job.due_at_ms <= f.store.now_ms(), "another inquiry is due at once");
}

/// Shows: INVARIANT-9, MONEY-12
async fn an_order_expires_only_by_an_inquiry_after_its_time(f: Fixture) {
    let order = f.order().await;
    f.link(&order, 7, 0).await;
    let order = f.find(&order).await;

    assert_eq!(f.settle(&order, &Settlement::Expired).await.unwrap(), Transition::Made);

    let order = f.find(&order).await;
    assert_eq!(order.status, OrderStatus::Expired);
    assert!(order.final_at_ms.is_some());
}

/// Shows: INVARIANT-7, MONEY-5
async fn a_confirming_order_is_not_reopened_too_early(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.ask(&order, 7).await;
    let order = f.find(&order).await;
    let job = f.settle_job(&order).await;
    let reopened = Settlement::Reopened {
        transaction_id: TransactionId(7),
        link_is_closed: true,
        believed_after: std::time::Duration::from_secs(180),
    };
    let settle = async |store: &Store, asked_at_ms| {
        settlement::settle(store, &job.lease, &order, asked_at_ms, &[], &reopened, &far()).await.unwrap()
    };

    assert_eq!(settle(&f.store, f.store.now_ms()).await, Transition::Refused);
    assert_eq!(settle(&f.store, f.store.now_ms() + 180_001).await, Transition::Made);

    let order = f.find(&order).await;
    assert_eq!((order.status, order.allowed_transaction_id), (OrderStatus::Pending, None));
}

/// The inquiry began before the gateway asked; its answer comes while the debit that we allowed is on its way.
/// Shows: INVARIANT-7, MONEY-6
async fn a_draft_that_may_debit_is_never_put_aside_as_closed(f: Fixture) {
    let before = f.order_with_link(7).await;
    assert_eq!(f.ask(&before, 7).await, CallbackVerdict::Allowed);

    f.see_closed(&before, 7).await;

    assert_eq!(f.states(&before).await, [(7, StoredState::Open)], "or its debit would never be seen");
}

/// Shows: MONEY-6
async fn a_closed_draft_that_is_allowed_is_asked_about_again(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.see_closed(&order, 7).await;
    assert_eq!(f.states(&order).await, [(7, StoredState::Closed)]);

    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Allowed);

    assert_eq!(f.states(&order).await, [(7, StoredState::Open)]);
}

async fn what_a_person_must_know_of_an_order_in_review_stands_in_its_history(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.settle(&order, &Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, "odd"))).await.unwrap();
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();

    f.settle(&order, &Settlement::Noted { what: "money moved".into() }).await.unwrap();

    let told = store::orders::history(&f.store, order.id).await.unwrap().pop().unwrap();
    assert_eq!((told.from, told.to), (Some(OrderStatus::Review), OrderStatus::Review));
    assert_eq!(told.cause, "money moved");
}

async fn an_order_whose_time_ended_between_two_links_still_has_its_last_inquiry(f: Fixture) {
    let order = f.order().await;
    f.link(&order, 7, 300).await;
    let closed = Settlement::LinkClosed { transaction_id: TransactionId(7) };
    let order = f.find(&order).await;
    assert_eq!(f.settle(&order, &closed).await.unwrap(), Transition::Made);
    let link_job = f.claim_one(QueueName::Links).await;
    let inquiry = f.settle_job(&order).await;
    for lease in [link_job.lease, inquiry.lease] {
        jobs::finish_alone(&f.store, &lease, &Finish::Complete).await.unwrap();
    }
    wait_until("the end of its time", PATIENCE, async || {
        order.expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= f.store.now_ms()).then_some(())
    })
    .await;

    let swept = sweeping::restore(&f.store, &[gateway()]).await.unwrap();

    assert_eq!((swept.links_restored, swept.settlements_restored), (0, 1));
    assert_eq!(f.settle(&order, &Settlement::Expired).await.unwrap(), Transition::Made);
}

/// Shows: MONEY-7
async fn a_closed_link_is_replaced_by_a_new_one(f: Fixture) {
    let order = f.order_with_link(7).await;
    let expires_at_ms = order.expires_at_ms;
    let closed = Settlement::LinkClosed { transaction_id: TransactionId(7) };
    let job = f.settle_job(&order).await;
    let (now_ms, seen) = (f.store.now_ms(), seen_closed(7));

    let made = settlement::settle(&f.store, &job.lease, &order, now_ms, &seen, &closed, &far()).await.unwrap();

    assert_eq!(made, Transition::Made);
    assert_eq!(f.find(&order).await.payment_url, None);
    f.link(&f.find(&order).await, 8, PAYMENT_TTL_MS * 2).await;
    let order = f.find(&order).await;
    assert_eq!((order.transaction_id, order.links_made), (Some(TransactionId(8)), 2));
    assert_eq!(order.expires_at_ms, expires_at_ms, "a new link gives no new time");
    assert_eq!(f.states(&order).await, [(7, StoredState::Closed), (8, StoredState::Open)]);
}

async fn that_nothing_was_taken_is_kept_until_the_next_sign_of_a_payment_and_moves_nothing(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.ask(&order, 7).await;
    let before = f.history(&order).await;

    let made = f.settle(&order, &Settlement::Unpaid { page_is_closed: true }).await.unwrap();

    assert_eq!(made, Transition::Made);
    let seen = f.find(&order).await;
    assert_eq!((seen.status, seen.allowed_transaction_id), (OrderStatus::Confirming, Some(TransactionId(7))));
    assert!(seen.seen_unpaid().is_some() && seen.shows_page_closed() && !seen.can_be_paid_at(f.store.now_ms()));
    assert_eq!(f.history(&order).await, before);
    wait_until("the next millisecond", PATIENCE, async || (Some(f.store.now_ms()) > seen.seen_unpaid()).then_some(()))
        .await;
    f.ask(&order, 7).await;
    let asked = f.find(&order).await;
    assert!(asked.seen_unpaid().is_none() && !asked.shows_page_closed() && asked.can_be_paid_at(f.store.now_ms()));
}

/// Shows: INVARIANT-13
async fn a_second_payment_marks_the_order_and_leaves_it_paid(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.pay(&order, 7).await;
    let review = Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, "paid a second time"));

    assert_eq!(f.settle(&order, &review).await.unwrap(), Transition::Made);

    let order = f.find(&order).await;
    assert_eq!((order.status, order.needs_review), (OrderStatus::Paid, true));
    assert_eq!(order.reason.as_deref(), Some("paid a second time"));
}

/// Shows: PERSON-3
async fn a_reversal_refunds_the_whole_order(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.pay(&order, 7).await;

    let refunded = Settlement::Refunded { transaction_id: TransactionId(7) };
    assert_eq!(f.settle(&order, &refunded).await.unwrap(), Transition::Made);

    let order = f.find(&order).await;
    assert_eq!((order.status, order.refunded_amount), (OrderStatus::Refunded, 5_000));
}

/// Shows: INVARIANT-14, PROMISE-6, MONEY-13
async fn sweep_restores_what_is_missing_and_nothing_else(f: Fixture) {
    let linked = f.order_with_link(7).await;
    let unlinked = f.order().await;
    let swept = sweeping::restore(&f.store, &[gateway()]).await.unwrap();
    assert_eq!(swept, sweeping::Swept::default(), "nothing is missing");

    // The jobs are completed, but the orders do not know it.
    let link_job = f.claim_one(QueueName::Links).await;
    jobs::finish_alone(&f.store, &link_job.lease, &Finish::Complete).await.unwrap();
    let inquiry = f.settle_job(&linked).await;
    jobs::finish_alone(&f.store, &inquiry.lease, &Finish::Complete).await.unwrap();
    let swept = sweeping::restore(&f.store, &[gateway()]).await.unwrap();

    assert_eq!((swept.links_restored, swept.settlements_restored), (1, 1));
    assert_eq!(f.claim_one(QueueName::Links).await.job, Ok(Job::CreatePaymentLink { order_id: unlinked.id }));
    assert_eq!(f.claim_one(QueueName::Settle).await.job, Ok(Job::SettleOrder { order_id: linked.id }));
}
