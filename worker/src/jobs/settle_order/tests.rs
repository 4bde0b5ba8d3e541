use std::time::Duration;

use domain::id::TransactionId;
use domain::job::QueueName;
use domain::order::{GatewayIdentity, OrderStatus, Resolution, SuggestedAct, example};
use domain::review::{FindingKind, NewFinding};
use domain::terms::{LinkOrigin, OutcomeSource, RefundWay, Terms};
use domain::transaction::TransactionReport;
use proptest::prelude::*;
use store::jobs::Finish;
use store::settlement::MAX_LINKS;

use super::*;
use crate::InquirySchedule;
use crate::failure::UNANSWERED_MS;

const NOW: i64 = 10_000_000;
const DRAFT: TransactionId = TransactionId(7);
const OTHER: TransactionId = TransactionId(8);

/// The terms of Atmos.
pub(crate) fn asked() -> Terms {
    Terms {
        link: LinkOrigin::Draft,
        outcome: OutcomeSource::Asked,
        debit_within: Duration::from_secs(600),
        closed_believed_after: Duration::from_secs(180),
        refunds: RefundWay::Call,
    }
}

/// The terms of a gateway that only tells, as Payme.
fn told() -> Terms {
    Terms {
        link: LinkOrigin::Local,
        outcome: OutcomeSource::Told,
        debit_within: Duration::from_secs(12 * 3_600),
        closed_believed_after: Duration::ZERO,
        refunds: RefundWay::Cabinet,
    }
}

fn order(status: OrderStatus) -> Order {
    let is_confirming = status == OrderStatus::Confirming;
    Order {
        status,
        transaction_id: Some(DRAFT),
        payment_url: Some("http://gateway/".into()),
        links_made: 1,
        allowed_transaction_id: is_confirming.then_some(DRAFT),
        last_allowed_at_ms: is_confirming.then_some(NOW - 1_000),
        link_at_ms: Some(NOW - 60_000),
        expires_at_ms: Some(NOW + 60_000),
        final_at_ms: status.is_final().then_some(NOW - 1_000),
        ..example::order(OrderId(1), NOW - 60_000)
    }
}

/// An order with its link since `link_at_ms`, for tests of when to inquire.
pub(crate) fn an_order(status: OrderStatus, link_at_ms: i64, expires_at_ms: i64) -> Order {
    Order { link_at_ms: Some(link_at_ms), expires_at_ms: Some(expires_at_ms), ..order(status) }
}

fn inquiry(transaction_id: TransactionId, state: TransactionState) -> Inquiry {
    let report = TransactionReport {
        transaction_id,
        account: "1".into(),
        store_id: Some("1234".into()),
        amount: 5_000,
        unpaid_payment_id: None,
        state: state.clone(),
    };
    Inquiry {
        gateway: GatewayIdentity("sandbox:1234".into()),
        transaction_id,
        was: StoredState::Open,
        is_accepted: false,
        end_is_told: false,
        debit_told_ms: None,
        has_permanent_id: false,
        state,
        report: Some(report),
    }
}

fn debited() -> TransactionState {
    TransactionState::Debited { success_transaction_id: TransactionId(99) }
}

fn decided(order: &Order, inquiries: &[Inquiry]) -> Settlement {
    decide(order, &asked(), inquiries, NOW, "1234")
}

#[test]
fn a_confirmed_debit_of_the_right_amount_pays_an_open_order() {
    for status in [OrderStatus::Pending, OrderStatus::Confirming] {
        assert_eq!(
            decided(&order(status), &[inquiry(DRAFT, debited())]),
            Settlement::Paid { transaction_id: DRAFT },
            "{status}"
        );
    }
}

/// Shows: INVARIANT-8, MONEY-8
#[test]
fn a_debit_on_any_draft_of_the_order_counts() {
    let inquiries = [inquiry(DRAFT, TransactionState::Closed), inquiry(OTHER, debited())];

    assert_eq!(decided(&order(OrderStatus::Pending), &inquiries), Settlement::Paid { transaction_id: OTHER });
}

/// Shows: INVARIANT-3, PERSON-1, PERSON-2, PERSON-3
#[test]
fn a_debit_that_does_not_fit_goes_before_a_person() {
    let change: [fn(&mut TransactionReport); 3] = [
        |report| report.amount += 1,
        |report| report.account = "2".into(),
        |report| report.store_id = Some("9".into()),
    ];
    for change in change {
        let mut inquiry = inquiry(DRAFT, debited());
        change(inquiry.report.as_mut().unwrap());

        let decision = decided(&order(OrderStatus::Confirming), &[inquiry]);

        assert!(matches!(decision, Settlement::Review(_)), "{decision:?}");
    }
}

#[test]
fn money_on_an_order_that_has_ended_goes_before_a_person() {
    for status in [OrderStatus::Expired, OrderStatus::Canceled] {
        let decision = decided(&order(status), &[inquiry(DRAFT, debited())]);

        assert!(matches!(decision, Settlement::Review(_)), "{status}: {decision:?}");
    }
}

#[test]
fn a_second_payment_goes_before_a_person_and_the_first_stays() {
    let inquiries = [inquiry(DRAFT, debited()), inquiry(OTHER, debited())];
    let paid = decided(&order(OrderStatus::Confirming), &inquiries);

    assert_eq!(paid, Settlement::Paid { transaction_id: DRAFT });
    let soon = finish_after(
        &order(OrderStatus::Confirming),
        &asked(),
        &paid,
        &inquiries,
        &InquirySchedule::new(&[]),
        NOW,
        NOW,
    );
    assert_eq!(soon, Finish::Snooze { until_ms: NOW, queue: QueueName::Settle });
    assert!(matches!(decided(&order(OrderStatus::Paid), &inquiries), Settlement::Review(_)));
}

