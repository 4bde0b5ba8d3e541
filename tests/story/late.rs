//! The time to pay is over. (The shortest one is a minute, most of which the test takes out of the rows.)

use std::time::Duration;

use serde_json::json;

use crate::support::app::{Kind, TestApp};

/// Shows: MONEY-12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_whose_time_is_over_takes_no_money_and_loses_none() {
    const SOON: Duration = Duration::from_secs(25);
    let app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_PAYMENT_TTL_MINUTES", "1")]).await;
    let unpaid = app.order_with_link().await;
    let in_secret = app.order_with_link().await;
    let asked_late = app.order_with_link().await;
    // Paid in time, but without a sign: no callback came, and the customer never came back.
    app.fault(json!({ "fault": "callback-never" })).await;
    assert_eq!(app.pay(in_secret.transaction_id).await, "debited");
    app.clear_faults().await;

    // What is to come, comes 55 s earlier.
    app.execute("update orders set expires_at_ms = expires_at_ms - 55000, link_at_ms = link_at_ms - 55000").await;
    app.execute("update jobs set due_at_ms = due_at_ms - 55000 where kind = 'settle_order' and state = 'available'")
        .await;
    app.wait_for_within(unpaid.id, "expired", SOON).await;
    app.wait_for(asked_late.id, "expired").await;

    // The last inquiry found the payment without a sign.
    app.wait_for(in_secret.id, "paid").await;
    // The gateway now gets a no, so no money moves, and the page no longer links to the payment.
    assert_eq!(app.pay(unpaid.transaction_id).await, "refused");
    assert_eq!(app.verdicts(unpaid.id).await, [("late".to_owned(), 1)]);
    assert_eq!(app.open(&format!("{}/pay/{}", app.url, unpaid.token)).await.status, 200);
    // If the gateway debits all the same, a person is told at once.
    app.fault(json!({ "fault": "debit-although-refused" })).await;
    assert_eq!(app.pay(asked_late.transaction_id).await, "debited");
    let review = app.wait_for(asked_late.id, "review").await;
    assert!(review["reason"].as_str().unwrap().contains("expired"), "{review}");
    assert_eq!(app.status(unpaid.id).await, "expired");
    app.audit(&[unpaid.id, in_secret.id, asked_late.id]).await;
}
