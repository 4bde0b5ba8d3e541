//! `tasdiq sandbox check`: a merchant's endpoint against a gateway's own test course.

use clap::{Args, Subcommand, ValueEnum};
use domain::money::Tiyin;
use url::Url;

use super::addresses::web_address;
use super::examples::examples;
use super::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// Call a merchant's endpoint as a gateway's own test does, and list what is wrong
    #[command(subcommand)]
    Check(CheckCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CheckCommand {
    /// Run the two scenarios of Payme's sandbox against an endpoint of the Merchant API
    ///
    /// Any endpoint will do, not only that of Tasdiq. Scenario 1 creates a transaction and cancels it; scenario 2 performs
    /// one and refunds it. Each line says what was sent, expected and answered. Never give it an endpoint with real orders:
    /// scenario 2 tells it that money was taken.
    #[command(after_help = examples!(
        "tasdiq sandbox check payme https://shop.example/payme --account 1 --account 2 --amount 50.00",
        "tasdiq sandbox check payme https://shop.example/payme --account 1 --amount 500 --scenario 1",
        "tasdiq sandbox check payme https://shop.example/payme --account 1 --amount 500 --json";
        exits "0 no line is red, 1 a line is red, 2 the command line cannot be read."
    ))]
    Payme(CheckPaymeArguments),
    /// Run the scenarios of Click's tester against a Prepare and a Complete address
    ///
    /// Any endpoint will do, not only that of Tasdiq. Each line says what was sent, expected and answered. Never give it an
    /// endpoint with real orders: it tells that the order was paid.
    #[command(after_help = examples!(
        "tasdiq sandbox check click https://shop.example/click --account 1 --amount 50.00",
        "tasdiq sandbox check click https://shop.example/click --account 1 --amount 50 --json";
        exits "0 no line is red, 1 a line is red, 2 the command line cannot be read."
    ))]
    Click(CheckClickArguments),
}

#[derive(Debug, Args)]
pub(crate) struct CheckPaymeArguments {
    /// The endpoint of the Merchant API
    #[arg(value_parser = web_address)]
    pub(crate) url: Url,
    /// The cashbox's id; the report shows a checkout link for it
    #[arg(long, value_name = "ID", default_value = "64a1f0c2b7e8d9034f5a6b7c")]
    pub(crate) id: String,
    /// The cashbox's test key, which others on this machine can see; without it PAYME_KEY, or else the sandbox's
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// An order that can be paid, as its value of the account field; a second one is for scenario 2
    #[arg(long, value_name = "VALUE", required = true, num_args = 1)]
    pub(crate) account: Vec<String>,
    /// What the order costs, in soʻm, such as 50.00
    #[arg(long, value_name = "SOM", value_parser = Tiyin::from_som)]
    pub(crate) amount: Tiyin,
    /// The name of the cashbox's account field
    #[arg(long, value_name = "NAME", default_value = "order_id")]
    pub(crate) account_field: String,
    /// The code expected for an order that another transaction holds; without it, any from -31099 to -31050
    #[arg(long, value_name = "CODE", allow_negative_numbers = true, value_parser = busy_code)]
    pub(crate) busy_code: Option<i64>,
    /// Whether a performed transaction can be cancelled, which refunds it
    #[arg(long, value_enum, default_value_t = RefundArgument::Accept)]
    pub(crate) refund: RefundArgument,
    /// Only this scenario
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) scenario: Option<u8>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The merchant's policy for refunds that come from the gateway's cabinet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RefundArgument {
    /// It is cancelled: state -2
    Accept,
    /// It is refused with -31007
    Refuse,
}

#[derive(Debug, Args)]
pub(crate) struct CheckClickArguments {
    /// The address of Prepare, and of Complete unless --complete-url says another
    #[arg(value_parser = web_address)]
    pub(crate) url: Url,
    /// The address of Complete
    #[arg(long, value_name = "URL", value_parser = web_address)]
    pub(crate) complete_url: Option<Url>,
    /// The service's id
    #[arg(long, value_name = "ID", default_value = "22222")]
    pub(crate) service_id: String,
    /// The service's secret key, which others on this machine can see; without it CLICK_SECRET_KEY, or else the sandbox's
    #[arg(long, value_name = "KEY")]
    pub(crate) secret_key: Option<String>,
    /// An order that can be paid, as Click's `merchant_trans_id`; the payment that fails is of a second one, if there is one
    #[arg(long, value_name = "VALUE", required = true, num_args = 1)]
    pub(crate) account: Vec<String>,
    /// What the order costs, in soʻm, such as 50.00
    #[arg(long, value_name = "SOM", value_parser = Tiyin::from_som)]
    pub(crate) amount: Tiyin,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Payme's error codes are negative and of five digits (Payme documents, errors).
fn busy_code(text: &str) -> Result<i64, String> {
    let code = text.parse().ok().filter(|code| (-99_999..=-1).contains(code));
    code.ok_or_else(|| "an error code such as -31008".to_owned())
}