#[test]
fn a_reversal_refunds_a_paid_order() {
    let reversed = TransactionState::Reversed { success_transaction_id: None };

    assert_eq!(
        decided(&order(OrderStatus::Paid), &[inquiry(DRAFT, reversed)]),
        Settlement::Refunded { transaction_id: DRAFT }
    );
}

/// A gateway that only tells: its row says that money came and went back (Payme documents, CancelTransaction after
/// PerformTransaction). What an asked gateway shows as reversed may be a payment that it never finished.
#[test]
fn money_that_came_and_went_back_before_an_inquiry_refunds_the_order() {
    let reversed = || TransactionState::Reversed { success_transaction_id: None };
    let confirming = order(OrderStatus::Confirming);
    let over = Order { expires_at_ms: Some(NOW - 86_400_000), ..confirming.clone() };
    let given_back = Inquiry { report: None, ..inquiry(DRAFT, reversed()) };
    let decided_told = |order: &Order, inquiries: &[Inquiry]| decide(order, &told(), inquiries, NOW, "1234");

    for order in [&confirming, &over] {
        let decision = decided_told(order, std::slice::from_ref(&given_back));
        assert_eq!(decision, Settlement::Refunded { transaction_id: DRAFT });
    }
    let paid_again = [given_back.clone(), inquiry(OTHER, debited())];
    assert_eq!(decided_told(&confirming, &paid_again), Settlement::Paid { transaction_id: OTHER });
    let of_another = Inquiry { transaction_id: OTHER, ..given_back.clone() };
    assert_eq!(decided_told(&confirming, &[of_another]), Settlement::Unchanged, "another holds the order now");
    let closed = Order { last_allowed_at_ms: Some(NOW - 600_000), ..confirming };
    assert!(matches!(decided(&closed, &[given_back]), Settlement::Reopened { .. }), "as before where it is asked");
}

#[test]
fn money_that_comes_to_a_refunded_order_goes_before_a_person() {
    let reversed = TransactionState::Reversed { success_transaction_id: None };
    let inquiries = [inquiry(DRAFT, reversed), inquiry(OTHER, debited())];

    for status in [OrderStatus::Paid, OrderStatus::Refunded] {
        let Settlement::Review(NewFinding { text: reason, .. }) = decided(&order(status), &inquiries) else {
            panic!("{status}")
        };
        assert!(reason.contains("second time") && reason.contains("reversed"), "{reason}");
    }
}

#[test]
fn a_person_hears_once_of_money_that_moved_on_an_order_in_review() {
    let mut inquiry = inquiry(DRAFT, debited());

    assert!(matches!(decided(&order(OrderStatus::Review), std::slice::from_ref(&inquiry)), Settlement::Noted { .. }));

    inquiry.was = StoredState::Debited;
    assert_eq!(decided(&order(OrderStatus::Review), &[inquiry]), Settlement::Unchanged);
}

#[test]
fn an_unreadable_answer_about_an_order_that_has_ended_goes_before_a_person() {
    for status in [OrderStatus::Expired, OrderStatus::Paid] {
        let unclear = inquiry(DRAFT, TransactionState::Unclear { code: "5".into() });
        assert!(matches!(decided(&order(status), &[unclear]), Settlement::Review(_)), "{status}");
    }
}

/// Shows: PROMISE-6
#[test]
fn a_gateway_without_a_clear_answer_is_a_matter_for_a_person_after_three_days() {
    let order = order(OrderStatus::Pending);
    let over_ms = order.expires_at_ms.unwrap() + UNANSWERED_MS;

    assert!(!answer_is_overdue(&order, over_ms - 1));
    assert!(answer_is_overdue(&order, over_ms));
}

/// Shows: INVARIANT-7, MONEY-5
#[test]
fn closed_is_not_believed_while_the_allowed_debit_may_be_under_way() {
    let inquiries = [inquiry(DRAFT, TransactionState::Closed)];
    let mut order = order(OrderStatus::Confirming);

    assert_eq!(decided(&order, &inquiries), Settlement::Unpaid { page_is_closed: true });
    assert_eq!(worth_keeping(&order, &asked(), &inquiries, NOW), [], "or the draft would never be asked about again");

    order.last_allowed_at_ms = Some(NOW - 180_000);

    assert_eq!(
        decided(&order, &inquiries),
        Settlement::Reopened { transaction_id: DRAFT, link_is_closed: true, believed_after: Duration::from_secs(180) }
    );
    assert_eq!(worth_keeping(&order, &asked(), &inquiries, NOW).len(), 1);
}

/// The payer has canceled at the gateway, which has told us so and shows the same.
#[test]
fn what_the_gateway_told_of_an_end_and_shows_is_believed_at_once() {
    let order = Order { transaction_id: None, ..order(OrderStatus::Confirming) };
    let confirming = Order { allowed_transaction_id: Some(OTHER), last_allowed_at_ms: Some(NOW - 1), ..order };
    let closed = Inquiry { end_is_told: true, ..inquiry(OTHER, TransactionState::Closed) };

    let decision = decided(&confirming, std::slice::from_ref(&closed));

    assert!(
        matches!(decision, Settlement::Reopened { transaction_id: OTHER, link_is_closed: false, .. }),
        "{decision:?}"
    );
    assert_eq!(worth_keeping(&confirming, &asked(), std::slice::from_ref(&closed), NOW).len(), 1);
    // What it told counts for nothing while it shows something else.
    let open = Inquiry { end_is_told: true, ..inquiry(OTHER, TransactionState::Open) };
    assert_eq!(decided(&confirming, &[open]), Settlement::Unchanged);
    // Freed: the same link leads to the next try.
    let pending = Order { status: OrderStatus::Pending, allowed_transaction_id: None, ..confirming };
    assert_eq!(decided(&pending, &[closed]), Settlement::Unchanged);
}

