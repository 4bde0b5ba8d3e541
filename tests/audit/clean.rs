//! An audit finds no difference in a sound installation, at rest and while payments go on.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use super::scene::Scene;
use crate::support::app::{Kind, on_both_kinds};

on_both_kinds! {
    money_that_came_by_every_way_is_no_difference
    an_audit_beside_running_payments_finds_nothing
}

async fn money_that_came_by_every_way_is_no_difference(kind: Kind) {
    let scene = Scene::start(kind).await;
    let paid = scene.paid_order().await;
    let unpaid = scene.order_with_link().await;
    let silent = scene.order_with_link().await;
    scene.pay_in_silence(silent.transaction_id).await;
    scene.app.command(&["orders", "reconcile", &silent.id.to_string()]).await;
    scene.wait_for(silent.id, "paid").await;
    let refunded = scene.paid_order().await;
    scene.sim("reverse", refunded.transaction_id).await;
    scene.app.command(&["orders", "reconcile", &refunded.id.to_string()]).await;
    scene.wait_for(refunded.id, "refunded").await;
    let (with_lost_draft, lost) = scene.order_with_lost_draft().await;
    let on_its_way = scene.order_with_link().await;
    scene.pay_in_silence(on_its_way.transaction_id).await;
    scene.wait_until_quiet().await;

    let machine = scene.findings(&[]).await;
    let person = scene.audit(&[]).await;

    assert_eq!(machine.ended.code, Some(0), "{machine:?}");
    assert_eq!(machine.ended.complained, "", "a short run says nothing beside its findings");
    assert_eq!(machine.document["differences"], json!([]));
    let expected = [
        ("under-way".to_owned(), Some(on_its_way.id), Some(on_its_way.transaction_id)),
        ("unpaid-draft-unknown".to_owned(), Some(with_lost_draft.id), Some(lost)),
    ];
    assert_eq!(machine.information(), expected.into());
    let audited = &machine.document["audited"];
    assert_eq!((&audited["gateway"], &audited["word"]), (&json!("sandbox:1234"), &json!("ledger")), "{audited}");
    assert_eq!((&audited["orders"], &audited["transactions"]), (&json!(6), &json!(6)), "{audited}");
    assert_eq!((&audited["debits"], &audited["callbacks"]), (&json!(3), &json!(2)), "{audited}");
    assert_eq!(person.code, Some(0), "{person:?}");
    for part in ["differences  none", "information  2: under-way 1, unpaid-draft-unknown 1", "6 orders"] {
        assert!(person.said.contains(part), "{part:?} is missing: {person:?}");
    }
    for order in [paid, unpaid] {
        let one = scene.findings(&["--order", &order.id.to_string()]).await;
        assert_eq!((one.ended.code, &one.document["audited"]["orders"]), (Some(0), &json!(1)), "{one:?}");
        assert_eq!(one.document["information"], json!([]), "{one:?}");
    }
}

/// A change that is read half way looks like a difference for a moment.
async fn an_audit_beside_running_payments_finds_nothing(kind: Kind) {
    let scene = Scene::start(kind).await;
    let ends = Instant::now() + Duration::from_secs(6);
    let payments = async {
        let mut paid = 0;
        while Instant::now() < ends {
            let orders = join_all((0..8).map(|_| scene.order_with_link())).await;
            join_all(orders.iter().map(|order| scene.pay(order.transaction_id))).await;
            paid += orders.len();
        }
        paid
    };
    let audits = async {
        let mut audits = 0;
        while Instant::now() < ends {
            let audit = scene.findings(&[]).await;
            assert_eq!(audit.ended.code, Some(0), "{:#}", audit.document);
            audits += 1;
        }
        audits
    };

    let (paid, audits) = tokio::join!(payments, audits);

    assert!(paid >= 8 && audits >= 2, "{paid} payments and {audits} audits are no proof");
}
