//! Each kind of difference, made on purpose: at the gateway, or by spoiling rows of an installation at rest.

use std::collections::BTreeSet;

use super::scene::{Scene, Thing};
use crate::support::app::{Kind, on_both_kinds};
use crate::support::doors::Linked;

on_both_kinds! {
    money_that_differs_is_told_by_its_kind
    what_only_the_gateways_book_shows_is_told_by_its_kind
    orders_that_contradict_themselves_are_told_by_their_kind
    jobs_that_are_missing_or_stuck_are_told_by_their_kind
    a_job_that_is_there_twice_is_told
    a_missing_sweep_is_told
    allowed_callbacks_without_traces_are_told_by_their_kind
    refunds_that_do_not_fit_are_told_by_their_kind
}

/// Moves the end of an order so far back that no inquiry comes any more.
const LONG_AGO: &str = "update orders set final_at_ms = {now} - 400000000 where id = {id};
    delete from jobs where subject_id = {id} and kind = 'settle_order';";

/// The statements of a transition: the row, and its line of the history.
fn becomes(from: &str, to: &str) -> String {
    format!(
        "update orders set status = '{to}', final_at_ms = {{now}} where id = {{id}};
        insert into order_history (order_id, number, at_ms, from_status, to_status, cause)
            select {{id}}, max(number) + 1, {{now}}, '{from}', '{to}', 'a test wrote it' from order_history
            where order_id = {{id}};"
    )
}

/// Audits the whole installation, and each of these orders alone. Expects no other difference, and the text for people.
async fn expect_alone(scene: &Scene, expected: &[(&str, &Linked, Option<i64>)]) {
    let thing = |(kind, order, transaction): &(&str, &Linked, Option<i64>)| -> Thing {
        ((*kind).to_owned(), Some(order.id), *transaction)
    };
    let all: BTreeSet<Thing> = expected.iter().map(thing).collect();

    let (machine, person) = tokio::join!(scene.findings(&[]), scene.audit(&[]));

    assert_eq!(machine.differences(), all, "{:#}", machine.document);
    assert_eq!((machine.ended.code, person.code), (Some(1), Some(1)), "{person:?}");
    let alone = expected.iter().map(|(_, order, _)| async {
        let id = order.id.to_string();
        (order.id, scene.findings(&["--order", &id]).await)
    });
    for (id, alone) in futures_util::future::join_all(alone).await {
        let of_order = all.iter().filter(|(_, order, _)| *order == Some(id)).cloned().collect();
        assert_eq!(alone.differences(), of_order, "order {id} alone");
        assert_eq!(alone.ended.code, Some(1));
    }
    for (kind, order, _) in expected {
        let row = person.said.lines().find(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(&order.id.to_string()) && words.next() == Some(kind)
        });
        assert!(row.is_some(), "no row of {kind} for order {}: {}", order.id, person.said);
    }
}

