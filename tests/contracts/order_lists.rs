//! Lists of orders and orders by name.

use std::collections::{BTreeMap, BTreeSet};

use domain::id::OrderId;
use domain::money::Tiyin;
use domain::order::{NewOrder, OrderStatus, PaymentType};
use domain::shop::ShopName;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use store::Store;
use store::order_list::{self, ListPosition, MOST_WALKED, OrderFilter, SearchWords};
use store::order_lookup;
use store::orders::{self, Created};

use crate::support::fixture::{Fixture, new_order, on_every_database};

on_every_database! {
    the_pages_together_are_what_the_filter_finds
    no_order_is_listed_twice_or_left_out_while_orders_are_made_and_change
    a_page_looks_at_a_bounded_number_of_orders
    an_order_is_found_by_each_name_that_it_has
    of_one_reference_the_order_is_found_that_keeps_others_from_having_it
}

const SHOPS: [&str; 2] = ["tea", "rice"];
const AMOUNTS: [i64; 3] = [5_000, 5_001, 1_250_000];
const PRODUCTS: [&str; 4] = ["Chay, koʻk", "Сомса, 2 дона", "Osh va Чай", "plov"];

/// The orders that the lists are of.
const ORDERS: i64 = 240;

/// An order as the test knows it.
#[derive(Clone, Debug)]
struct Known {
    id: i64,
    shop: &'static str,
    status: OrderStatus,
    /// `None` until the customer has chosen.
    payment_type: Option<PaymentType>,
    amount: i64,
    reference: Option<String>,
    product: &'static str,
    needs_review: bool,
    created_at_ms: i64,
    transaction: Option<i64>,
}

/// Orders of every kind; several of each moment, their numbers in another order than their times.
fn known_orders() -> Vec<Known> {
    let pick = |n: i64, of: usize, step: i64| usize::try_from(n * step / 7).unwrap() % of;
    let types = [Some(PaymentType::Atmos), Some(PaymentType::Payme), Some(PaymentType::Click), None];
    let order = |n: i64| Known {
        id: (n * 89) % ORDERS + 1,
        shop: SHOPS[pick(n, SHOPS.len(), 3)],
        status: OrderStatus::ALL[pick(n, OrderStatus::ALL.len(), 11)],
        payment_type: types[pick(n, types.len(), 5)],
        amount: AMOUNTS[pick(n, AMOUNTS.len(), 13)],
        reference: (n % 3 != 0).then(|| format!("R-{}", n % 100)),
        product: PRODUCTS[pick(n, PRODUCTS.len(), 17)],
        needs_review: n % 5 == 0,
        created_at_ms: 1_000_000 + n / 6 * 1_000,
        transaction: (n % 4 == 0).then_some(7_000 + n),
    };
    let mut taken = BTreeSet::new();
    let mut all: Vec<Known> = (0..ORDERS).map(order).collect();
    for known in &mut all {
        known.reference = known.reference.take().filter(|reference| taken.insert((known.shop, reference.clone())));
    }
    all
}

fn insert(known: &Known) -> String {
    let Known { id, shop, status, amount, product, created_at_ms, .. } = known;
    let (gateway, payment_type) = match known.payment_type {
        Some(payment_type) => (format!("{payment_type}:1"), payment_type),
        None => (String::new(), PaymentType::Atmos),
    };
    let reference = known.reference.as_ref().map_or("null".to_owned(), |reference| format!("'{reference}'"));
    format!(
        "insert into orders (id, token, shop, api_key_name, reference, product_name, amount, payment_type, language, status,
            gateway, needs_review, created_at_ms, pending_since_ms)
        values ({id}, '{id:032x}', '{shop}', '{shop}', {reference}, '{product}', {amount}, '{payment_type}', 'uz', '{status}',
            '{gateway}', {needs_review}, {created_at_ms}, {created_at_ms})",
        needs_review = i64::from(known.needs_review),
    )
}

