//! Findings: what a person must know about an order, whichever release found it.

use domain::id::{OrderId, TransactionId};
use domain::order::{Order, OrderStatus, SuggestedAct};
use domain::review::{FindingKind, NewFinding};
use store::reviewing::{self, Resolved};
use store::settlement::Settlement;
use store::{auditing, sweeping};

use super::reviewing::refusal;
use crate::support::fixture::reviewing::olim;
use crate::support::fixture::{Fixture, gateway, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    every_finding_of_an_order_is_told_with_its_act_and_ends_with_the_decision
    what_is_found_about_an_order_in_review_is_kept_beside_the_first
    what_is_found_again_is_told_once
    what_an_older_release_finds_is_read_at_once_and_kept_by_whatever_comes_first
    what_an_older_release_adds_to_an_order_stands_beside_what_was_found_before
    what_an_older_release_settles_is_settled
    an_order_that_an_older_release_marked_is_resolved
    a_refund_that_an_older_release_knows_nothing_of_is_still_asked_about
    a_refund_that_an_older_release_closed_leaves_what_else_was_found
    an_older_release_reads_every_finding_in_its_sentence
    an_order_marked_by_hand_without_a_word_is_listed
}

/// The writes of the release before the table of findings when it finds something: its statement and its history line.
fn found_by_an_older_release(order: &Order, reason: &str, act: &str, at_ms: i64) -> Vec<String> {
    vec![
        format!(
            "update orders set status = case when status = 'paid' then 'paid' else 'review' end,
                needs_review = case when status = 'paid' then 1 else needs_review end,
                reason = '{reason}', suggested_act = '{act}' where id = {}",
            order.id
        ),
        format!(
            "insert into order_history (order_id, number, at_ms, from_status, to_status, cause)
            select {id}, (select max(number) from order_history where order_id = {id}) + 1, {at_ms}, '{status}', status, '{reason}'
            from orders where id = {id}",
            id = order.id,
            status = order.status
        ),
    ]
}

/// The writes of that release when a person resolves a marked order without changing its status.
fn unmarked_by_an_older_release(order: &Order) -> Vec<String> {
    vec![format!(
        "update orders set needs_review = 0, reason = null, suggested_act = null, resolution_by = 'Aziza',
            resolution_reason = 'seen' where id = {}",
        order.id
    )]
}

fn finding(kind: FindingKind, text: &str) -> Settlement {
    Settlement::Review(NewFinding::new(kind, text))
}

/// Shows: PERSON-10
async fn every_finding_of_an_order_is_told_with_its_act_and_ends_with_the_decision(f: Fixture) {
    let order = f.marked_order(7).await;
    f.inquire_and_find(&order, &finding(FindingKind::UnclearAnswer, "an odd answer")).await;

    let waiting = reviewing::waiting(&f.store, 10).await.unwrap().orders.remove(0);
    let audited = auditing::next(&f.store, OrderId(order.id.0 - 1), 1, None).await.unwrap().orders.remove(0);

    let told: Vec<_> = waiting.findings.iter().map(|found| (found.text.as_str(), found.act)).collect();
    let expected =
        [("something was found", SuggestedAct::ReturnSecondPayment), ("an odd answer", SuggestedAct::AskGateway)];
    assert_eq!(told, expected);
    assert_eq!(audited.findings, waiting.findings);
    let lines = store::orders::history(&f.store, order.id).await.unwrap();
    assert_eq!(lines.last().unwrap().cause, "an odd answer", "a line tells what is new, and nothing twice");

    assert_eq!(f.resolve(&order, &olim(OrderStatus::Paid)).await, Resolved::Settled(OrderStatus::Paid));
    assert_eq!((f.texts(&order).await, f.rows().await), (vec![], 0));

    f.inquire_and_find(&order, &finding(FindingKind::UnclearAnswer, "an odd answer")).await;
    let again = f.found(&order).await;
    assert_eq!(again.len(), 1, "what a person settled is not told again: {again:?}");
    assert!(again[0].2 >= waiting.findings[1].found_at_ms, "it waits anew");
}

