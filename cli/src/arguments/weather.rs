//! What can be said about calls to the gateway.

use clap::Subcommand;
use domain::gateway_rate::GatewayRate;

use super::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum WeatherCommand {
    /// Show the budget, the breaker and its cause, and what each living process sees
    Show(Output),
    /// Change the budget of calls while everything runs
    Set {
        /// Calls per second, and at once, of all processes together, such as 10/20; or `configured`: what TASDIQ_GATEWAY_RATE
        /// says again
        #[arg(long, value_name = "RATE", value_parser = budget_wish)]
        rate: BudgetWish,
        #[command(flatten)]
        output: Output,
    },
    /// Close the gateway: let NO call through, of any process, until `tasdiq weather open`
    ///
    /// Calls under way are not cut off. Orders are still taken and callbacks answered; links and confirmations wait, and
    /// are made once it is open again. (This is a door: closed means that nobody passes. A breaker's "open" is the reverse,
    /// and these commands never use the word so.)
    Close(Output),
    /// Open the gateway: let calls through again, also those that the breaker keeps back by itself
    ///
    /// Takes back `close`. A breaker that has opened by itself is reset, so that all calls are tried at once; if the gateway
    /// still fails it keeps them back again. Patience that the gateway has asked for (Retry-After) is kept all the same,
    /// unless that is overridden.
    Open {
        /// Let calls leave although the gateway has asked for patience (Retry-After)
        ///
        /// It may answer that with a longer wait, or turn the whole store away: ask Atmos first.
        #[arg(long = "override")]
        overrides_patience: bool,
        #[command(flatten)]
        output: Output,
    },
}

/// Which budget an operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BudgetWish {
    Rate(GatewayRate),
    Configured,
}

fn budget_wish(text: &str) -> Result<BudgetWish, String> {
    match text {
        "configured" => Ok(BudgetWish::Configured),
        text => text
            .parse()
            .map(BudgetWish::Rate)
            .map_err(|fault: String| format!("the budget {fault}; or `configured`, for what TASDIQ_GATEWAY_RATE says")),
    }
}
