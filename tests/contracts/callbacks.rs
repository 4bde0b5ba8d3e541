use domain::callback_verdict::CallbackVerdict;
use domain::id::TransactionId;
use domain::job::{Job, QueueName};
use domain::order::{OrderStatus, PaymentType};
use store::callbacks::{self, Proofs, ReceivedBody, Sender, StoredVerdict, Wanted};
use store::jobs;

use crate::support::fixture::calling::telling;
use crate::support::fixture::{Fixture, callback, on_every_database};

on_every_database! {
    an_allowed_callback_makes_the_order_confirming_and_not_paid
    a_repeated_callback_is_allowed_again_and_staged_once
    only_one_of_two_drafts_asked_at_once_is_allowed
    what_does_not_fit_is_refused_and_kept_with_its_verdict
    a_sender_turned_away_decides_nothing_and_is_a_hint
    a_late_callback_is_refused
    a_paid_order_allows_its_own_transaction_and_no_other
    a_body_that_proves_nothing_is_kept_and_stages_nothing
    what_proves_nothing_is_kept_within_the_days_share_of_its_gateway
    a_callback_that_comes_again_and_again_makes_us_inquire_less_and_less
    callbacks_are_listed_by_verdict_order_and_time
    however_many_callbacks_come_to_one_gateway_those_to_another_are_seen
    a_verdict_of_a_newer_release_is_shown_by_its_name
    callbacks_and_inquiries_about_one_order_do_not_get_stuck
}

/// Shows: INVARIANT-3, PROMISE-2
async fn an_allowed_callback_makes_the_order_confirming_and_not_paid(f: Fixture) {
    let order = f.order_with_link(7).await;

    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Allowed);

    let order = f.find(&order).await;
    assert_eq!(order.status, OrderStatus::Confirming);
    assert_eq!(order.allowed_transaction_id, Some(TransactionId(7)));
    assert!(order.last_hint_at_ms.is_some());
    let inquiry = f.claim_one(QueueName::Settle).await;
    assert_eq!(inquiry.job, Ok(Job::SettleOrder { order_id: order.id }));
    let kept = callbacks::of_order(&f.store, order.id).await.unwrap();
    assert_eq!(inquiry.woken_by, [kept[0].id.0], "which it checks again");
}

/// Shows: JOB-7
async fn a_repeated_callback_is_allowed_again_and_staged_once(f: Fixture) {
    let order = f.order_with_link(7).await;
    for _ in 0..3 {
        assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Allowed);
    }

    let kept = callbacks::of_order(&f.store, order.id).await.unwrap();
    assert_eq!((kept.len(), kept[0].seen_count), (1, 3));
    assert_eq!(f.claim(QueueName::Settle).await.len(), 1);
    let entered = f.history(&order).await.iter().filter(|(_, to)| *to == "confirming").count();
    assert_eq!(entered, 1);
}

/// Shows: INVARIANT-6, MONEY-1
async fn only_one_of_two_drafts_asked_at_once_is_allowed(f: Fixture) {
    for round in 0..10 {
        let order = f.order_with_link(100 + round).await;
        f.stray_draft(&order, 200 + round).await;

        let (one, two) = tokio::join!(f.ask(&order, 100 + round), f.ask(&order, 200 + round));

        let mut verdicts = [one.as_str(), two.as_str()];
        verdicts.sort_unstable();
        assert_eq!(verdicts, ["allowed", "second_transaction"]);
    }
}

/// Shows: MONEY-16
async fn what_does_not_fit_is_refused_and_kept_with_its_verdict(f: Fixture) {
    let order = f.order_with_link(7).await;
    let right = callback(&order, 7);
    let mut wrong_amount = right.clone();
    wrong_amount.amount = Some(5_001);
    let mut other_store = right.clone();
    other_store.store_id = "99".into();
    let mut other_account = right.clone();
    other_account.account = Some("2".into());
    let mut unknown = right.clone();
    unknown.transaction_id = Some(TransactionId(8));
    let (mut no_amount, mut no_account, mut no_transaction) = (right.clone(), right.clone(), right.clone());
    no_amount.amount = None;
    no_account.account = None;
    no_transaction.transaction_id = None;

    for (callback, verdict) in [
        (wrong_amount, CallbackVerdict::WrongAmount),
        (other_store, CallbackVerdict::OtherStore),
        (other_account, CallbackVerdict::OtherAccount),
        (unknown, CallbackVerdict::UnknownTransaction),
        (no_amount, CallbackVerdict::WrongAmount),
        (no_account, CallbackVerdict::OtherAccount),
        (no_transaction, CallbackVerdict::UnknownTransaction),
    ] {
        assert_eq!(f.ask_with(&callback).await, verdict);
    }

    let newest = callbacks::newest(&f.store, 10).await.unwrap();
    let verdicts: Vec<_> = newest.iter().map(|kept| kept.verdict.as_str()).collect();
    assert_eq!(verdicts.len(), 7, "{verdicts:?}");
    assert_eq!(f.find(&order).await.status, OrderStatus::Pending);
    assert_eq!(f.find(&order).await.allowed_transaction_id, None);
}

