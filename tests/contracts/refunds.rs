use domain::callback_verdict::CallbackVerdict;
use domain::id::TransactionId;
use domain::job::{JobState, Lease, QueueName};
use domain::order::{OrderStatus, SuggestedAct};
use domain::refund::RefundState;
use domain::review::{FindingKind, NewFinding};
use domain::transaction::StoredState;
use store::idempotency::IdempotencyKey;
use store::jobs::{self, DeadLetteredBy, Finish};
use store::kinds::{self, JobCommandOutcome};
use store::orders::{self, Canceled, Transition};
use store::refunds::{self, NewRefund, Requested};
use store::settlement::Settlement;
use store::{Store, StoreError, findings, sweeping};

use crate::support::fixture::refunding::{new_refund, seen, success_id};
use crate::support::fixture::{Fixture, gateway, new_order, on_every_database};

on_every_database! {
    a_refund_is_a_row_and_a_job_before_anything_is_sent
    of_sixteen_refunds_at_once_one_is_made
    one_key_makes_one_refund_and_never_belongs_to_two_things
    only_what_is_paid_is_refunded
    a_debit_whose_permanent_id_is_missing_is_asked_about_first
    a_refund_is_marked_as_sent_once
    nothing_of_a_refund_is_written_without_its_lease
    a_refund_that_is_done_refunds_its_order_once
    a_refund_that_is_refused_gives_its_reserve_back
    a_refund_of_unknown_outcome_keeps_its_reserve_and_is_before_a_person
    a_reversal_that_an_inquiry_sees_first_closes_the_refund_and_counts_once
    a_reversal_that_an_inquiry_sees_after_the_refund_changes_nothing
    a_reversal_that_an_inquiry_sees_settles_what_a_person_was_to_find_out
    what_else_was_found_outlives_what_became_of_the_refund
    the_dead_letter_of_a_refund_puts_it_before_a_person_and_a_retry_takes_it_back
    an_operator_calls_a_refund_off_only_before_it_is_sent
    sweep_restores_the_job_of_an_open_refund
    a_pending_order_is_canceled_and_asked_about
    what_is_not_pending_is_not_canceled
    of_a_cancel_and_a_callback_at_once_one_wins
}

fn key(key: &str, digest: &str) -> IdempotencyKey {
    IdempotencyKey { key: key.into(), body_digest: digest.into() }
}

/// Shows: MONEY-20
async fn a_refund_is_a_row_and_a_job_before_anything_is_sent(f: Fixture) {
    let order = f.paid_order(7).await;

    let refund = f.refund(&order).await;

    assert_eq!((refund.state, refund.amount, refund.sent_at_ms), (RefundState::Open, 5_000, None));
    assert_eq!((refund.transaction_id, refund.success_transaction_id), (TransactionId(7), success_id(7)));
    assert_eq!(f.row(&order).await, (OrderStatus::Paid, 5_000, 0, false));
    assert_eq!(f.history(&order).await.last(), Some(&(Some("paid"), "paid")));
    let job = f.claim_refund().await;
    assert_eq!((job.kind.as_str(), job.attempt), ("refund_order", 1));
    let jobs = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    assert!(jobs.iter().any(|row| row.id == job.lease.job_id && row.subject_id == refund.id.0), "{jobs:?}");
}

/// Shows: INVARIANT-19, MONEY-20
async fn of_sixteen_refunds_at_once_one_is_made(f: Fixture) {
    let order = f.paid_order(7).await;
    let other = f.another_process().await;

    let asked = (0..16).map(|number| {
        let (store, new) = (if number % 2 == 0 { f.store.clone() } else { other.clone() }, new_refund(&order));
        async move { refunds::request(&store, &new, Some(&key(&format!("key {number}"), "digest"))).await.unwrap() }
    });
    let answers = futures_util::future::join_all(asked).await;

    let made = answers.iter().filter(|answer| matches!(answer, Requested::New(_))).count();
    let refused = answers.iter().filter(|answer| matches!(answer, Requested::InProgress(_))).count();
    assert_eq!((made, refused), (1, 15), "{answers:?}");
    assert_eq!(f.row(&order).await, (OrderStatus::Paid, 5_000, 0, false));
    assert_eq!(refunds::of_order(&f.store, order.id).await.unwrap().len(), 1);
}

