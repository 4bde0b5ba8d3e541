use std::collections::HashSet;

use domain::order::NewOrder;
use store::idempotency::IdempotencyKey;
use store::orders::{self, Created};

use crate::support::fixture::{Fixture, new_order, on_every_database};

on_every_database! {
    an_order_is_made_as_the_domain_says
    sixteen_clicks_with_one_key_make_one_order
    a_key_with_another_body_is_refused
    a_reference_is_unique_per_shop
    an_order_that_was_refused_leaves_nothing_behind
    numbers_are_never_given_twice
    another_process_finds_the_order_by_its_token
}

fn key(body: &str) -> IdempotencyKey {
    IdempotencyKey { key: "click".into(), body_digest: body.into() }
}

/// Tests without a database use the domain's example order.
async fn an_order_is_made_as_the_domain_says(f: Fixture) {
    let asked = NewOrder { reference: Some("R-1".into()), return_url: Some("http://shop.test/".into()), ..new_order() };

    let Created::New(order) = orders::create(&f.store, &asked, None).await.unwrap() else { panic!("it is the first") };

    let expected = asked.made(order.id, order.token.clone(), order.created_at_ms);
    assert_eq!(format!("{order:?}"), format!("{expected:?}"));
    assert_eq!(format!("{:?}", f.find(&order).await), format!("{expected:?}"));
}

/// Shows: INVARIANT-12
async fn sixteen_clicks_with_one_key_make_one_order(f: Fixture) {
    let clicks: Vec<_> = (0..16)
        .map(|_| {
            let store = f.store.clone();
            tokio::spawn(async move { orders::create(&store, &new_order(), Some(&key("body"))).await.unwrap() })
        })
        .collect();

    let (mut made, mut repeated) = (HashSet::new(), HashSet::new());
    for click in clicks {
        match click.await.unwrap() {
            Created::New(order) => made.insert(order.id),
            Created::Repeated(order) => repeated.insert(order.id),
            other => panic!("{other:?}"),
        };
    }

    assert_eq!(made.len(), 1);
    assert_eq!(made, repeated);
}

/// Shows: INVARIANT-12
async fn a_key_with_another_body_is_refused(f: Fixture) {
    orders::create(&f.store, &new_order(), Some(&key("body"))).await.unwrap();

    assert!(matches!(orders::create(&f.store, &new_order(), Some(&key("another"))).await.unwrap(), Created::KeyReused));
    let elsewhere = NewOrder { api_key_name: "another shop".into(), ..new_order() };
    assert!(matches!(orders::create(&f.store, &elsewhere, Some(&key("another"))).await.unwrap(), Created::New(_)));
}

async fn a_reference_is_unique_per_shop(f: Fixture) {
    let named = NewOrder { reference: Some("R-1".into()), ..new_order() };
    let Created::New(first) = orders::create(&f.store, &named, None).await.unwrap() else { panic!("the first") };

    let again = orders::create(&f.store, &named, Some(&key("body"))).await.unwrap();

    assert!(matches!(again, Created::ReferenceTaken(id) if id == first.id), "{again:?}");
    let elsewhere = NewOrder { api_key_name: "another shop".into(), ..named };
    assert!(matches!(orders::create(&f.store, &elsewhere, None).await.unwrap(), Created::New(_)));
}

/// Shows: INVARIANT-1
async fn an_order_that_was_refused_leaves_nothing_behind(f: Fixture) {
    let named = NewOrder { reference: Some("R-1".into()), ..new_order() };
    orders::create(&f.store, &named, None).await.unwrap();
    orders::create(&f.store, &named, Some(&key("body"))).await.unwrap();

    // The key was rolled back with the order, so it can be used again.
    let with_key = orders::create(&f.store, &new_order(), Some(&key("another"))).await.unwrap();

    assert!(matches!(with_key, Created::New(_)), "{with_key:?}");
}

async fn numbers_are_never_given_twice(f: Fixture) {
    let other = f.another_process().await;
    let made: Vec<_> = (0..40)
        .map(|n| {
            let store = if n % 2 == 0 { f.store.clone() } else { other.clone() };
            tokio::spawn(async move { orders::create(&store, &new_order(), None).await.unwrap() })
        })
        .collect();

    let mut ids = HashSet::new();
    for order in made {
        let Created::New(order) = order.await.unwrap() else { panic!("each is new") };
        assert!(ids.insert(order.id));
    }
    assert!(ids.iter().any(|id| id.0 == 1), "the first order is 1");
}

async fn another_process_finds_the_order_by_its_token(f: Fixture) {
    let order = f.order().await;
    let other = f.another_process().await;

    let found = orders::find_by_token(&other, &order.token).await.unwrap().unwrap();

    assert_eq!((found.id, found.amount, found.product_name), (order.id, order.amount, order.product_name));
}
