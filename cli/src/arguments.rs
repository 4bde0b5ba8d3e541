//! The command line. It takes no secrets: they come from the environment.

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use domain::id::OrderId;

mod addresses;
mod callbacks;
mod checks;
mod examples;
mod finding;
mod gateways;
mod jobs;
mod names;
mod orders;
mod output;
mod processes;
mod shops;

pub(crate) use callbacks::{AccountField, CallbackCommand, CallbacksCommand, CallbacksFilter, SignArguments};
pub(crate) use checks::{CheckClickArguments, CheckCommand, CheckPaymeArguments, RefundArgument, SandboxCommand};
pub(crate) use finding::{NamedOrder, OrdersFilter};
pub(crate) use gateways::{GatewaysCommand, NamedAccount, WeatherCommand};
pub(crate) use jobs::{JobsCommand, JobsFilter};
pub(crate) use orders::{Because, OrdersCommand, ResolveArguments};
pub(crate) use output::Output;
pub(crate) use processes::{SandboxArguments, SuspectsArguments, TokenModeArgument, WorkerArguments};
pub(crate) use shops::ShopsCommand;

use crate::exit::CODES;
use examples::examples;

/// Takes payments through Atmos: an order is paid only when the gateway has confirmed it, exactly once.
///
/// Without a command, everything starts in one process with a sandbox of each gateway: `tasdiq up`.
#[derive(Debug, Parser)]
#[command(name = "tasdiq", version, max_term_width = WIDTH, after_long_help = after_help())]
pub(crate) struct CommandLine<Commands: Subcommand> {
    /// What to do; `up` where no command is given.
    #[command(subcommand)]
    pub(crate) command: Option<Commands>,
}

/// The command line with every command.
pub(crate) type Arguments = CommandLine<AnyCommand>;

/// The width of a help text, where the terminal is wider or there is none.
const WIDTH: usize = 100;

/// The text below the help of the program: examples, and every exit code.
fn after_help() -> String {
    let codes = CODES.iter().map(|code| {
        let act = match code.start_again {
            Some(true) => " (start it again)",
            Some(false) => " (do not start it again)",
            None => "",
        };
        format!("\n  {:9} {}", code.code, hanging(&format!("{}{act}", code.meaning), 12))
    });
    let examples = examples!("tasdiq", "tasdiq doctor", "tasdiq orders show 1", "tasdiq help orders resolve");
    format!("{examples}\n\nExit codes:{}", codes.collect::<String>())
}

/// The text in lines that fit, each but the first behind so many blanks.
fn hanging(text: &str, blanks: usize) -> String {
    let (mut lines, mut length) = (String::new(), blanks);
    for word in text.split(' ') {
        let word_length = word.chars().count() + 1;
        if length > blanks && length + word_length > WIDTH {
            lines.push_str(&format!("\n{:blanks$}", ""));
            length = blanks;
        } else if length > blanks {
            lines.push(' ');
        }
        lines.push_str(word);
        length += word_length;
    }
    lines
}

/// The command line for completions and man pages. It lacks the hidden commands, because completions show those, too.
pub(crate) fn command() -> clap::Command {
    CommandLine::<Command>::command()
}

/// A command, hidden or not.
#[derive(Debug, Subcommand)]
pub(crate) enum AnyCommand {
    #[command(flatten)]
    Shown(Command),
    #[command(flatten)]
    Hidden(HiddenCommand),
}

