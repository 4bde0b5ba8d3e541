//! Orders that wait for a person, and the effects of a person's decision.

use domain::id::{OrderId, TransactionId};
use domain::job::{Job, JobState, QueueName};
use domain::order::{Order, OrderStatus, SuggestedAct};
use domain::review::{FindingKind, NewFinding};
use domain::transaction::StoredState;
use store::jobs::{self, DeadLetteredBy, Finish};
use store::kinds;
use store::orders::{self, Transition};
use store::reviewing::{self, Decision, Resolved};
use store::settlement::Settlement;
use store::transactions::SeenTransaction;
use store::{Store, auditing, findings, sweeping};

use crate::support::fixture::reviewing::{by, debit_of, olim, review};
use crate::support::fixture::{Fixture, gateway, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    orders_that_wait_for_a_person_are_listed_the_longest_waiting_first
    a_second_finding_does_not_make_an_order_wait_anew
    an_order_that_cannot_be_read_is_told_and_hides_no_other
    an_order_resolved_as_paid_is_paid_by_an_inquiry_and_by_no_other_transaction
    an_order_resolved_as_paid_is_paid_by_no_inquiry_that_shows_no_debit
    a_decision_that_is_carried_out_can_be_taken_back
    a_job_that_dies_ends_the_decision_it_should_carry_out
    an_inquiry_about_a_decision_is_restored
    an_order_resolved_as_canceled_has_ended_and_has_late_inquiries
    an_order_resolved_as_refunded_gave_all_its_money_back
    a_person_who_decides_the_same_again_is_believed
    a_mark_goes_and_the_status_stays
    a_failed_order_that_is_unmarked_can_still_be_retried
    a_refund_that_a_person_saw_makes_the_order_refunded
    a_refund_that_a_person_did_not_see_gives_its_reserve_back
    a_refund_of_unknown_outcome_is_not_hidden_by_what_else_is_found
    what_died_of_a_resolved_order_is_called_off
    of_two_people_who_decide_at_once_one_is_told
    a_decision_that_makes_no_sense_is_refused_with_a_reason
    a_decision_is_about_the_findings_that_were_read
}

fn by_transaction(status: OrderStatus, transaction_id: i64) -> Decision {
    Decision { transaction_id: Some(TransactionId(transaction_id)), ..olim(status) }
}

pub(super) fn refusal(resolved: Resolved) -> String {
    match resolved {
        Resolved::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

/// Shows: PERSON-9
async fn orders_that_wait_for_a_person_are_listed_the_longest_waiting_first(f: Fixture) {
    let marked = f.marked_order(7).await;
    let _well = f.order_with_link(9).await;
    let review = f.order_in_review(10).await;
    // It was made last, and has waited longest.
    let waits_since_ms = f.store.now_ms() - 60_000;
    f.execute(&[format!("update review_findings set found_at_ms = {waits_since_ms} where order_id = {}", review.id)])
        .await;

    let waiting = reviewing::waiting(&f.store, 10).await.unwrap().orders;

    let listed: Vec<_> = waiting.iter().map(|waiting| (waiting.order.id, waiting.order.suggested_act)).collect();
    assert_eq!(
        listed,
        [(review.id, Some(SuggestedAct::CompareDebit)), (marked.id, Some(SuggestedAct::ReturnSecondPayment))]
    );
    assert_eq!(waiting[0].since_ms, waits_since_ms);
    let seen: Vec<_> = waiting[0].transactions.iter().map(|row| (row.state, row.amount, row.seen_amount)).collect();
    assert_eq!(seen, [(StoredState::Debited, 5_000, Some(5_100))]);
    assert_eq!(reviewing::waiting(&f.store, 1).await.unwrap().orders.len(), 1);
}

/// Otherwise an order with more and more findings would always be the last of the list.
/// Shows: PERSON-9
async fn a_second_finding_does_not_make_an_order_wait_anew(f: Fixture) {
    let first = f.marked_order(7).await;
    let waits_since_ms = f.store.now_ms() - 60_000;
    f.execute(&[format!("update review_findings set found_at_ms = {waits_since_ms} where order_id = {}", first.id)])
        .await;
    let second = f.marked_order(20).await;
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: first.id }).await.unwrap();

    f.inquire(&first, &[], &Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, "an odd answer"))).await;

    let waiting = reviewing::waiting(&f.store, 10).await.unwrap().orders;
    let listed: Vec<_> = waiting.iter().map(|waiting| waiting.order.id).collect();
    assert_eq!(listed, [first.id, second.id], "the one that has waited longest first");
    assert_eq!(waiting[0].since_ms, waits_since_ms);
}