fn insert_transaction(known: &Known) -> Option<String> {
    let (id, number) = (known.id, known.transaction?);
    Some(format!(
        "insert into transactions (gateway, transaction_id, order_id, amount, state, created_at_ms, external_id,
            success_transaction_id)
        values ('click:1', {number}, {id}, 5000, 'debited', 1, 'external {number}', {number} + 1000000)"
    ))
}

fn shop(name: &str) -> ShopName {
    ShopName::parse(name).unwrap()
}

/// All pages of a list, each of at most `limit` orders.
async fn pages(store: &Store, shops: &[ShopName], filter: &OrderFilter, limit: usize) -> Vec<Vec<i64>> {
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = order_list::list(store, shops, filter, after, limit).await.unwrap();
        assert!(page.orders.len() <= limit, "{page:?}");
        pages.push(page.orders.iter().map(|order| order.id.0).collect());
        match page.next {
            Some(next) => {
                assert!(after.is_none_or(|after| next < after), "it goes on: {next:?} after {after:?}");
                after = Some(next);
            }
            None => return pages,
        }
    }
}

/// The filter as it is meant, by the facts that the test knows.
fn fits(filter: &OrderFilter, known: &Known) -> bool {
    let holds = |part: Option<bool>| part.unwrap_or(true);
    let words = filter.words.text();
    let somewhere = format!("{}\n{}", known.product, known.reference.as_deref().unwrap_or("")).to_lowercase();
    let transaction = |text: &str| {
        known.transaction.is_some_and(|number| {
            [number.to_string(), format!("external {number}"), (number + 1_000_000).to_string()]
                .contains(&text.to_owned())
        })
    };
    (filter.statuses.is_empty() || filter.statuses.contains(&known.status))
        && holds(filter.payment_type.map(|wanted| known.payment_type == Some(wanted)))
        && holds(filter.since_ms.map(|since_ms| since_ms <= known.created_at_ms))
        && holds(filter.until_ms.map(|until_ms| known.created_at_ms < until_ms))
        && holds(filter.amount_from.map(|from| from.get() <= known.amount))
        && holds(filter.amount_to.map(|to| known.amount <= to.get()))
        && holds(filter.reference.as_ref().map(|wanted| known.reference.as_ref() == Some(wanted)))
        && holds(filter.transaction.as_deref().map(transaction))
        && holds(filter.needs_review.map(|wanted| known.needs_review == wanted))
        && words.split(' ').all(|word| somewhere.contains(word))
}

fn filters() -> impl Strategy<Value = OrderFilter> {
    let moments = || prop::option::weighted(0.3, (990_000_i64..1_050_000).prop_map(|ms| ms / 500 * 500));
    let amounts = || prop::option::weighted(0.3, prop::sample::select(AMOUNTS.to_vec()));
    let names = prop::option::weighted(0.1, (0..100).prop_map(|n| format!("R-{n}")));
    let transactions = prop::option::weighted(
        0.1,
        (7_000_i64..7_000 + ORDERS).prop_flat_map(|n| {
            prop::sample::select(vec![n.to_string(), format!("external {n}"), (n + 1_000_000).to_string()])
        }),
    );
    let words = prop::sample::select(vec!["", "", "", "ЧАЙ", "chay KOʻK", "r-1", "plov R-2", "nothing"]);
    let types = prop::option::weighted(0.3, prop::sample::select(PaymentType::ALL.to_vec()));
    (
        prop::sample::subsequence(OrderStatus::ALL.to_vec(), 0..=OrderStatus::ALL.len()),
        types,
        (moments(), moments()),
        (amounts(), amounts(), any::<bool>()),
        names,
        transactions,
        prop::option::weighted(0.3, any::<bool>()),
        words,
    )
        .prop_map(
            |(statuses, payment_type, (since_ms, until_ms), amounts, reference, transaction, needs_review, words)| {
                let (from, to, is_exact) = amounts;
                let tiyin = |amount: Option<i64>| amount.map(|amount| Tiyin::new(amount).unwrap());
                OrderFilter {
                    statuses,
                    payment_type,
                    since_ms,
                    until_ms,
                    amount_from: tiyin(from),
                    amount_to: tiyin(if is_exact { from } else { to }),
                    reference,
                    transaction,
                    needs_review,
                    words: SearchWords::new(words),
                }
            },
        )
}

