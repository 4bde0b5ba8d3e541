//! The one binary: reads the command line and the environment, starts what was asked for, and ends with an exit
//! code that a supervisor understands.

use std::process::ExitCode;
use std::time::Duration;

use ::config::Variables;
use anyhow::Context;
use clap::Parser;
use tracing::{info, warn};

mod api;
mod arguments;
mod audit;
mod callback;
mod callbacks;
mod config;
mod data_dir;
mod database;
mod doctor;
mod exit;
mod gateways;
mod installation;
mod jobs;
mod local_address;
mod manual;
mod migrate;
mod orders;
mod output;
mod refunds;
mod restored;
mod sandbox;
mod shops;
mod signal;
mod suspects;
mod up;
mod worker;

use arguments::{AnyCommand, Arguments, Command, HiddenCommand, SandboxCommand};
use config::{CONTRACT, Config, Role};
use exit::Exit;
use signal::stop_on_signal;

/// The longest wait at the end for the last log lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The exit code of clap for a command line that cannot be read.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    // Clients for https panic without a provider. This fails only where one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Before anything is opened: how many connections are taken depends on it.
    http_server::raise_limit();
    let for_machines = std::env::args_os().any(|argument| argument == "--json");
    let command = match Arguments::try_parse() {
        Ok(arguments) => arguments.command.unwrap_or(AnyCommand::Shown(Command::Up)),
        Err(fault) => {
            // A request for help is no fault.
            if for_machines && fault.exit_code() != 0 {
                let text = fault.to_string();
                telemetry::say(&output::fault(text.strip_prefix("error: ").unwrap_or(&text).trim_end(), MISUSED));
                telemetry::flush(LAST_LINES);
                return ExitCode::from(MISUSED);
            }
            fault.exit()
        }
    };
    let code = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = match runtime.block_on(run(command)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(exit) => exit.report(for_machines),
            };
            // Every command has waited for its own work. Work that still runs must not delay the end.
            runtime.shutdown_timeout(Duration::from_secs(1));
            code
        }
        Err(error) => Exit::failed(format!("cannot start the runtime: {error}")).report(for_machines),
    };
    telemetry::flush(LAST_LINES);
    code
}

async fn run(command: AnyCommand) -> Result<(), Exit> {
    failpoint::arm().map_err(Exit::configuration)?;
    let command = match command {
        AnyCommand::Shown(command) => command,
        AnyCommand::Hidden(HiddenCommand::Weather(command)) => {
            return gateways::run_older(&configure(Role::Operator)?, command).await;
        }
        AnyCommand::Hidden(HiddenCommand::Suspects(arguments)) => return suspects::run(arguments).await,
    };
    match command {
        Command::Up => up::run(configure(Role::Up)?, &stop_on_signal()?).await,
        Command::Api => api::run(configure(Role::Api)?, &stop_on_signal()?).await,
        Command::Worker(arguments) => worker::run(&configure(Role::Worker)?, &arguments, &stop_on_signal()?).await,
        Command::Sandbox(arguments) => match arguments.command {
            Some(SandboxCommand::Check(command)) => sandbox::check::run(command).await,
            None => sandbox::run(&configure(Role::Sandbox)?, *arguments, &stop_on_signal()?).await,
        },
        // The rest is short, and a signal may simply end it: what was not committed was not done.
        Command::Migrate => migrate::run(&configure(Role::Migrate)?).await,
        Command::Restored(output) => restored::run(&configure(Role::Operator)?, output).await,
        Command::Doctor(output) => doctor::run(output).await,
        Command::Jobs(command) => jobs::run(&configure(Role::Operator)?, command).await,
        Command::Orders(command) => orders::run(&configure(Role::Operator)?, command).await,
        Command::Audit(arguments) => audit::run(&configure(Role::Operator)?, &arguments).await,
        Command::Gateways(command) => gateways::run(&configure(Role::Operator)?, command).await,
        Command::Shops(command) => shops::run(&configure(Role::Operator)?, command).await,
        Command::Callback(command) => callback::run(&configure(Role::Operator)?, command),
        Command::Callbacks(command) => callbacks::run(&configure(Role::Operator)?, command).await,
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { folder } => manual::pages(folder.as_deref()),
    }
}

/// Reads the environment and sets up the log, in that order: the log's look is part of the environment.
fn configure(role: Role) -> Result<Config, Exit> {
    let variables = Variables::of_this_process(&CONTRACT);
    let config = Config::from_variables(role, &variables)
        .map_err(|faults| data_dir::with_its_fault(faults, role, &variables))?;
    telemetry::init(&config.telemetry.filter, config.telemetry.format).context("cannot set up the log")?;
    if !variables.from_dotenv().is_empty() {
        info!("settings from .env: {}", variables.from_dotenv().join(", "));
    }
    for warning in &config.warnings {
        warn!("{warning}");
    }
    Ok(config)
}