async fn money_that_differs_is_told_by_its_kind(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    let unpaid = scene.order_with_link().await;
    let reversed = scene.paid_order().await;
    let kept = scene.paid_order().await;
    let partly = scene.paid_order().await;
    let (with_stranger, stranger) = scene.order_with_lost_draft().await;
    let late = scene.order_with_link().await;
    let (twice, second) = scene.order_with_lost_draft().await;
    assert_eq!(scene.pay(twice.transaction_id).await, "debited");
    scene.wait_for(twice.id, "paid").await;
    let dearer = scene.order_with_link().await;
    let forgotten = scene.order_with_link().await;
    scene.paid_order().await;
    scene.wait_until_quiet().await;
    scene.app.stop().await;

    scene.sql(&unpaid, &becomes("pending", "paid")).await;
    scene.sim("reverse", reversed.transaction_id).await;
    scene.sql(&reversed, LONG_AGO).await;
    let refunded = "update orders set refunded_amount = amount, refund_reserved = amount where id = {id};
        update transactions set state = 'reversed' where order_id = {id};";
    scene.sql(&kept, &format!("{refunded}{}", becomes("paid", "refunded"))).await;
    scene.sql(&partly, "update orders set refunded_amount = 100 where id = {id}").await;
    scene.pay_in_silence(stranger).await;
    scene.sql(&late, &format!("{}{LONG_AGO}", becomes("pending", "expired"))).await;
    scene.pay_in_silence(late.transaction_id).await;
    let record = "insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms)
        values ('sandbox:1234', SECOND, {id}, 5000, 'open', {now});";
    scene.sql(&twice, &format!("{}{LONG_AGO}", record.replace("SECOND", &second.to_string()))).await;
    scene.pay_in_silence(second).await;
    scene.sql(&dearer, "update transactions set amount = amount + 1 where order_id = {id}").await;
    scene.sql(&forgotten, "update transactions set state = 'debited' where order_id = {id}").await;

    let of = |order: &Linked| Some(order.transaction_id);
    expect_alone(
        &scene,
        &[
            ("paid-without-debit", &unpaid, of(&unpaid)),
            ("reversed-not-recorded", &reversed, of(&reversed)),
            ("refunded-without-reversal", &kept, of(&kept)),
            ("refunded-amount", &partly, None),
            ("debit-unknown-to-us", &with_stranger, Some(stranger)),
            ("debit-not-settled", &late, of(&late)),
            ("second-debit", &twice, Some(second)),
            ("amount-differs", &dearer, of(&dearer)),
            ("transaction-state", &forgotten, of(&forgotten)),
        ],
    )
    .await;
}

async fn refunds_that_do_not_fit_are_told_by_their_kind(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    let [reserved, jobless, unseen, sent_twice, well] = [
        scene.paid_order().await,
        scene.paid_order().await,
        scene.paid_order().await,
        scene.paid_order().await,
        scene.paid_order().await,
    ];
    for order in [&sent_twice, &well] {
        assert_eq!(scene.refund(order.id, &format!("key-{}", order.id), &serde_json::json!({})).await.status, 202);
        scene.wait_for(order.id, "refunded").await;
    }
    scene.wait_until_quiet().await;
    scene.app.stop().await;

    scene.sql(&reserved, "update orders set refund_reserved = 1 where id = {id}").await;
    let refund = "update orders set refund_reserved = amount where id = {id};
        insert into refunds (id, order_id, amount, state, transaction_id, success_transaction_id, requested_by, created_at_ms)
        select 1000 + id, id, amount, 'STATE', transaction_id, 1, 'shop', {now} from orders where id = {id};";
    scene.sql(&jobless, &refund.replace("STATE", "open")).await;
    scene.sql(&unseen, &refund.replace("STATE", "review")).await;
    scene.ask_back(sent_twice.transaction_id).await;

    expect_alone(
        &scene,
        &[
            ("refund-reserve", &reserved, None),
            ("refund-without-job", &jobless, None),
            ("refund-unseen", &unseen, None),
            ("refund-sent-twice", &sent_twice, Some(sent_twice.transaction_id)),
        ],
    )
    .await;
}

async fn what_only_the_gateways_book_shows_is_told_by_its_kind(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    let twice = scene.paid_order().await;
    let astray = scene.order_with_link().await;
    let other_amount = scene.order_with_link().await;
    let lost = scene.order_with_link().await;
    scene.paid_order().await;
    scene.wait_until_quiet().await;
    scene.app.stop().await;

    let [twice_id, astray_id, other_id, lost_id] =
        [&twice, &astray, &other_amount, &lost].map(|order| format!("\"transaction_id\":{},", order.transaction_id));
    scene
        .rewrite_book(|line| match line {
            line if line.contains(&twice_id) && line.contains("\"debited\"") => vec![line.to_owned(), line.to_owned()],
            line if line.contains(&astray_id) => vec![line.replace("\"account\":\"", "\"account\":\"9")],
            line if line.contains(&other_id) => vec![line.replace("\"amount\":5000", "\"amount\":5001")],
            line if line.contains(&lost_id) => vec![],
            line => vec![line.to_owned()],
        })
        .await;

    let of = |order: &Linked| Some(order.transaction_id);
    expect_alone(
        &scene,
        &[
            ("debited-twice", &twice, of(&twice)),
            ("account-differs", &astray, of(&astray)),
            ("amount-differs", &other_amount, of(&other_amount)),
            ("link-unknown", &lost, of(&lost)),
        ],
    )
    .await;
}

