//! Commands about orders, and the name and reason of the person who decides.

use clap::{Args, Subcommand};
use domain::id::{OrderId, TransactionId};
use domain::order::{OrderStatus, REASON_CHARACTERS};
use domain::text::{self, TextFault};

use super::examples::examples;
use super::finding::{NamedOrder, OrdersFilter};
use super::names::names;
use super::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum OrdersCommand {
    /// List orders, newest first
    ///
    /// Every filter that is given must fit. Words, a payment type and ranges of amounts are compared order by order: give --since,
    /// too, where there are very many.
    #[command(after_help = examples!(
        "tasdiq orders list",
        "tasdiq orders list --status paid,refunded --since 24h",
        "tasdiq orders list --amount 50000.00 --since 2026-11-01 --until 2026-12-01",
        "tasdiq orders list --text \"somsa 2\" --since 7d --json",
        "tasdiq orders list --status paid --since 2026-11-01 --all --json"
    ))]
    List(Box<OrdersFilter>),
    /// Show an order with its history, transactions, refunds, callbacks and jobs
    ///
    /// A number is the order's own before all. Where another word names several orders, each is told, and --number says which is
    /// meant.
    #[command(after_help = examples!(
        "tasdiq orders show 17",
        "tasdiq orders show A-17 --json",
        "tasdiq orders show --reference 17 --shop tea",
        "tasdiq orders show --transaction 1795500009";
        exits "0 it is shown, 1 there is no such order, or several."
    ))]
    Show(NamedOrder),
    /// Ask the gateway for the truth about an order, soon
    ///
    /// A worker asks within seconds and settles accordingly. `tasdiq orders show` tells the outcome.
    #[command(after_help = examples!("tasdiq orders reconcile 17"))]
    Reconcile {
        /// Its number
        id: OrderId,
        #[command(flatten)]
        output: Output,
    },
    /// Give a paid order's money back, all of it
    ///
    /// A worker asks the gateway. `tasdiq orders show` tells whether the refund was made.
    #[command(after_help = examples!(
        "tasdiq orders refund 17 --reason \"it was broken\" --by ann";
        exits "0 the refund is asked for, 1 the order cannot be refunded."
    ))]
    Refund {
        /// Its number
        id: OrderId,
        #[command(flatten)]
        because: Because,
        #[command(flatten)]
        output: Output,
    },
    /// Cancel a pending order
    ///
    /// Its payment page takes no money any more. An order that is being paid at this moment cannot be canceled.
    #[command(after_help = examples!(
        "tasdiq orders cancel 17 --reason \"sold out\" --by ann";
        exits "0 it is canceled, 1 it cannot be canceled."
    ))]
    Cancel {
        /// Its number
        id: OrderId,
        #[command(flatten)]
        because: Because,
        #[command(flatten)]
        output: Output,
    },
    /// List the orders that wait for a person, with what was found and what to do
    ///
    /// The order that has waited longest comes first, with the commands to type next.
    #[command(after_help = examples!("tasdiq orders review", "tasdiq orders review --limit 5 --json"))]
    Review {
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
        #[command(flatten)]
        output: Output,
    },
    /// Decide about an order that waits for a person
    ///
    /// An order in review is resolved as paid (written once the gateway shows the debit, of whatever amount), refunded or
    /// canceled. A marked order is resolved with the status it has; where its refund is in review, as refunded if the
    /// money went back and as paid if it did not. `review` takes back a decision about which the gateway is still asked.
    #[command(after_help = examples!(
        "tasdiq orders resolve 17 paid --by Olim --reason \"the customer agreed\"",
        "tasdiq orders resolve 17 paid --by Olim --reason \"seen in the cabinet\" --transaction-id 1795500009",
        "tasdiq orders resolve 17 refunded --by Olim --reason \"given back by hand\" --findings 1,2";
        exits "0 the decision is written, 1 it was refused (another person was faster, or something new was found)."
    ))]
    Resolve(ResolveArguments),
}

/// Why something is done, and by whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct Because {
    /// Why
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: String,
    /// Your name
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) by: String,
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArguments {
    /// Its number
    pub(crate) id: OrderId,
    /// What it shall be
    #[arg(value_parser = order_status)]
    pub(crate) status: OrderStatus,
    /// Who decides; stands in the order's history
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) by: String,
    /// Why; stands in the order's history
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(crate) reason: String,
    /// The transaction that paid it; needed for an order in review where not exactly one is known as debited
    #[arg(long, value_name = "N")]
    pub(crate) transaction_id: Option<TransactionId>,
    /// The numbers of the findings that you have read, as `orders review` gives them; where others wait by now, nothing is
    /// done, and you are told
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub(crate) findings: Option<Vec<i64>>,
    #[command(flatten)]
    pub(crate) output: Output,
}

fn order_status(text: &str) -> Result<OrderStatus, String> {
    // Payments decide about open orders, and not people.
    let can_be_named = |status: &OrderStatus| !matches!(status, OrderStatus::Pending | OrderStatus::Confirming);
    OrderStatus::parse(text).filter(can_be_named).ok_or_else(|| {
        let named: Vec<OrderStatus> = OrderStatus::ALL.iter().copied().filter(can_be_named).collect();
        format!("an order can be resolved as {}", names(&named))
    })
}

/// The longest name of a person.
const NAME_CHARACTERS: usize = 100;

pub(super) fn name(text: &str) -> Result<String, String> {
    one_line(text, NAME_CHARACTERS)
}

pub(super) fn reason(text: &str) -> Result<String, String> {
    one_line(text, REASON_CHARACTERS)
}

/// A person may read it in the history of the order years later, line by line.
fn one_line(text: &str, most: usize) -> Result<String, String> {
    let text = text.trim();
    match text::check(text, most) {
        Ok(()) => Ok(text.to_owned()),
        Err(_) if text.is_empty() => Err("it is empty".to_owned()),
        Err(TextFault::TooLong) => Err(format!("it has {} characters, and {most} are the most", text.chars().count())),
        Err(fault) => Err(fault.to_string()),
    }
}