/// Money may move although we refused, so every correctly signed callback leads to an inquiry.
/// Shows: MONEY-17
async fn a_sender_turned_away_decides_nothing_and_is_a_hint(f: Fixture) {
    let order = f.order_with_link(7).await;

    assert_eq!(f.ask_as(&callback(&order, 7), Sender::TurnedAway).await, CallbackVerdict::OtherAddress);

    let after = f.find(&order).await;
    assert_eq!((after.status, after.allowed_transaction_id), (OrderStatus::Pending, None));
    assert!(after.last_hint_at_ms.is_some());
    let kept = callbacks::of_order(&f.store, order.id).await.unwrap();
    assert_eq!((kept[0].verdict.as_str(), kept[0].address.as_deref()), ("other_address", Some("92.63.207.14")));
    assert_eq!(f.claim_one(QueueName::Settle).await.woken_by, [kept[0].id.0]);
    // With an accepted address its content decides.
    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Allowed);
}

async fn a_late_callback_is_refused(f: Fixture) {
    let order = f.order().await;
    f.link(&order, 7, 0).await;

    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Late);

    assert_eq!(f.find(&order).await.status, OrderStatus::Pending);
}

/// Shows: INVARIANT-6, MONEY-3
async fn a_paid_order_allows_its_own_transaction_and_no_other(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.stray_draft(&order, 8).await;
    f.ask(&order, 7).await;
    f.pay(&order, 7).await;

    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::AlreadyPaid);
    assert_eq!(f.ask(&order, 8).await, CallbackVerdict::SecondTransaction);
    assert_eq!(f.find(&order).await.status, OrderStatus::Paid);
}

async fn a_body_that_proves_nothing_is_kept_and_stages_nothing(f: Fixture) {
    let body = ReceivedBody { bytes: b"\xff\0{", digest: "digest", address: None };
    for _ in 0..2 {
        callbacks::keep_unproven(&f.store, PaymentType::Atmos, body, CallbackVerdict::BadlySigned).await.unwrap();
    }

    let kept = callbacks::newest(&f.store, 10).await.unwrap();
    assert_eq!((kept.len(), kept[0].seen_count, kept[0].verdict.as_str()), (1, 2, "badly_signed"));
    assert_eq!((&kept[0].gateway, kept[0].webhook), (&None, Some(PaymentType::Atmos)), "no account's key proves it");
    // An older release kept it without the gateway's name.
    f.execute(&["update callbacks set gateway = null".to_owned()]).await;
    callbacks::keep_unproven(&f.store, PaymentType::Payme, body, CallbackVerdict::BadlySigned).await.unwrap();
    let kept = callbacks::newest(&f.store, 10).await.unwrap();
    assert_eq!((kept.len(), kept[0].seen_count, kept[0].webhook), (1, 3, Some(PaymentType::Payme)));
    assert!(jobs::list(&f.store, None, None, 10).await.unwrap().is_empty());
}

/// Anyone who has seen one callback can send it again for ever, and anyone can send a body that proves nothing. Those to the
/// webhook of one gateway leave the room of the others alone.
async fn what_proves_nothing_is_kept_within_the_days_share_of_its_gateway(f: Fixture) {
    let keep_of = |gateway: PaymentType, body: String| {
        let store = f.store.clone();
        async move {
            let received = ReceivedBody { bytes: body.as_bytes(), digest: &body, address: None };
            callbacks::keep_unproven(&store, gateway, received, CallbackVerdict::Unreadable).await.unwrap()
        }
    };
    let keep = |body: String| keep_of(PaymentType::Click, body);
    assert!(keep(format!("1 {}", "ў".repeat(4_000))).await);
    let kept = callbacks::newest(&f.store, 10).await.unwrap();
    assert!((499..=500).contains(&kept[0].body.len()), "{} bytes", kept[0].body.len());

    for (used_up, left) in [("bodies = 1999", 1), ("bodies = 0, bytes = 500000 - 3", 1), ("bodies = 2000", 0)] {
        f.execute(&[format!("update unproven_of_gateways set {used_up} where gateway = 'click'")]).await;
        for number in 0..3 {
            let is_kept = keep(format!("{number}{}", left + used_up.len())).await;
            assert_eq!(is_kept, number < left, "{used_up}: {number}");
        }
    }
    assert!(keep(format!("1 {}", "ў".repeat(4_000))).await, "one that is there already needs no room");
    let kept = callbacks::newest(&f.store, 10).await.unwrap();
    assert_eq!(kept.iter().map(|kept| kept.seen_count).sum::<i64>(), 4, "{kept:?}");
    for other in [PaymentType::Atmos, PaymentType::Payme] {
        assert!(keep_of(other, format!("to {other}")).await);
    }
    assert!(!keep("to click".to_owned()).await);
    // The next day has room again.
    f.execute(&["update unproven_of_gateways set day_ms = day_ms - 86400000".to_owned()]).await;
    assert!(keep("of the next day".to_owned()).await);
}

