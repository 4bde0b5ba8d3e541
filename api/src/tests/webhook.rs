//! The answers to callbacks.

use domain::callback_verdict::CallbackVerdict;
use domain::order::OrderStatus;
use domain::review::{FindingKind, NewFinding};
use serde_json::{Value, json};
use store::callbacks;
use store::settlement::Settlement;

use super::support::{TestApi, TestResponse, gzip, send};

#[track_caller]
fn assert_allowed(answer: &TestResponse) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), json!({ "status": 1, "message": "Успешно" }));
}

#[track_caller]
pub(super) fn assert_refused(answer: &TestResponse, why: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body: Value = answer.json();
    assert_eq!(body["status"], 0, "{answer:?}");
    assert!(body["message"].as_str().unwrap().contains(why), "{answer:?}");
}

#[tokio::test]
async fn a_right_callback_is_allowed_and_repeated_with_the_same_answer() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;

    let body = api.signed(domain::id::TransactionId(700), "1", 5_000);
    for _ in 0..3 {
        assert_allowed(&api.webhook(body.clone()).await);
    }

    let order = api.reread(order.id).await;
    assert_eq!(order.status, OrderStatus::Confirming, "allowed is not paid");
    let kept = callbacks::of_order(api.store(), order.id).await.unwrap();
    assert_eq!((kept.len(), kept[0].seen_count), (1, 3));
}

#[tokio::test]
async fn the_address_works_without_its_last_slash_and_whatever_the_content_type() {
    let api = TestApi::start().await;
    let order = api.order().await;
    api.link(&order, 700).await;
    let body = api.signed(domain::id::TransactionId(700), "1", 5_000);

    for path in ["/atmos/webhook", "//atmos/webhook/", "/atmos//webhook/", "/atmos/webhook//"] {
        let request = api.client.post(path).content_type("text/plain").body(body.clone());

        assert_allowed(&send(request).await);
    }
}

/// As at the other gateways: the address may name the shop, and then takes the callbacks of its own store alone.
#[tokio::test]
async fn the_address_of_a_shop_takes_the_callbacks_of_its_own_store_alone() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    let body = api.signed(domain::id::TransactionId(700), "1", 5_000);

    for path in ["/atmos/webhook/other", "/atmos/webhook/other/", "/atmos/webhook/%20", "/atmos/webhook/%ff/"] {
        assert_refused(&send(api.client.post(path).body(body.clone())).await, "store");
    }
    assert_eq!(api.reread(order.id).await.status, OrderStatus::Pending);
    for path in ["/atmos/webhook/default", "/atmos/webhook/default/"] {
        assert_allowed(&send(api.client.post(path).body(body.clone())).await);
    }
    assert_eq!(api.reread(order.id).await.status, OrderStatus::Confirming);
}

/// Nothing was decided, and the sender can correct the request: the payment is not refused, and it does not count as a
/// forgery.
#[tokio::test]
async fn a_callback_in_an_unknown_content_coding_is_told_which_are_read() {
    let api = TestApi::start().await;
    let order = api.order().await;
    api.link(&order, 700).await;
    let body = api.signed(domain::id::TransactionId(700), "1", 5_000);

    let answer = api.webhook_from("203.0.113.7", &[("content-encoding", "br")], body.into_bytes()).await;

    answer.problem(415, "unsupported-media-type");
    assert_eq!(answer.header("accept-encoding"), "gzip, deflate, identity");
    assert!(callbacks::newest(api.store(), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_compressed_callback_that_unfolds_above_its_limit_cannot_be_read() {
    let api = TestApi::start().await;

    let answer = api.webhook_from("203.0.113.7", &[("content-encoding", "gzip")], gzip(&vec![b' '; 8_193])).await;

    assert_refused(&answer, "read");
}

/// Anyone who has seen one callback can change its unsigned fields.
#[tokio::test]
async fn one_callback_sent_a_hundred_times_with_other_times_is_one_row_and_one_hint() {
    let api = TestApi::start().await;
    let order = api.order().await;
    api.link(&order, 700).await;
    let body = api.signed(domain::id::TransactionId(700), "1", 5_000);
    let mut body: Value = serde_json::from_str(&body).unwrap();

    for number in 0..100 {
        body["transaction_time"] = json!((1_656_326_529_324_i64 + number).to_string());
        assert_allowed(&api.webhook(body.to_string()).await);
    }

    let kept = callbacks::of_order(api.store(), order.id).await.unwrap();
    assert_eq!((kept.len(), kept[0].seen_count), (1, 100));
    let inquiries = store::jobs::list(api.store(), None, Some(domain::job::JobKind::SettleOrder), 100).await.unwrap();
    assert_eq!((inquiries.len(), inquiries[0].woken_by.len()), (1, 1));
}

#[tokio::test]
async fn an_amount_one_tiyin_off_is_refused_and_changes_nothing() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;

    for amount in [4_999, 5_001, 500_000] {
        assert_refused(&api.callback(700, "1", amount).await, "amount");
    }

    assert_eq!(api.reread(order.id).await.status, OrderStatus::Pending);
}

#[tokio::test]
async fn what_does_not_belong_to_us_is_refused() {
    let api = TestApi::start().await;
    let order = api.order().await;
    api.link(&order, 700).await;

    assert_refused(&api.callback(701, "1", 5_000).await, "transaction");
    assert_refused(&api.callback(700, "2", 5_000).await, "account");
    // Signed with our key, for another store.
    let signature = "1174ff3ef47501184dfaa34a4dad546c";
    let elsewhere = json!({
        "store_id": "9999", "transaction_id": "700", "transaction_time": "1656326529324",
        "amount": "5000", "account": "1", "sign": signature,
    });
    assert_refused(&api.webhook(elsewhere.to_string()).await, "store");
}

#[tokio::test]
async fn a_second_transaction_of_a_confirming_or_paid_order_is_refused() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    // The linked draft turns out closed, so the order gets another.
    api.settle(&order, Settlement::LinkClosed { transaction_id: order.transaction_id.unwrap() }).await;
    let order = api.link(&api.reread(order.id).await, 701).await;
    assert_allowed(&api.callback(701, "1", 5_000).await);

    assert_refused(&api.callback(700, "1", 5_000).await, "another transaction");

    api.settle(&order, Settlement::Paid { transaction_id: domain::id::TransactionId(701) }).await;
    assert_allowed(&api.callback(701, "1", 5_000).await);
    assert_refused(&api.callback(700, "1", 5_000).await, "another transaction");
}

#[tokio::test]
async fn a_callback_after_the_time_to_pay_is_refused() {
    let api = TestApi::start().await;
    let order = api.order().await;
    api.link_for(&order, 700, -1).await;

    assert_refused(&api.callback(700, "1", 5_000).await, "time");
}

#[tokio::test]
async fn an_order_with_a_person_cannot_be_paid() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    api.settle(&order, Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, "odd"))).await;

    assert_refused(&api.callback(700, "1", 5_000).await, "cannot be paid");
}