/// Shows: INVARIANT-19, MONEY-20
async fn one_key_makes_one_refund_and_never_belongs_to_two_things(f: Fixture) {
    let order = f.paid_order(7).await;
    let new = new_refund(&order);
    let request = async |key: IdempotencyKey| refunds::request(&f.store, &new, Some(&key)).await.unwrap();
    assert!(matches!(
        orders::create(&f.store, &new_order(), Some(&key("of an order", "refund"))).await.unwrap(),
        orders::Created::New(_)
    ));

    assert!(matches!(request(key("of an order", "refund")).await, Requested::KeyReused));
    let asked = futures_util::future::join_all((0..16).map(|_| request(key("mine", "refund")))).await;

    let made: Vec<_> = asked.iter().filter(|answer| matches!(answer, Requested::New(_))).collect();
    assert_eq!(made.len(), 1, "{asked:?}");
    let Requested::Repeated(again) = request(key("mine", "refund")).await else { panic!("the same again") };
    assert!(asked.iter().all(|answer| match answer {
        Requested::New(refund) | Requested::Repeated(refund) => refund.id == again.id,
        other => panic!("{other:?}"),
    }));
    assert!(matches!(request(key("mine", "another body")).await, Requested::KeyReused));
    let order_with_key = orders::create(&f.store, &new_order(), Some(&key("mine", "order"))).await.unwrap();
    assert!(matches!(order_with_key, orders::Created::KeyReused), "{order_with_key:?}");
    assert_eq!(refunds::of_order(&f.store, order.id).await.unwrap().len(), 1);
}

async fn only_what_is_paid_is_refunded(f: Fixture) {
    let order = f.order_with_link(7).await;
    let request = async || refunds::request(&f.store, &new_refund(&order), Some(&key("k", "d"))).await.unwrap();

    for status in ["pending", "confirming", "expired", "canceled", "failed", "review"] {
        f.execute(&[format!("update orders set status = '{status}' where id = {}", order.id)]).await;
        match request().await {
            Requested::NotPaid(is) => assert_eq!(is.as_str(), status),
            other => panic!("{status}: {other:?}"),
        }
    }
    f.execute(&[format!("update orders set status = 'refunded' where id = {}", order.id)]).await;
    assert!(matches!(request().await, Requested::AlreadyRefunded));
    let nothing = NewRefund { order_id: domain::id::OrderId(9_999), ..new_refund(&order) };
    assert!(matches!(refunds::request(&f.store, &nothing, None).await.unwrap(), Requested::UnknownOrder));

    // A key whose request was refused is free again.
    f.execute(&[
        format!("update orders set status = 'paid' where id = {}", order.id),
        format!("update transactions set state = 'debited', success_transaction_id = 1 where order_id = {}", order.id),
    ])
    .await;
    assert!(matches!(request().await, Requested::New(_)));
}

async fn a_debit_whose_permanent_id_is_missing_is_asked_about_first(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.pay(&order, 7).await; // by an inquiry that kept nothing

    let answer = refunds::request(&f.store, &new_refund(&order), None).await.unwrap();

    assert!(matches!(answer, Requested::DebitUnknown), "{answer:?}");
    assert_eq!(f.row(&order).await, (OrderStatus::Paid, 0, 0, false));
    let inquiry = kinds::jobs_of_order(&f.store, order.id).await.unwrap().remove(0);
    assert!(inquiry.kind == "settle_order" && inquiry.due_at_ms <= f.store.now_ms(), "{inquiry:?}");
}

