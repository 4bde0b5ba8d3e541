//! Which order a word means: its number, its reference, the number of its transaction, or its token.

use std::collections::BTreeMap;

use domain::id::{OrderId, OrderToken};
use domain::order::Order;
use store::{Store, order_lookup, orders};

use crate::arguments::NamedOrder;
use crate::exit::Exit;
use crate::output::plain;

/// A kind of name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NameKind {
    Number,
    Reference,
    Transaction,
    Token,
}

impl NameKind {
    const ALL: [NameKind; 4] = [NameKind::Number, NameKind::Reference, NameKind::Transaction, NameKind::Token];

    fn words(self) -> &'static str {
        match self {
            NameKind::Number => "number",
            NameKind::Reference => "reference",
            NameKind::Transaction => "transaction",
            NameKind::Token => "token",
        }
    }
}

/// The one order that is meant.
///
/// # Errors
/// There is none, or there are several: then each is named, with what to type instead.
pub(super) async fn find(store: &Store, named: &NamedOrder) -> Result<Order, Exit> {
    let exactly = &named.exactly;
    let number = exactly.number.map(|id| id.to_string());
    let (name, kinds) = match (&named.name, number, &exactly.reference, &exactly.transaction) {
        (Some(name), ..) => (name.clone(), NameKind::ALL.to_vec()),
        (None, Some(number), ..) => (number, vec![NameKind::Number]),
        (None, None, Some(reference), _) => (reference.clone(), vec![NameKind::Reference]),
        (None, None, None, transaction) => (transaction.clone().unwrap_or_default(), vec![NameKind::Transaction]),
    };
    let mut found: BTreeMap<OrderId, (Order, Vec<NameKind>)> = BTreeMap::new();
    for kind in &kinds {
        for order in of_kind(store, &name, *kind).await? {
            if named.shop.as_ref().is_none_or(|shop| *shop == order.shop) {
                found.entry(order.id).or_insert_with(|| (order, Vec::new())).1.push(*kind);
            }
        }
    }
    let by_number = found.values().find(|(_, kinds)| kinds.contains(&NameKind::Number));
    // Our own messages name orders by their numbers, and a shop may number its references.
    if let Some((order, _)) = by_number.filter(|_| found.len() > 1) {
        let others: Vec<String> = found.values().filter(|(other, _)| other.id != order.id).map(told).collect();
        telemetry::say(&format!(
            "{} is also {}: --reference or --transaction says that one is meant",
            order.id,
            others.join(", ")
        ));
        return Ok(order.clone());
    }
    match found.len() {
        1 => found.into_values().next().map(|(order, _)| order).ok_or_else(|| Exit::failed(missing(&name, &kinds))),
        0 => Err(Exit::failed(missing(&name, &kinds))),
        _ => Err(Exit::failed(ambiguous(&name, &found))),
    }
}

async fn of_kind(store: &Store, name: &str, kind: NameKind) -> Result<Vec<Order>, Exit> {
    Ok(match kind {
        NameKind::Number => match name.parse() {
            Ok(number) => orders::find(store, OrderId(number)).await?.into_iter().collect(),
            Err(_) => Vec::new(),
        },
        NameKind::Reference => {
            let shops = order_lookup::shops(store).await?;
            let ids = order_lookup::ids_of_reference(store, &shops.iter().collect::<Vec<_>>(), name).await?;
            order_lookup::read_orders(store, &ids).await?
        }
        NameKind::Transaction => {
            let ids = order_lookup::ids_of_transaction(store, name).await?;
            order_lookup::read_orders(store, &ids).await?
        }
        NameKind::Token => match OrderToken::parse(name) {
            Some(token) => orders::find_by_token(store, &token).await?.into_iter().collect(),
            None => Vec::new(),
        },
    })
}

fn missing(name: &str, kinds: &[NameKind]) -> String {
    if OrderToken::parse(name).is_some() {
        return "there is no order with this token, reference or transaction".to_owned();
    }
    let name = plain(name);
    match kinds {
        [NameKind::Number] => format!("there is no order {name}"),
        [NameKind::Reference] => format!("there is no order with the reference {name}"),
        [NameKind::Transaction] => format!("there is no order of the transaction {name}"),
        _ => format!("there is no order {name}: no order has it as its number, reference, transaction or token"),
    }
}

fn ambiguous(name: &str, found: &BTreeMap<OrderId, (Order, Vec<NameKind>)>) -> String {
    let name = if OrderToken::parse(name).is_some() { "this word".to_owned() } else { plain(name) };
    let each: Vec<String> = found.values().map(told).collect();
    format!("{name} is {}: say which by --number N", each.join(", and "))
}

/// How an order has the name.
fn told((order, kinds): &(Order, Vec<NameKind>)) -> String {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.words()).collect();
    format!("the {} of order {} (shop {})", kinds.join(" and "), order.id, order.shop)
}