/// A newer release wrote it, or a person by hand.
/// Shows: PERSON-7
async fn an_order_that_cannot_be_read_is_told_and_hides_no_other(f: Fixture) {
    let (strange, marked) = (f.marked_order(7).await, f.marked_order(9).await);
    f.execute(&[format!("update orders set language = 'kk' where id = {}", strange.id)]).await;

    let waiting = reviewing::waiting(&f.store, 10).await.unwrap();
    let audited = auditing::next(&f.store, OrderId(0), 10, None).await.unwrap();

    assert_eq!(waiting.orders.iter().map(|waiting| waiting.order.id).collect::<Vec<_>>(), [marked.id]);
    assert_eq!(audited.orders.iter().map(|record| record.order.id).collect::<Vec<_>>(), [marked.id]);
    for unreadable in [&waiting.unreadable, &audited.unreadable] {
        let [told] = unreadable.as_slice() else { panic!("{unreadable:?}") };
        assert!(told.order_id == strange.id && told.what.contains("orders.language"), "{told:?}");
    }
    assert_eq!(audited.jobs_without_order, [], "its jobs have an order");
}

/// Shows: PERSON-13
async fn an_order_resolved_as_paid_is_paid_by_an_inquiry_and_by_no_other_transaction(f: Fixture) {
    let order = f.order_in_review(7).await;
    let paid_by = |id| Settlement::Paid { transaction_id: TransactionId(id) };
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
    assert_eq!(f.inquire(&order, &[], &paid_by(7)).await, Transition::Refused, "no person decided so");

    assert_eq!(f.resolve(&order, &olim(OrderStatus::Paid)).await, Resolved::Asked(TransactionId(7)));

    let asked = f.find(&order).await;
    assert_eq!((asked.status, asked.claimed_payment()), (OrderStatus::Review, Some(TransactionId(7))));
    assert!(f.next_inquiry_in_ms(&order).await.is_some_and(|in_ms| in_ms <= 0), "the gateway is asked now");
    let told = f.last_cause(&order).await;
    assert!(told.contains("Olim") && told.contains("seen in the cabinet") && told.contains('7'), "{told}");
    assert_eq!(f.inquire(&asked, &[], &paid_by(8)).await, Transition::Refused, "another transaction");
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
    assert_eq!(f.inquire(&asked, &[], &paid_by(7)).await, Transition::Made);

    let paid = f.find(&order).await;
    assert_eq!((paid.status, paid.transaction_id), (OrderStatus::Paid, Some(TransactionId(7))));
    assert_eq!((paid.reason.clone(), paid.suggested_act, paid.claimed_payment()), (None, None, None));
    assert!(paid.final_at_ms.is_some() && paid.resolution.is_some_and(|resolution| resolution.by == "Olim"));
    let told = f.last_cause(&order).await;
    assert!(told.contains("the gateway confirmed the debit") && told.contains("Olim"), "{told}");
}