/// A command that help, completions and man pages do not show.
#[derive(Debug, Subcommand)]
pub(crate) enum HiddenCommand {
    /// The name of `gateways` in older releases
    #[command(subcommand, hide = true)]
    Weather(WeatherCommand),
    /// Run jobs that crashed their worker; a worker starts this by itself
    #[command(hide = true)]
    Suspects(SuspectsArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start API, worker and sandbox in one process
    ///
    /// Without settings it keeps its data in `./tasdiq-data` and takes no real money. With `DATABASE_URL` or `REDIS_URL` it
    /// uses those servers, and with the `ATMOS_` settings the real gateway.
    #[command(after_help = examples!("tasdiq up"))]
    Up,
    /// Start the API of an installation with PostgreSQL and Redis
    ///
    /// Takes orders, answers the gateway's callbacks, and shows customers their pages. Start as many as needed, behind a
    /// load balancer. Listens at `TASDIQ_LISTEN`.
    #[command(after_help = examples!("tasdiq api"))]
    Api,
    /// Start a worker of an installation with PostgreSQL and Redis
    ///
    /// Runs jobs: makes payment links, confirms payments, sends refunds. Start as many as needed. Answers health and metrics
    /// at `TASDIQ_WORKER_LISTEN`.
    #[command(after_help = examples!(
        "tasdiq worker",
        "tasdiq worker --concurrency 128",
        "tasdiq worker --queues settle,links"
    ))]
    Worker(WorkerArguments),
    /// Start a stand-in for each gateway, with no real money
    ///
    /// It answers as Atmos does, shows a page where a test card pays, asks before it debits, and plays faults on demand. It
    /// serves integrations in any language. Payme stands below /payme/, Click below /click/.
    #[command(after_help = examples!(
        "tasdiq sandbox",
        "tasdiq sandbox --listen 127.0.0.1:8100 --callback-url http://127.0.0.1:8000/atmos/webhook/",
        "tasdiq sandbox --payme-webhook http://127.0.0.1:8000/payme/webhook/",
        "tasdiq sandbox --click-prepare http://127.0.0.1:8000/click/webhook/",
        "tasdiq sandbox --token-mode revoke-previous --draft-lifetime 600"
    ))]
    Sandbox(Box<SandboxArguments>),
    /// Bring the database's tables to this release
    ///
    /// Harmless to repeat, and may run while processes of the older release work. It waits for locks up to 10 minutes.
    #[command(after_help = examples!(
        "tasdiq migrate";
        exits "0 the tables are ready, 75 a lock was held for too long (run it again)."
    ))]
    Migrate,
    /// Say that a backup was restored, so that no number is given out twice
    ///
    /// Orders, jobs and refunds that were made after the backup are lost, and customers may hold their numbers. All numbers
    /// jump over them; running processes follow within seconds. A failover and most ways of restoring PostgreSQL are noticed
    /// without it, and to say it once too often costs nothing but numbers. Compare with the gateway then: `tasdiq audit`.
    #[command(after_help = examples!("tasdiq restored"))]
    Restored(Output),
    /// Tell what is well and what is not, and what to do about it
    ///
    /// Reads the settings, asks database, Redis, processes and gateway, and changes nothing.
    #[command(after_help = examples!(
        "tasdiq doctor",
        "tasdiq doctor --json";
        exits "0 all is well, 1 there is a fault, 78 the settings cannot be read."
    ))]
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
    /// within the rate limit that the workers share.
    #[command(after_help = examples!(
        "tasdiq audit",
        "tasdiq audit --since-days 3",
        "tasdiq audit --order 17 --json";
        exits "0 no difference, 1 a difference, 75 the gateway cannot be asked, 78 it does not admit us."
    ))]
    Audit(AuditArguments),
    /// Show the gateways, pause and resume calls to them, and change their rate limit
    ///
    /// All processes share a rate limit and a circuit breaker. After 5 failures in a row, of any process, the breaker opens:
    /// no call leaves but one at a time, the probe, which tests whether the gateway works again. These commands hold for all
    /// processes, within a second, until they are taken back; they outlive restarts.
    #[command(subcommand)]
    Gateways(GatewaysCommand),
    /// Show the shops of this installation
    #[command(subcommand)]
    Shops(ShopsCommand),
    /// Make callbacks by hand
    #[command(subcommand)]
    Callback(CallbackCommand),
    /// Look at the callbacks that came, and what was made of them
    #[command(subcommand)]
    Callbacks(CallbacksCommand),
    /// Print completions for a shell
    ///
    /// For bash: put them into `~/.local/share/bash-completion/completions/tasdiq`, or source them.
    #[command(after_help = examples!("tasdiq completions bash", "tasdiq completions zsh"))]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page of `tasdiq`, or write the page of each command into a folder
    #[command(after_help = examples!("tasdiq man", "tasdiq man ./man1"))]
    Man {
        /// The folder; it is made where it is not there
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AuditArguments {
    /// Only orders that were made or ended within so many days, or have not ended
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=3_650))]
    pub(crate) since_days: Option<u16>,
    /// Only the order of this number
    #[arg(long, value_name = "ID", conflicts_with = "since_days")]
    pub(crate) order: Option<OrderId>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[cfg(test)]
mod reference;

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

        let Some(AnyCommand::Shown(Command::Worker(worker))) = arguments.command else { panic!("no worker") };
        assert_eq!(worker.concurrency, 8);
        assert_eq!(worker.queues, [QueueName::Settle, QueueName::Links]);
    }

    #[test]
    fn a_sandbox_is_told_where_browsers_reach_it() {
        let arguments = parse("tasdiq sandbox --public-url http://localhost:8100").unwrap();

        let Some(AnyCommand::Shown(Command::Sandbox(sandbox))) = arguments.command else { panic!("no sandbox") };
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
            "tasdiq orders show",
            "tasdiq orders show 1 --number 1",
            "tasdiq orders show --number x",
            "tasdiq orders show --reference a --transaction 1",
            "tasdiq orders list --status payed",
            "tasdiq orders list --since yesterday",
            "tasdiq orders list --amount 5,00",
            "tasdiq orders list --amount 5 --amount-from 1",
            "tasdiq orders list --payment-type cash",
            "tasdiq orders list --shop Tea",
            "tasdiq orders list --limit 0",
            "tasdiq orders list --limit 5 --all",
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
            "tasdiq gateways",
            "tasdiq gateways show paypal",
            "tasdiq gateways rate",
            "tasdiq gateways rate atmos",
            "tasdiq gateways rate 10",
            "tasdiq gateways rate 0/10",
            "tasdiq gateways rate 10/-1",
            "tasdiq gateways rate unlimited",
            "tasdiq gateways rate paypal 10/20",
            "tasdiq gateways pause now",
            "tasdiq gateways pause --override",
            "tasdiq gateways reset --override",
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
            "tasdiq sandbox --payme-webhook 127.0.0.1:8000",
            "tasdiq sandbox --click-complete http://127.0.0.1:8000/click/webhook/",
            "tasdiq sandbox --listen 127.0.0.1:8100 check payme http://127.0.0.1:8000 --account 1 --amount 50",
            "tasdiq sandbox check",
            "tasdiq sandbox check atmos http://127.0.0.1:8000",
            "tasdiq sandbox check payme",
            "tasdiq sandbox check payme 127.0.0.1:8000 --account 1 --amount 50",
            "tasdiq sandbox check payme http://127.0.0.1:8000 --amount 50",
            "tasdiq sandbox check payme http://127.0.0.1:8000 --account 1",
            "tasdiq sandbox check payme http://127.0.0.1:8000 --account 1 --amount 50 --scenario 3",
            "tasdiq sandbox check payme http://127.0.0.1:8000 --account 1 --amount 50 --busy-code 0",
            "tasdiq sandbox check click http://127.0.0.1:8000 --account 1 --amount 5,00",
            "tasdiq sandbox --public-url localhost:8100",
            "tasdiq sandbox --public-url http://localhost:8100?page=1",
        ] {
            let error = parse(line).unwrap_err();

            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
