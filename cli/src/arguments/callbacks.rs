//! Commands about callbacks.

use domain::callback_verdict::CallbackVerdict;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use domain::id::{OrderId, TransactionId};
use domain::money::Tiyin;

use super::examples::examples;
use super::finding::span;
use super::names::names;
use super::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum CallbackCommand {
    /// Print the body of a callback of Atmos with a right signature, to be sent with curl
    ///
    /// It is signed with the API key of an account of Atmos for its store, as Atmos signs: with `ATMOS_API_KEY` for
    /// `ATMOS_STORE_ID`, or with those of a shop in `TASDIQ_CONFIG`.
    #[command(after_help = examples!(
        "tasdiq callback sign --transaction-id 1795461978 --account 1 --amount 50.00",
        "tasdiq callback sign --gateway atmos:417 --transaction-id 1795461978 --account 1 --amount 50.00",
        "tasdiq callback sign --transaction-id 1795461978 --account 1 --amount 50 --field invoice"
    ))]
    Sign(SignArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CallbacksCommand {
    /// List the newest callbacks, each with its verdict
    ///
    /// The verdicts are listed in the reference, "Callback verdicts". A wrong `ATMOS_API_KEY` shows as `badly_signed`.
    #[command(after_help = examples!(
        "tasdiq callbacks list",
        "tasdiq callbacks list --verdict badly_signed --since 7d",
        "tasdiq callbacks list --order 17 --json"
    ))]
    List(CallbacksFilter),
}

#[derive(Debug, Args)]
pub(crate) struct CallbacksFilter {
    /// Only callbacks with this verdict, such as badly_signed
    #[arg(long, value_parser = verdict)]
    pub(crate) verdict: Option<CallbackVerdict>,
    /// Only callbacks about this order
    #[arg(long, value_name = "ID")]
    pub(crate) order: Option<OrderId>,
    /// Only callbacks that first came within this time, such as 90m, 24h or 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = lately)]
    pub(crate) since: Duration,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) limit: u16,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct SignArguments {
    /// The gateway's number of the draft
    #[arg(long, value_name = "N")]
    pub(crate) transaction_id: TransactionId,
    /// The order's number, as it was sent to the gateway
    #[arg(long, value_name = "ID")]
    pub(crate) account: String,
    /// The amount in soʻm, such as 50.00
    #[arg(long, value_name = "SOM", value_parser = Tiyin::from_som)]
    pub(crate) amount: Tiyin,
    /// The account of Atmos, such as atmos:417; needed where there are several
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) gateway: Option<String>,
    /// What the body calls the account
    #[arg(long, value_enum, default_value_t = AccountField::Account)]
    pub(crate) field: AccountField,
}

/// The gateway's documents say `invoice`, its live callbacks `account`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccountField {
    Account,
    Invoice,
}

fn verdict(text: &str) -> Result<CallbackVerdict, String> {
    CallbackVerdict::parse(text).ok_or_else(|| format!("the verdicts are {}", names(CallbackVerdict::ALL)))
}

/// `90m`, `24h`, `7d`: no longer than callbacks are kept.
fn lately(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_secs(90 * 86_400);
    span(text)
        .filter(|time| !time.is_zero() && *time <= longest)
        .ok_or_else(|| "write minutes, hours or days, such as 90m, 24h or 7d; 90d at most".to_owned())
}