/// Shows: PERSON-13
async fn an_order_resolved_as_paid_is_paid_by_no_inquiry_that_shows_no_debit(f: Fixture) {
    let order = f.order_in_review(7).await;
    f.resolve(&order, &olim(OrderStatus::Paid)).await;
    let asked = f.find(&order).await;

    let not = |id| Settlement::NotResolved { transaction_id: TransactionId(id), what: "its money went back".into() };
    assert_eq!(f.inquire(&asked, &[], &not(8)).await, Transition::Refused);
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
    assert_eq!(f.inquire(&asked, &[], &not(7)).await, Transition::Made);

    let again = f.find(&order).await;
    assert_eq!((again.status, again.resolution.clone()), (OrderStatus::Review, None));
    assert_eq!(again.reason.as_deref(), Some("something was found"));
    assert_eq!(f.last_cause(&order).await, "its money went back");
    assert_eq!(f.resolve(&order, &olim(OrderStatus::Canceled)).await, Resolved::Settled(OrderStatus::Canceled));
}

/// Shows: PERSON-14
async fn a_decision_that_is_carried_out_can_be_taken_back(f: Fixture) {
    let order = f.order_in_review(7).await;
    f.resolve(&order, &olim(OrderStatus::Paid)).await;
    let why = refusal(f.resolve(&order, &by("Aziza", OrderStatus::Refunded)).await);
    assert!(why.contains("Olim") && why.contains("`review`"), "{why}");

    assert_eq!(f.resolve(&order, &by("Aziza", OrderStatus::Review)).await, Resolved::TakenBack);

    let waiting = f.find(&order).await;
    assert_eq!((waiting.status, waiting.resolution), (OrderStatus::Review, None));
    assert!(f.last_cause(&order).await.contains("Aziza"));
    let asked = by("Aziza", OrderStatus::Refunded);
    assert_eq!(f.resolve(&order, &asked).await, Resolved::Settled(OrderStatus::Refunded));
}

/// Shows: PERSON-14
async fn a_job_that_dies_ends_the_decision_it_should_carry_out(f: Fixture) {
    let order = f.order_in_review(7).await;
    f.resolve(&order, &olim(OrderStatus::Paid)).await;
    let inquiry = f.settle_job(&order).await;

    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&inquiry.lease), "a defect", false).await.unwrap();

    let order = f.find(&order).await;
    assert_eq!((order.status, order.claimed_payment()), (OrderStatus::Review, None));
    assert!(f.last_cause(&order).await.contains("a defect"));
}

/// Shows: PERSON-14
async fn an_inquiry_about_a_decision_is_restored(f: Fixture) {
    let order = f.order_in_review(7).await;
    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap(), sweeping::Swept::default());
    f.resolve(&order, &olim(OrderStatus::Paid)).await;
    let inquiry = f.settle_job(&order).await;
    jobs::finish_alone(&f.store, &inquiry.lease, &Finish::Complete).await.unwrap();

    let swept = sweeping::restore(&f.store, &[gateway()]).await.unwrap();

    assert_eq!(swept.settlements_restored, 1);
}

/// Shows: PERSON-15
async fn an_order_resolved_as_canceled_has_ended_and_has_late_inquiries(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.ask(&order, 7).await; // it may be in the middle of a payment
    f.inquire(&order, &[], &review(FindingKind::JobDied)).await;

    assert_eq!(f.resolve(&order, &olim(OrderStatus::Canceled)).await, Resolved::Settled(OrderStatus::Canceled));

    let order = f.find(&order).await;
    assert_eq!((order.status, order.refunded_amount, order.refund_reserved), (OrderStatus::Canceled, 0, 0));
    assert!(order.final_at_ms.is_some() && order.allowed_transaction_id.is_none() && !order.is_before_a_person());
    assert_eq!(f.history(&order).await.last(), Some(&(Some("review"), "canceled")));
    let in_ms = f.next_inquiry_in_ms(&order).await.unwrap();
    assert!((86_300_000..=86_400_000).contains(&in_ms), "a day from now: {in_ms}");
    // Money that comes all the same puts the order before a person again.
    f.inquire(&order, &[debit_of(7, 5_000)], &review(FindingKind::LatePayment)).await;
    assert_eq!(f.find(&order).await.status, OrderStatus::Review);
}