async fn the_pages_together_are_what_the_filter_finds(f: Fixture) {
    let all = known_orders();
    let transactions: Vec<String> = all.iter().filter_map(insert_transaction).collect();
    f.execute(&all.iter().map(insert).chain(transactions).collect::<Vec<_>>()).await;
    let shops = prop::sample::subsequence(SHOPS.to_vec(), 1..=SHOPS.len());
    let runtime = tokio::runtime::Handle::current();

    let tried = TestRunner::new(Config { cases: 250, failure_persistence: None, ..Config::default() }).run(
        &(filters(), shops, 1..40_usize),
        |(filter, names, limit)| {
            let shops: Vec<ShopName> = names.iter().map(|name| shop(name)).collect();
            let mut expected: Vec<&Known> =
                all.iter().filter(|known| names.contains(&known.shop) && fits(&filter, known)).collect();
            expected.sort_by_key(|known| std::cmp::Reverse((known.created_at_ms, known.id)));
            let expected: Vec<i64> = expected.iter().map(|known| known.id).collect();

            let pages = tokio::task::block_in_place(|| runtime.block_on(pages(&f.store, &shops, &filter, limit)));

            prop_assert_eq!(pages.concat(), expected);
            Ok(())
        },
    );

    assert!(tried.is_ok(), "{tried:?}");
}

/// A shop walks through its orders while it makes others and customers pay.
async fn no_order_is_listed_twice_or_left_out_while_orders_are_made_and_change(f: Fixture) {
    let all = known_orders();
    f.execute(&all.iter().map(insert).collect::<Vec<_>>()).await;
    let (of_shop, other) = (shop(SHOPS[0]), f.another_process().await);
    let open = OrderFilter {
        statuses: vec![OrderStatus::Pending, OrderStatus::Confirming, OrderStatus::Paid],
        ..OrderFilter::default()
    };

    for filter in [OrderFilter::default(), open] {
        let fitting = |known: &&Known| known.shop == SHOPS[0] && fits(&filter, known);
        let before: BTreeSet<i64> = all.iter().filter(fitting).map(|known| known.id).collect();
        let (mut times_listed, mut after) = (BTreeMap::<i64, usize>::new(), None::<ListPosition>);
        loop {
            let page = order_list::list(&f.store, std::slice::from_ref(&of_shop), &filter, after, 7).await.unwrap();
            for order in &page.orders {
                *times_listed.entry(order.id.0).or_default() += 1;
            }
            let new = NewOrder { shop: of_shop.clone(), ..new_order() };
            assert!(matches!(orders::create(&other, &new, None).await.unwrap(), Created::New(_)));
            // Every pending order moves on, those that are listed and those that are not yet.
            let moves =
                "update orders set status = case status when 'pending' then 'confirming' when 'confirming' then 'paid'
                else 'pending' end where status in ('pending', 'confirming', 'paid')";
            f.execute(&[moves.to_owned()]).await;
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert!(times_listed.values().all(|times| *times == 1), "{times_listed:?}");
        let listed: BTreeSet<i64> = times_listed.into_keys().collect();
        assert!(listed.is_superset(&before), "{before:?} of {listed:?}");
    }
}

/// The one order that fits is the oldest of many.
async fn a_page_looks_at_a_bounded_number_of_orders(f: Fixture) {
    let most = i64::try_from(MOST_WALKED).unwrap();
    let count = 2 * most + 500;
    f.execute(&[format!(
        "insert into orders (id, token, shop, api_key_name, product_name, amount, payment_type, language, status, gateway,
            created_at_ms, pending_since_ms)
        select n, 'token ' || n, 'tea', 'tea', case when n = 1 then 'Somsa' else 'Chay' end, 5000, 'atmos', 'uz', 'paid',
            'atmos:1', n, n
        from (with recursive counted (n) as (select 1 union all select n + 1 from counted where n < {count})
            select n from counted) as numbers"
    )])
    .await;
    // A row that is read whole must be readable.
    f.execute(&[format!("update orders set token = '{:032x}' where id = 1", 1)]).await;
    let filter = OrderFilter { words: SearchWords::new("somsa"), ..OrderFilter::default() };

    let found = pages(&f.store, &[shop("tea")], &filter, 20).await;

    assert_eq!(found, [vec![], vec![], vec![1]]);
    let end = count - most;
    let of_all = order_list::list(&f.store, &[shop("tea")], &filter, None, 20).await.unwrap();
    assert_eq!(of_all.next, Some(ListPosition { created_at_ms: end + 1, id: OrderId(end + 1) }));
}

