//! Orders whose payment link is made without any call: Payme's and Click's.

use std::sync::Arc;

use domain::id::{OrderId, OrderToken};
use domain::job::{JobState, QueueName};
use domain::order::{GatewayIdentity, NewOrder, Order, OrderAccount, OrderStatus, PaymentType};
use store::idempotency::IdempotencyKey;
use store::kinds;
use store::orders::{self, Created, LocalLink};
use store::sweeping::{self, Swept};

use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, gateway, new_order, on_every_database};

on_every_database! {
    a_local_link_is_there_at_once_with_its_deadline_and_its_last_inquiry
    a_local_link_is_made_once_for_one_key
    orders_with_and_without_a_local_link_are_made_side_by_side
    a_sweep_finds_nothing_missing_about_a_local_link
}

fn link() -> LocalLink {
    let write = |id: OrderId, token: &OrderToken| format!("https://checkout.example/{id}/{}", token.as_str());
    LocalLink { write: Arc::new(write), payment_ttl_ms: PAYMENT_TTL_MS }
}

fn payme_order() -> NewOrder {
    let gateway = GatewayIdentity("sandbox-payme:64a1f0c2b7e8d9034f5a6b7c".into());
    NewOrder { account: Some(OrderAccount { payment_type: PaymentType::Payme, gateway }), ..new_order() }
}

async fn linked(f: &Fixture, key: Option<&IdempotencyKey>) -> Order {
    match orders::create_linked(&f.store, &payme_order(), key, &link()).await.unwrap() {
        Created::New(order) | Created::Repeated(order) => order,
        other => panic!("{other:?}"),
    }
}

async fn a_local_link_is_there_at_once_with_its_deadline_and_its_last_inquiry(f: Fixture) {
    let order = linked(&f, None).await;

    let made_at_ms = order.created_at_ms;
    assert_eq!(order.status, OrderStatus::Pending);
    let url = format!("https://checkout.example/{}/{}", order.id, order.token.as_str());
    assert_eq!(order.payment_url.as_deref(), Some(url.as_str()));
    assert_eq!((order.link_at_ms, order.expires_at_ms), (Some(made_at_ms), Some(made_at_ms + PAYMENT_TTL_MS)));
    assert_eq!((order.links_made, order.transaction_id), (1, None));
    assert!(order.can_be_paid_at(made_at_ms) && !order.can_be_paid_at(made_at_ms + PAYMENT_TTL_MS));
    assert_eq!(format!("{:?}", f.find(&order).await), format!("{order:?}"));
    let jobs = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    let [job] = jobs.as_slice() else { panic!("one job: {jobs:?}") };
    assert_eq!((job.kind.as_str(), job.state), ("settle_order", JobState::Available));
    // Before the end of its time there is nothing to ask about.
    assert!((0..1_000).contains(&(job.due_at_ms - order.expires_at_ms.unwrap())), "{job:?}");
}

async fn a_local_link_is_made_once_for_one_key(f: Fixture) {
    let key = IdempotencyKey { key: "click".into(), body_digest: "body".into() };

    let (first, second) = (linked(&f, Some(&key)).await, linked(&f, Some(&key)).await);

    assert_eq!((first.id, first.payment_url), (second.id, second.payment_url));
    assert_eq!(f.number("select count(*) from jobs").await, 1);
}

async fn orders_with_and_without_a_local_link_are_made_side_by_side(f: Fixture) {
    let making = (0..20).map(|number| {
        let store = f.store.clone();
        tokio::spawn(async move {
            let created = match number % 2 {
                0 => orders::create(&store, &new_order(), None).await,
                _ => orders::create_linked(&store, &payme_order(), None, &link()).await,
            };
            let Created::New(order) = created.unwrap() else { panic!("{number}") };
            (number % 2 == 1, order)
        })
    });
    let making: Vec<_> = making.collect();

    for task in making {
        let (is_local, order) = task.await.unwrap();
        assert_eq!(order.payment_url.is_some(), is_local);
        assert_eq!((order.expires_at_ms.is_some(), order.links_made), (is_local, i64::from(is_local)));
        let jobs = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
        let kinds: Vec<&str> = jobs.iter().map(|job| job.kind.as_str()).collect();
        assert_eq!(kinds, [if is_local { "settle_order" } else { "create_payment_link" }]);
    }
    assert_eq!(f.claim(QueueName::Links).await.len(), 10);
}

async fn a_sweep_finds_nothing_missing_about_a_local_link(f: Fixture) {
    let order = linked(&f, None).await;
    assert_eq!(sweeping::restore(&f.store, &[gateway()]).await.unwrap(), Swept::default());

    f.execute(&["delete from jobs".to_owned()]).await;

    let swept = sweeping::restore(&f.store, &[gateway()]).await.unwrap();
    assert_eq!(swept, Swept { settlements_restored: 1, ..Swept::default() });
    let jobs = kinds::jobs_of_order(&f.store, order.id).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.kind.as_str()).collect::<Vec<_>>(), ["settle_order"]);
}