/// A gateway that only tells has nothing to be asked: its word wakes the job.
#[test]
fn an_order_at_a_telling_gateway_waits_until_its_debit_cannot_come_any_more() {
    let until_ms = NOW + 43_000_000;
    let confirming = Order {
        transaction_id: None,
        allowed_transaction_id: Some(OTHER),
        allowed_until_ms: Some(until_ms),
        last_hint_at_ms: Some(NOW - 1_000),
        ..order(OrderStatus::Confirming)
    };
    let open = [inquiry(OTHER, TransactionState::Open)];
    let at = |asked_at_ms: i64| decide(&confirming, &told(), &open, asked_at_ms, "1234");
    let schedule = InquirySchedule::new(&[Duration::from_secs(1)]);

    let next = finish_after(&confirming, &told(), &Settlement::Unchanged, &open, &schedule, NOW, NOW);
    assert!(matches!(next, Finish::Snooze { until_ms: next, .. } if next == until_ms), "{next:?}");
    assert_ne!(at(until_ms - 1), Settlement::Expired);
    assert_eq!(at(until_ms), Settlement::Expired);
    let paid = decide(&confirming, &told(), &[inquiry(OTHER, debited())], until_ms, "1234");
    assert_eq!(paid, Settlement::Paid { transaction_id: OTHER });
}

/// Nothing tells of a customer who comes back without paying, so the order is looked at once more.
#[test]
fn a_customer_who_comes_back_from_a_telling_gateway_unpaid_is_told_so() {
    let deadline_ms = NOW + 1_800_000;
    let back = Order {
        transaction_id: None,
        last_hint_at_ms: Some(NOW),
        expires_at_ms: Some(deadline_ms),
        ..order(OrderStatus::Pending)
    };
    let schedule = InquirySchedule::new(&[Duration::from_secs(1)]);
    let next = |decision: &Settlement, asked_at_ms| match finish_after(
        &back,
        &told(),
        decision,
        &[],
        &schedule,
        asked_at_ms,
        asked_at_ms,
    ) {
        Finish::Snooze { until_ms, .. } => until_ms,
        finish => panic!("the order is open: {finish:?}"),
    };

    assert_eq!(decide(&back, &told(), &[], NOW, "1234"), Settlement::Unchanged);
    assert_eq!(next(&Settlement::Unchanged, NOW), NOW + 5_000);
    let unpaid = decide(&back, &told(), &[], NOW + 5_000, "1234");
    assert_eq!(unpaid, Settlement::Unpaid { page_is_closed: false });
    assert_eq!(next(&unpaid, NOW + 5_000), deadline_ms);
}

/// A declined card brings no news: the gateway still shows its draft as open.
/// Shows: PERSON-21
#[test]
fn that_nothing_was_taken_is_told_some_seconds_after_each_sign_of_a_payment_and_once() {
    let open = [inquiry(DRAFT, TransactionState::Open)];
    let unpaid = |page_is_closed| Settlement::Unpaid { page_is_closed };
    let mut order = order(OrderStatus::Confirming);

    order.last_allowed_at_ms = Some(NOW - 4_999);
    assert_eq!(decided(&order, &open), Settlement::Unchanged, "its debit may be about to show");
    order.last_allowed_at_ms = Some(NOW - 5_000);
    assert_eq!(decided(&order, &open), unpaid(false));
    order.seen_unpaid_at_ms = Some(NOW - 1);
    assert_eq!(decided(&order, &open), Settlement::Unchanged, "it is told already");
    order.last_hint_at_ms = Some(NOW);
    assert_eq!(decided(&order, &open), Settlement::Unchanged, "another try");

    let closed = [inquiry(DRAFT, TransactionState::Closed)];
    assert_eq!(decided(&order, &closed), unpaid(true), "the page takes no payment");
    (order.seen_unpaid_at_ms, order.seen_closed_at_ms) = (Some(NOW), Some(NOW));
    assert_eq!(decided(&order, &closed), Settlement::Unchanged);

    let unclear = [inquiry(DRAFT, TransactionState::Unclear { code: "5".into() })];
    order.seen_unpaid_at_ms = None;
    assert_eq!(decided(&order, &unclear), Settlement::Unchanged, "the outcome is unknown");
}

/// A refund names the debit by its permanent id, which the gateway may show later than the debit.
#[test]
fn what_is_known_already_is_kept_again_only_for_its_permanent_id() {
    let order = order(OrderStatus::Paid);
    let debited = TransactionState::Debited { success_transaction_id: TransactionId(70) };
    let mut without_id = inquiry(DRAFT, debited);
    without_id.was = StoredState::Debited;

    let kept = worth_keeping(&order, &asked(), &[without_id], NOW);
    assert_eq!(kept.iter().map(|(_, seen)| seen.success_transaction_id).collect::<Vec<_>>(), [Some(TransactionId(70))]);

    let mut known = inquiry(DRAFT, TransactionState::Debited { success_transaction_id: TransactionId(70) });
    (known.was, known.has_permanent_id) = (StoredState::Debited, true);
    assert_eq!(worth_keeping(&order, &asked(), &[known], NOW), []);
}

#[test]
fn a_closed_link_is_replaced_while_the_order_lives_and_not_for_ever() {
    let inquiries = [inquiry(DRAFT, TransactionState::Closed)];
    let mut order = order(OrderStatus::Pending);

    assert_eq!(decided(&order, &inquiries), Settlement::LinkClosed { transaction_id: DRAFT });

    order.links_made = MAX_LINKS;
    assert_eq!(decided(&order, &inquiries), Settlement::Unpaid { page_is_closed: true });

    order.expires_at_ms = Some(NOW);
    assert_eq!(decided(&order, &inquiries), Settlement::Expired);
}

/// Shows: INVARIANT-9
#[test]
fn a_confirming_order_expires_only_ten_minutes_after_its_last_allowed_callback() {
    let inquiries = [inquiry(DRAFT, TransactionState::Open)];
    let mut order = order(OrderStatus::Confirming);
    order.expires_at_ms = Some(NOW - settlement::CONFIRMING_GRACE_MS);

    order.last_allowed_at_ms = Some(NOW - settlement::CONFIRMING_GRACE_MS + 1);
    assert_eq!(decided(&order, &inquiries), Settlement::Unpaid { page_is_closed: false });

    order.last_allowed_at_ms = Some(NOW - settlement::CONFIRMING_GRACE_MS);
    assert_eq!(decided(&order, &inquiries), Settlement::Expired);
}

