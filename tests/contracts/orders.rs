use std::collections::HashSet;

use domain::id::OrderId;
use domain::order::NewOrder;
use domain::shop::ShopName;
use store::idempotency::IdempotencyKey;
use store::orders::{self, Created};

use crate::support::fixture::{Fixture, gateway, new_order, on_every_database};

on_every_database! {
    an_order_is_made_as_the_domain_says
    sixteen_clicks_with_one_key_make_one_order
    a_key_with_another_body_is_refused
    a_reference_is_unique_per_shop
    of_two_keys_with_one_reference_at_once_one_makes_an_order
    references_of_a_running_older_release_are_found_and_stay_its_own
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

fn named(shop: &str, key: &str) -> NewOrder {
    NewOrder {
        shop: ShopName::parse(shop).unwrap(),
        api_key_name: key.into(),
        reference: Some("R-1".into()),
        ..new_order()
    }
}

async fn a_reference_is_unique_per_shop(f: Fixture) {
    let Created::New(first) = orders::create(&f.store, &named("tea", "till"), None).await.unwrap() else {
        panic!("new")
    };

    for key in ["till", "web"] {
        let again = orders::create(&f.store, &named("tea", key), Some(&self::key(key))).await.unwrap();
        assert!(matches!(again, Created::ReferenceTaken(id) if id == first.id), "{again:?}");
    }
    let elsewhere = orders::create(&f.store, &named("rice", "field"), None).await.unwrap();
    assert!(matches!(elsewhere, Created::New(_)), "{elsewhere:?}");
}

async fn of_two_keys_with_one_reference_at_once_one_makes_an_order(f: Fixture) {
    let other = f.another_process().await;
    for round in 0..20 {
        let asked = |key: &str| NewOrder { reference: Some(format!("R-{round}")), ..named("tea", key) };

        let (of_till, of_web) = (asked("till"), asked("web"));

        let (till, web, again) = tokio::join!(
            orders::create(&f.store, &of_till, None),
            orders::create(&other, &of_web, None),
            orders::create(&other, &of_till, None),
        );

        let (mut made, mut taken) = (Vec::new(), Vec::new());
        for created in [till, web, again] {
            match created.unwrap() {
                Created::New(order) => made.push(order.id),
                Created::ReferenceTaken(id) => taken.push(id),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(made.len(), 1);
        assert_eq!(taken, [made[0], made[0]]);
    }
}

/// Until then a reference was unique among the orders of an API key, and a release that still runs keeps to that.
async fn references_of_a_running_older_release_are_found_and_stay_its_own(f: Fixture) {
    let older = |id: i64, key: &str| {
        format!(
            "insert into orders (id, token, api_key_name, reference, product_name, amount, payment_type, language, status,
                gateway, created_at_ms, pending_since_ms)
            values ({id}, 'token {id}', '{key}', 'R-1', 'Tea', 5000, 'atmos', 'uz', 'pending', '{}', 1, 1)
            on conflict (api_key_name, reference) where reference is not null do nothing",
            gateway().0
        )
    };
    let asked = |key: &str| named(ShopName::DEFAULT, key);
    f.execute(&[older(701, "till"), older(702, "web"), older(703, "web")]).await;

    for (key, expected) in [("till", 701), ("web", 702), ("new", 701)] {
        let taken = orders::create(&f.store, &asked(key), None).await.unwrap();
        assert!(matches!(taken, Created::ReferenceTaken(OrderId(id)) if id == expected), "{key}: {taken:?}");
    }
    let other = NewOrder { reference: Some("R-2".into()), ..asked("new") };
    assert!(matches!(orders::create(&f.store, &other, None).await.unwrap(), Created::New(_)));
    f.execute(&[older(704, "another").replace("R-1", "R-2"), older(705, "new").replace("R-1", "R-2")]).await;
    assert_eq!(f.number("select count(*) from orders").await, 4, "the older release made one more");
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
