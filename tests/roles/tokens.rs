//! The gateway's token, where each login makes the last token void for all other processes.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::installation::RunningInstallation;
use crate::support::role::{RunningRole, id};
use crate::support::wait::{PATIENCE, wait_until};

const WORKERS: usize = 8;

/// Jobs that a worker runs at once: as many of its calls can be under way when the token turns void.
const CONCURRENCY: usize = 4;

/// The life of a short token. It is renewed at half its life, so two calls of `/token` in each life are right.
const LIFETIME_SECONDS: u64 = 3;

const LIVES: u64 = 2;

/// Two calls for each expiry, and no storm of refusals. If each worker had its own token, or two renewed at once, the
/// workers would make each other's token void again and again.
/// Shows: GATEWAY-1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_workers_share_one_token_and_replace_it_once() {
    // Frequent inquiries, so that every worker calls the gateway all the time.
    let installation =
        RunningInstallation::start(&[("TASDIQ_SETTLE_SCHEDULE", "0.1"), ("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let sandbox = &installation.sandbox;
    sandbox.tokens(&json!({ "mode": "revoke-previous", "lifetime_seconds": LIFETIME_SECONDS })).await;
    let api = installation.api(0).await;
    let workers = join_all((0..WORKERS).map(|_| installation.worker(CONCURRENCY))).await;
    let mut transactions = Vec::new();
    for order in api.create_orders(20).await {
        transactions.push((id(&order), api.wait_for_link(id(&order)).await));
    }
    // Allowed, and declined by the bank: these orders are asked about again and again.
    sandbox.fault(&json!({ "fault": "debit-declined", "next": transactions.len() })).await;
    for (_, transaction_id) in &transactions {
        assert_eq!(sandbox.pay(*transaction_id).await, "declined");
    }
    all_inquire(&workers).await;

    // Without a disturbance.
    let (before, began) = (sandbox.tokens(&json!({})).await, Instant::now());
    tokio::time::sleep(Duration::from_secs(LIVES * LIFETIME_SECONDS)).await;
    all_inquire(&workers).await;
    let (after, took) = (sandbox.tokens(&json!({})).await, began.elapsed());
    let (token_calls, refusals) = since(&before, &after);
    println!("in {took:?} of tokens that live {LIFETIME_SECONDS} s: {token_calls} token calls, {refusals} refusals");
    let lifetime = Duration::from_secs(LIFETIME_SECONDS);
    // The first call may come at once.
    assert!(lifetime / 2 * u32::try_from(token_calls - 1).unwrap() <= took, "{token_calls} token calls in {took:?}");
    assert!(refusals <= token_calls * CALLS_UNDER_WAY, "{refusals} refusals by {token_calls} tokens");

    // Another client logs in.
    sandbox.tokens(&json!({ "lifetime_seconds": 3_600 })).await;
    sandbox.log_in_elsewhere().await; // the last short token ends
    all_inquire(&workers).await;
    for _ in 0..10 {
        let before = sandbox.tokens(&json!({})).await;
        sandbox.log_in_elsewhere().await;
        all_inquire(&workers).await;
        let (token_calls, refusals) = since(&before, &sandbox.tokens(&json!({})).await);
        println!("after another login: {token_calls} token calls, {refusals} refusals");
        assert!((1..=2).contains(&token_calls), "{token_calls}");
        assert!(refusals <= token_calls * CALLS_UNDER_WAY, "{refusals}");
    }

    for (order_id, transaction_id) in transactions {
        assert_eq!(sandbox.pay(transaction_id).await, "debited");
        api.wait_for(order_id, "paid").await;
    }
}

const CALLS_UNDER_WAY: u64 = (WORKERS * CONCURRENCY) as u64;

/// Waits until each worker has asked the gateway some more times, and got answers.
async fn all_inquire(workers: &[RunningRole]) {
    const INQUIRIES: u64 = 8;
    join_all(workers.iter().map(async |worker| {
        let inquiries =
            async || worker.metric("tasdiq_gateway_calls_total", r#"operation="inquiry",outcome="ok""#).await;
        let begun = inquiries().await;
        wait_until("a worker to inquire", PATIENCE, async || (inquiries().await >= begun + INQUIRIES).then_some(()))
            .await;
    }))
    .await;
}

/// Calls of `/token` between two reports, and calls that were answered 401.
fn since(before: &Value, after: &Value) -> (u64, u64) {
    let grown = |name: &str| after[name].as_u64().unwrap() - before[name].as_u64().unwrap();
    (grown("token_calls"), grown("rejected_calls"))
}
