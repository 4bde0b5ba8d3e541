//! Commands about gateways and the calls to them.

use clap::{Args, Subcommand};
use domain::gateway_rate::GatewayRate;
use domain::order::{GatewayIdentity, PaymentType};

use super::examples::examples;
use super::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum GatewaysCommand {
    /// List the gateway accounts of this installation, and whether calls to them leave
    #[command(after_help = examples!("tasdiq gateways list"))]
    List(Output),
    /// Show rate limit, circuit breaker and its cause, and what each living process sees
    #[command(after_help = examples!("tasdiq gateways show", "tasdiq gateways show atmos --json"))]
    Show {
        #[command(flatten)]
        account: NamedAccount,
        #[command(flatten)]
        output: Output,
    },
    /// Pause all calls to a gateway account, until `tasdiq gateways resume`
    ///
    /// No call of any process leaves. Calls under way are not cut off. Orders are still taken and callbacks are answered;
    /// payment links and confirmations wait, and are made when calls leave again. A pause outlives restarts.
    #[command(after_help = examples!("tasdiq gateways pause", "tasdiq gateways pause atmos"))]
    Pause {
        #[command(flatten)]
        account: NamedAccount,
        #[command(flatten)]
        output: Output,
    },
    /// Let calls to a gateway account leave again
    ///
    /// Ends a pause, and resets a circuit breaker that has opened by itself, so that all calls leave at once. If the gateway
    /// still fails, the breaker opens again. A `Retry-After` of the gateway is still obeyed, unless you override it.
    #[command(after_help = examples!("tasdiq gateways resume", "tasdiq gateways resume --override"))]
    Resume {
        #[command(flatten)]
        account: NamedAccount,
        /// Let calls leave although the gateway sent a Retry-After
        ///
        /// The gateway may answer with a longer wait, or block the store: ask the gateway's operator first.
        #[arg(long = "override")]
        overrides_retry_after: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Change the rate limit of a gateway account while everything runs
    ///
    /// With `configured` the limit is the value of TASDIQ_GATEWAY_RATE again.
    #[command(
        allow_missing_positional = true,
        after_help = examples!("tasdiq gateways rate 10/20", "tasdiq gateways rate configured")
    )]
    Rate {
        #[command(flatten)]
        account: NamedAccount,
        /// Calls per second and calls at once, of all processes together, such as 10/20; or `configured`, for the value of
        /// TASDIQ_GATEWAY_RATE
        #[arg(value_parser = rate_choice)]
        rate: RateChoice,
        #[command(flatten)]
        output: Output,
    },
    /// Reset a circuit breaker that has opened by itself, and change nothing else
    ///
    /// All calls leave at once instead of one probe at a time. If the gateway still fails, the breaker opens again. A pause
    /// and a `Retry-After` still hold.
    #[command(after_help = examples!("tasdiq gateways reset"))]
    Reset {
        #[command(flatten)]
        account: NamedAccount,
        #[command(flatten)]
        output: Output,
    },
}

/// The gateway account that a command is about.
#[derive(Debug, Args)]
pub(crate) struct NamedAccount {
    /// The account, such as atmos:1234, or the gateway's name where it has one account; may be left out where there is one
    /// account
    #[arg(value_name = "ACCOUNT", value_parser = account_name)]
    name: Option<String>,
}

impl NamedAccount {
    /// The word of the command line.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

fn account_name(text: &str) -> Result<String, String> {
    let is_account = GatewayIdentity(text.to_owned()).payment_type().is_some();
    if is_account || PaymentType::parse(text).is_some() {
        Ok(text.to_owned())
    } else {
        Err("is neither an account, such as atmos:1234, nor a gateway: atmos, payme, click".to_owned())
    }
}

/// The rate limit that an operator chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateChoice {
    Rate(GatewayRate),
    Configured,
}

impl RateChoice {
    /// `None` is the configured limit.
    pub(crate) fn rate(self) -> Option<GatewayRate> {
        match self {
            RateChoice::Rate(rate) => Some(rate),
            RateChoice::Configured => None,
        }
    }
}

fn rate_choice(text: &str) -> Result<RateChoice, String> {
    match text {
        "configured" => Ok(RateChoice::Configured),
        text => text.parse().map(RateChoice::Rate).map_err(|fault: String| {
            format!("the rate limit {fault}; or `configured`, for the value of TASDIQ_GATEWAY_RATE")
        }),
    }
}

/// The commands as they were called before `tasdiq gateways`. They stay, hidden, for one release.
#[derive(Debug, Subcommand)]
pub(crate) enum WeatherCommand {
    /// Now `tasdiq gateways show`
    Show(Output),
    /// Now `tasdiq gateways rate`
    Set {
        /// Calls per second and calls at once, of all processes together, such as 10/20; or `configured`, for the value of
        /// TASDIQ_GATEWAY_RATE
        #[arg(long, value_name = "RATE", value_parser = rate_choice)]
        rate: RateChoice,
        #[command(flatten)]
        output: Output,
    },
    /// Now `tasdiq gateways pause`
    Close(Output),
    /// Now `tasdiq gateways resume`
    Open {
        /// Let calls leave although the gateway sent a Retry-After
        #[arg(long = "override")]
        overrides_retry_after: bool,
        #[command(flatten)]
        output: Output,
    },
}
