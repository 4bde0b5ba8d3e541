//! Workers of two gateway accounts on one database, as during a shop's change of its store.

use crate::support::installation::{ORDERS_WITHOUT_LINK, RunningInstallation};
use crate::support::role::id;
use crate::support::wait::{PATIENCE, wait_until};

/// Each worker takes jobs of both accounts. A job of the other account reaches the other worker within seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workers_job_of_another_gateway_account_is_done_by_the_worker_that_has_it() {
    let installation = RunningInstallation::start(&[]).await;
    let api = installation.api(0).await;
    let mut strangers = [(); 2].map(|()| installation.begin_worker(&[], &[("ATMOS_STORE_ID", "5678")]));
    let mut ours = installation.begin_worker(&[], &[]);
    for worker in strangers.iter_mut().chain([&mut ours]) {
        worker.ready().await;
    }

    let orders = api.create_orders(24).await;

    installation.wait_for_links(PATIENCE).await;
    let transaction_id = api.wait_for_link(id(&orders[0])).await;
    installation.sandbox.pay(transaction_id).await;
    api.wait_for(id(&orders[0]), "paid").await;
    let doctor = installation.command(&["doctor"]).await;
    assert!(doctor.contains("workers of 2 gateway accounts share this database"), "{doctor}");

    ours.program.signal("TERM");
    ours.program.wait_exit(PATIENCE).await;
    api.create_orders(4).await;
    let told = wait_until("doctor to report orders that no worker can ask about", PATIENCE, async || {
        let told = installation.command(&["doctor"]).await;
        told.contains("open orders of sandbox:1234 wait for a worker that has this account").then_some(told)
    })
    .await;
    assert!(told.contains("sandbox:5678"), "{told}");
    let _again = installation.worker(4).await;
    installation.wait_for_number(ORDERS_WITHOUT_LINK, PATIENCE, |orders| orders == 0).await;
}