/// Shows: INVARIANT-15
#[test]
fn an_unreadable_answer_never_pays_and_never_expires_an_order() {
    let unclear = || inquiry(DRAFT, TransactionState::Unclear { code: "STPIMS-ERR-777".into() });
    let mut order = order(OrderStatus::Pending);

    assert_eq!(decided(&order, &[unclear()]), Settlement::Unchanged);

    order.expires_at_ms = Some(NOW);
    assert!(matches!(decided(&order, &[unclear()]), Settlement::Review(_)));
}

/// Click told that it has the money, and shows no payment. The order's own time may be a week.
#[test]
fn a_told_debit_that_stays_unclear_is_a_persons_after_ten_minutes_and_frees_nothing() {
    let told = |ago_ms| Inquiry {
        debit_told_ms: Some(NOW - ago_ms),
        ..inquiry(DRAFT, TransactionState::Unclear { code: "not found".into() })
    };
    let goes_to_review = |order: &Order, inquiries: &[Inquiry]| match decided(order, inquiries) {
        Settlement::Review(found) => {
            assert_eq!((found.kind, found.transaction_id), (FindingKind::UnclearAnswer, Some(DRAFT)));
            assert!(found.text.contains("was told") && found.text.contains("not found"), "{}", found.text);
            true
        }
        Settlement::Unchanged => false,
        decision => panic!("{decision:?}"),
    };
    // Freed before the debit was told, or still held by it.
    for order in [order(OrderStatus::Pending), order(OrderStatus::Confirming)] {
        assert!(!goes_to_review(&order, &[told(599_999)]), "{}", order.status);
        assert!(goes_to_review(&order, &[told(600_000)]), "{}", order.status);
        let paid = decided(&order, &[told(600_000), inquiry(OTHER, debited())]);
        assert_eq!(paid, Settlement::Paid { transaction_id: OTHER });
        assert_eq!(worth_keeping(&order, &asked(), &[told(600_000)], NOW), []);
    }
    let untold = inquiry(DRAFT, TransactionState::Unclear { code: "not found".into() });
    assert!(!goes_to_review(&order(OrderStatus::Confirming), &[untold]), "its time is not over");
    let other_pays = Order { allowed_transaction_id: Some(OTHER), ..order(OrderStatus::Confirming) };
    let both = [told(600_000), inquiry(OTHER, TransactionState::Open)];
    assert!(!goes_to_review(&other_pays, &both), "the payer of another transaction may be paying now");
    let paid = order(OrderStatus::Paid);
    let told_beside = Inquiry { transaction_id: OTHER, ..told(600_000) };
    let decision = decided(&paid, &[inquiry(DRAFT, debited()), told_beside]);
    assert!(matches!(decision, Settlement::Review(_)), "the order stays paid, and is marked: {decision:?}");
}

/// Shows: JOB-4
#[test]
fn an_order_before_a_person_has_no_further_inquiries() {
    let decision = Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, "odd"));

    let finish =
        finish_after(&order(OrderStatus::Pending), &asked(), &decision, &[], &InquirySchedule::new(&[]), NOW, NOW);

    assert_eq!(finish, Finish::Complete);
}

/// Draft A was allowed, draft B debited without a question, and A may still debit: the customer would have paid twice.
/// Shows: PERSON-6
#[test]
fn inquiries_go_on_about_an_order_that_another_draft_has_paid_while_the_allowed_one_may_debit() {
    let schedule = InquirySchedule::new(&[1, 10, 600].map(std::time::Duration::from_secs));
    let allowed_at_ms = NOW - 2_000;
    let confirming = Order {
        allowed_transaction_id: Some(DRAFT),
        last_allowed_at_ms: Some(allowed_at_ms),
        last_hint_at_ms: Some(allowed_at_ms),
        ..order(OrderStatus::Confirming)
    };
    let paid =
        Order { status: OrderStatus::Paid, transaction_id: Some(OTHER), final_at_ms: Some(NOW), ..confirming.clone() };
    let finish = |order: &Order, state: TransactionState, asked_at_ms: i64| {
        let inquiries = [inquiry(DRAFT, state), inquiry(OTHER, debited())];
        let decision = decide(order, &asked(), &inquiries, asked_at_ms, "1234");
        match finish_after(order, &asked(), &decision, &inquiries, &schedule, asked_at_ms, asked_at_ms) {
            Finish::Snooze { until_ms, .. } => until_ms - allowed_at_ms,
            other => panic!("{other:?}"),
        }
    };
    let day = 24 * 3_600_000;

    assert_eq!(finish(&confirming, TransactionState::Open, NOW), 10_000, "by the schedule of an open order");
    assert_eq!(finish(&paid, TransactionState::Open, NOW + 1_000), 10_000);
    assert_eq!(finish(&paid, TransactionState::Closed, NOW + 1_000), 10_000, "too early to be believed");
    assert!(
        finish(&paid, TransactionState::Open, NOW + 300_000) <= 600_000,
        "ten minutes after it was allowed at the latest"
    );
    assert!(finish(&paid, TransactionState::Closed, NOW + 300_000) > day - 60_000);
    assert!(
        finish(&paid, TransactionState::Open, allowed_at_ms + 600_000) > day - 60_000,
        "no debit is under way any more"
    );
    let reversed = TransactionState::Reversed { success_transaction_id: None };
    assert!(finish(&paid, reversed, NOW + 1_000) > day - 60_000);
}

