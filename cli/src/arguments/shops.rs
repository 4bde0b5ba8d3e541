//! Commands about the shops of an installation.

use clap::Subcommand;

use super::examples::examples;
use super::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum ShopsCommand {
    /// List the shops with their accounts, API keys and open orders
    ///
    /// A shop that has open orders and is not configured is listed, too.
    #[command(after_help = examples!("tasdiq shops list", "tasdiq shops list --json"))]
    List(Output),
}
