//! A gateway that is flaky all day: it makes every fifth link and loses the answer, and every fifth inquiry fails.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use serde_json::json;

use crate::support::app::{Kind, TestApp};
use crate::support::doors::tea;
use crate::support::wait::wait_until;

/// The number of orders; `TASDIQ_TEST_FLAKY=1000 tests/run a_flaky_gateway` makes 1,000.
const ORDERS: usize = 250;

/// How many customers pay at once.
const AT_ONCE: usize = 64;

/// The time of a job that fails five times in a row, with the waits between its attempts.
const LONG: Duration = Duration::from_secs(90);

/// Shows: GATEWAY-6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flaky_gateway_makes_no_order_fail_and_none_paid_twice() {
    let orders = std::env::var("TASDIQ_TEST_FLAKY").map_or(ORDERS, |number| number.parse().unwrap());
    let app = TestApp::start_with(Kind::Servers, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    // The gateway does the work and loses the answer. The first ten calls wait as long as a call waits for an answer.
    let creates = json!({ "fault": "answer-late", "path": "/merchant/pay/create", "share": 0.2, "next": 10,
        "milliseconds": 130_000 });
    app.fault(creates).await;
    app.fault(json!({ "fault": "answer-lost", "path": "/merchant/pay/create", "share": 0.2 })).await;
    app.fault(json!({ "fault": "unavailable", "path": "/merchant/pay/get", "share": 0.2 })).await;

    let ids: Vec<i64> = stream::iter(0..orders)
        .map(async |_| {
            let created = app.create_order(&tea()).await;
            assert_eq!(created.status, 201, "{created}");
            let id = created.json()["order_id"].as_i64().unwrap();
            let what = format!("a link for order {id}");
            let transaction_id = wait_until(&what, LONG, async || app.order(id).await["transaction_id"].as_i64()).await;
            assert_eq!(app.pay(transaction_id).await, "debited");
            id
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;

    // A customer has each draft whose answer was lost, and tries to pay it.
    let book = app.ledger().await;
    let lost: Vec<i64> = book.iter().filter(|line| line.debits == 0).map(|line| line.transaction_id).collect();
    assert!(lost.len() > orders / 10, "every fifth answer is lost: {} of {}", lost.len(), book.len());
    let outcomes: Vec<String> =
        stream::iter(lost.clone()).map(async |draft| app.pay(draft).await).buffer_unordered(AT_ONCE).collect().await;
    let allowed = outcomes.iter().filter(|outcome| *outcome != "refused").count();
    assert_eq!(allowed, 0, "of {} second payments", lost.len());
    wait_until("all orders to be paid", LONG, async || {
        (app.number("select count(*) from orders where status <> 'paid'").await == 0).then_some(())
    })
    .await;

    let failed = "select count(*) from order_history where to_status in ('failed', 'expired', 'canceled', 'review')";
    assert_eq!(app.number(failed).await, 0, "none failed without the gateway's word");
    assert_eq!(app.metric("tasdiq_dead_letters").await, 0);
    assert_eq!(app.ledger().await.iter().map(|line| line.debits).sum::<i64>(), i64::try_from(orders).unwrap());
    assert_eq!(ids.len(), orders);
    let audit = app.run(&["audit"]).await;
    assert_eq!(audit.code, Some(0), "{audit:?}");
    println!("{orders} orders paid once each, {} drafts of lost answers refused", lost.len());
}