/// Shows: INVARIANT-20, MONEY-21
async fn a_refund_is_marked_as_sent_once(f: Fixture) {
    let order = f.paid_order(7).await;
    let refund = f.refund(&order).await;
    let job = f.claim_refund().await;

    let sent_at_ms = refunds::begin_sending(&f.store, &job.lease, refund.id).await.unwrap().expect("it is marked");
    assert_eq!(
        refunds::begin_sending(&f.store, &job.lease, refund.id).await.unwrap(),
        None,
        "or it would be sent twice"
    );

    // Only this very mark is taken back, and only by a caller that knows that nothing was sent.
    refunds::take_back_sending(&f.store, &job.lease, refund.id, sent_at_ms - 1).await.unwrap();
    assert_eq!(f.refund_again(&refund).await.sent_at_ms, Some(sent_at_ms));
    refunds::take_back_sending(&f.store, &job.lease, refund.id, sent_at_ms).await.unwrap();
    assert_eq!(f.refund_again(&refund).await.sent_at_ms, None);
    assert!(refunds::begin_sending(&f.store, &job.lease, refund.id).await.unwrap().is_some());
}

async fn nothing_of_a_refund_is_written_without_its_lease(f: Fixture) {
    let order = f.paid_order(7).await;
    let refund = f.refund(&order).await;
    let job = f.claim_refund().await;
    let zombie = Lease { token: job.lease.token ^ 1, ..job.lease };
    let (store, id) = (&f.store, refund.id);

    let lost = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::LeaseLost)), "{result:?}");
    lost(refunds::begin_sending(store, &zombie, id).await.map(|_| ()));
    let sent_at_ms = refunds::begin_sending(store, &job.lease, id).await.unwrap().unwrap();
    lost(refunds::take_back_sending(store, &zombie, id, sent_at_ms).await);
    lost(refunds::keep_refusal(store, &zombie, id, "STPIMS-ERR-009").await);
    lost(refunds::close_as_done(store, &zombie, &order, &refund).await.map(|_| ()));
    lost(refunds::close_as_refused(store, &zombie, &refund, "no").await.map(|_| ()));
    lost(refunds::put_in_review(store, &zombie, &refund, "?").await.map(|_| ()));

    let now = f.refund_again(&refund).await;
    assert_eq!((now.state, now.sent_at_ms, now.refused_code), (RefundState::Open, Some(sent_at_ms), None));
    assert_eq!(f.row(&order).await, (OrderStatus::Paid, 5_000, 0, false));
    assert_eq!(f.state_of_payer(&order).await, StoredState::Debited);
}

async fn a_refund_that_is_done_refunds_its_order_once(f: Fixture) {
    let order = f.paid_order(7).await;
    let refund = f.refund(&order).await;
    let job = f.claim_refund().await;

    assert_eq!(refunds::close_as_done(&f.store, &job.lease, &order, &refund).await.unwrap(), Transition::Made);

    assert_eq!(f.row(&order).await, (OrderStatus::Refunded, 5_000, 5_000, false));
    let done = f.refund_again(&refund).await;
    assert!(done.state == RefundState::Done && done.finished_at_ms.is_some(), "{done:?}");
    assert_eq!(f.state_of_payer(&order).await, StoredState::Reversed);
    assert_eq!(f.history(&order).await.last(), Some(&(Some("paid"), "refunded")));
    assert!(f.is_complete(job.lease.job_id).await);
    let again = refunds::close_as_done(&f.store, &job.lease, &order, &refund).await;
    assert!(matches!(again, Err(StoreError::LeaseLost)), "{again:?}");
    assert!(matches!(refunds::request(&f.store, &new_refund(&order), None).await.unwrap(), Requested::AlreadyRefunded));
}

/// Shows: MONEY-23
async fn a_refund_that_is_refused_gives_its_reserve_back(f: Fixture) {
    let order = f.paid_order(7).await;
    let refund = f.refund(&order).await;
    let job = f.claim_refund().await;

    refunds::close_as_refused(&f.store, &job.lease, &refund, "the gateway refused it").await.unwrap();

    assert_eq!(f.row(&order).await, (OrderStatus::Paid, 0, 0, false));
    let refused = f.refund_again(&refund).await;
    assert_eq!((refused.state, refused.outcome.as_deref()), (RefundState::Refused, Some("the gateway refused it")));
    assert_eq!(f.history(&order).await.last(), Some(&(Some("paid"), "paid")));
    let another = f.refund(&order).await;
    assert_ne!(another.id, refund.id);
}

