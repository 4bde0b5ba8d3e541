//! A process shows the change of an order that another process makes.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;

use crate::support::installation::RunningInstallation;
use crate::support::role::id;
use crate::support::wait::{PATIENCE, wait_until};

/// Streams read their order every 5 s in any case. A change must show well before: processes send notices through
/// Redis.
const AT_ONCE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn an_order_made_at_one_api_is_followed_at_the_other() {
    let installation = RunningInstallation::start(&[]).await;
    let (first, second) = tokio::join!(installation.api(0), installation.api(1));
    let _worker = installation.worker(8).await;
    let order = first.create_order().await;
    let mut events = second.follow(id(&order)).await;
    assert_eq!(events.next().await.unwrap()["status"], "pending");

    let (outcome, paid_at, seen_at) = tokio::join!(
        installation.sandbox.pay(order["transaction_id"].as_i64().unwrap()),
        async {
            first.wait_for(id(&order), "paid").await;
            Instant::now()
        },
        async {
            events.wait_for("paid").await;
            Instant::now()
        }
    );

    assert_eq!(outcome, "debited");
    let late = seen_at.saturating_duration_since(paid_at);
    assert!(late < AT_ONCE, "the order was paid, and the other API told of it {late:?} later");
    assert!(events.next().await.is_none(), "the stream ends at a final status");
}

/// The customer may be sent to any API, and an order may be made while the gateway is down.
#[tokio::test]
async fn a_waiting_page_of_one_api_forwards_to_the_link_of_an_order_made_at_the_other() {
    let installation = RunningInstallation::start(&[("TASDIQ_LINK_WAIT_MS", "100")]).await;
    let (first, second) = tokio::join!(installation.api(0), installation.api(1));
    let _worker = installation.worker(8).await;
    installation.sandbox.fault(&json!({ "fault": "unavailable" })).await;

    let order = first.create_order().await;
    let page = order["payment_url"].as_str().unwrap();
    let path = page.strip_prefix(&first.role.url).expect("a page of ours").to_owned();
    let (status, text) = second.role.get(&path).await;

    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains("50,00"), "{text}");

    installation.sandbox.clear_faults().await;
    let forwarded = wait_until("the page to forward", PATIENCE, async || second.role.redirection(&path).await).await;
    assert!(forwarded.starts_with(&format!("{}/invoice/get", installation.sandbox.url)), "{forwarded}");
}
