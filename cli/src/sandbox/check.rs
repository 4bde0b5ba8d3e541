//! `tasdiq sandbox check`: a merchant's endpoint against a gateway's own test course.

use ::sandbox::{BusyCode, CheckReport, ClickTester, PaymeScenarios, RefundPolicy};
use anyhow::Context;
use config::Variables;

use crate::arguments::{CheckClickArguments, CheckCommand, CheckPaymeArguments, Output, RefundArgument};
use crate::config::CONTRACT;
use crate::exit::Exit;
use crate::output::{plain, print, print_json};

/// The secret key of the sandbox's Click.
const CLICK_SANDBOX_KEY: &str = "sandbox-click-secret";

/// Runs the test course and prints its list.
///
/// # Errors
/// A line of the list is red.
pub(crate) async fn run(command: CheckCommand) -> Result<(), Exit> {
    match command {
        CheckCommand::Payme(arguments) => payme(arguments).await,
        CheckCommand::Click(arguments) => click(arguments).await,
    }
}

async fn payme(arguments: CheckPaymeArguments) -> Result<(), Exit> {
    let usual = PaymeScenarios::new(arguments.url, arguments.account, arguments.amount.get());
    let scenarios = PaymeScenarios {
        key: key(arguments.key, "PAYME_KEY", &usual.key)?,
        account_field: arguments.account_field,
        busy_code: arguments.busy_code.map_or(BusyCode::OfAccount, BusyCode::Exactly),
        refund: match arguments.refund {
            RefundArgument::Accept => RefundPolicy::Accept,
            RefundArgument::Refuse => RefundPolicy::Refuse,
        },
        scenarios: arguments.scenario.map_or(usual.scenarios, |scenario| vec![scenario]),
        ..usual
    };
    let report = scenarios.run().await.context("cannot make an HTTP client")?;
    if !arguments.output.json {
        print(&format!("The first order on Payme's own test page: {}", scenarios.checkout_link(&arguments.id)))?;
    }
    told(&report, arguments.output)
}

async fn click(arguments: CheckClickArguments) -> Result<(), Exit> {
    let tester = ClickTester {
        complete_url: arguments.complete_url.unwrap_or_else(|| arguments.url.clone()),
        prepare_url: arguments.url,
        service_id: arguments.service_id,
        secret_key: key(arguments.secret_key, "CLICK_SECRET_KEY", CLICK_SANDBOX_KEY)?,
        accounts: arguments.account,
        amount_tiyin: arguments.amount.get(),
    };
    let report = tester.run().await.context("cannot make an HTTP client")?;
    told(&report, arguments.output)
}

/// The key of the calls: the given one, or that of the environment, or the sandbox's.
fn key(given: Option<String>, variable: &str, of_sandbox: &str) -> Result<String, Exit> {
    if let Some(key) = given {
        return Ok(key);
    }
    let (variables, faults) = Variables::of_this_process(&CONTRACT).opened(&CONTRACT, |name| name == variable);
    if let Some(fault) = faults.first() {
        return Err(Exit::configuration(fault));
    }
    let keys = variables.get(variable).filter(|keys| !keys.trim().is_empty());
    // While keys change there are two, and a merchant takes either.
    let keys = keys.as_deref().unwrap_or(of_sandbox);
    Ok(keys.split(',').next().unwrap_or_default().trim().to_owned())
}

/// Prints the list; a red line is a finding.
fn told(report: &CheckReport, output: Output) -> Result<(), Exit> {
    if output.json {
        print_json(report)?;
    } else {
        // Each line has text from outside.
        let lines: Vec<String> = report.to_string().lines().map(plain).collect();
        print(&lines.join("\n"))?;
    }
    if report.is_green() { Ok(()) } else { Err(Exit::Findings) }
}