/// The gateway debited the other draft although we had just refused it; the inquiry that the callback caused came too
/// early.
#[test]
fn inquiries_go_on_for_three_minutes_about_a_paid_order_whose_other_draft_had_a_callback() {
    let schedule = InquirySchedule::new(&[1, 10, 600].map(std::time::Duration::from_secs));
    let paid = Order { last_hint_at_ms: Some(NOW), expires_at_ms: Some(NOW + 3_600_000), ..order(OrderStatus::Paid) };
    let next = |state: TransactionState, asked_at_ms: i64| {
        let inquiries = [inquiry(DRAFT, debited()), inquiry(OTHER, state)];
        match finish_after(&paid, &asked(), &Settlement::Unchanged, &inquiries, &schedule, asked_at_ms, asked_at_ms) {
            Finish::Snooze { until_ms, .. } => until_ms - NOW,
            other => panic!("{other:?}"),
        }
    };
    let day = 24 * 3_600_000;

    assert_eq!(next(TransactionState::Open, NOW), 1_000);
    assert_eq!(next(TransactionState::Open, NOW + 1_000), 10_000);
    assert_eq!(next(TransactionState::Open, NOW + 10_000), 180_000);
    assert!(next(TransactionState::Open, NOW + 180_000) > day - 60_000);
    assert!(next(TransactionState::Closed, NOW + 1_000) > day - 60_000);
}

/// A callback came after the end and was refused. The gateway may debit all the same, also the draft behind the link.
#[test]
fn inquiries_go_on_for_three_minutes_after_a_callback_about_an_order_that_ended_unpaid() {
    let schedule = InquirySchedule::new(&[1, 10, 600].map(std::time::Duration::from_secs));
    let inquiries = [inquiry(DRAFT, TransactionState::Open)];

    for status in [OrderStatus::Canceled, OrderStatus::Expired] {
        let expires_at_ms = Some(NOW + 3_600_000);
        let ended = Order { last_hint_at_ms: Some(NOW), expires_at_ms, ..order(status) };
        let next = |asked_at_ms: i64| match finish_after(
            &ended,
            &asked(),
            &Settlement::Unchanged,
            &inquiries,
            &schedule,
            asked_at_ms,
            asked_at_ms,
        ) {
            Finish::Snooze { until_ms, .. } => until_ms - NOW,
            other => panic!("{other:?}"),
        };

        assert_eq!(next(NOW), 1_000, "{status}");
        assert_eq!(next(NOW + 10_000), 180_000, "{status}");
        assert!(next(NOW + 180_000) > 23 * 3_600_000, "{status}");
    }
}

#[test]
fn an_inquiry_that_began_before_the_deadline_and_ended_after_it_is_followed_by_another_at_once() {
    let mut order = order(OrderStatus::Pending);
    order.expires_at_ms = Some(NOW + 5);

    let finish = finish_after(&order, &asked(), &Settlement::Unchanged, &[], &InquirySchedule::new(&[]), NOW, NOW + 10);

    assert_eq!(finish, Finish::Snooze { until_ms: NOW + 5, queue: QueueName::Background });
}

/// An order in review of which a person said that it was paid by this transaction.
fn claimed(transaction_id: TransactionId) -> Order {
    let resolution = Resolution { by: "Olim".into(), reason: "seen".into(), transaction_id: Some(transaction_id) };
    Order { resolution: Some(resolution), ..order(OrderStatus::Review) }
}

#[test]
fn an_order_resolved_as_paid_is_paid_by_that_debit_of_whatever_amount() {
    let mut debit = inquiry(DRAFT, debited());
    debit.report.as_mut().unwrap().amount = 1;

    for was in [StoredState::Open, StoredState::Debited] {
        debit.was = was;
        let decision = decided(&claimed(DRAFT), &[debit.clone(), inquiry(OTHER, TransactionState::Open)]);
        assert_eq!(decision, Settlement::Paid { transaction_id: DRAFT });
    }
}

#[test]
fn an_order_resolved_as_paid_stays_with_the_person_where_the_gateway_shows_no_debit() {
    let reversed = TransactionState::Reversed { success_transaction_id: None };
    for (state, part) in [
        (TransactionState::Open, "no money"),
        (TransactionState::Closed, "closed and unpaid"),
        (reversed, "went back"),
        (TransactionState::Unclear { code: "777".into() }, "777"),
    ] {
        let inquiries = [inquiry(DRAFT, state), inquiry(OTHER, debited())];
        let decision = decided(&claimed(DRAFT), &inquiries);

        let Settlement::NotResolved { transaction_id, what } = &decision else { panic!("{decision:?}") };
        assert!(*transaction_id == DRAFT && what.contains(part), "{decision:?}");
        let finish =
            finish_after(&claimed(DRAFT), &asked(), &decision, &inquiries, &InquirySchedule::new(&[]), NOW, NOW);
        assert_eq!(finish, Finish::Complete);
    }
}

/// Shows: PERSON-16
#[test]
fn what_a_person_knows_and_left_is_not_told_again() {
    let known = |state| Inquiry { was: StoredState::Debited, is_accepted: true, ..inquiry(OTHER, state) };
    let unclear = TransactionState::Unclear { code: "777".into() };
    let reversed = TransactionState::Reversed { success_transaction_id: None };

    for status in [OrderStatus::Paid, OrderStatus::Refunded, OrderStatus::Canceled, OrderStatus::Expired] {
        for state in [debited(), unclear.clone()] {
            assert_eq!(decided(&order(status), &[known(state)]), Settlement::Unchanged, "{status}");
        }
        let new = Inquiry { was: StoredState::Open, ..known(debited()) };
        assert!(matches!(decided(&order(status), &[new]), Settlement::Review(_)), "{status}: of new money, it is");
    }
    let payer = Inquiry { transaction_id: DRAFT, ..known(reversed) };
    assert_eq!(decided(&order(OrderStatus::Paid), &[payer]), Settlement::Refunded { transaction_id: DRAFT });
}

