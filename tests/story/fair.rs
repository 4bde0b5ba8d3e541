//! Many shops share one gateway and one rate limit.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::tea;
use crate::support::wait::wait_until;

on_both_kinds! {
    a_shop_that_makes_very_many_orders_does_not_delay_the_link_of_another
}

const MANY: &str = "key-of-the-shop-with-many";
const FEW: &str = "key-of-the-shop-with-few";

/// 200 links at 10 a second take 20 s. The link of the other shop's customer goes before them.
/// Shows: ADMISSION-11
async fn a_shop_that_makes_very_many_orders_does_not_delay_the_link_of_another(kind: Kind) {
    let keys = format!("many:{MANY},few:{FEW}");
    let variables =
        [("TASDIQ_API_KEYS", keys.as_str()), ("TASDIQ_GATEWAY_RATE", "10/10"), ("TASDIQ_LINK_WAIT_MS", "0")];
    let app = TestApp::start_with(kind, &variables).await;
    let create = async |key: &str| -> Value {
        let request = app.request(Method::POST, "/api/orders/create").bearer_auth(key).json(&tea());
        request.send().await.unwrap().json().await.unwrap()
    };
    let many: Vec<i64> = futures_util::future::join_all((0..200).map(|_| create(MANY)))
        .await
        .into_iter()
        .map(|order| order["order_id"].as_i64().unwrap())
        .collect();

    let began = Instant::now();
    let order = create(FEW).await;
    let path = format!("/api/orders/{}", order["order_id"]);
    let transaction_id = wait_until("the link", Duration::from_secs(30), async || {
        let order: Value = app.request(Method::GET, &path).bearer_auth(FEW).send().await.unwrap().json().await.unwrap();
        order["transaction_id"].as_i64()
    })
    .await;

    let took = began.elapsed();
    assert!(transaction_id > 0 && took < Duration::from_secs(8), "it took {took:?}");
    let made = r#"tasdiq_gateway_calls_total{gateway="atmos",operation="create",outcome="ok"}"#;
    let linked = app.metric(made).await;
    assert!(linked < 150, "{linked}: the others still wait");
    // No link is lost: links above a fair share only come later.
    wait_until("all links", Duration::from_secs(90), async || {
        let linked = app.metric(made).await;
        (linked > i64::try_from(many.len()).unwrap()).then_some(())
    })
    .await;
}
