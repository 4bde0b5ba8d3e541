//! `tasdiq orders list`: orders that fit a filter, newest first, printed page by page.

use domain::order::{Order, PaymentType};
use domain::shop::ShopName;
use domain::time::rfc3339;
use store::order_list::{self, ListPosition, OrderFilter, SearchWords};
use store::{Store, order_lookup};

use super::OrderView;
use crate::arguments::OrdersFilter;
use crate::exit::Exit;
use crate::output::{print, short};

/// The most orders of one page.
const PAGE: usize = 100;

/// How many pages are read for a list that is not asked for whole.
const PAGES: usize = 100;

/// How many characters of a reference fit into a terminal of 80 columns.
const REFERENCE: usize = 17;

/// Lists them.
///
/// # Errors
/// The database is away, or there is no such shop.
pub(super) async fn run(store: &Store, arguments: OrdersFilter) -> Result<(), Exit> {
    let filter = filter(&arguments, store.now_ms())?;
    let known = order_lookup::shops(store).await?;
    let shops = match &arguments.shop {
        Some(shop) if known.contains(shop) => vec![shop.clone()],
        Some(shop) => return Err(Exit::failed(format!("no order is of a shop named {shop}"))),
        None => known,
    };
    let mut printer = Printer { json: arguments.output.json, names_shops: shops.len() > 1, printed: 0, marked: false };
    printer.begin()?;
    let most = if arguments.all { usize::MAX } else { usize::try_from(arguments.limit).unwrap_or(usize::MAX) };
    let (mut after, mut pages) = (None, 0);
    let rest = loop {
        let wanted = PAGE.min(most - printer.printed);
        let page = order_list::list(store, &shops, &filter, after, wanted).await?;
        for order in page.orders {
            printer.print(order)?;
        }
        pages += 1;
        match page.next {
            None => break None,
            Some(next) if printer.printed >= most => {
                break Some(format!("there are more: --all, --limit, or --until {}", just_after(next)));
            }
            Some(next) if pages >= PAGES && !arguments.all => {
                break Some(format!(
                    "orders before {} were not looked at: --all, or --until with that time",
                    just_after(next)
                ));
            }
            Some(next) => after = Some(next),
        }
    };
    printer.end(rest)
}

fn filter(arguments: &OrdersFilter, now_ms: i64) -> Result<OrderFilter, Exit> {
    let filter = OrderFilter {
        statuses: arguments.status.clone(),
        payment_type: arguments.payment_type,
        since_ms: arguments.since.map(|time| time.epoch_ms(now_ms)),
        until_ms: arguments.until.map(|time| time.epoch_ms(now_ms)),
        amount_from: arguments.amount.or(arguments.amount_from),
        amount_to: arguments.amount.or(arguments.amount_to),
        reference: arguments.reference.clone(),
        transaction: arguments.transaction.clone(),
        needs_review: arguments.needs_review.then_some(true),
        words: SearchWords::new(arguments.text.as_deref().unwrap_or_default()),
    };
    if filter.since_ms.zip(filter.until_ms).is_some_and(|(since_ms, until_ms)| since_ms > until_ms) {
        return Err(Exit::failed("--until is earlier than --since"));
    }
    if filter.amount_from.zip(filter.amount_to).is_some_and(|(from, to)| from > to) {
        return Err(Exit::failed("--amount-to is less than --amount-from"));
    }
    Ok(filter)
}

/// Prints orders as they are found: lines of fixed columns, or the elements of a JSON array.
#[derive(Debug)]
struct Printer {
    json: bool,
    names_shops: bool,
    printed: usize,
    /// Whether an order that a person must check was printed.
    marked: bool,
}

impl Printer {
    fn begin(&self) -> Result<(), Exit> {
        if self.json {
            return Ok(print("[")?);
        }
        Ok(print(&line(
            "order",
            "made (UTC)",
            "status",
            "amount",
            "pays by",
            if self.names_shops { "shop/reference" } else { "reference" },
        ))?)
    }

    fn print(&mut self, order: Order) -> Result<(), Exit> {
        self.printed += 1;
        if self.json {
            let comma = if self.printed > 1 { "," } else { "" };
            let element = serde_json::to_string(&OrderView::from(order)).map_err(anyhow::Error::from)?;
            return Ok(print(&format!("{comma}{element}"))?);
        }
        self.marked |= order.needs_review;
        let status = format!("{}{}", order.status, if order.needs_review { "*" } else { "" });
        Ok(print(&line(
            &order.id.to_string(),
            &minute(order.created_at_ms),
            &status,
            &order.amount.to_string(),
            order.payment_type().map_or("-", PaymentType::as_str),
            &short(&self.name(&order.shop, order.reference.as_deref()), REFERENCE - 1),
        ))?)
    }

    fn name(&self, shop: &ShopName, reference: Option<&str>) -> String {
        match self.names_shops {
            true => format!("{shop}/{}", reference.unwrap_or("-")),
            false => reference.unwrap_or("-").to_owned(),
        }
    }

    fn end(self, rest: Option<String>) -> Result<(), Exit> {
        if self.json {
            print("]")?;
            // The document would look whole.
            if let Some(rest) = rest {
                telemetry::say(&rest);
            }
            return Ok(());
        }
        if self.printed == 0 {
            print("no order fits")?;
        }
        if self.marked {
            print("* a person must check it: tasdiq orders review")?;
        }
        match rest {
            Some(rest) => Ok(print(&rest)?),
            None => Ok(()),
        }
    }
}

/// One line of at most 80 columns, as long as the numbers are usual ones.
fn line(id: &str, made: &str, status: &str, amount: &str, pays_by: &str, reference: &str) -> String {
    format!("{id:<9} {made:<16} {status:<11} {amount:>13} {pays_by:<7}  {reference}").trim_end().to_owned()
}

/// The time before which the list goes on. Other orders may have been made in the same millisecond: a few orders may be listed again,
/// and none is passed over.
fn just_after(place: ListPosition) -> String {
    rfc3339(place.created_at_ms.saturating_add(1))
}

/// The time to the minute.
fn minute(epoch_ms: i64) -> String {
    rfc3339(epoch_ms).chars().take(16).map(|sign| if sign == 'T' { ' ' } else { sign }).collect()
}