/// Shows: PERSON-10
async fn what_is_found_about_an_order_in_review_is_kept_beside_the_first(f: Fixture) {
    let order = f.order_in_review(7).await;
    let since_ms = f.found(&order).await[0].2;
    f.inquire_and_find(&order, &finding(FindingKind::JobDied, "a job died")).await;

    assert_eq!(f.texts(&order).await, ["something was found", "a job died"]);
    assert_eq!(reviewing::waiting(&f.store, 1).await.unwrap().orders[0].since_ms, since_ms);
    assert_eq!(f.find(&order).await.status, OrderStatus::Review);
    assert_eq!(f.resolve(&order, &olim(OrderStatus::Canceled)).await, Resolved::Settled(OrderStatus::Canceled));
    assert_eq!(f.rows().await, 0);
}

const OPEN_NUMBER: &str = "select number from review_findings where accepted_at_ms is null";

/// Shows: PERSON-10
async fn what_is_found_again_is_told_once(f: Fixture) {
    let order = f.marked_order(7).await;
    let (before, lines) = (f.found(&order).await, f.history(&order).await.len());

    f.inquire_and_find(&order, &finding(FindingKind::SecondPayment, "something was found")).await;
    assert_eq!((f.found(&order).await, f.history(&order).await.len()), (before.clone(), lines));
    assert_eq!(f.number(OPEN_NUMBER).await, 1);

    f.inquire_and_find(&order, &finding(FindingKind::SecondPayment, "in newer words")).await;
    let now = f.found(&order).await;
    assert_eq!(now, [(FindingKind::SecondPayment, "in newer words".to_owned(), before[0].2)]);
    assert_eq!(f.history(&order).await.len(), lines + 1);
    assert_eq!(f.number(OPEN_NUMBER).await, 2, "a decision about the old words names the old number, and is refused");
}

/// A rolling update: no finding of either release is lost, and a person who asks meanwhile sees all of them.
/// Shows: PERSON-12
async fn what_an_older_release_finds_is_read_at_once_and_kept_by_whatever_comes_first(f: Fixture) {
    let at_ms = f.store.now_ms() - 60_000;
    let mut orders = Vec::new();
    for number in 0..4 {
        let order = f.paid(10 + number).await;
        let both = "it was paid twice; and also: an odd answer";
        f.execute(&found_by_an_older_release(&order, "it was paid twice", "return_second_payment", at_ms)).await;
        f.execute(&found_by_an_older_release(&order, both, "ask_gateway", at_ms + 30_000)).await;
        orders.push(order);
    }
    let expected = [
        (FindingKind::Other, "it was paid twice".to_owned(), at_ms),
        (FindingKind::UnclearAnswer, "an odd answer".to_owned(), at_ms + 30_000),
    ];

    assert_eq!(f.found(&orders[0]).await, expected, "by every way to read the order");
    let audited = auditing::next(&f.store, OrderId(orders[0].id.0 - 1), 1, None).await.unwrap().orders.remove(0);
    assert_eq!(audited.findings.len(), 2, "an audit");
    assert_eq!(f.rows().await, 0, "which writes nothing");

    f.inquire_and_find(&orders[0], &finding(FindingKind::JobDied, "a job died")).await;
    assert_eq!(f.rows().await, 3, "what is found next");
    assert_eq!(f.found(&orders[0]).await[..2], expected);
    f.resolve(&orders[1], &olim(OrderStatus::Paid)).await;
    assert_eq!(f.texts(&orders[1]).await, [""; 0], "a decision");
    assert_eq!(f.number("select count(*) from review_findings where accepted_at_ms is not null").await, 2);
    f.store.migrate().await.unwrap();
    assert_eq!(f.rows().await, 3 + 2 + 2, "the migration");
    assert_eq!(f.found(&orders[2]).await, expected);

    f.execute(&["delete from review_findings".into()]).await;
    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap().adopted, 3, "a sweep");
    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap().adopted, 0, "once");
    f.execute(&["delete from review_findings".into()]).await;
    let waiting = reviewing::waiting(&f.store, 10).await.unwrap().orders;
    assert!(waiting.iter().all(|order| order.since_ms == at_ms), "the list: {waiting:?}");
    assert_eq!(waiting.len(), 3);
}

