//! Commands that start a process: worker, sandbox, suspects.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use domain::job::QueueName;
use process::public_address::PublicUrl;
use url::Url;

use super::addresses::{base_address, web_address};
use super::checks::SandboxCommand;

#[derive(Clone, Debug, Args)]
pub(crate) struct WorkerArguments {
    /// How many jobs run at once
    #[arg(long, default_value_t = CONCURRENCY, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(crate) concurrency: u16,
    /// Which queues to take from, comma-separated; all if nothing is said
    #[arg(long, value_delimiter = ',', value_parser = queue)]
    pub(crate) queues: Vec<QueueName>,
}

/// As if nothing had been said.
impl Default for WorkerArguments {
    fn default() -> Self {
        WorkerArguments { concurrency: CONCURRENCY, queues: Vec::new() }
    }
}

/// A job mostly waits for the gateway, so one process runs many.
const CONCURRENCY: u16 = 64;

#[derive(Debug, Args)]
pub(crate) struct SuspectsArguments {
    /// Whether the worker is part of `up`
    #[arg(long)]
    pub(crate) embedded: bool,
    /// Where customers return to
    #[arg(long)]
    pub(crate) public_url: PublicUrl,
    /// Where the sandbox of that `up` listens
    #[arg(long)]
    pub(crate) sandbox: Option<SocketAddr>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SandboxArguments {
    #[command(subcommand)]
    pub(crate) command: Option<SandboxCommand>,
    /// Where Atmos asks before a debit, such as http://127.0.0.1:8000/atmos/webhook/; without it no program is asked
    #[arg(long, value_name = "URL")]
    pub(crate) callback_url: Option<Url>,
    /// Where Payme calls, such as http://127.0.0.1:8000/payme/webhook/; without it nothing is paid at Payme
    #[arg(long, value_name = "URL", value_parser = web_address)]
    pub(crate) payme_webhook: Option<Url>,
    /// Where Click sends Prepare, such as http://127.0.0.1:8000/click/webhook/; without it nothing is paid at Click
    #[arg(long, value_name = "URL", value_parser = web_address)]
    pub(crate) click_prepare: Option<Url>,
    /// Where Click sends Complete; without it, where it sends Prepare
    #[arg(long, value_name = "URL", value_parser = web_address, requires = "click_prepare")]
    pub(crate) click_complete: Option<Url>,
    /// The id of its cashbox at Payme; a second sandbox is for another shop
    #[arg(long, value_name = "ID")]
    pub(crate) payme_id: Option<String>,
    /// The key of its cashbox at Payme: sandbox-payme-key, or sandbox-payme-key- and more, so that two shops have two
    #[arg(long, value_name = "KEY", value_parser = payme_key)]
    pub(crate) payme_key: Option<String>,
    /// The number of its service at Click
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) click_service: Option<u32>,
    /// The store of its account at Atmos
    #[arg(long, value_name = "ID")]
    pub(crate) atmos_store: Option<String>,
    /// Where browsers reach it, such as http://localhost:8100; without it, the address it listens on
    #[arg(long, value_name = "URL", value_parser = base_address)]
    pub(crate) public_url: Option<Url>,
    /// Where to listen, instead of TASDIQ_SANDBOX_LISTEN
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// What becomes of an access token when another is asked for
    #[arg(long, value_enum, default_value_t = TokenModeArgument::Reuse)]
    pub(crate) token_mode: TokenModeArgument,
    /// How long an access token lives
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) token_lifetime: u32,
    /// How long a transaction can be paid
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) draft_lifetime: u32,
}

/// The way in which the sandbox treats its last token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenModeArgument {
    /// The same is given again, with what is left of its life
    Reuse,
    /// It is void at once, and a new one is given
    RevokePrevious,
}

fn payme_key(text: &str) -> Result<String, String> {
    match gateway::payme::is_sandbox_key(text) {
        true => Ok(text.to_owned()),
        false => Err("is no key of a sandbox: sandbox-payme-key, or sandbox-payme-key- and more".to_owned()),
    }
}

fn queue(text: &str) -> Result<QueueName, String> {
    match QueueName::parse(text) {
        Some(QueueName::Suspect) => Err("every worker takes suspects anyway".to_owned()),
        Some(queue) => Ok(queue),
        None => Err("the queues are settle, links and background".to_owned()),
    }
}