async fn a_refund_of_unknown_outcome_keeps_its_reserve_and_is_before_a_person(f: Fixture) {
    let order = f.paid_order(7).await;
    let refund = f.refund(&order).await;
    let job = f.claim_refund().await;

    refunds::put_in_review(&f.store, &job.lease, &refund, "no answer").await.unwrap();

    assert_eq!(f.row(&order).await, (OrderStatus::Paid, 5_000, 0, true));
    assert_eq!(f.find(&order).await.suggested_act, Some(SuggestedAct::CheckRefund));
    assert_eq!(f.refund_again(&refund).await.state, RefundState::Review);
    let another = refunds::request(&f.store, &new_refund(&order), None).await.unwrap();
    assert!(matches!(another, Requested::InReview(_)), "{another:?}");
}

/// The shop's refund is on its way, and an operator gives the money back in the gateway's cabinet; or our own call did
/// it, and the inquiry comes before the job's end.
/// Shows: INVARIANT-21
async fn a_reversal_that_an_inquiry_sees_first_closes_the_refund_and_counts_once(f: Fixture) {
    let order = f.paid_order(7).await;
    let refund = f.refund(&order).await;
    let job = f.claim_refund().await;
    refunds::begin_sending(&f.store, &job.lease, refund.id).await.unwrap();

    let refunded = Settlement::Refunded { transaction_id: TransactionId(7) };
    let made = f.inquire_and_go_on(&order, &[seen(7, StoredState::Reversed)], &refunded).await.unwrap();

    assert_eq!(made, Transition::Made);
    assert_eq!(f.refund_again(&refund).await.state, RefundState::Done);
    for ended in [
        refunds::close_as_done(&f.store, &job.lease, &order, &refund).await.unwrap(),
        refunds::close_as_refused(&f.store, &job.lease, &refund, "no").await.unwrap(),
        refunds::put_in_review(&f.store, &job.lease, &refund, "?").await.unwrap(),
    ] {
        assert_eq!(ended, Transition::Refused);
    }
    assert_eq!(f.state_of(job.lease.job_id).await.0, "running", "its end is written by itself");
    assert_eq!(f.row(&order).await, (OrderStatus::Refunded, 5_000, 5_000, false));
    let entered = f.history(&order).await.iter().filter(|(_, to)| *to == "refunded").count();
    assert_eq!(entered, 1);
}

/// Shows: INVARIANT-21
async fn a_reversal_that_an_inquiry_sees_after_the_refund_changes_nothing(f: Fixture) {
    let order = f.paid_order(7).await;
    let refund = f.refund(&order).await;
    let job = f.claim_refund().await;
    refunds::close_as_done(&f.store, &job.lease, &order, &refund).await.unwrap();

    let refunded = Settlement::Refunded { transaction_id: TransactionId(7) };
    let made = f.inquire_and_go_on(&order, &[seen(7, StoredState::Reversed)], &refunded).await.unwrap();

    assert_eq!(made, Transition::Refused, "it asks again, and finds the order refunded");
    assert_eq!(f.row(&order).await, (OrderStatus::Refunded, 5_000, 5_000, false));
}

async fn a_reversal_that_an_inquiry_sees_settles_what_a_person_was_to_find_out(f: Fixture) {
    let order = f.paid_order(7).await;
    let refund = f.refund(&order).await;
    let job = f.claim_refund().await;
    refunds::put_in_review(&f.store, &job.lease, &refund, "no answer").await.unwrap();

    let refunded = Settlement::Refunded { transaction_id: TransactionId(7) };
    f.inquire_and_go_on(&order, &[seen(7, StoredState::Reversed)], &refunded).await.unwrap();

    assert_eq!(f.row(&order).await, (OrderStatus::Refunded, 5_000, 5_000, false));
    let order = f.find(&order).await;
    assert_eq!((order.reason, order.suggested_act), (None, None));
    assert_eq!(f.refund_again(&refund).await.state, RefundState::Done);
}