/// The first one brings inquiries at once. The same question again brings them less and less often.
async fn a_callback_that_comes_again_and_again_makes_us_inquire_less_and_less(f: Fixture) {
    let order = f.order_with_link(7).await;
    assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Allowed);

    for (known_s, last_s, inquiries_as_of_s) in [
        (9, 9, None),
        (11, 11, Some(0)),
        (30, 19, Some(0)),
        // The last hint was at 70 s, so the next is at 105 s.
        (100, 30, None),
        (106, 36, Some(19)),
        (86_400, 28_000, None),
        (86_400, 29_000, Some(30)),
    ] {
        let now_ms = f.store.now_ms();
        let ago = |seconds: i64| now_ms - 1_000 * seconds;
        f.execute(&[
            format!("update callbacks set received_at_ms = {}, hinted_at_ms = {}", ago(known_s), ago(last_s)),
            format!("update orders set last_hint_at_ms = {}", ago(100_000)),
        ])
        .await;

        assert_eq!(f.ask(&order, 7).await, CallbackVerdict::Allowed);

        let hint_s = (now_ms - f.find(&order).await.last_hint_at_ms.unwrap() + 999) / 1_000;
        let hint_s = (hint_s < 50_000).then_some(hint_s);
        assert_eq!(hint_s, inquiries_as_of_s, "known for {known_s} s, last asked about {last_s} s ago");
    }
    let kept = callbacks::of_order(&f.store, order.id).await.unwrap();
    assert_eq!((kept.len(), kept[0].seen_count), (1, 8));
}

async fn callbacks_are_listed_by_verdict_order_and_time(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.ask(&order, 7).await;
    f.ask(&order, 8).await;
    for body in ["1", "2"] {
        let received = ReceivedBody { bytes: body.as_bytes(), digest: body, address: None };
        callbacks::keep_unproven(&f.store, PaymentType::Atmos, received, CallbackVerdict::BadlySigned).await.unwrap();
    }
    let wanted = Wanted { verdict: None, order_id: None, since_ms: f.store.now_ms() - 60_000, limit: 10 };
    let listed = async |wanted: Wanted| -> Vec<StoredVerdict> {
        let found = callbacks::list(&f.store, wanted).await.unwrap();
        found.into_iter().map(|callback| callback.verdict).collect()
    };

    use CallbackVerdict::{Allowed, BadlySigned, UnknownTransaction};
    assert_eq!(listed(wanted).await, [BadlySigned, BadlySigned, UnknownTransaction, Allowed]);
    assert_eq!(listed(Wanted { limit: 1, ..wanted }).await, [BadlySigned]);
    assert_eq!(listed(Wanted { order_id: Some(order.id), ..wanted }).await, [Allowed]);
    assert_eq!(listed(Wanted { verdict: Some(UnknownTransaction), ..wanted }).await, [UnknownTransaction]);
    assert!(listed(Wanted { order_id: Some(order.id), verdict: Some(BadlySigned), ..wanted }).await.is_empty());
    assert!(listed(Wanted { since_ms: f.store.now_ms() + 60_000, ..wanted }).await.is_empty());
    let of_atmos =
        Proofs { webhook: PaymentType::Atmos, callbacks: 4, badly_signed: 2, unreadable: 0, badly_signed_since: 2 };
    assert_eq!(callbacks::proofs(&f.store).await.unwrap(), [of_atmos]);

    // Right calls of one gateway say nothing about the key of another.
    let order = f.local_order(&telling()).await;
    f.begin_on(&telling(), &order, "1").await;
    let received = ReceivedBody { bytes: b"3", digest: "3", address: None };
    callbacks::keep_unproven(&f.store, PaymentType::Click, received, CallbackVerdict::BadlySigned).await.unwrap();
    let of_payme =
        Proofs { webhook: PaymentType::Payme, callbacks: 1, badly_signed: 0, badly_signed_since: 0, ..of_atmos };
    let of_click = Proofs { webhook: PaymentType::Click, badly_signed: 1, badly_signed_since: 1, ..of_payme };
    let mut proofs = callbacks::proofs(&f.store).await.unwrap();
    proofs.sort_by_key(|proofs| proofs.webhook.as_str());
    assert_eq!(proofs, [of_atmos, of_click, of_payme]);
}