async fn orders_that_contradict_themselves_are_told_by_their_kind(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    let unfinished = scene.paid_order().await;
    let nameless = scene.order_with_link().await;
    let broken = scene.paid_order().await;
    let cut_short = scene.paid_order().await;
    let doubled = scene.paid_order().await;
    let linked_twice = scene.order_with_link().await;
    scene.order_with_link().await;
    scene.wait_until_quiet().await;
    scene.app.stop().await;

    scene.sql(&unfinished, "update orders set final_at_ms = null where id = {id}").await;
    scene.sql(&nameless, "update orders set transaction_id = transaction_id + 100000 where id = {id}").await;
    scene.sql(&broken, "delete from order_history where order_id = {id} and number = 3").await;
    scene.sql(&cut_short, "delete from order_history where order_id = {id} and number = 4").await;
    let again = "insert into order_history (order_id, number, at_ms, from_status, to_status, cause)
        select order_id, 1 + (select max(number) from order_history where order_id = {id}),
            at_ms, from_status, to_status, cause from order_history where order_id = {id} and number = ";
    scene.sql(&doubled, &format!("{again} 4")).await;
    scene.sql(&linked_twice, &format!("{again} 2")).await;

    expect_alone(
        &scene,
        &[
            ("order-inconsistent", &unfinished, None),
            ("order-inconsistent", &nameless, None),
            ("history-broken", &broken, None),
            ("history-broken", &cut_short, None),
            ("history-doubled", &doubled, None),
            ("history-doubled", &linked_twice, None),
        ],
    )
    .await;
}