/// Shows: PERSON-15
async fn an_order_resolved_as_refunded_gave_all_its_money_back(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.stray_draft(&order, 8).await;
    f.inquire(&order, &[debit_of(8, 5_100)], &review(FindingKind::DebitDiffers)).await;

    assert_eq!(f.resolve(&order, &olim(OrderStatus::Refunded)).await, Resolved::Settled(OrderStatus::Refunded));

    let order = f.find(&order).await;
    assert_eq!((order.status, order.refunded_amount, order.refund_reserved), (OrderStatus::Refunded, 5_000, 5_000));
    assert_eq!(order.transaction_id, Some(TransactionId(8)), "the one with the money, not the linked one");
    assert!(f.last_cause(&order).await.contains("Olim resolved it as refunded"));
    assert!(f.next_inquiry_in_ms(&order).await.is_some());
}

/// Shows: PERSON-16
async fn a_person_who_decides_the_same_again_is_believed(f: Fixture) {
    let order = f.order_in_review(7).await;
    f.resolve(&order, &olim(OrderStatus::Canceled)).await;
    assert_eq!(f.accepted(&order).await, [(7, false)], "whether the money went back is looked at");
    f.inquire(&order, &[], &review(FindingKind::LatePayment)).await;

    assert_eq!(f.resolve(&order, &olim(OrderStatus::Canceled)).await, Resolved::Settled(OrderStatus::Canceled));

    assert_eq!(f.accepted(&order).await, [(7, true)]);
    let reversed = SeenTransaction { state: StoredState::Reversed, ..debit_of(7, 5_100) };
    f.inquire(&order, &[reversed], &Settlement::Unchanged).await;
    assert_eq!(f.accepted(&order).await, [(7, false)], "what a person knew is no longer so");
}

/// Shows: PERSON-16
async fn a_mark_goes_and_the_status_stays(f: Fixture) {
    let order = f.marked_order(7).await;
    assert!(order.needs_review);

    assert_eq!(f.resolve(&order, &olim(OrderStatus::Paid)).await, Resolved::Settled(OrderStatus::Paid));

    let order = f.find(&order).await;
    assert_eq!((order.status, order.needs_review), (OrderStatus::Paid, false));
    assert_eq!((order.reason.clone(), order.suggested_act), (None, None));
    assert_eq!(f.history(&order).await.last(), Some(&(Some("paid"), "paid")));
    assert!(f.last_cause(&order).await.contains("Olim"));
    assert_eq!(f.accepted(&order).await, [(7, true), (8, true)]);
    assert!(f.next_inquiry_in_ms(&order).await.is_some(), "its late inquiries go on");
    assert!(refusal(f.resolve(&order, &olim(OrderStatus::Paid)).await).contains("no person has to look at it"));
}

/// Shows: PERSON-18
async fn a_failed_order_that_is_unmarked_can_still_be_retried(f: Fixture) {
    let order = f.order().await;
    let link = f.claim_one(QueueName::Links).await;
    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&link.lease), "refused with code 9", true).await.unwrap();
    f.execute(&[format!("update orders set needs_review = 1 where id = {}", order.id)]).await;

    assert_eq!(f.resolve(&order, &olim(OrderStatus::Failed)).await, Resolved::Settled(OrderStatus::Failed));

    assert_eq!(f.find(&order).await.reason.as_deref(), Some("refused with code 9"));
    assert_eq!(kinds::retry(&f.store, link.lease.job_id).await.unwrap(), kinds::JobCommandOutcome::Done);
    assert_eq!(f.find(&order).await.status, OrderStatus::Pending);
}

