//! A job that ends any process that runs it: it dies alone, and takes no other job along.

use std::time::{Duration, Instant};

use failpoint::{Point, defect_of};
use futures_util::future::join_all;
use serde_json::Value;

use super::{House, command, pairs};
use crate::support::app::{Kind, on_both_kinds};
use crate::support::program::Program;
use crate::support::supervised::{Supervised, supervise};
use crate::support::wait::PATIENCE;

on_both_kinds! {
    a_job_that_ends_its_process_dies_alone_and_no_other_is_counted
}

/// The order whose jobs end their process.
const DEFECTIVE: i64 = 13;

/// Orders whose links are made at the same time.
const NEIGHBOURS: i64 = 20;

/// Two leases, four processes of suspects, and the waits of a job that crashed alone: 10 s and 60 s, if no operator ends them.
const DEAD_WITHIN: Duration = Duration::from_secs(150);

/// The longest wait of a new customer for a link, while the suspects run.
const LINK_WITHIN: Duration = Duration::from_secs(5);

/// Shows: JOB-22
async fn a_job_that_ends_its_process_dies_alone_and_no_other_is_counted(kind: Kind) {
    assert_eq!(defect_of(DEFECTIVE), Some(Point::DefectKills));
    let deadly = format!("{}=kill", Point::DefectKills);
    let mut house = House::start_with(kind, Vec::new(), false, &[("FAILPOINTS", &deadly)]).await;
    house.fault(r#"{"fault":"latency","milliseconds":1000}"#).await;
    let (patient, deadline) = (house.patient.clone(), Instant::now() + DEAD_WITHIN);

    let created = async {
        let orders = (1..=NEIGHBOURS).map(async |key| patient.create(&format!("neighbour-{key}"), deadline).await);
        join_all(orders).await
    };
    let neighbours = supervise(&mut house.programs, created).await;
    assert!(neighbours.contains(&Some(DEFECTIVE)), "{neighbours:?}");
    // From its second crash on it is a suspect, and so is every job that crashed twice with it.
    while ends(&house.programs) < 2 {
        assert!(Instant::now() < deadline, "it does not end its process");
        supervise(&mut house.programs, tokio::time::sleep(Duration::from_millis(50))).await;
    }
    let customers = async {
        let mut number = 0;
        loop {
            number += 1;
            let began = Instant::now();
            let order = patient.create(&format!("customer-{number}"), deadline).await.expect("an order");
            let link = patient.link(order, deadline).await;
            // The process has just restarted.
            if number > 1 {
                assert!(link.is_some() && began.elapsed() < LINK_WITHIN, "a link took {:?}", began.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    // A suspect that crashed alone waits for 10 s, then for 60 s (the contracts of jobs); an operator does not.
    let environment = house.environment.clone();
    let hurried = async {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let jobs = command(&environment, &["jobs", "list", "--state", "available", "--json"]).await;
            let jobs: Vec<Value> = serde_json::from_str(&jobs).unwrap();
            let waits = |job: &&Value| job["subject_id"] == DEFECTIVE && job["queue"] == "suspect";
            if let Some(job) = jobs.iter().find(waits) {
                let mut retry = Program::start(&["jobs", "retry", &job["id"].to_string()], &pairs(&environment));
                // Refused if it runs by now.
                retry.wait_exit(PATIENCE).await;
            }
        }
    };
    let died = async {
        tokio::select! {
            died = patient.reaches(DEFECTIVE, "review", deadline) => died,
            never = customers => never,
            never = hurried => never,
        }
    };
    assert!(supervise(&mut house.programs, died).await, "{:?}", patient.order(DEFECTIVE).await);

    assert_eq!(ends(&house.programs), 2, "no process of others has died since");
    let line = format!("failpoint {}: this process ends here", Point::DefectKills);
    let alone: usize = house.programs.iter().map(|program| program.output().matches(&line).count()).sum();
    assert_eq!(alone, 5, "once with all that crashed with it, once with fewer, three times alone");
    for order in neighbours.into_iter().flatten().filter(|order| *order != DEFECTIVE) {
        assert!(patient.link(order, deadline).await.is_some(), "order {order} has its link");
    }
    let dead = house.command(&["jobs", "list", "--state", "dead", "--json"]).await;
    let dead: Vec<Value> = serde_json::from_str(&dead).unwrap();
    assert_eq!(dead.iter().map(|job| job["subject_id"].as_i64()).collect::<Vec<_>>(), [Some(DEFECTIVE)]);
}

/// How often a process of the house has ended.
fn ends(programs: &[Supervised]) -> usize {
    programs.iter().map(|program| program.endings().len()).sum()
}