async fn jobs_that_are_missing_or_stuck_are_told_by_their_kind(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    let unwatched = scene.order_with_link().await;
    let paid_unwatched = scene.paid_order().await;
    let unseen = scene.order_with_link().await;
    let unseen_callback = scene.paid_order().await;
    let waiting = scene.order_with_link().await;
    let orphaned = scene.paid_order().await;
    let enqueued = scene.order_with_link().await;
    let source = scene.order_with_link().await;
    scene.wait_until_quiet().await;
    scene.app.stop().await;

    let forget = "delete from jobs where subject_id = {id} and kind = 'settle_order'";
    scene.sql(&unwatched, forget).await;
    scene.sql(&paid_unwatched, forget).await;
    let add = "insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms, finished_at_ms,
        last_error)";
    scene
        .sql(
            &unseen,
            &format!(
                "{add} select max(id) + 1000, 'links', 'create_payment_link', {{id}}, '', 'dead', {{now}},
        {{now}}, {{now}}, 'it had to' from jobs"
            ),
        )
        .await;
    // A job of an older release.
    scene.sql(&unseen_callback, &format!("{add} select max(id) + 1000, 'settle', 'process_callback',
        (select id from callbacks where order_id = {{id}}), '', 'dead', {{now}}, {{now}}, {{now}}, 'it had to' from jobs")).await;
    let watch = "where subject_id = {id} and kind = 'settle_order'";
    scene.sql(&waiting, &format!("update jobs set due_at_ms = {{now}} - 600000 {watch}")).await;
    let run = format!("update jobs set state = 'running', lease_token = 1, due_at_ms = {{now}} - 120000 {watch}");
    scene.sql(&orphaned, &run).await;
    let enqueue = "update jobs set state = 'enqueued', due_at_ms = {now}, waiting_since_ms = {now} - 600000";
    scene.sql(&enqueued, &format!("{enqueue} {watch}")).await;
    scene
        .sql(
            &source,
            &format!(
                "{add} select max(id) + 1000, 'links', 'create_payment_link', 990000, '', 'available',
        {{now}} + 600000, {{now}}, null, null from jobs"
            ),
        )
        .await;

    let nobodys = Linked { id: 990_000, ..source };
    let expected = [
        ("order-without-job", &unwatched, None),
        ("order-without-job", &paid_unwatched, None),
        ("dead-letter-unseen", &unseen, None),
        ("dead-letter-unseen", &unseen_callback, None),
        ("job-stuck", &waiting, None),
        ("job-stuck", &orphaned, None),
        ("job-stuck", &enqueued, None),
    ];
    let with_nobodys = scene.findings(&[]).await;
    assert!(with_nobodys.differences().contains(&("job-without-order".into(), Some(nobodys.id), None)));
    assert_eq!(with_nobodys.differences().len(), expected.len() + 1, "{:#}", with_nobodys.document);
    // There is no order that could be audited alone.
    scene.sql(&nobodys, "delete from jobs where subject_id = {id}").await;
    expect_alone(&scene, &expected).await;
}

/// The database itself refuses such rows, as long as it has its index.
async fn a_job_that_is_there_twice_is_told(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    let order = scene.order_with_link().await;
    scene.wait_until_quiet().await;
    scene.app.stop().await;

    let copy = "drop index jobs_open;
        insert into jobs (id, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms)
            select id + 100000, queue, kind, subject_id, payload, state, due_at_ms, created_at_ms from jobs
            where subject_id = {id} and kind = 'settle_order'";
    scene.sql(&order, copy).await;

    expect_alone(&scene, &[("job-doubled", &order, None)]).await;
}

async fn a_missing_sweep_is_told(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    let order = scene.order_with_link().await;
    scene.wait_until_quiet().await;
    scene.app.stop().await;
    scene.sql(&order, "delete from jobs where kind = 'sweep'").await;

    let audit = scene.findings(&[]).await;

    assert_eq!(audit.differences(), [("sweep-missing".to_owned(), None, None)].into());
    assert_eq!(audit.ended.code, Some(1));
    let alone = scene.findings(&["--order", &order.id.to_string()]).await;
    assert_eq!(alone.ended.code, Some(0), "it is no matter of this order");
}

async fn allowed_callbacks_without_traces_are_told_by_their_kind(kind: Kind) {
    let mut scene = Scene::start(kind).await;
    let traceless = scene.order_with_link().await;
    let stray = scene.paid_order().await;
    let nowhere = scene.order_with_link().await;
    scene.wait_until_quiet().await;
    scene.app.stop().await;

    let allow = "insert into callbacks (id, digest, body, verdict, order_id, transaction_id, received_at_ms,
            last_seen_at_ms) values (900000 + {id}, 'digest {id}', '', 'allowed', ORDER, TX, {now}, {now})";
    let allow = |order: &str, tx: &str| allow.replace("ORDER", order).replace("TX", tx);
    scene.sql(&traceless, &allow("{id}", "{tx}")).await;
    scene.sql(&stray, &allow("{id}", "{tx} + 100000")).await;

    let stray_id = stray.transaction_id + 100_000;
    expect_alone(
        &scene,
        &[
            ("callback-without-effect", &traceless, Some(traceless.transaction_id)),
            ("allowed-draft-unknown", &stray, Some(stray_id)),
        ],
    )
    .await;

    scene.sql(&nowhere, &allow("990000", "{tx}")).await;
    let all = scene.findings(&[]).await.differences();
    assert!(all.contains(&("allowed-draft-unknown".into(), Some(990_000), Some(nowhere.transaction_id))), "{all:?}");
    assert_eq!(all.len(), 3, "{all:?}");
}