/// A second payment that was found meanwhile is still there once the refund's outcome is known.
async fn what_else_was_found_outlives_what_became_of_the_refund(f: Fixture) {
    let order = f.paid_order(7).await;
    f.refund(&order).await;
    let job = f.claim_refund().await;
    let found = Settlement::Review(NewFinding::new(FindingKind::SecondPayment, "paid twice"));
    f.inquire_and_go_on(&order, &[], &found).await.unwrap();
    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&job.lease), "a defect", false).await.unwrap();
    assert_eq!(f.find(&order).await.suggested_act, Some(SuggestedAct::CheckRefund));

    let refunded = Settlement::Refunded { transaction_id: TransactionId(7) };
    f.inquire_and_go_on(&order, &[seen(7, StoredState::Reversed)], &refunded).await.unwrap();

    let order = f.find(&order).await;
    assert_eq!((order.status, order.needs_review), (OrderStatus::Refunded, true));
    let left = findings::of_order(&f.store, &order).await.unwrap();
    let left: Vec<_> = left.iter().map(|finding| (finding.kind, finding.text.as_str(), finding.act)).collect();
    assert_eq!(left, [(FindingKind::SecondPayment, "paid twice", SuggestedAct::ReturnSecondPayment)]);
    assert_eq!(order.reason.as_deref(), Some("paid twice"), "no refund is to be checked any more");
    assert_eq!(order.suggested_act, Some(SuggestedAct::ReturnSecondPayment));
    assert_eq!(f.state_of(job.lease.job_id).await.0, "canceled", "no person has to see its dead letter any more");
    assert_eq!(jobs::count_dead(&f.store).await.unwrap(), 0);
}

async fn the_dead_letter_of_a_refund_puts_it_before_a_person_and_a_retry_takes_it_back(f: Fixture) {
    let order = f.paid_order(7).await;
    let refund = f.refund(&order).await;
    let job = f.claim_refund().await;
    let sent_at_ms = refunds::begin_sending(&f.store, &job.lease, refund.id).await.unwrap();

    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&job.lease), "a defect", false).await.unwrap();

    assert_eq!(f.refund_again(&refund).await.state, RefundState::Review);
    assert_eq!(f.row(&order).await, (OrderStatus::Paid, 5_000, 0, true));

    assert_eq!(kinds::retry(&f.store, job.lease.job_id).await.unwrap(), JobCommandOutcome::Done);

    let open = f.refund_again(&refund).await;
    assert_eq!((open.state, open.sent_at_ms), (RefundState::Open, sent_at_ms), "it is only asked about");
    let again = f.claim_refund().await;
    refunds::close_as_done(&f.store, &again.lease, &order, &open).await.unwrap();
    assert_eq!(f.row(&order).await, (OrderStatus::Refunded, 5_000, 5_000, false));

    // No person has to read about a refund that has ended.
    let other = f.paid_order(8).await;
    let refund = f.refund(&other).await;
    let job = f.claim_refund().await;
    let refunded = Settlement::Refunded { transaction_id: TransactionId(8) };
    f.inquire_and_go_on(&other, &[seen(8, StoredState::Reversed)], &refunded).await.unwrap();
    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&job.lease), "a defect", false).await.unwrap();
    assert!(f.is_complete(job.lease.job_id).await);
    assert_eq!(f.refund_again(&refund).await.state, RefundState::Done);
    assert_eq!(f.row(&other).await, (OrderStatus::Refunded, 5_000, 5_000, false));
}

/// Shows: JOB-39
async fn an_operator_calls_a_refund_off_only_before_it_is_sent(f: Fixture) {
    let order = f.paid_order(7).await;
    let refund = f.refund(&order).await;
    let job = jobs::list(&f.store, None, Some(domain::job::JobKind::RefundOrder), 1).await.unwrap().remove(0);

    assert_eq!(kinds::cancel(&f.store, job.id).await.unwrap(), JobCommandOutcome::Done);

    assert_eq!(f.refund_again(&refund).await.state, RefundState::Refused);
    assert_eq!(f.row(&order).await, (OrderStatus::Paid, 0, 0, false));

    let refund = f.refund(&order).await;
    let job = f.claim_refund().await;
    refunds::begin_sending(&f.store, &job.lease, refund.id).await.unwrap();
    let later = Finish::Snooze { until_ms: i64::MAX / 2, queue: QueueName::Settle };
    jobs::finish_alone(&f.store, &job.lease, &later).await.unwrap();

    let refused = kinds::cancel(&f.store, job.lease.job_id).await.unwrap();

    assert!(matches!(&refused, JobCommandOutcome::Refused(why) if why.contains("may have been sent")), "{refused:?}");
    assert_eq!(f.refund_again(&refund).await.state, RefundState::Open);
    assert_eq!(f.row(&order).await, (OrderStatus::Paid, 5_000, 0, false));
    assert_eq!(jobs::show(&f.store, job.lease.job_id).await.unwrap().unwrap().state, JobState::Available);
}