#[tokio::test]
async fn a_badly_signed_body_is_refused_and_kept_and_is_no_hint() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    let body = api.signed(domain::id::TransactionId(700), "1", 5_000);
    let mut forged: Value = serde_json::from_str(&body).unwrap();
    forged["sign"] = json!("00000000000000000000000000000000");

    assert_refused(&api.webhook(forged.to_string()).await, "signature");

    let kept = callbacks::newest(api.store(), 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].verdict, CallbackVerdict::BadlySigned);
    let after = api.reread(order.id).await;
    assert_eq!((after.status, after.last_hint_at_ms), (OrderStatus::Pending, None));
}

#[tokio::test]
async fn what_is_no_callback_is_answered_in_the_gateway_s_own_words() {
    let api = TestApi::start().await;

    for body in ["", "{", "[]", "null", "{\"store_id\":\"1234\"}", "a=b", "\u{0}"] {
        assert_refused(&api.webhook(body).await, "read");
    }
    assert_refused(&api.webhook(vec![0xff_u8; 100]).await, "read");
    assert_refused(&api.webhook("x".repeat(9 * 1024)).await, "read");
}

/// An endless body says nothing about the database; after a 503 the gateway would ask again for ever.
#[tokio::test]
async fn a_body_that_stalls_or_breaks_off_is_answered_like_any_other_that_cannot_be_read() {
    let api = TestApi::start().await;
    let (mut sender, receiver) = tokio::io::duplex(64);
    tokio::io::AsyncWriteExt::write_all(&mut sender, b"{\"store_id\":").await.unwrap();
    let broken = futures_util::stream::iter([Ok(b"{".to_vec()), Err(std::io::Error::other("reset"))]);

    assert_refused(&api.webhook(poem::Body::from_async_read(receiver)).await, "read");
    assert_refused(&api.webhook(poem::Body::from_bytes_stream(broken)).await, "read");
    drop(sender);
}

#[tokio::test]
async fn a_flood_of_oversized_bodies_is_told_no_oftener_than_a_flood_of_forged_ones() {
    let api = TestApi::start().await;

    for _ in 0..100 {
        assert_refused(&api.webhook("x".repeat(9 * 1024)).await, "read");
    }

    assert_refused(&api.webhook("{}").await, "read");
    assert!(callbacks::newest(api.store(), 10).await.unwrap().is_empty(), "the limit of the minute is used up");
}

#[tokio::test]
async fn a_flood_of_forged_bodies_fills_no_table() {
    let api = TestApi::start().await;

    for number in 0..150 {
        assert_refused(&api.webhook(format!("{{\"number\":{number}}}")).await, "read");
    }

    assert_eq!(callbacks::newest(api.store(), 1_000).await.unwrap().len(), 100);
}

#[tokio::test]
async fn a_database_that_is_away_is_the_only_reason_for_a_503() {
    let api = TestApi::start().await;
    let order = api.order().await;
    api.link(&order, 700).await;
    api.store().close().await;

    let answer = api.callback(700, "1", 5_000).await;

    answer.problem(503, "database-unavailable");
    assert_eq!(answer.header("retry-after"), "1");
    // The answer to a forged body needs no database.
    assert_refused(&api.webhook("{}").await, "read");
}

#[tokio::test]
async fn callbacks_are_counted_by_verdict() {
    let api = TestApi::start().await;
    let order = api.order().await;
    api.link(&order, 700).await;
    api.callback(700, "1", 5_000).await;
    api.callback(700, "1", 5_001).await;

    let metrics = api.get("/metrics").await.body;

    for verdict in ["allowed", "wrong_amount"] {
        let line = metrics.lines().find(|line| {
            line.starts_with(&format!("tasdiq_callbacks_total{{gateway=\"atmos\",verdict=\"{verdict}\"}}"))
        });
        let count: u64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(count > 0, "{line:?}");
    }
    assert!(metrics.contains("tasdiq_callback_seconds_bucket"));
}
