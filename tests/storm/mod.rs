//! The storm: real processes under a steady load of orders, payments and callbacks at three gateways, while processes are
//! killed and stopped, servers are wiped, gateways are away, accounts are missing, and answers are wrong or lost. Afterwards
//! all orders are compared with each gateway's own book.
//!
//! `tests/run` has a short one. The long one:
//!
//! ```sh
//! TASDIQ_TEST_STORM=long tests/run a_storm
//! ```
//!
//! Both print the seed from which the storm was drawn; `TASDIQ_TEST_STORM_SEED` draws the same again. Their counts are
//! also written to `target/tmp/storm.txt`. After a storm with a fault, all rows, books and outputs are in
//! `target/tmp/storm/`.

mod accounts;
mod book;
mod customers;
mod faults;
mod house;
mod payers;
mod plan;
mod reckoning;
mod records;
mod restarts;

use std::path::Path;
use std::time::Instant;

use customers::Customers;
use house::House;
use plan::StormPlan;
use reckoning::Reckoning;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_loses_nothing_and_doubles_nothing() {
    let seed = match std::env::var("TASDIQ_TEST_STORM_SEED") {
        Ok(seed) => seed.parse().expect("TASDIQ_TEST_STORM_SEED is a number"),
        Err(_) => rand::random(),
    };
    let plan = match std::env::var("TASDIQ_TEST_STORM").as_deref() {
        Err(_) | Ok("short") => StormPlan::short(seed),
        Ok("long") => StormPlan::long(seed),
        Ok(other) => panic!("TASDIQ_TEST_STORM is short or long, and not {other}"),
    };
    println!("{} storm, TASDIQ_TEST_STORM_SEED={seed}", plan.name);

    let began = Instant::now();
    let mut house = House::build(&plan).await;
    house.sandbox_faults().await;
    let customers = Customers::start(&plan, house.patient());
    house.rage(&plan).await;
    println!("the worst is over after {:?}", began.elapsed());
    house.clear_skies().await;
    let served = house.supervise_until(customers.served()).await;
    println!("{served} after {:?}", began.elapsed());
    let unsettled = house.settle(plan.settle_within, &served.waiting()).await;

    let reckoning = Reckoning::of(&mut house, &plan, &served, unsettled).await;
    let report = format!("{} storm, seed {seed}, {} s\n{reckoning}", plan.name, began.elapsed().as_secs());
    println!("{report}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("storm.txt");
    std::fs::write(&file, &report).unwrap();
    reckoning.judge(&plan);
}