/// Shows: PERSON-12
async fn what_an_older_release_adds_to_an_order_stands_beside_what_was_found_before(f: Fixture) {
    let order = f.marked_order(7).await;
    let first = f.found(&order).await;
    let both = "something was found; and also: job settle_order is a dead letter";
    f.execute(&found_by_an_older_release(&order, both, "mend_job", f.store.now_ms())).await;

    let now = f.found(&order).await;
    assert_eq!(
        (&now[0], now[1].0, now[1].1.as_str()),
        (&first[0], FindingKind::JobDied, "job settle_order is a dead letter")
    );
    f.inquire_and_find(&order, &finding(FindingKind::UnclearAnswer, "an odd answer")).await;

    let texts = ["something was found", "job settle_order is a dead letter", "an odd answer"];
    assert_eq!(f.texts(&order).await, texts);
    assert_eq!(f.find(&order).await.reason.unwrap(), texts.join("; and also: "));
    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap().adopted, 0);
}

/// Shows: PERSON-12
async fn what_an_older_release_settles_is_settled(f: Fixture) {
    let order = f.marked_order(7).await;
    f.execute(&unmarked_by_an_older_release(&order)).await;
    assert_eq!(f.texts(&order).await, [""; 0]);
    assert!(reviewing::waiting(&f.store, 10).await.unwrap().orders.is_empty());
    assert_eq!(f.rows().await, 0, "the list has settled it here, too");

    // Marked again, by the older release and by this one.
    let order = f.marked_order(20).await;
    f.execute(&unmarked_by_an_older_release(&order)).await;
    let at_ms = f.store.now_ms();
    f.execute(&found_by_an_older_release(&order, "something else", "ask_gateway", at_ms)).await;
    assert_eq!(f.found(&order).await, [(FindingKind::UnclearAnswer, "something else".into(), at_ms)]);
    let order = f.marked_order(30).await;
    f.execute(&unmarked_by_an_older_release(&order)).await;
    f.inquire_and_find(&order, &finding(FindingKind::JobDied, "a job died")).await;
    assert_eq!(f.texts(&order).await, ["a job died"]);
    assert!(f.find(&order).await.needs_review);
}

/// Shows: PERSON-12
async fn an_order_that_an_older_release_marked_is_resolved(f: Fixture) {
    let marked = f.paid(7).await;
    f.execute(&found_by_an_older_release(&marked, "it was paid twice", "return_second_payment", 1)).await;
    let review = f.order_with_link(8).await;
    f.execute(&found_by_an_older_release(&review, "another amount", "compare_debit", 1)).await;

    assert_eq!(f.resolve(&marked, &olim(OrderStatus::Paid)).await, Resolved::Settled(OrderStatus::Paid));
    assert_eq!(f.resolve(&review, &olim(OrderStatus::Canceled)).await, Resolved::Settled(OrderStatus::Canceled));

    assert!(!f.find(&marked).await.is_before_a_person() && !f.find(&review).await.is_before_a_person());
    assert_eq!((f.rows().await, f.number("select count(*) from review_findings").await), (0, 2));
}

/// A refund of unknown outcome in review, whose order waits as an older release left it.
async fn with_refund_in_review(f: &Fixture, reason: &str) -> Order {
    let order = f.paid(7).await;
    let refund = format!(
        "insert into refunds (id, order_id, amount, state, transaction_id, success_transaction_id, requested_by,
            created_at_ms) values (1, {}, 5000, 'review', 7, 507, 'shop', 0)",
        order.id
    );
    f.execute(&[refund, format!("update orders set refund_reserved = 5000 where id = {}", order.id)]).await;
    f.execute(&found_by_an_older_release(&order, reason, "check_refund", 1)).await;
    order
}

/// Shows: PERSON-12
async fn a_refund_that_an_older_release_knows_nothing_of_is_still_asked_about(f: Fixture) {
    let about_refund = "whether refund 1 was made is not known: no answer";
    let order = with_refund_in_review(&f, &format!("{about_refund}; and also: an odd answer")).await;

    let kinds: Vec<_> = f.found(&order).await.into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!(kinds, [FindingKind::RefundUnknown, FindingKind::Other]);
    let refunded = Settlement::Refunded { transaction_id: TransactionId(7) };
    f.inquire_and_find(&order, &refunded).await;

    let now = f.find(&order).await;
    assert_eq!((now.status, now.needs_review), (OrderStatus::Refunded, true));
    assert_eq!(f.texts(&order).await, ["an odd answer"]);
    assert_eq!((now.reason.as_deref(), now.suggested_act), (Some("an odd answer"), Some(SuggestedAct::AskGateway)));
}

