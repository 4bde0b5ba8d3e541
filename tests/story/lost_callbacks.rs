//! No callback comes and no customer comes back: the published schedule alone finds every payment.

use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::app::{Kind, TestApp};
use crate::support::doors::OrderHistory;
use crate::support::wait::wait_until;

const ORDERS: usize = 1_000;

/// How many requests run at once.
const AT_ONCE: usize = 16;

/// The first inquiry comes a minute after the link. The rest of this time is for a thousand inquiries on a
/// busy machine.
const ASKED_WITHIN: Duration = Duration::from_secs(60 + 20);

/// Shows: PROMISE-6, JOB-5, GATEWAY-10
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_paid_orders_whose_callbacks_were_all_lost_settle_within_the_schedule() {
    let app = TestApp::start_with(Kind::Servers, &[("TASDIQ_LINK_WAIT_MS", "20000")]).await;
    app.fault(json!({ "fault": "callback-never" })).await;

    let began = Instant::now();
    let orders: Vec<_> = stream::iter(0..ORDERS)
        .map(async |_| {
            let order = app.order_with_link().await;
            assert_eq!(app.pay(order.transaction_id).await, "debited");
            order
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    println!("{ORDERS} orders made and paid in {:?}", began.elapsed());
    wait_until("all orders to be paid", ASKED_WITHIN + Duration::from_secs(15), async || {
        let waiting = "select count(*) from orders where status <> 'paid'";
        (app.number(waiting).await == 0).then_some(())
    })
    .await;

    let mut latest = Duration::ZERO;
    for order in &orders {
        let history = app.history(order.id).await;
        assert_eq!(history.statuses(), ["pending", "pending", "paid"], "order {}: {history}", order.id);
        let took = from_link_to_paid(&history);
        assert!(took >= Duration::from_secs(59), "no hint came for order {}: {history}", order.id);
        assert!(took <= ASKED_WITHIN, "order {} was paid only after {took:?}: {history}", order.id);
        latest = latest.max(took);
    }
    println!("the last was paid {latest:?} after its link");
    assert_eq!(app.number("select count(*) from callbacks").await, 0, "no callback came");
    let ids: Vec<i64> = orders.iter().map(|order| order.id).collect();
    app.audit(&ids).await;
}

fn from_link_to_paid(history: &OrderHistory) -> Duration {
    let at = |step: usize| OffsetDateTime::parse(&history.steps()[step].at, &Rfc3339).unwrap();
    (at(2) - at(1)).try_into().unwrap()
}
