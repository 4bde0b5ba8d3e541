//! Which order is meant, and which orders a list is of.

use std::time::Duration;

use clap::Args;
use domain::id::OrderId;
use domain::money::Tiyin;
use domain::order::{OrderStatus, PaymentType};
use domain::shop::ShopName;
use domain::text;
use domain::time;

use super::names::names;
use super::output::Output;

/// The most characters of a name.
const NAME_CHARACTERS: usize = 100;

/// One order, by any name that it has.
#[derive(Debug, Args)]
pub(crate) struct NamedOrder {
    /// Its number, its reference, the number of its transaction (ours or the gateway's), or its token
    #[arg(value_name = "ORDER", value_parser = order_name, required_unless_present = "exactly")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) exactly: ExactName,
    /// Only an order of this shop
    #[arg(long, value_name = "NAME", value_parser = shop)]
    pub(crate) shop: Option<ShopName>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// One order by one kind of name.
#[derive(Debug, Args)]
#[group(id = "exactly", multiple = false, conflicts_with = "name")]
pub(crate) struct ExactName {
    /// The order of this number
    #[arg(long, value_name = "N")]
    pub(crate) number: Option<OrderId>,
    /// The order with this reference of its shop
    #[arg(long, value_name = "TEXT", value_parser = order_name)]
    pub(crate) reference: Option<String>,
    /// The order of this transaction: our number, the gateway's id, or its permanent number of the debit
    #[arg(long, value_name = "ID", value_parser = order_name)]
    pub(crate) transaction: Option<String>,
}

/// The orders of a list.
#[derive(Debug, Args)]
pub(crate) struct OrdersFilter {
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status,
        help = format!("Only orders with one of these statuses: {}", names(OrderStatus::ALL)))]
    pub(crate) status: Vec<OrderStatus>,
    /// Only orders made at this time or later: 90m, 24h, 7d ago, a date in UTC, or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<TimeArgument>,
    /// Only orders made before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<TimeArgument>,
    /// Only orders of exactly this amount in soʻm, such as 50.00
    #[arg(long, value_name = "SOM", value_parser = Tiyin::from_som, conflicts_with_all = ["amount_from", "amount_to"])]
    pub(crate) amount: Option<Tiyin>,
    /// Only orders of this amount or more
    #[arg(long, value_name = "SOM", value_parser = Tiyin::from_som)]
    pub(crate) amount_from: Option<Tiyin>,
    /// Only orders of this amount or less
    #[arg(long, value_name = "SOM", value_parser = Tiyin::from_som)]
    pub(crate) amount_to: Option<Tiyin>,
    /// Only orders with exactly this reference
    #[arg(long, value_name = "TEXT", value_parser = order_name)]
    pub(crate) reference: Option<String>,
    /// Only orders of this transaction: our number, the gateway's id, or its permanent number of the debit
    #[arg(long, value_name = "ID", value_parser = order_name)]
    pub(crate) transaction: Option<String>,
    #[arg(long, value_name = "TYPE", value_parser = payment_type,
        help = format!("Only orders that are paid this way: {}", names(PaymentType::ALL)))]
    pub(crate) payment_type: Option<PaymentType>,
    /// Only orders in whose product name or reference each of these words stands
    #[arg(long, value_name = "WORDS", value_parser = order_name)]
    pub(crate) text: Option<String>,
    /// Only orders that a person must check although their status stays
    #[arg(long)]
    pub(crate) needs_review: bool,
    /// Only orders of this shop
    #[arg(long, value_name = "NAME", value_parser = shop)]
    pub(crate) shop: Option<ShopName>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) limit: u32,
    /// Every order that fits, however many there are; they are printed as they are found
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// A time as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeArgument {
    /// So long ago.
    Ago(Duration),
    /// Epoch milliseconds.
    At(i64),
}

impl TimeArgument {
    /// Epoch milliseconds.
    pub(crate) fn epoch_ms(self, now_ms: i64) -> i64 {
        match self {
            TimeArgument::Ago(duration) => now_ms.saturating_sub(time::millis(duration)),
            TimeArgument::At(epoch_ms) => epoch_ms,
        }
    }
}

fn moment(text: &str) -> Result<TimeArgument, String> {
    if let Some(epoch_ms) = time::parse(text) {
        return Ok(TimeArgument::At(epoch_ms));
    }
    span(text).map(TimeArgument::Ago).ok_or_else(|| {
        "write how long ago, such as 90m, 24h or 7d, a date in UTC such as 2026-11-01, or a time such as 2026-11-01T09:30:00Z"
            .to_owned()
    })
}

/// Minutes, hours or days: `90m`, `24h`, `7d`.
pub(super) fn span(text: &str) -> Option<Duration> {
    let (place, unit) = text.char_indices().last()?;
    let count: u64 = text[..place].parse().ok()?;
    let seconds = match unit {
        'm' => count.checked_mul(60),
        'h' => count.checked_mul(3_600),
        'd' => count.checked_mul(86_400),
        _ => None,
    };
    seconds.map(Duration::from_secs)
}

fn status(text: &str) -> Result<OrderStatus, String> {
    OrderStatus::parse(text).ok_or_else(|| format!("the statuses are {}", names(OrderStatus::ALL)))
}

fn payment_type(text: &str) -> Result<PaymentType, String> {
    PaymentType::parse(text).ok_or_else(|| format!("the payment types are {}", names(PaymentType::ALL)))
}

fn shop(text: &str) -> Result<ShopName, String> {
    ShopName::parse(text).map_err(|fault| format!("the name of a shop {fault}"))
}

/// As it is stored: blanks at its ends belong to a reference.
fn order_name(text: &str) -> Result<String, String> {
    match text::check(text, NAME_CHARACTERS) {
        Ok(()) => Ok(text.to_owned()),
        Err(fault) => Err(fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_typed_as_a_span_a_date_or_a_moment() {
        let day = Duration::from_secs(86_400);
        for (text, expected) in [
            ("90m", TimeArgument::Ago(Duration::from_secs(5_400))),
            ("2h", TimeArgument::Ago(Duration::from_secs(7_200))),
            ("400d", TimeArgument::Ago(400 * day)),
            ("2022-06-27", TimeArgument::At(1_656_288_000_000)),
            ("2022-06-27T05:00:00+05:00", TimeArgument::At(1_656_288_000_000)),
        ] {
            assert_eq!(moment(text), Ok(expected), "{text}");
        }
        for text in ["", "h", "-1h", "2 h", "yesterday", "99999999999999999999d", "ў"] {
            assert!(moment(text).is_err(), "{text}");
        }
        assert_eq!(TimeArgument::Ago(day).epoch_ms(86_400_001), 1);
    }
}
