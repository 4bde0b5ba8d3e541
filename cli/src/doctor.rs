//! `tasdiq doctor`: one line for each thing that payments need, with what to do where it is not well.

use config::Variables;
use store::processes::Process;
use telemetry::{self, LogFormat};

use crate::arguments::Output;
use crate::config::{CONTRACT, Role};
use crate::exit::Exit;
use crate::output::{print, print_json};

mod check_results;
mod database;
mod environment;
mod gateway;
mod gateway_place;
mod processes;
mod redis;
mod work;

use check_results::{CheckResults, Health};
use database::{look_at_data_dir, look_at_database};
use environment::{ReadableEnvironment, look_at_configuration, look_at_descriptors};
use gateway::{look_at_admission, look_at_gateways};
use processes::look_at_processes;
use redis::look_at_redis;
use work::{look_at_callbacks, look_at_work};

/// Checks everything and prints the results.
///
/// # Errors
/// [`Exit::Findings`] when something is at fault.
pub(crate) async fn run(output: Output) -> Result<(), Exit> {
    // Trouble is reported as a result, and not in log lines between the results.
    let _ = telemetry::init("off", LogFormat::Text);
    let mut results = CheckResults::default();
    look(&Variables::of_this_process(&CONTRACT), &mut results).await;
    let is_well = results.0.iter().all(|result| result.state != Health::Fault);
    if output.json {
        print_json(&serde_json::json!({ "ok": is_well, "findings": results.0 }))?;
    } else {
        print(&results.text())?;
    }
    if is_well { Ok(()) } else { Err(Exit::Findings) }
}

async fn look(variables: &Variables, results: &mut CheckResults) {
    let Some(environment) = ReadableEnvironment::read(variables) else {
        // This is not expected. Then at least the faults are reported.
        return look_at_configuration(&[Role::Operator], variables, results);
    };
    // The configuration is printed first and checked last: the running processes decide by which rules it is judged.
    let mut installation = CheckResults::default();
    let running = look_at_installation(&environment, &mut installation).await;
    look_at_configuration(&environment.roles(&running), variables, results);
    look_at_descriptors(results);
    results.0.append(&mut installation.0);
}

/// Returns the processes that are alive.
async fn look_at_installation(environment: &ReadableEnvironment, results: &mut CheckResults) -> Vec<Process> {
    let config = &environment.config;
    let (mut store, mut alive) = (None, Vec::new());
    if environment.knows_database() {
        look_at_data_dir(config, results);
        store = look_at_database(config, results).await;
    }
    let redis = look_at_redis(config, store.as_ref(), results).await;
    if let Some(store) = &store {
        alive = look_at_processes(config, store, redis.as_ref(), results).await;
        look_at_work(store, results).await;
        look_at_callbacks(store, results).await;
        look_at_admission(config, store, results).await;
    }
    if environment.knows_gateway() {
        look_at_gateways(config, store.as_ref(), redis.map(|redis| redis.server), results).await;
    }
    alive
}

#[cfg(test)]
mod tests;
