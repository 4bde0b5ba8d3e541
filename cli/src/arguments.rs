//! What can be said on the command line. Secrets have no place here: they come from the environment.

use clap::{Args, Parser, Subcommand};
use domain::id::OrderId;

mod callbacks;
mod jobs;
mod names;
mod orders;
mod output;
mod processes;
mod weather;

pub(crate) use callbacks::{AccountField, CallbackCommand, CallbacksCommand, CallbacksFilter, SignArguments};
pub(crate) use jobs::{JobsCommand, JobsFilter};
pub(crate) use orders::{Because, OrdersCommand, ResolveArguments};
pub(crate) use output::Output;
pub(crate) use processes::{SandboxArguments, SuspectsArguments, TokenMode, WorkerArguments};
pub(crate) use weather::{BudgetWish, WeatherCommand};

/// Takes payments through Atmos: an order is paid only when the gateway has confirmed it, exactly once.
///
/// Without a command, everything starts in one process with a sandbox for a gateway: `tasdiq up`.
#[derive(Debug, Parser)]
#[command(name = "tasdiq", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// What to do; `up` if nothing is said.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start API, worker and sandbox in one process
    Up,
    /// Start the API of an installation with PostgreSQL and Redis
    Api,
    /// Start a worker of an installation with PostgreSQL and Redis
    Worker(WorkerArguments),
    /// Start a stand-in for the gateway, with no real money
    Sandbox(SandboxArguments),
    /// Bring the database's tables to this release
    Migrate,
    /// Say that a backup was restored, so that no number is given out twice
    ///
    /// Orders, jobs and refunds that were made after the backup are lost, and customers may hold their numbers. All numbers
    /// jump over them; running processes follow within seconds. A failover and most ways of restoring PostgreSQL are noticed
    /// without it, and to say it once too often costs nothing but numbers. Compare with the gateway then: `tasdiq audit`.
    Restored(Output),
    /// Tell what is well and what is not, and what to do about it
    Doctor(Output),
    /// Look at jobs, retry and cancel them
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Look at orders, ask the gateway about them, refund and cancel them, and decide about those that wait for a person
    #[command(subcommand)]
    Orders(OrdersCommand),
    /// Compare orders, transactions, jobs and callbacks with the gateway's word
    ///
    /// Prints every difference, and ends with 1 if there is one. May run while payments go on: what a job will notice by
    /// itself is no difference. With the sandbox its ledger is the gateway's word; Atmos is asked about each transaction,
    /// within the budget that the workers share.
    Audit(AuditArguments),
    /// How the gateway is, and how it may be called
    ///
    /// Processes share a budget of calls, and a breaker: after 5 failures in a row, of whatever process, it keeps all calls
    /// back and lets only one at a time try whether the gateway is back. What is said here holds for all processes, within a
    /// second, until it is said otherwise; it outlives restarts.
    #[command(subcommand)]
    Weather(WeatherCommand),
    /// Make callbacks by hand
    #[command(subcommand)]
    Callback(CallbackCommand),
    /// Look at the callbacks that came, and what was made of them
    #[command(subcommand)]
    Callbacks(CallbacksCommand),
    /// Run jobs that crashed their worker; a worker starts this by itself
    #[command(hide = true)]
    Suspects(SuspectsArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AuditArguments {
    /// Only orders that were made or have ended in so many days, or have not ended
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3_650))]
    pub(crate) since_days: Option<u16>,
    /// Only the order of this number
    #[arg(long, value_name = "ID", conflicts_with = "since_days")]
    pub(crate) order: Option<OrderId>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use domain::job::QueueName;
    use domain::order::REASON_CHARACTERS;

    use super::orders::{name, reason};
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn nothing_said_means_up() {
        assert!(parse("tasdiq").unwrap().command.is_none());
    }

    #[test]
    fn a_worker_takes_the_queues_it_is_told() {
        let arguments = parse("tasdiq worker --concurrency 8 --queues settle,links").unwrap();

        let Some(Command::Worker(worker)) = arguments.command else { panic!("no worker") };
        assert_eq!(worker.concurrency, 8);
        assert_eq!(worker.queues, [QueueName::Settle, QueueName::Links]);
    }

    #[test]
    fn a_sandbox_is_told_where_browsers_reach_it() {
        let arguments = parse("tasdiq sandbox --public-url http://localhost:8100").unwrap();

        let Some(Command::Sandbox(sandbox)) = arguments.command else { panic!("no sandbox") };
        assert_eq!(sandbox.public_url.unwrap().as_str(), "http://localhost:8100/");
    }

    #[test]
    fn a_name_and_a_reason_are_one_line_that_says_something() {
        assert_eq!(name(" Olim "), Ok("Olim".to_owned()));
        for text in ["", "  ", "a\nb", "\u{1b}[2J", &"x".repeat(101)] {
            assert!(name(text).is_err(), "{text:?}");
        }
        assert!(reason(&"x".repeat(REASON_CHARACTERS)).is_ok() && reason(&"x".repeat(REASON_CHARACTERS + 1)).is_err());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "tasdiq worker --queues settle,nonsense",
            "tasdiq worker --queues suspect",
            "tasdiq worker --concurrency 0",
            "tasdiq jobs list --state lost",
            "tasdiq jobs list --limit 0",
            "tasdiq jobs show x",
            "tasdiq orders review --limit 0",
            "tasdiq orders resolve 1 paid",
            "tasdiq orders resolve 1 paid --by Olim",
            "tasdiq orders resolve 1 paid --reason why",
            "tasdiq orders resolve 1 settled --by Olim --reason why",
            "tasdiq orders resolve 1 --by Olim --reason why",
            "tasdiq orders resolve 1 paid --by Olim --reason why --transaction-id x",
            "tasdiq orders resolve 1 paid --by  --reason why",
            "tasdiq orders refund 1",
            "tasdiq orders refund 1 --reason broken",
            "tasdiq orders refund 1 --by ann",
            "tasdiq orders refund 1 --reason  --by ann",
            "tasdiq orders refund x --reason broken --by ann",
            "tasdiq orders cancel 1 --reason broken",
            "tasdiq audit --order x",
            "tasdiq audit --since-days 0",
            "tasdiq audit --since-days x",
            "tasdiq audit --since-days 1 --order 1",
            "tasdiq audit 1",
            "tasdiq weather",
            "tasdiq weather set",
            "tasdiq weather set --rate 10",
            "tasdiq weather set --rate 0/10",
            "tasdiq weather set --rate 10/-1",
            "tasdiq weather set --rate unlimited",
            "tasdiq weather close now",
            "tasdiq weather close --override",
            "tasdiq callbacks",
            "tasdiq callbacks list --verdict wrong",
            "tasdiq callbacks list --order x",
            "tasdiq callbacks list --since 24",
            "tasdiq callbacks list --since 0h",
            "tasdiq callbacks list --since 91d",
            "tasdiq callbacks list --since ў",
            "tasdiq callbacks list --limit 0",
            "tasdiq callback sign --transaction-id 1 --account 1 --amount 5,00",
            "tasdiq callback sign --transaction-id 1 --account 1 --amount 50.001",
            "tasdiq sandbox --callback-url 127.0.0.1:8000",
            "tasdiq sandbox --token-mode rotate",
            "tasdiq sandbox --token-lifetime 1",
            "tasdiq sandbox --draft-lifetime 0",
            "tasdiq sandbox --public-url localhost:8100",
            "tasdiq sandbox --public-url http://localhost:8100?page=1",
        ] {
            let error = parse(line).unwrap_err();

            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
