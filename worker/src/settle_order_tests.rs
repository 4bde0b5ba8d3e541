use shared::id::OrderToken;
use shared::money::Tiyin;
use shared::order::{GatewayIdentity, Language, PaymentType};

use super::*;

const NOW: i64 = 10_000_000;
const DRAFT: TransactionId = TransactionId(7);
const OTHER: TransactionId = TransactionId(8);

fn order(status: OrderStatus) -> Order {
    Order {
        id: OrderId(1),
        token: OrderToken::random(),
        api_key_name: String::new(),
        reference: None,
        product_name: "tea".into(),
        amount: Tiyin::new(5_000).unwrap(),
        payment_type: PaymentType::Atmos,
        return_url: None,
        language: Language::Uz,
        status,
        gateway: GatewayIdentity("sandbox:1234".into()),
        transaction_id: Some(DRAFT),
        payment_url: Some("http://gateway/".into()),
        links_made: 1,
        allowed_transaction_id: (status == OrderStatus::Confirming).then_some(DRAFT),
        last_allowed_at_ms: (status == OrderStatus::Confirming).then_some(NOW - 1_000),
        last_hint_at_ms: None,
        link_at_ms: Some(NOW - 60_000),
        expires_at_ms: Some(NOW + 60_000),
        final_at_ms: status.is_final().then_some(NOW - 1_000),
        refunded_amount: 0,
        needs_review: false,
        reason: None,
        created_at_ms: NOW - 60_000,
        pending_since_ms: NOW - 60_000,
        refund_reserved: 0,
        suggested_act: None,
        resolution_transaction_id: None,
    }
}

/// An order with its link since `link_at_ms`, for tests of when to look.
pub(crate) fn an_order(status: OrderStatus, link_at_ms: i64, expires_at_ms: i64) -> Order {
    Order { link_at_ms: Some(link_at_ms), expires_at_ms: Some(expires_at_ms), ..order(status) }
}

fn looked(transaction_id: TransactionId, state: TransactionState) -> Looked {
    let report = TransactionReport {
        transaction_id,
        account: "1".into(),
        store_id: Some("1234".into()),
        amount: 5_000,
        state: state.clone(),
    };
    Looked { transaction_id, was: StoredState::Open, has_permanent_id: false, state, report: Some(report) }
}

fn debited() -> TransactionState {
    TransactionState::Debited { success_transaction_id: TransactionId(99) }
}

fn decided(order: &Order, looked: &[Looked]) -> Settlement {
    decide(order, looked, NOW, "1234")
}

#[test]
fn a_confirmed_debit_of_the_right_amount_pays_an_open_order() {
    for status in [OrderStatus::Pending, OrderStatus::Confirming] {
        assert_eq!(
            decided(&order(status), &[looked(DRAFT, debited())]),
            Settlement::Paid { transaction_id: DRAFT },
            "{status}"
        );
    }
}

#[test]
fn a_debit_on_any_draft_of_the_order_counts() {
    let looks = [looked(DRAFT, TransactionState::Closed), looked(OTHER, debited())];

    assert_eq!(decided(&order(OrderStatus::Pending), &looks), Settlement::Paid { transaction_id: OTHER });
}

#[test]
fn a_debit_that_does_not_fit_goes_before_a_person() {
    let change: [fn(&mut TransactionReport); 3] = [
        |report| report.amount += 1,
        |report| report.account = "2".into(),
        |report| report.store_id = Some("9".into()),
    ];
    for change in change {
        let mut look = looked(DRAFT, debited());
        change(look.report.as_mut().unwrap());

        let decision = decided(&order(OrderStatus::Confirming), &[look]);

        assert!(matches!(decision, Settlement::Review { .. }), "{decision:?}");
    }
}

#[test]
fn money_on_an_order_that_has_ended_goes_before_a_person() {
    for status in [OrderStatus::Expired, OrderStatus::Canceled] {
        let decision = decided(&order(status), &[looked(DRAFT, debited())]);

        assert!(matches!(decision, Settlement::Review { .. }), "{status}: {decision:?}");
    }
}

#[test]
fn a_second_payment_goes_before_a_person_and_the_first_stays() {
    let looks = [looked(DRAFT, debited()), looked(OTHER, debited())];
    let paid = decided(&order(OrderStatus::Confirming), &looks);

    assert_eq!(paid, Settlement::Paid { transaction_id: DRAFT });
    let soon = finish_after(&order(OrderStatus::Confirming), &paid, &looks, &LookSchedule::new(&[]), NOW, NOW);
    assert_eq!(soon, Finish::Snooze { until_ms: NOW, queue: QueueName::Settle });
    assert!(matches!(decided(&order(OrderStatus::Paid), &looks), Settlement::Review { .. }));
}

#[test]
fn a_reversal_refunds_a_paid_order() {
    let reversed = TransactionState::Reversed { success_transaction_id: None };

    assert_eq!(
        decided(&order(OrderStatus::Paid), &[looked(DRAFT, reversed)]),
        Settlement::Refunded { transaction_id: DRAFT }
    );
}