async fn an_order_is_found_by_each_name_that_it_has(f: Fixture) {
    let all = known_orders();
    let transactions: Vec<String> = all.iter().filter_map(insert_transaction).collect();
    f.execute(&all.iter().map(insert).chain(transactions).collect::<Vec<_>>()).await;
    // Another gateway has a transaction of the same number, of another order.
    let known = all.iter().find(|known| known.transaction.is_some() && known.reference.is_some()).unwrap();
    let other = all.iter().find(|other| other.shop != known.shop && other.transaction.is_none()).unwrap();
    let number = known.transaction.unwrap();
    let twin = Known { transaction: Some(number), ..other.clone() };
    f.execute(&[insert_transaction(&twin).unwrap().replace("click:1", "atmos:1").replace("'external", "'outer")]).await;

    for (name, expected) in [
        (number.to_string(), BTreeSet::from([known.id, other.id])),
        (format!("external {number}"), BTreeSet::from([known.id])),
        ((number + 1_000_000).to_string(), BTreeSet::from([known.id, other.id])),
        ("7".to_owned(), BTreeSet::new()),
        ("-1".to_owned(), BTreeSet::new()),
        (String::new(), BTreeSet::new()),
        ("99999999999999999999".to_owned(), BTreeSet::new()),
    ] {
        let found = order_lookup::ids_of_transaction(&f.store, &name).await.unwrap();
        assert_eq!(found.iter().map(|id| id.0).collect::<BTreeSet<_>>(), expected, "{name}");
        let filter = OrderFilter { transaction: Some(name), ..OrderFilter::default() };
        let of_shop = pages(&f.store, &[shop(known.shop)], &filter, 20).await.concat();
        assert_eq!(of_shop, if expected.is_empty() { vec![] } else { vec![known.id] });
    }
    let reference = known.reference.as_deref().unwrap();
    let found = order_lookup::by_reference(&f.store, &shop(known.shop), "", reference).await.unwrap();
    assert_eq!(found.map(|order| order.id.0), Some(known.id));
    assert!(order_lookup::by_reference(&f.store, &shop("bread"), "", reference).await.unwrap().is_none());
    let shops = order_lookup::shops(&f.store).await.unwrap();
    assert_eq!(shops, [shop("rice"), shop("tea")]);
}

/// Until the release with shops, each API key had references of its own.
async fn of_one_reference_the_order_is_found_that_keeps_others_from_having_it(f: Fixture) {
    let known = |id: i64, key: &str| {
        let order = known_orders().into_iter().find(|known| known.shop == "tea").unwrap();
        insert(&Known { id, reference: Some("R".into()), ..order }).replacen(
            "'tea', 'tea'",
            &format!("'tea', '{key}'"),
            1,
        )
    };
    f.execute(&[known(701, "till"), known(702, "web")]).await;

    for (key, expected) in [("till", 701), ("web", 702), ("new", 701)] {
        let found = order_lookup::by_reference(&f.store, &shop("tea"), key, "R").await.unwrap();
        assert_eq!(found.map(|order| order.id), Some(OrderId(expected)), "{key}");
        let asked =
            NewOrder { shop: shop("tea"), api_key_name: key.into(), reference: Some("R".into()), ..new_order() };
        let taken = orders::create(&f.store, &asked, None).await.unwrap();
        assert!(matches!(taken, Created::ReferenceTaken(OrderId(id)) if id == expected), "{taken:?}");
    }
}
