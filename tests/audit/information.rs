//! Cases that a job will settle, or that a person knows of, are reported as information and not as differences.

use std::collections::BTreeSet;

use super::scene::{Scene, Thing};
use crate::support::app::{Kind, on_both_kinds};
use crate::support::doors::Linked;

on_both_kinds! {
    what_is_in_good_hands_is_information_and_no_difference
}

async fn what_is_in_good_hands_is_information_and_no_difference(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    let marked = scene.paid_order().await;
    let in_review = scene.order_with_link().await;
    let elsewhere = scene.order_with_link().await;
    let (with_reversed, reversed) = scene.order_with_lost_draft().await;
    let expired = scene.order_with_link().await;
    scene.wait_until_quiet().await;
    scene.app.stop().await;

    let tell = "insert into order_history (order_id, number, at_ms, from_status, to_status, cause)
        select {id}, max(number) + 1, {now}, 'FROM', 'TO', 'a test wrote it' from order_history where order_id = {id};";
    let tell = |from: &str, to: &str| tell.replace("FROM", from).replace("TO", to);
    let die =
        "update jobs set state = 'dead', last_error = 'it had to' where subject_id = {id} and kind = 'settle_order';";
    let mark = "update orders set needs_review = 1, reason = 'a job died' where id = {id};";
    scene.sql(&marked, &[mark, die, &tell("paid", "paid")].concat()).await;
    let review = "update orders set status = 'review', reason = 'something was found' where id = {id};
        delete from jobs where subject_id = {id} and kind = 'settle_order';";
    scene.sql(&in_review, &[review, &tell("pending", "review")].concat()).await;
    scene.pay_in_silence(in_review.transaction_id).await;
    let of_another = "update orders set gateway = 'atmos:417' where id = {id};
        update transactions set gateway = 'atmos:417' where order_id = {id}";
    scene.sql(&elsewhere, of_another).await;
    scene.pay_in_silence(reversed).await;
    scene.sim("reverse", reversed).await;
    let expire = "update orders set status = 'expired', final_at_ms = {now} where id = {id};";
    scene.sql(&expired, &[expire, &tell("pending", "expired")].concat()).await;
    let expired_id = format!("\"transaction_id\":{},", expired.transaction_id);
    scene.rewrite_book(|line| if line.contains(&expired_id) { vec![] } else { vec![line.to_owned()] }).await;

    let audit = scene.findings(&[]).await;

    let thing = |kind: &str, order: &Linked, transaction: Option<i64>| -> Thing {
        (kind.to_owned(), Some(order.id), transaction)
    };
    let of = |order: &Linked| Some(order.transaction_id);
    let expected: BTreeSet<Thing> = [
        thing("before-a-person", &marked, None),
        thing("dead-letter", &marked, None),
        thing("before-a-person", &in_review, None),
        thing("other-gateway", &elsewhere, None),
        // Our row with its number belongs to another gateway, so the draft in this gateway's book has no row.
        thing("unpaid-draft-unknown", &elsewhere, of(&elsewhere)),
        thing("reversed-draft-unknown", &with_reversed, Some(reversed)),
        thing("draft-unknown-at-gateway", &expired, of(&expired)),
    ]
    .into();
    assert_eq!(audit.information(), expected, "{:#}", audit.document);
    // No inquiry comes about an order that a person has, and the person was told before this money moved.
    assert_eq!(audit.differences(), BTreeSet::from([thing("debit-untold", &in_review, of(&in_review))]));
    assert_eq!(audit.ended.code, Some(1), "{audit:?}");
}