#[test]
fn an_unclear_answer_about_a_payment_that_is_being_refunded_is_left_to_the_refund() {
    let unclear = |id| [inquiry(id, TransactionState::Unclear { code: "payment_status -99".into() })];
    let amount = order(OrderStatus::Paid).amount.get();
    let refunding = Order { refund_reserved: amount, ..order(OrderStatus::Paid) };
    let no_refund = order(OrderStatus::Paid);
    let refunded = Order { refunded_amount: amount, refund_reserved: amount, ..order(OrderStatus::Refunded) };

    assert_eq!(decided(&refunding, &unclear(DRAFT)), Settlement::Unchanged);
    for (order, id) in [(&refunding, OTHER), (&no_refund, DRAFT), (&refunded, DRAFT)] {
        assert!(matches!(decided(order, &unclear(id)), Settlement::Review(_)), "{} {id}", order.status);
    }
}

#[test]
fn each_debit_that_a_person_must_know_is_named() {
    const THIRD: TransactionId = TransactionId(77);
    let told = |order: &Order, inquiries: &[Inquiry]| match decided(order, inquiries) {
        Settlement::Review(finding) => finding.text,
        Settlement::Noted { what } => what,
        other => panic!("{other:?}"),
    };
    let both = [inquiry(OTHER, debited()), inquiry(THIRD, debited())];
    let seen = both.clone().map(|inquiry| Inquiry { was: StoredState::Debited, ..inquiry });
    let mut misfit = inquiry(DRAFT, debited());
    misfit.report.as_mut().unwrap().amount += 1;

    for status in
        [OrderStatus::Paid, OrderStatus::Refunded, OrderStatus::Expired, OrderStatus::Canceled, OrderStatus::Review]
    {
        let text = told(&order(status), &both);
        assert!(text.contains("transactions 8, 77"), "{status}: {text}");
    }
    assert_eq!(told(&order(OrderStatus::Paid), &seen), told(&order(OrderStatus::Paid), &both), "and told once");
    let text = told(&order(OrderStatus::Pending), &[misfit, inquiry(THIRD, debited())]);
    assert!(text.contains("instead of") && text.ends_with("debited besides: transaction 77"), "{text}");
}

#[test]
fn a_refunded_order_whose_money_did_not_go_back_is_told() {
    let decision = decided(&order(OrderStatus::Refunded), &[inquiry(DRAFT, debited())]);

    assert!(
        matches!(&decision, Settlement::Review(found) if found.kind == FindingKind::RefundedButDebited),
        "{decision:?}"
    );
}

/// Shows: PERSON-5
#[test]
fn every_finding_suggests_what_fits_it() {
    let mut misfit = inquiry(DRAFT, debited());
    misfit.report.as_mut().unwrap().amount += 1;
    let unclear = || inquiry(DRAFT, TransactionState::Unclear { code: "777".into() });
    let over = |status| Order { expires_at_ms: Some(NOW), ..order(status) };
    for (order, inquiries, expected) in [
        (order(OrderStatus::Pending), vec![misfit], SuggestedAct::CompareDebit),
        (order(OrderStatus::Expired), vec![inquiry(DRAFT, debited())], SuggestedAct::ReturnLatePayment),
        (order(OrderStatus::Canceled), vec![inquiry(DRAFT, debited())], SuggestedAct::ReturnLatePayment),
        (order(OrderStatus::Paid), vec![inquiry(OTHER, debited())], SuggestedAct::ReturnSecondPayment),
        (over(OrderStatus::Pending), vec![unclear()], SuggestedAct::AskGateway),
        (order(OrderStatus::Paid), vec![unclear()], SuggestedAct::AskGateway),
    ] {
        let decision = decided(&order, &inquiries);
        assert!(
            matches!(&decision, Settlement::Review(found) if found.kind.act() == expected),
            "{expected}: {decision:?}"
        );
    }
}

fn any_state() -> impl Strategy<Value = TransactionState> {
    prop_oneof![
        Just(TransactionState::Open),
        Just(TransactionState::Closed),
        Just(debited()),
        Just(TransactionState::Reversed { success_transaction_id: None }),
        Just(TransactionState::Unclear { code: "777".into() }),
    ]
}

prop_compose! {
    fn any_inquiry(id: i64)(
        state in any_state(),
        was in prop::sample::select(StoredState::ALL),
        is_accepted: bool,
        amount in prop::sample::select(vec![1, 5_000]),
        account in prop::sample::select(vec!["1", "2"]),
        store_id in prop::sample::select(vec![None, Some("1234"), Some("9")]),
        is_asked: bool,
        end_is_told: bool,
        told_ago_ms in prop::option::of(0i64..1_200_000),
    ) -> Inquiry {
        let report = TransactionReport {
            transaction_id: TransactionId(id),
            account: account.into(),
            store_id: store_id.map(str::to_owned),
            amount,
            unpaid_payment_id: None,
            state: state.clone(),
        };
        // Money is seen only by asking.
        let is_asked = is_asked || matches!(state, TransactionState::Debited { .. });
        let debit_told_ms = told_ago_ms.map(|ago_ms| NOW - ago_ms);
        Inquiry { gateway: GatewayIdentity("sandbox:1234".into()), transaction_id: TransactionId(id), was, is_accepted, end_is_told, debit_told_ms, has_permanent_id: false, state, report: is_asked.then_some(report) }
    }
}

fn any_inquiries() -> impl Strategy<Value = Vec<Inquiry>> {
    (0usize..4, any_inquiry(7), any_inquiry(8), any_inquiry(9))
        .prop_map(|(count, one, two, three)| [one, two, three].into_iter().take(count).collect())
}