/// Anybody can send bodies to a webhook, and a busy shop has hundreds of calls in a minute.
async fn however_many_callbacks_come_to_one_gateway_those_to_another_are_seen(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.ask(&order, 7).await;
    let told = f.local_order(&telling()).await;
    f.begin_on(&telling(), &told, "1").await;
    for number in 0..PROOFS + 20 {
        let body = format!("flood {number}");
        let received = ReceivedBody { bytes: body.as_bytes(), digest: &body, address: None };
        callbacks::keep_unproven(&f.store, PaymentType::Click, received, CallbackVerdict::BadlySigned).await.unwrap();
    }

    let seen = callbacks::proofs(&f.store).await.unwrap();

    let one = |webhook| Proofs { webhook, callbacks: 1, badly_signed: 0, unreadable: 0, badly_signed_since: 0 };
    let flooded =
        Proofs { callbacks: PROOFS, badly_signed: PROOFS, badly_signed_since: PROOFS, ..one(PaymentType::Click) };
    let of = |webhook| seen.iter().copied().find(|proofs| proofs.webhook == webhook);
    assert_eq!(of(PaymentType::Atmos), Some(one(PaymentType::Atmos)));
    assert_eq!(of(PaymentType::Payme), Some(one(PaymentType::Payme)));
    assert_eq!(of(PaymentType::Click), Some(flooded), "the newest hundred");
    // A release that knows Atmos alone names no gateway.
    f.execute(&["update callbacks set gateway = null where transaction_id = 7".to_owned()]).await;
    assert_eq!(callbacks::proofs(&f.store).await.unwrap(), seen);
    f.execute(&["update callbacks set received_at_ms = 1".to_owned()]).await;
    assert_eq!(callbacks::proofs(&f.store).await.unwrap(), [], "within a day");
}

/// The number of newest callbacks of a gateway that are looked at.
const PROOFS: i64 = 100;

/// A newer release may run beside this one, before or after it.
async fn a_verdict_of_a_newer_release_is_shown_by_its_name(f: Fixture) {
    let order = f.order_with_link(7).await;
    f.ask(&order, 7).await;
    f.ask(&order, 8).await;
    f.execute(&["update callbacks set verdict = 'held_for_a_week' where transaction_id = 7".to_owned()]).await;

    let kept = callbacks::of_order(&f.store, order.id).await.unwrap();
    assert_eq!(kept[0].verdict, StoredVerdict::Newer("held_for_a_week".into()));
    assert_eq!(serde_json::to_value(&kept[0]).unwrap()["verdict"], "held_for_a_week");
    assert_eq!(callbacks::newest(&f.store, 10).await.unwrap().len(), 2);
    let wanted = Wanted { verdict: None, order_id: None, since_ms: 0, limit: 10 };
    assert_eq!(callbacks::list(&f.store, wanted).await.unwrap().len(), 2);
    assert_eq!(callbacks::proofs(&f.store).await.unwrap()[0].callbacks, 2);
    let audited = store::auditing::these(&f.store, &[order.id]).await.unwrap();
    assert_eq!((audited.orders.len(), audited.unreadable.len()), (1, 0));
}

/// A callback locks the order and then stages jobs; an inquiry ends its job and then locks the order.
async fn callbacks_and_inquiries_about_one_order_do_not_get_stuck(f: Fixture) {
    let order = f.order_with_link(7).await;
    let began = std::time::Instant::now();
    for _ in 0..10 {
        let inquiry = f.settle_job(&order).await;
        let until_ms = f.store.now_ms() + 60_000;
        let finish = jobs::Finish::Snooze { until_ms, queue: QueueName::Settle };
        let mut late = callback(&order, 7);
        late.amount = Some(5_001);
        let (verdict, settled) = tokio::join!(f.ask(&order, 7), jobs::finish_alone(&f.store, &inquiry.lease, &finish));
        assert_eq!(verdict, CallbackVerdict::Allowed);
        settled.unwrap();
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}
