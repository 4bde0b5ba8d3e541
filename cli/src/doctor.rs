//! `tasdiq doctor`: one line for each thing that payments need, with what to do where it is not well.

use config::Variables;
use store::processes::Process;
use telemetry::{self, LogFormat};

use crate::arguments::Output;
use crate::config::{CONTRACT, Role};
use crate::exit::Exit;
use crate::output::{print, print_json};

mod database;
mod environment;
mod findings;
mod gateway;
mod processes;
mod redis;
mod work;

use database::{look_at_data_dir, look_at_database};
use environment::{ReadableEnvironment, look_at_configuration, look_at_descriptors};
use findings::{Findings, Health};
use gateway::{look_at_gateway, look_at_weather};
use processes::look_at_processes;
use redis::look_at_redis;
use work::{look_at_callbacks, look_at_work};

/// Looks at everything and tells what it found.
///
/// # Errors
/// [`Exit::Findings`] when something is at fault.
pub(crate) async fn run(output: Output) -> Result<(), Exit> {
    // What is wrong is told as a finding, not between them.
    let _ = telemetry::init("off", LogFormat::Text);
    let mut findings = Findings::default();
    look(&Variables::of_this_process(&CONTRACT), &mut findings).await;
    let is_well = findings.0.iter().all(|finding| finding.state != Health::Fault);
    if output.json {
        print_json(&serde_json::json!({ "ok": is_well, "findings": findings.0 }))?;
    } else {
        print(&findings.text())?;
    }
    if is_well { Ok(()) } else { Err(Exit::Findings) }
}

async fn look(variables: &Variables, findings: &mut Findings) {
    let Some(environment) = ReadableEnvironment::read(variables) else {
        // Not to be expected; then at least what is wrong is told.
        return look_at_configuration(&[Role::Operator], variables, findings);
    };
    // Told first, and looked at last: what runs there tells by which rules the environment is judged.
    let mut installation = Findings::default();
    let running = look_at_installation(&environment, &mut installation).await;
    look_at_configuration(&environment.roles(&running), variables, findings);
    look_at_descriptors(findings);
    findings.0.append(&mut installation.0);
}

/// Returns the processes that are alive.
async fn look_at_installation(environment: &ReadableEnvironment, findings: &mut Findings) -> Vec<Process> {
    let config = &environment.config;
    let (mut store, mut alive) = (None, Vec::new());
    if environment.knows_database() {
        look_at_data_dir(config, findings);
        store = look_at_database(config, findings).await;
    }
    let redis = look_at_redis(config, store.as_ref(), findings).await;
    if let Some(store) = &store {
        alive = look_at_processes(config, store, redis.as_ref(), findings).await;
        look_at_work(store, findings).await;
        look_at_callbacks(store, findings).await;
        look_at_weather(store, findings).await;
    }
    if environment.knows_gateway() {
        look_at_gateway(config, store.as_ref(), redis.map(|redis| redis.server), findings).await;
    }
    alive
}

#[cfg(test)]
mod tests;