fn any_order() -> impl Strategy<Value = Order> {
    let status = prop::sample::select(OrderStatus::ALL);
    let times = (-1_000_000i64..1_000_000, 0i64..1_000_000, 0i64..=MAX_LINKS);
    let claim = prop::sample::select(vec![None, Some(None), Some(Some(7)), Some(Some(8)), Some(Some(99))]);
    let local = (any::<bool>(), prop::option::of(-1_000_000i64..50_000_000));
    (status, times, claim, local).prop_map(
        |(status, (expires_in_ms, allowed_ago_ms, links_made), claim, (is_local, until))| {
            let resolution = claim.map(|id| Resolution {
                by: "Olim".into(),
                reason: "seen".into(),
                transaction_id: id.map(TransactionId),
            });
            let last_allowed_at_ms = (status == OrderStatus::Confirming).then_some(NOW - allowed_ago_ms);
            let expires_at_ms = Some(NOW + expires_in_ms);
            let is_paid = matches!(status, OrderStatus::Paid | OrderStatus::Refunded);
            Order {
                expires_at_ms,
                last_allowed_at_ms,
                allowed_until_ms: last_allowed_at_ms.and(until).map(|until_ms| NOW + until_ms),
                // A link that was made without any call leads to no draft.
                transaction_id: (is_paid || !is_local).then_some(DRAFT),
                links_made,
                resolution,
                ..order(status)
            }
        },
    )
}

fn any_terms() -> impl Strategy<Value = Terms> {
    prop::sample::select(vec![asked(), told()])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// Nothing but the gateway's word on a debit of ours makes an order paid.
    /// Shows: INVARIANT-3, PERSON-4
    #[test]
    fn an_order_is_paid_only_by_a_debit_that_fits_or_that_a_person_named(order in any_order(), terms in any_terms(), inquiries in any_inquiries()) {
        let Settlement::Paid { transaction_id } = decide(&order, &terms, &inquiries, NOW, "1234") else { return Ok(()) };

        let seen = inquiries.iter().find(|inquiry| inquiry.transaction_id == transaction_id);
        let seen = seen.expect("an inquiry about the transaction that paid");
        prop_assert!(matches!(seen.state, TransactionState::Debited { .. }), "{seen:?}");
        match order.status {
            OrderStatus::Pending | OrderStatus::Confirming => {
                let report = seen.report.as_ref().expect("an answer");
                prop_assert_eq!((report.amount, report.account.as_str()), (5_000, "1"));
                prop_assert!(report.store_id.as_deref().is_none_or(|store| store == "1234"));
            }
            OrderStatus::Review => {
                let named = order.resolution.and_then(|resolution| resolution.transaction_id);
                prop_assert_eq!(named, Some(transaction_id));
            }
            status => prop_assert!(false, "{} became paid", status),
        }
    }

    /// An order ends unpaid only where every answer is clear and none shows money.
    /// Shows: PERSON-4
    #[test]
    fn an_order_expires_only_where_no_inquiry_shows_money_or_is_unclear(order in any_order(), terms in any_terms(), inquiries in any_inquiries()) {
        if decide(&order, &terms, &inquiries, NOW, "1234") != Settlement::Expired { return Ok(()) }

        prop_assert!(matches!(order.status, OrderStatus::Pending | OrderStatus::Confirming));
        prop_assert!(crate::inquiry_schedule::deadline_ms(&order).is_some_and(|deadline| deadline <= NOW));
        for seen in &inquiries {
            let is_money = matches!(seen.state, TransactionState::Debited { .. } | TransactionState::Unclear { .. });
            prop_assert!(!is_money, "{seen:?}");
        }
    }

    /// No link is replaced that leads to no draft, and no debit that was allowed and may still come is given up.
    /// Shows: MONEY-5
    #[test]
    fn a_link_without_a_draft_stays_and_an_allowed_debit_is_waited_for(order in any_order(), terms in any_terms(), inquiries in any_inquiries()) {
        match decide(&order, &terms, &inquiries, NOW, "1234") {
            Settlement::LinkClosed { transaction_id } => prop_assert_eq!(order.transaction_id, Some(transaction_id)),
            Settlement::Reopened { transaction_id, link_is_closed, .. } => {
                prop_assert!(!link_is_closed || order.transaction_id == Some(transaction_id));
                let closed = inquiries.iter().find(|inquiry| inquiry.transaction_id == transaction_id);
                let waited_ms = NOW - order.last_allowed_at_ms.unwrap_or(NOW);
                let after_ms = domain::time::millis(terms.closed_believed_after);
                prop_assert!(closed.is_some_and(|closed| closed.end_is_told) || waited_ms >= after_ms);
            }
            Settlement::Expired if order.status == OrderStatus::Confirming => {
                prop_assert!(order.allowed_until_ms.is_none_or(|until_ms| until_ms <= NOW));
                prop_assert!(order.last_allowed_at_ms.is_some_and(|at_ms| at_ms + settlement::CONFIRMING_GRACE_MS <= NOW));
            }
            _ => (),
        }
    }

    /// Money that the order does not account for is told, unless a person knows of it.
    /// Shows: PERSON-4
    #[test]
    fn money_that_fits_nowhere_is_told(order in any_order(), terms in any_terms(), inquiries in any_inquiries()) {
        let decision = decide(&order, &terms, &inquiries, NOW, "1234");
        let is_told = matches!(decision, Settlement::Review(_) | Settlement::Noted { .. } | Settlement::NotResolved { .. });
        let unknown: Vec<_> = inquiries.iter().filter(|inquiry| {
            let is_known = inquiry.was == StoredState::Debited && (inquiry.is_accepted || order.status == OrderStatus::Review);
            matches!(inquiry.state, TransactionState::Debited { .. }) && !is_known
        }).collect();
        let is_settled = match &decision {
            // A second one is told by the inquiry that follows at once.
            Settlement::Paid { .. } => true,
            _ => order.status == OrderStatus::Paid
                && unknown.iter().all(|inquiry| Some(inquiry.transaction_id) == order.transaction_id),
        };

        prop_assert!(is_told || is_settled || unknown.is_empty(), "{decision:?}: {inquiries:?}");
    }

    /// An order that has ended or waits for a person moves by an inquiry only where money went back or a person decided.
    /// Shows: PERSON-4
    #[test]
    fn an_order_that_has_ended_moves_only_to_a_person_or_with_its_money(order in any_order(), terms in any_terms(), inquiries in any_inquiries()) {
        let decision = decide(&order, &terms, &inquiries, NOW, "1234");
        let is_open = matches!(order.status, OrderStatus::Pending | OrderStatus::Confirming);
        let fits = match &decision {
            Settlement::Unchanged | Settlement::Review(_) => true,
            Settlement::Expired
            | Settlement::Unpaid { .. }
            | Settlement::Reopened { .. }
            | Settlement::LinkClosed { .. } => is_open,
            Settlement::Paid { .. } => is_open || order.status == OrderStatus::Review,
            Settlement::Noted { .. } | Settlement::NotResolved { .. } => order.status == OrderStatus::Review,
            // Money came and went back before any inquiry.
            Settlement::Refunded { transaction_id } if order.status == OrderStatus::Confirming => {
                terms.outcome == OutcomeSource::Told
                    && order.allowed_transaction_id == Some(*transaction_id)
                    && inquiries.iter().any(|inquiry| {
                        inquiry.transaction_id == *transaction_id
                            && matches!(inquiry.state, TransactionState::Reversed { .. })
                    })
            }
            Settlement::Refunded { .. } => order.status == OrderStatus::Paid,
        };

        prop_assert!(fits, "{}: {:?}", order.status, decision);
        if let Settlement::Reopened { transaction_id, .. } | Settlement::LinkClosed { transaction_id } = &decision {
            let is_unclear = |inquiry: &Inquiry| {
                inquiry.transaction_id == *transaction_id && matches!(inquiry.state, TransactionState::Unclear { .. })
            };
            prop_assert!(!inquiries.iter().any(is_unclear), "freed by an unclear answer");
        }
        let is_put_twice = order.status == OrderStatus::Review && matches!(decision, Settlement::Review(_));
        prop_assert!(!is_put_twice);
    }
}

