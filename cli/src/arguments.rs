//! What can be said on the command line. Secrets have no place here: they come from the environment.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use shared::gateway_rate::GatewayRate;
use shared::id::{JobId, OrderId, TransactionId};
use shared::job::{JobKind, JobState, QueueName};
use shared::money::Tiyin;
use shared::order::{OrderStatus, REASON_CHARACTERS};
use shared::store::callbacks::Verdict;
use shared::text::{self, TextFault};
use shared::web_address;
use url::Url;

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

/// How data is printed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

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
    pub(crate) public_url: Url,
    /// Where the sandbox of that `up` listens
    #[arg(long)]
    pub(crate) sandbox: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct SandboxArguments {
    /// Where to ask before a debit, such as http://127.0.0.1:8000/atmos/webhook/; nobody is asked without it
    #[arg(long, value_name = "URL")]
    pub(crate) callback_url: Option<Url>,
    /// Where browsers reach it, such as http://localhost:8100; without it, the address it listens on
    #[arg(long, value_name = "URL", value_parser = web_address)]
    pub(crate) public_url: Option<Url>,
    /// Where to listen, instead of TASDIQ_SANDBOX_LISTEN
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// What becomes of an access token when another is asked for
    #[arg(long, value_enum, default_value_t = TokenMode::Reuse)]
    pub(crate) token_mode: TokenMode,
    /// How long an access token lives
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) token_lifetime: u32,
    /// How long a transaction can be paid
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) draft_lifetime: u32,
}

/// What the sandbox does with its last token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenMode {
    /// The same is given again, with what is left of its life
    Reuse,
    /// It is void at once, and a new one is given
    RevokePrevious,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List the newest jobs
    List(JobsFilter),
    /// Show one job
    Show {
        /// Its number
        id: JobId,
        #[command(flatten)]
        output: Output,
    },
    /// Run a dead letter again, or a waiting job at once
    Retry {
        /// Its number
        id: JobId,
        #[command(flatten)]
        output: Output,
    },
    /// Call off a job; that of a payment link takes its order along
    Cancel {
        /// Its number
        id: JobId,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(crate) struct JobsFilter {
    #[arg(long, value_parser = state, help = format!("Only those in this state: {}", names(JobState::ALL)))]
    pub(crate) state: Option<JobState>,
    #[arg(long, value_parser = kind, help = format!("Only those of this kind: {}", names(JobKind::ALL)))]
    pub(crate) kind: Option<JobKind>,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) limit: u16,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OrdersCommand {
    /// Show an order with its history, transactions, refunds, callbacks and jobs
    Show {
        /// Its number
        id: OrderId,
        #[command(flatten)]
        output: Output,
    },
    /// Ask the gateway for the truth about an order, soon
    Reconcile {
        /// Its number
        id: OrderId,
        #[command(flatten)]
        output: Output,
    },
    /// Give a paid order's money back, all of it
    Refund {
        /// Its number
        id: OrderId,
        #[command(flatten)]
        because: Because,
        #[command(flatten)]
        output: Output,
    },
    /// Call a pending order off
    Cancel {
        /// Its number
        id: OrderId,
        #[command(flatten)]
        because: Because,
        #[command(flatten)]
        output: Output,
    },
    /// List the orders that wait for a person, with what was found and what to do
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
    #[command(flatten)]
    pub(crate) output: Output,
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

#[derive(Debug, Subcommand)]
pub(crate) enum CallbackCommand {
    /// Print a rightly signed callback body, to be sent with curl
    Sign(SignArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CallbacksCommand {
    /// List the newest callbacks, with what was made of each
    List(CallbacksFilter),
}

#[derive(Debug, Args)]
pub(crate) struct CallbacksFilter {
    /// Only those with this verdict, such as badly_signed
    #[arg(long, value_parser = verdict)]
    pub(crate) verdict: Option<Verdict>,
    /// Only those about this order
    #[arg(long, value_name = "ID")]
    pub(crate) order: Option<OrderId>,
    /// Only those that first came so lately, such as 90m, 24h or 7d
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
    #[arg(long)]
    pub(crate) transaction_id: TransactionId,
    /// The order's number, as it was sent to the gateway
    #[arg(long)]
    pub(crate) account: String,
    /// The amount in soʻm, such as 50.00
    #[arg(long, value_name = "SOM", value_parser = Tiyin::from_som)]
    pub(crate) amount: Tiyin,
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

fn queue(text: &str) -> Result<QueueName, String> {
    match QueueName::parse(text) {
        Some(QueueName::Suspect) => Err("every worker takes suspects anyway".to_owned()),
        Some(queue) => Ok(queue),
        None => Err("the queues are settle, links and background".to_owned()),
    }
}

/// A link is made of it, which a browser must be able to open.
fn web_address(text: &str) -> Result<Url, String> {
    match web_address::parse(text) {
        Ok(url) if url.query().is_none() && url.fragment().is_none() => Ok(url),
        Ok(_) => Err("it has neither ? nor #".to_owned()),
        Err(fault) => Err(format!("it {fault}")),
    }
}

fn order_status(text: &str) -> Result<OrderStatus, String> {
    // What is on its way is decided by payments, and not by people.
    let can_be_named = |status: &OrderStatus| !matches!(status, OrderStatus::Pending | OrderStatus::Confirming);
    OrderStatus::parse(text).filter(can_be_named).ok_or_else(|| {
        let named: Vec<OrderStatus> = OrderStatus::ALL.iter().copied().filter(can_be_named).collect();
        format!("an order can be resolved as {}", names(&named))
    })
}

/// The longest name of a person.
const NAME_CHARACTERS: usize = 100;

fn name(text: &str) -> Result<String, String> {
    one_line(text, NAME_CHARACTERS)
}

fn reason(text: &str) -> Result<String, String> {
    one_line(text, REASON_CHARACTERS)
}

/// It is read in a history, line by line, by whoever looks into the order years later.
fn one_line(text: &str, most: usize) -> Result<String, String> {
    let text = text.trim();
    match text::check(text, most) {
        Ok(()) => Ok(text.to_owned()),
        Err(_) if text.is_empty() => Err("it is empty".to_owned()),
        Err(TextFault::TooLong) => Err(format!("it has {} characters, and {most} are the most", text.chars().count())),
        Err(fault) => Err(fault.to_string()),
    }
}

fn verdict(text: &str) -> Result<Verdict, String> {
    Verdict::parse(text).ok_or_else(|| format!("the verdicts are {}", names(Verdict::ALL)))
}

/// `90m`, `24h`, `7d`: no longer than callbacks are kept.
fn lately(text: &str) -> Result<Duration, String> {
    let seconds = match text.char_indices().last() {
        Some((place, unit)) => match (text[..place].parse::<u64>(), unit) {
            (Ok(minutes), 'm') => minutes.checked_mul(60),
            (Ok(hours), 'h') => hours.checked_mul(3_600),
            (Ok(days), 'd') => days.checked_mul(86_400),
            _ => None,
        },
        None => None,
    };
    let longest = Duration::from_secs(90 * 86_400);
    seconds
        .map(Duration::from_secs)
        .filter(|time| !time.is_zero() && *time <= longest)
        .ok_or_else(|| "write minutes, hours or days, such as 90m, 24h or 7d; 90d at most".to_owned())
}

fn state(text: &str) -> Result<JobState, String> {
    JobState::parse(text).ok_or_else(|| format!("the states are {}", names(JobState::ALL)))
}

fn kind(text: &str) -> Result<JobKind, String> {
    JobKind::parse(text).ok_or_else(|| format!("the kinds are {}", names(JobKind::ALL)))
}

fn names<T: ToString>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