/// Shows: PERSON-17
async fn a_refund_that_a_person_saw_makes_the_order_refunded(f: Fixture) {
    let order = f.order_with_refund_in_review().await;

    assert_eq!(f.resolve(&order, &olim(OrderStatus::Refunded)).await, Resolved::Settled(OrderStatus::Refunded));

    let order = f.find(&order).await;
    assert_eq!((order.status, order.refunded_amount, order.refund_reserved), (OrderStatus::Refunded, 5_000, 5_000));
    assert!(!order.needs_review);
    assert_eq!(f.history(&order).await.last(), Some(&(Some("paid"), "refunded")));
    assert!(f.next_inquiry_in_ms(&order).await.is_some());
    f.execute(&["update refunds set amount = 1 / (case when state = 'done' then 1 else 0 end)".into()]).await;
}

/// Shows: PERSON-17
async fn a_refund_that_a_person_did_not_see_gives_its_reserve_back(f: Fixture) {
    let order = f.order_with_refund_in_review().await;

    assert_eq!(f.resolve(&order, &olim(OrderStatus::Paid)).await, Resolved::Settled(OrderStatus::Paid));

    let order = f.find(&order).await;
    assert_eq!((order.status, order.refunded_amount, order.refund_reserved), (OrderStatus::Paid, 0, 0));
    assert!(!order.needs_review);
    assert_eq!(f.accepted(&order).await, [(7, false)]);
    // Another one may be asked for: there is at most one open refund.
    f.execute(&[format!(
        "insert into refunds (id, order_id, amount, state, transaction_id, success_transaction_id, requested_by,
            created_at_ms) values (2, {}, 5000, 'open', 7, 507, 'shop', 0)",
        order.id
    )])
    .await;
}

/// Otherwise a person who settles the other finding would declare that the refund was not made, and it could be made
/// again.
/// Shows: PERSON-17
async fn a_refund_of_unknown_outcome_is_not_hidden_by_what_else_is_found(f: Fixture) {
    let order = f.order_with_refund_in_review().await;
    let about_the_refund = order.reason.clone().unwrap();
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();

    let unclear = Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, "an odd answer"));
    f.inquire(&order, &[], &unclear).await;
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
    f.inquire(&order, &[], &unclear).await;

    let found = f.find(&order).await;
    let reason = found.reason.clone().unwrap();
    assert_eq!(found.suggested_act, Some(SuggestedAct::CheckRefund));
    assert!(reason.starts_with(&format!("{about_the_refund}; and also: ")), "{reason}");
    assert_eq!(reason.matches("and also").count(), 1, "told once: {reason}");
    let told = findings::of_order(&f.store, &found).await.unwrap();
    let told: Vec<_> = told.iter().map(|finding| (finding.kind, finding.act)).collect();
    let about_refund = (FindingKind::RefundUnknown, SuggestedAct::CheckRefund);
    assert_eq!(told, [about_refund, (FindingKind::UnclearAnswer, SuggestedAct::AskGateway)]);
    assert_eq!(f.resolve(&order, &olim(OrderStatus::Paid)).await, Resolved::Settled(OrderStatus::Paid));
}

/// Shows: PERSON-18
async fn what_died_of_a_resolved_order_is_called_off(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.ask(&order, 7).await;
    let inquiry = f.settle_job(&order).await;
    let callback_job = f.older_callback_job(&order).await;
    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&callback_job.lease), "a defect", false).await.unwrap();
    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&inquiry.lease), "another", false).await.unwrap();
    assert_eq!(jobs::count_dead(&f.store).await.unwrap(), 2);
    let of_another = f.order_in_review(9).await;
    jobs::stage_now(&f.store, Job::SettleOrder { order_id: of_another.id }).await.unwrap();
    let inquiry = f.settle_job(&of_another).await;
    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&inquiry.lease), "a third", false).await.unwrap();

    f.resolve(&order, &olim(OrderStatus::Canceled)).await;

    let states: Vec<_> = kinds::jobs_of_order(&f.store, order.id).await.unwrap().iter().map(|job| job.state).collect();
    assert_eq!(states, [JobState::Available, JobState::Canceled]);
    assert_eq!(jobs::count_dead(&f.store).await.unwrap(), 1, "that of another order stays");
    // If the gateway is asked first, the dead letter is canceled with its answer.
    f.resolve(&of_another, &olim(OrderStatus::Paid)).await;
    assert_eq!(jobs::count_dead(&f.store).await.unwrap(), 1);
    f.inquire(&f.find(&of_another).await, &[], &Settlement::Paid { transaction_id: TransactionId(9) }).await;
    assert_eq!(jobs::count_dead(&f.store).await.unwrap(), 0);
}