#[test]
fn money_that_comes_to_a_refunded_order_goes_before_a_person() {
    let reversed = TransactionState::Reversed { success_transaction_id: None };
    let looks = [looked(DRAFT, reversed), looked(OTHER, debited())];

    for status in [OrderStatus::Paid, OrderStatus::Refunded] {
        let Settlement::Review { reason, .. } = decided(&order(status), &looks) else { panic!("{status}") };
        assert!(reason.contains("second time") && reason.contains("reversed"), "{reason}");
    }
}

#[test]
fn a_person_hears_once_of_money_that_moved_on_an_order_in_review() {
    let mut look = looked(DRAFT, debited());

    assert!(matches!(decided(&order(OrderStatus::Review), std::slice::from_ref(&look)), Settlement::Noted { .. }));

    look.was = StoredState::Debited;
    assert_eq!(decided(&order(OrderStatus::Review), &[look]), Settlement::Unchanged);
}

#[test]
fn an_unreadable_answer_about_an_order_that_has_ended_goes_before_a_person() {
    for status in [OrderStatus::Expired, OrderStatus::Paid] {
        let unclear = looked(DRAFT, TransactionState::Unclear { code: "5".into() });
        assert!(matches!(decided(&order(status), &[unclear]), Settlement::Review { .. }), "{status}");
    }
}

#[test]
fn a_gateway_without_a_clear_answer_is_a_matter_for_a_person_after_three_days() {
    let order = order(OrderStatus::Pending);
    let over_ms = order.expires_at_ms.unwrap() + OVERDUE_MS;

    assert!(!answer_is_overdue(&order, over_ms - 1));
    assert!(answer_is_overdue(&order, over_ms));
}

#[test]
fn closed_is_not_believed_while_the_allowed_debit_may_be_under_way() {
    let looks = [looked(DRAFT, TransactionState::Closed)];
    let mut order = order(OrderStatus::Confirming);

    assert_eq!(decided(&order, &looks), Settlement::Unchanged);
    assert_eq!(worth_keeping(&order, &looks, NOW), [], "or the draft would never be asked about again");

    order.last_allowed_at_ms = Some(NOW - CLOSED_BELIEVED_MS);

    assert_eq!(decided(&order, &looks), Settlement::Reopened { transaction_id: DRAFT, link_is_closed: true });
    assert_eq!(worth_keeping(&order, &looks, NOW).len(), 1);
}

#[test]
fn a_closed_link_is_replaced_while_the_order_lives_and_not_for_ever() {
    let looks = [looked(DRAFT, TransactionState::Closed)];
    let mut order = order(OrderStatus::Pending);

    assert_eq!(decided(&order, &looks), Settlement::LinkClosed { transaction_id: DRAFT });

    order.links_made = MAX_LINKS;
    assert_eq!(decided(&order, &looks), Settlement::Unchanged);

    order.expires_at_ms = Some(NOW);
    assert_eq!(decided(&order, &looks), Settlement::Expired);
}

#[test]
fn a_confirming_order_expires_only_ten_minutes_after_its_last_allowed_callback() {
    let looks = [looked(DRAFT, TransactionState::Open)];
    let mut order = order(OrderStatus::Confirming);
    order.expires_at_ms = Some(NOW - settlement::CONFIRMING_GRACE_MS);

    order.last_allowed_at_ms = Some(NOW - settlement::CONFIRMING_GRACE_MS + 1);
    assert_eq!(decided(&order, &looks), Settlement::Unchanged);

    order.last_allowed_at_ms = Some(NOW - settlement::CONFIRMING_GRACE_MS);
    assert_eq!(decided(&order, &looks), Settlement::Expired);
}

#[test]
fn an_answer_nobody_understands_never_pays_and_never_expires_an_order() {
    let unclear = || looked(DRAFT, TransactionState::Unclear { code: "STPIMS-ERR-777".into() });
    let mut order = order(OrderStatus::Pending);

    assert_eq!(decided(&order, &[unclear()]), Settlement::Unchanged);

    order.expires_at_ms = Some(NOW);
    assert!(matches!(decided(&order, &[unclear()]), Settlement::Review { .. }));
}

#[test]
fn an_order_before_a_person_has_no_further_looks() {
    let decision = Settlement::Review { reason: "odd".into(), act: shared::order::SuggestedAct::AskGateway };

    let finish = finish_after(&order(OrderStatus::Pending), &decision, &[], &LookSchedule::new(&[]), NOW, NOW);

    assert_eq!(finish, Finish::Complete);
}

#[test]
fn a_look_that_began_before_the_deadline_and_ended_after_it_is_followed_by_another_at_once() {
    let mut order = order(OrderStatus::Pending);
    order.expires_at_ms = Some(NOW + 5);

    let finish = finish_after(&order, &Settlement::Unchanged, &[], &LookSchedule::new(&[]), NOW, NOW + 10);

    assert_eq!(finish, Finish::Snooze { until_ms: NOW + 5, queue: QueueName::Background });
}