async fn sweep_restores_the_job_of_an_open_refund(f: Fixture) {
    let order = f.paid_order(7).await;
    let refund = f.refund(&order).await;
    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap().refunds_restored, 0);
    f.execute(&["delete from jobs where kind = 'refund_order'".into()]).await;

    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap().refunds_restored, 1);

    let job = f.claim_refund().await;
    assert_eq!(job.job, Ok(domain::job::Job::RefundOrder { refund_id: refund.id }));
    refunds::put_in_review(&f.store, &job.lease, &refund, "no answer").await.unwrap();
    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap().refunds_restored, 0);
}

async fn a_pending_order_is_canceled_and_asked_about(f: Fixture) {
    let order = f.order_with_link(7).await;

    for _ in 0..2 {
        let Canceled::Done(canceled) = orders::call_off(&f.store, order.id, "sold out").await.unwrap() else {
            panic!("it is pending, or canceled already")
        };
        assert_eq!(canceled.status, OrderStatus::Canceled);
    }

    let entered = f.history(&order).await.iter().filter(|(_, to)| *to == "canceled").count();
    assert_eq!(entered, 1);
    let inquiry = kinds::jobs_of_order(&f.store, order.id).await.unwrap().remove(0);
    assert!(inquiry.kind == "settle_order" && inquiry.due_at_ms <= f.store.now_ms(), "{inquiry:?}");
    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::NotPayable, "or its customer would still be debited");
}

/// Shows: MONEY-24
async fn what_is_not_pending_is_not_canceled(f: Fixture) {
    let order = f.order_with_link(7).await;
    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Allowed);

    for status in ["confirming", "paid", "refunded", "expired", "failed", "review"] {
        f.execute(&[format!("update orders set status = '{status}' where id = {}", order.id)]).await;
        match orders::call_off(&f.store, order.id, "no").await.unwrap() {
            Canceled::Refused(order) => assert_eq!(order.status.as_str(), status),
            other => panic!("{status}: {other:?}"),
        }
    }
    let unknown = orders::call_off(&f.store, domain::id::OrderId(9_999), "no").await.unwrap();
    assert!(matches!(unknown, Canceled::Unknown), "{unknown:?}");
    let jobs = jobs::list(&f.store, None, None, 100).await.unwrap();
    assert!(jobs.iter().all(|job| job.subject_id != 9_999), "nothing is staged for nothing");
}

/// Never both canceled and allowed: the customer would be debited for a canceled order.
/// Shows: INVARIANT-22, MONEY-24
async fn of_a_cancel_and_a_callback_at_once_one_wins(f: Fixture) {
    let mut canceled_first = 0;
    let stores: [Store; 2] = [f.store.clone(), f.another_process().await];
    for number in 0..100 {
        let order = f.order_with_link(100 + number).await;
        let cancel = async {
            if number % 3 == 0 {
                tokio::task::yield_now().await;
            }
            orders::call_off(&stores[1], order.id, "no").await
        };
        let (verdict, canceled) = tokio::join!(f.ask(&order, 100 + number), cancel);

        let status = f.find(&order).await.status;
        match canceled.unwrap() {
            Canceled::Done(_) => {
                canceled_first += 1;
                assert_eq!(
                    (verdict, status),
                    (CallbackVerdict::NotPayable, OrderStatus::Canceled),
                    "order {}",
                    order.id
                );
            }
            _ => {
                assert_eq!((verdict, status), (CallbackVerdict::Allowed, OrderStatus::Confirming), "order {}", order.id)
            }
        }
        assert_ne!(f.ask(&order, 100 + number).await == CallbackVerdict::Allowed, status == OrderStatus::Canceled);
    }
    assert!((1..100).contains(&canceled_first), "they never raced: {canceled_first} of 100 were canceled first");
}