/// Shows: PERSON-19
async fn of_two_people_who_decide_at_once_one_is_told(f: Fixture) {
    let decide = async |store: &Store, order: &Order, decision: Decision| {
        reviewing::resolve(store, order.id, &decision).await.unwrap()
    };
    let beside = if f.file().is_some() { f.store.clone() } else { f.another_process().await };
    for (round, (one, other)) in [
        (OrderStatus::Paid, OrderStatus::Paid),
        (OrderStatus::Paid, OrderStatus::Canceled),
        (OrderStatus::Refunded, OrderStatus::Canceled),
        (OrderStatus::Canceled, OrderStatus::Canceled),
    ]
    .into_iter()
    .enumerate()
    {
        let order = f.order_in_review(10 + i64::try_from(round).unwrap()).await;

        let decided = tokio::join!(decide(&f.store, &order, olim(one)), decide(&beside, &order, by("Aziza", other)));

        let (first, second) = decided;
        let told: Vec<_> = [first, second].into_iter().filter(|end| matches!(end, Resolved::Refused(_))).collect();
        assert_eq!(told.len(), 1, "round {round}: {told:?}");
        let lines = orders::history(&f.store, order.id).await.unwrap();
        let by_people = lines.iter().filter(|line| line.cause.contains("resolved it as")).count();
        assert_eq!(by_people, 1, "{lines:?}");
        let why = refusal(told.into_iter().next().unwrap());
        assert!(why.contains("Olim") || why.contains("Aziza") || why.contains("no person has to look"), "{why}");
    }
}

/// Shows: PERSON-19
async fn a_decision_that_makes_no_sense_is_refused_with_a_reason(f: Fixture) {
    let review_of_two = f.order_with_link(7).await;
    f.stray_draft(&review_of_two, 8).await;
    let both = [debit_of(7, 5_100), debit_of(8, 5_100)];
    f.inquire(&review_of_two, &both, &review(FindingKind::DebitDiffers)).await;
    let without_money = f.order_with_link(20).await;
    f.inquire(&without_money, &[], &review(FindingKind::UnclearAnswer)).await;
    let marked = f.marked_order(30).await;
    let well = f.order_with_link(40).await;
    let without_draft = f.order().await;
    let link = f.claim_one(QueueName::Links).await;
    kinds::dead_letter(&f.store, DeadLetteredBy::Worker(&link.lease), "a defect", false).await.unwrap();

    for (order, decision, part) in [
        (&review_of_two, olim(OrderStatus::Paid), "7, 8 were debited"),
        (&review_of_two, by_transaction(OrderStatus::Paid, 30), "none of its transactions"),
        (&review_of_two, by_transaction(OrderStatus::Canceled, 7), "was paid by none"),
        (&review_of_two, olim(OrderStatus::Expired), "paid, refunded or canceled"),
        (&review_of_two, olim(OrderStatus::Review), "no decision"),
        (&without_money, olim(OrderStatus::Paid), "--transaction-id"),
        (&without_draft, olim(OrderStatus::Refunded), "as canceled"),
        (&marked, olim(OrderStatus::Refunded), "orders reconcile"),
        (&marked, olim(OrderStatus::Canceled), "it is paid and stays so"),
        (&marked, by_transaction(OrderStatus::Paid, 30), "only for an order in review"),
        (&well, olim(OrderStatus::Paid), "no person has to look at it"),
    ] {
        let before = (f.history(order).await, f.find(order).await.status);
        let why = refusal(f.resolve(order, &decision).await);
        assert!(why.contains(part), "{part}: {why}");
        assert_eq!((f.history(order).await, f.find(order).await.status), before, "nothing is written");
    }
    let nobody = reviewing::resolve(&f.store, domain::id::OrderId(999), &olim(OrderStatus::Paid)).await.unwrap();
    assert_eq!(nobody, Resolved::Unknown);
    assert_eq!(
        f.resolve(&review_of_two, &by_transaction(OrderStatus::Paid, 8)).await,
        Resolved::Asked(TransactionId(8))
    );
}