/// The older release then leaves its whole sentence, and suggests to ask the gateway.
/// Shows: PERSON-12
async fn a_refund_that_an_older_release_closed_leaves_what_else_was_found(f: Fixture) {
    let order = f.marked_order(7).await;
    f.inquire_and_find(
        &order,
        &finding(FindingKind::RefundUnknown, "whether refund 1 was made is not known: no answer"),
    )
    .await;
    assert_eq!(f.find(&order).await.suggested_act, Some(SuggestedAct::CheckRefund));
    f.execute(&[format!("update orders set suggested_act = 'ask_gateway' where id = {}", order.id)]).await;

    assert_eq!(f.texts(&order).await, ["something was found"]);
    for _ in 0..2 {
        assert_eq!(reviewing::waiting(&f.store, 1).await.unwrap().orders[0].findings.len(), 1);
        assert_eq!(f.rows().await, 1);
    }
    let now = f.find(&order).await;
    let told = (now.reason.as_deref(), now.suggested_act);
    assert_eq!(told, (Some("something was found"), Some(SuggestedAct::ReturnSecondPayment)));
    assert_eq!(f.texts(&order).await, ["something was found"], "what is settled stays settled");
}

/// It decides by `suggested_act` whether a refund must be asked about, and shows `reason`.
/// Shows: PERSON-12
async fn an_older_release_reads_every_finding_in_its_sentence(f: Fixture) {
    let order = f.marked_order(7).await;
    f.inquire_and_find(&order, &finding(FindingKind::RefundUnknown, "a refund")).await;
    f.inquire_and_find(&order, &finding(FindingKind::JobDied, "a job died")).await;

    let order = f.find(&order).await;

    assert_eq!(order.reason.as_deref(), Some("something was found; and also: a refund; and also: a job died"));
    assert_eq!(order.suggested_act, Some(SuggestedAct::CheckRefund));
}

async fn an_order_marked_by_hand_without_a_word_is_listed(f: Fixture) {
    let order = f.paid(7).await;
    f.execute(&[format!("update orders set needs_review = 1 where id = {}", order.id)]).await;

    let waiting = reviewing::waiting(&f.store, 10).await.unwrap().orders;

    assert_eq!((waiting[0].order.id, waiting[0].findings.len()), (order.id, 0));
    assert_eq!(f.resolve(&order, &olim(OrderStatus::Paid)).await, Resolved::Settled(OrderStatus::Paid));
}

/// Either release finds something else between the reading and the writing of a person's command. The command is
/// refused, because the person has not read the new finding.
/// Shows: PERSON-11
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_does_not_settle_what_was_found_while_it_was_carried_out() {
    let f = Fixture::postgres().await;
    for by_an_older_release in [true, false] {
        let order = f.marked_order(if by_an_older_release { 7 } else { 20 }).await;
        let now_ms = f.store.now_ms();
        let mut beside = f.connection().await;
        sqlx::raw_sql("begin").execute(&mut beside).await.unwrap();
        let statements = match by_an_older_release {
            true => found_by_an_older_release(&order, "something was found; and also: more", "ask_gateway", now_ms),
            false => vec![
                format!("update orders set reason = 'something was found; and also: more' where id = {}", order.id),
                format!(
                    "insert into review_findings (order_id, number, kind, text, act, found_at_ms)
                    values ({}, 2, 'unclear_answer', 'more', 'ask_gateway', {now_ms})",
                    order.id
                ),
            ],
        };
        for statement in statements {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut beside).await.unwrap();
        }

        let decision = olim(OrderStatus::Paid);
        let decided = tokio::join!(f.resolve(&order, &decision), async {
            let waits = "select count(*) from pg_stat_activity
                where datname = current_database() and wait_event_type = 'Lock'";
            wait_until("the decision to wait for the row", PATIENCE, async || {
                (f.number(waits).await > 0).then_some(())
            })
            .await;
            sqlx::raw_sql("commit").execute(&mut beside).await.unwrap();
        });

        assert!(refusal(decided.0).contains("waits for a person still"));
        assert_eq!(f.texts(&order).await, ["something was found", "more"]);
        assert_eq!(f.resolve(&order, &olim(OrderStatus::Paid)).await, Resolved::Settled(OrderStatus::Paid));
    }
}
