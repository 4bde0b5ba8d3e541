//! Lists of orders: each way, from the newest order and from the middle.

use domain::money::Tiyin;
use domain::order::{OrderStatus, PaymentType};
use domain::shop::ShopName;
use store::Store;
use store::order_list::{self, ListPosition, MOST_WALKED, OrderFilter, SearchWords};
use store::order_lookup;

use super::walk::Times;
use crate::support::filling::{FIRST_CALLED, FillSize};

pub(super) async fn walk(store: &Store, extent: FillSize, round: i64, times: &mut Times) {
    let shops = [ShopName::default()];
    let middle = order_list::list(store, &shops, &OrderFilter::default(), None, 1).await.unwrap().orders.remove(0);
    let middle = ListPosition { created_at_ms: middle.created_at_ms - 127_000_000, id: middle.id };
    let any = OrderFilter::default;
    let amount = Some(Tiyin::new(5_000).unwrap());
    for (step, filter) in [
        ("list", any()),
        ("list paid", OrderFilter { statuses: vec![OrderStatus::Paid], ..any() }),
        ("list open", OrderFilter { statuses: vec![OrderStatus::Pending, OrderStatus::Confirming], ..any() }),
        ("list of an amount", OrderFilter { amount_from: amount, amount_to: amount, ..any() }),
        ("list marked", OrderFilter { needs_review: Some(true), ..any() }),
        ("list unmarked", OrderFilter { needs_review: Some(false), ..any() }),
        ("list of click", OrderFilter { payment_type: Some(PaymentType::Click), ..any() }),
        ("list of words", OrderFilter { words: SearchWords::new("coffee"), ..any() }),
        ("list since", OrderFilter { since_ms: Some(middle.created_at_ms), until_ms: Some(store.now_ms()), ..any() }),
    ] {
        for after in [None, Some(middle)] {
            let page = times.of(step, order_list::list(store, &shops, &filter, after, 20)).await.unwrap();
            assert!(page.orders.len() <= 20, "{step}");
        }
    }
    assert!(extent.orders > i64::try_from(MOST_WALKED).unwrap(), "a page of words cannot walk through all orders");
    let reference = format!("R-{}", extent.orders / 2 + round);
    let order =
        times.of("by reference", order_lookup::by_reference(store, &shops[0], "shop", &reference)).await.unwrap();
    assert!(order.is_some(), "{reference}");
    for name in [format!("{}", 1_000_000 + round + 1), format!("called {}", FIRST_CALLED + round + 1)] {
        let found = times.of("by transaction", order_lookup::ids_of_transaction(store, &name)).await.unwrap();
        assert_eq!(found.len(), 1, "{name}");
    }
    assert_eq!(times.of("shops", order_lookup::shops(store)).await.unwrap(), shops);
}