/// A person reads, thinks and types; findings from that time are not read.
/// Shows: PERSON-11
async fn a_decision_is_about_the_findings_that_were_read(f: Fixture) {
    let about = |numbers: &[i64]| Decision { findings: Some(numbers.to_vec()), ..olim(OrderStatus::Paid) };
    let numbers = async |order: &Order| -> Vec<i64> {
        findings::of_order(&f.store, &f.find(order).await).await.unwrap().iter().map(|finding| finding.number).collect()
    };
    let order = f.marked_order(7).await;
    let read = numbers(&order).await;
    let find = async |text: &str| {
        jobs::stage_now(&f.store, Job::SettleOrder { order_id: order.id }).await.unwrap();
        let found = Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, text));
        f.inquire(&order, &[], &found).await;
    };

    find("an odd answer").await;
    let before = f.history(&order).await;
    let why = refusal(f.resolve(&order, &about(&read)).await);
    assert!(why.contains("found besides: an odd answer") && why.contains("orders review"), "{why}");
    let read = numbers(&order).await;
    find("another odd answer").await;
    let why = refusal(f.resolve(&order, &about(&read)).await);
    assert!(why.contains("found besides: another odd answer"), "other words were not read either: {why}");
    let why = refusal(f.resolve(&order, &about(&[numbers(&order).await, vec![99]].concat())).await);
    assert!(why.contains("finding 99"), "{why}");
    assert_eq!((f.history(&order).await.len(), f.find(&order).await.needs_review), (before.len() + 1, true));

    let decided = f.resolve(&order, &about(&numbers(&order).await)).await;
    assert_eq!(decided, Resolved::Settled(OrderStatus::Paid));
    assert!(!f.find(&order).await.needs_review);
    let why = refusal(f.resolve(&order, &about(&read)).await);
    assert!(why.contains("no person has to look at it"), "the second person is told how it stands: {why}");
}

/// The refund's job is retried and dies again, with the same words, while the decision is carried out.
/// Shows: PERSON-11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_that_dies_again_meanwhile_is_not_unmarked() {
    let f = Fixture::postgres().await;
    let order = f.order_with_refund_in_review().await;
    f.execute(&["update refunds set state = 'open'".into()]).await;
    let mut beside = f.connection().await;
    sqlx::raw_sql("begin; update refunds set state = 'review'; update orders set needs_review = 1")
        .execute(&mut beside)
        .await
        .unwrap();

    let decision = olim(OrderStatus::Paid);
    let decided = tokio::join!(f.resolve(&order, &decision), async {
        let waits = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        wait_until("the decision to wait for the row", PATIENCE, async || (f.number(waits).await > 0).then_some(()))
            .await;
        sqlx::raw_sql("commit").execute(&mut beside).await.unwrap();
    });

    assert!(refusal(decided.0).contains("waits for a person still"));
    assert!(f.find(&order).await.needs_review);
    assert_eq!(f.resolve(&order, &decision).await, Resolved::Settled(OrderStatus::Paid));
    assert_eq!(f.find(&order).await.refund_reserved, 0, "the person said that it was not made");
}
