//! The clock of the database's host is set while the program runs.

use failpoint::Point;

use crate::support::installation::RunningInstallation;
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::role::RunningRole;
use crate::support::wait::{PATIENCE, wait_until};

/// A failpoint: the clock is right when the program starts, and is set while it runs.
fn set_while_it_runs(point: Point) -> String {
    format!("{point}=2*off->return")
}

/// Shows: JOB-26
#[tokio::test]
async fn servers_a_clock_that_is_set_is_told_by_log_metric_and_doctor() {
    let installation = RunningInstallation::start(&[]).await;
    let set = set_while_it_runs(Point::DatabaseClockAhead);
    let mut worker = installation.begin_worker(&[], &[("FAILPOINTS", &set)]);
    worker.ready().await;

    worker.program.wait_for_line("the database's clock stepped forward by 3600 s", PATIENCE).await;

    told(&worker, "forward").await;
    let doctor = installation.command(&["doctor"]).await;
    assert!(doctor.contains("the database's clock was set +3600 s at "), "{doctor}");
}

/// Shows: JOB-26
#[tokio::test]
async fn embedded_a_clock_that_is_set_is_told_by_log_metric_and_doctor() {
    let data_dir = tempfile::Builder::new().prefix("data.").tempdir().unwrap();
    let (address, gateway) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let set = set_while_it_runs(Point::DatabaseClockBehind);
    let environment = [
        ("TASDIQ_LISTEN", address.as_str()),
        ("TASDIQ_SANDBOX_LISTEN", &gateway),
        ("TASDIQ_DATA_DIR", data_dir.path().to_str().unwrap()),
    ];
    let with_step: Vec<(&str, &str)> = environment.iter().copied().chain([("FAILPOINTS", set.as_str())]).collect();
    let mut up = RunningRole::new(Program::start(&["up"], &with_step), &address);
    up.ready().await;

    up.program.wait_for_line("the database's clock stepped back by 3600 s", PATIENCE).await;

    told(&up, "back").await;
    let mut doctor = Program::start(&["doctor"], &environment);
    doctor.wait_exit(PATIENCE).await;
    assert!(doctor.output().contains("the database's clock was set -3600 s at "), "{}", doctor.output());
}

/// Waits until `/metrics` counts the step.
async fn told(role: &RunningRole, direction: &str) {
    let label = format!("direction=\"{direction}\"");
    let is_counted = async || (role.metric("tasdiq_clock_steps_total", &label).await == 1).then_some(());
    wait_until("the metric", PATIENCE, is_counted).await;
}