/// The order's customer has chosen another account since the transaction was made.
fn elsewhere(state: TransactionState) -> Inquiry {
    Inquiry { gateway: GatewayIdentity("sandbox-payme:64a1".into()), ..inquiry(DRAFT, state) }
}

/// Numbers of two accounts may be the same.
/// Shows: MONEY-25
#[test]
fn a_debit_at_the_account_before_pays_no_order_and_goes_before_a_person() {
    for status in [OrderStatus::Pending, OrderStatus::Confirming] {
        let decision = decided(&order(status), &[elsewhere(debited())]);
        let Settlement::Review(finding) = decision else { panic!("{status}: {decision:?}") };
        assert_eq!(finding.kind, FindingKind::DebitDiffers);
        assert!(finding.text.contains("sandbox-payme:64a1"), "{}", finding.text);
        // Also beside a debit of the order's own account.
        let both = [inquiry(DRAFT, debited()), elsewhere(debited())];
        assert!(matches!(decided(&order(status), &both), Settlement::Review(_)), "{status}");
    }
    let paid = order(OrderStatus::Paid);
    let decision = decided(&paid, &[inquiry(DRAFT, debited()), elsewhere(debited())]);
    assert!(
        matches!(&decision, Settlement::Review(finding) if finding.kind == FindingKind::SecondPayment),
        "{decision:?}"
    );
    let reversed = elsewhere(TransactionState::Reversed { success_transaction_id: None });
    assert_eq!(decided(&paid, &[inquiry(DRAFT, debited()), reversed]), Settlement::Unchanged);
    let claimed = Order {
        resolution: Some(Resolution {
            by: "Olim".into(),
            reason: "the bank says so".into(),
            transaction_id: Some(DRAFT),
        }),
        ..order(OrderStatus::Review)
    };
    assert!(matches!(decided(&claimed, &[elsewhere(debited())]), Settlement::NotResolved { .. }));
}

#[test]
fn a_closed_transaction_of_the_account_before_moves_nothing() {
    let confirming = Order { allowed_transaction_id: Some(DRAFT), ..order(OrderStatus::Confirming) };
    let closed = elsewhere(TransactionState::Closed);

    assert!(!matches!(decided(&confirming, std::slice::from_ref(&closed)), Settlement::Reopened { .. }));
    let pending = Order { allowed_transaction_id: None, ..order(OrderStatus::Pending) };
    assert!(!matches!(decided(&pending, std::slice::from_ref(&closed)), Settlement::LinkClosed { .. }));
    let kept = worth_keeping(&confirming, &asked(), std::slice::from_ref(&closed), NOW);
    assert_eq!(kept.len(), 1, "it is not the one that may debit");
    assert_eq!(kept[0].0, closed.gateway);
}

#[test]
fn an_order_whose_customer_never_chose_only_expires() {
    let unchosen = Order { account: None, choices: Some(0), transaction_id: None, ..order(OrderStatus::Pending) };
    let at = |order: &Order, asked_at_ms| super::finish::without_account(order, asked_at_ms, asked_at_ms);
    let ends_ms = unchosen.expires_at_ms.unwrap();

    let (waits, next) = at(&unchosen, ends_ms - 1);
    assert_eq!(waits, Settlement::Unchanged);
    assert!(matches!(next, Finish::Snooze { until_ms, queue: QueueName::Background } if until_ms == ends_ms));
    let (ends, next) = at(&unchosen, ends_ms);
    assert_eq!(ends, Settlement::Expired);
    assert!(matches!(next, Finish::Snooze { until_ms, .. } if until_ms == ends_ms + 24 * 3_600_000));
    let over = Order { status: OrderStatus::Canceled, final_at_ms: Some(0), ..unchosen.clone() };
    assert!(matches!(at(&over, 80 * 3_600_000), (Settlement::Unchanged, Finish::Complete)));
    let review = Order { status: OrderStatus::Review, ..unchosen };
    assert!(matches!(at(&review, ends_ms), (Settlement::Unchanged, Finish::Complete)));
}
