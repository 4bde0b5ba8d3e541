//! One order through several processes.

use crate::support::installation::RunningInstallation;
use crate::support::role::id;

/// An order gets its link and becomes paid once, by whatever processes.
#[tokio::test]
async fn orders_made_at_either_api_get_links_and_become_paid() {
    let installation = RunningInstallation::start(&[]).await;
    let apis = tokio::join!(installation.api(0), installation.api(1));
    let _workers = tokio::join!(installation.worker(8), installation.worker(8));
    let apis = [apis.0, apis.1];

    for (made_at, seen_at) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
        let order = apis[made_at].create_order().await;
        let link = order["payment_url"].as_str().unwrap();
        assert!(link.starts_with(&format!("{}/invoice/get", installation.sandbox.url)), "no link in time: {link}");

        let outcome = installation.sandbox.pay(order["transaction_id"].as_i64().unwrap()).await;

        assert_eq!(outcome, "debited");
        apis[seen_at].wait_for(id(&order), "paid").await;
        assert_eq!(installation.sandbox.debits(id(&order)).await, 1);
    }
}
