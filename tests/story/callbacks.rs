//! The gateway asks before it debits: our answers, and their effects.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::Linked;
use crate::support::wait::{PATIENCE, wait_until};

on_both_kinds! {
    the_guides_curl_is_refused_and_changes_nothing
    a_rightly_signed_callback_makes_the_order_confirming_and_not_paid
    a_repeated_callback_is_answered_alike_and_changes_nothing
    a_second_transaction_of_an_order_is_refused
    a_wrong_amount_is_refused_even_by_a_tiyin
    another_store_or_an_unknown_transaction_is_refused
    a_sliding_signature_opens_nothing
    a_body_that_was_changed_after_signing_is_refused
    what_is_no_callback_is_refused_without_a_server_error
    a_callback_is_read_whatever_it_calls_itself
    a_payment_before_a_person_is_not_taken_once_more
    a_callback_from_elsewhere_is_refused_if_that_was_asked_for_and_its_money_is_found
}

async fn the_guides_curl_is_refused_and_changes_nothing(kind: Kind) {
    const GUIDE: &str = r#"{"store_id":"1234","transaction_id":"123456","transaction_time":"1656326529324","amount":"5000000","invoice":"1","sign":"test"}"#;
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    assert_eq!(order.id, 1, "the order that the guide's body speaks of");
    let before = (app.order(1).await, app.history(1).await.to_string());

    let answer = app.deliver(GUIDE).await;
    let without_slash = app.post("/atmos/webhook", "application/json", GUIDE).await;

    assert_eq!(answer.callback_status(), 0, "{answer}");
    assert_eq!(without_slash.callback_status(), 0, "{without_slash}");
    assert!(answer.header("Content-Type").starts_with("application/json"), "{:?}", answer.headers);
    assert_eq!((app.order(1).await, app.history(1).await.to_string()), before);
    assert_eq!(app.metric(r#"tasdiq_callbacks_total{gateway="atmos",verdict="badly_signed"}"#).await, 2);
    assert_eq!(app.verdicts(1).await, [], "an unproven body is not about any order");
}

async fn a_rightly_signed_callback_makes_the_order_confirming_and_not_paid(kind: Kind) {
    let app = TestApp::start(kind).await;
    let mut orders = Vec::new();

    for field in ["account", "invoice"] {
        for spell in [as_strings, as_numbers] {
            let order = app.order_with_link().await;
            let body = spell(&app.sign_as(field, order.transaction_id, order.id, "50.00").await);
            assert!(body.contains(&format!("\"{field}\"")), "{body}");

            let answer = app.deliver(body.clone()).await;

            assert_eq!(answer.json(), json!({ "status": 1, "message": "Успешно" }), "{body}");
            assert_eq!(app.status(order.id).await, "confirming", "{body}");
            orders.push(order);
        }
    }

    // Each order had more than one inquiry, and none showed money.
    let inquiries = r#"tasdiq_gateway_calls_total{gateway="atmos",operation="inquiry",outcome="ok"}"#;
    let asked = app.metric(inquiries).await;
    wait_until("further inquiries", PATIENCE, async || (app.metric(inquiries).await >= asked + 12).then_some(())).await;
    for order in &orders {
        assert_eq!(app.status(order.id).await, "confirming");
        assert_eq!(app.verdicts(order.id).await, [("allowed".to_owned(), 1)]);
    }
    // The payment itself asks once more, and the answer is still yes.
    assert_eq!(app.pay(orders[0].transaction_id).await, "debited");
    app.wait_for(orders[0].id, "paid").await;
    app.audit(&ids(&orders)).await;
}

async fn a_repeated_callback_is_answered_alike_and_changes_nothing(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    let body = app.sign(order.transaction_id, order.id, "50.00").await;

    let answers = futures_util::future::join_all((0..6).map(|_| app.deliver(body.clone()))).await;
    for _ in 0..2 {
        assert_eq!(app.deliver(body.clone()).await.callback_status(), 1);
    }

    assert!(answers.iter().all(|answer| answer.callback_status() == 1), "{answers:?}");
    assert_eq!(app.history(order.id).await.statuses(), ["pending", "pending", "confirming"]);
    assert_eq!(app.verdicts(order.id).await, [("allowed".to_owned(), 8)]);

    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "paid").await;
    assert_eq!(app.deliver(body).await.callback_status(), 1, "the transaction that paid may be told so again");

    assert_eq!(app.history(order.id).await.statuses(), ["pending", "pending", "confirming", "paid"]);
    app.audit(&[order.id]).await;
}

/// An order may have two transactions: here the customer closed the first page, and kept it in another tab.
async fn a_second_transaction_of_an_order_is_refused(kind: Kind) {
    let app = TestApp::start(kind).await;
    let first = app.order_with_link().await;
    app.sim("close", first.transaction_id).await;
    app.open_return_page(&first).await;
    let second = wait_until("another transaction", PATIENCE, async || {
        let order = app.wait_for_link(first.id).await;
        (order.transaction_id != first.transaction_id).then_some(order)
    })
    .await;
    let of_first = app.sign(first.transaction_id, first.id, "50.00").await;
    let of_second = app.sign(second.transaction_id, first.id, "50.00").await;

    assert_eq!(app.deliver(of_second).await.callback_status(), 1);
    let while_confirming = app.deliver(of_first.clone()).await;
    assert_eq!(app.pay(second.transaction_id).await, "debited");
    app.wait_for(first.id, "paid").await;
    let after_paid = app.deliver(of_first).await;

    assert_eq!(while_confirming.callback_status(), 0, "{while_confirming}");
    assert_eq!(after_paid.callback_status(), 0, "{after_paid}");
    let verdicts = app.verdicts(first.id).await;
    assert!(verdicts.contains(&("second_transaction".to_owned(), 2)), "{verdicts:?}");
    assert_eq!(app.order(first.id).await["transaction_id"], second.transaction_id);
    app.audit(&[first.id]).await;
}

/// Shows: MONEY-16
async fn a_wrong_amount_is_refused_even_by_a_tiyin(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;

    for amount in ["50.01", "49.99", "0.01", "5000.00"] {
        let body = app.sign(order.transaction_id, order.id, amount).await;
        let answer = app.deliver(body).await;
        assert_eq!(answer.callback_status(), 0, "{amount}: {answer}");
    }

    assert_eq!(app.status(order.id).await, "pending");
    assert_eq!(app.history(order.id).await.times_entered("confirming"), 0);
    assert_eq!(app.verdicts(order.id).await, [(); 4].map(|()| ("wrong_amount".to_owned(), 1)));
}

/// Shows: MONEY-16
async fn another_store_or_an_unknown_transaction_is_refused(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;

    // The sandbox signs these correctly, as the gateway of another merchant or a broken gateway might.
    app.fault(json!({ "fault": "callback-wrong-store", "next": 1 })).await;
    assert_eq!(app.pay(order.transaction_id).await, "refused");
    app.fault(json!({ "fault": "callback-unknown-transaction", "next": 1 })).await;
    assert_eq!(app.pay(order.transaction_id).await, "refused");

    assert_eq!(app.verdicts(order.id).await, [("other_store".to_owned(), 1)]);
    assert_eq!(app.metric(r#"tasdiq_callbacks_total{gateway="atmos",verdict="unknown_transaction"}"#).await, 1);
    assert_eq!(app.status(order.id).await, "pending");
    assert_eq!(app.ledger_of(order.id).await[0].debits, 0);
    // The order can still be paid.
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "paid").await;
}

/// The signature covers the values without separators: account `12` and amount `5000` sign like `1` and `25000`.
/// Shows: MONEY-16, GATEWAY-7
async fn a_sliding_signature_opens_nothing(kind: Kind) {
    let app = TestApp::start_with(kind, &[("TASDIQ_LINK_WAIT_MS", "0")]).await;
    let mut last = app.order_with_link().await;
    while last.id < 10 {
        last = app.order_with_link().await;
    }
    app.fault(json!({ "fault": "callback-slid", "next": 1 })).await;

    assert_eq!(app.pay(last.transaction_id).await, "refused");

    assert_eq!(app.verdicts(last.id).await, [("other_account".to_owned(), 1)]);
    assert_eq!(app.status(last.id).await, "pending");
    assert_eq!(app.ledger_of(last.id).await[0].debits, 0);
}

async fn a_body_that_was_changed_after_signing_is_refused(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    let body: Value = serde_json::from_str(&app.sign(order.transaction_id, order.id, "50.00").await).unwrap();
    let signature = body["sign"].as_str().unwrap();
    let changed = [
        ("amount", json!("1")),
        ("amount", json!("05000")),
        ("amount", json!("5000.0")),
        ("account", json!("2")),
        ("store_id", json!("12345")),
        ("transaction_id", json!((order.transaction_id + 1).to_string())),
        ("sign", json!("")),
        ("sign", json!(&signature[..31])),
        ("sign", json!(signature.replace(|sign: char| sign.is_ascii_digit(), "0"))),
    ];

    for (field, value) in &changed {
        let mut body = body.clone();
        body[field] = value.clone();
        let answer = app.deliver(body.to_string()).await;
        assert_eq!(answer.callback_status(), 0, "{field} {value}: {answer}");
    }

    assert_eq!(app.status(order.id).await, "pending");
    assert_eq!(app.metric(r#"tasdiq_callbacks_total{gateway="atmos",verdict="allowed"}"#).await, 0);
    // The unchanged callback is still accepted.
    assert_eq!(app.deliver(body.to_string()).await.callback_status(), 1);
}

/// Shows: PROMISE-7
async fn what_is_no_callback_is_refused_without_a_server_error(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    let right = app.sign(order.transaction_id, order.id, "50.00").await;
    let oversized = right.replacen('{', &format!("{{\"padding\":\"{}\",", "x".repeat(8 * 1024)), 1);
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"sign\"".to_vec(),
        b"{}".to_vec(),
        b"store_id=1234&sign=test".to_vec(),
        b"\xff\xfe\x00{".to_vec(),
        br#"{"store_id":{},"transaction_id":[1],"amount":null,"account":true,"sign":7}"#.to_vec(),
        br#"{"store_id":"1234","transaction_id":"1e3","amount":"-1","account":"1","sign":"x"}"#.to_vec(),
        "[".repeat(4_000).into_bytes(),
        right.as_bytes()[..right.len() / 2].to_vec(),
        oversized.into_bytes(),
        vec![b' '; 1_000_000],
    ];
    let number = i64::try_from(bodies.len()).unwrap();

    for body in bodies {
        let what = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = app.deliver(body).await;
        assert_eq!(answer.callback_status(), 0, "{what}: {answer}");
    }

    assert_eq!(app.status(order.id).await, "pending");
    let mut refused = 0;
    for verdict in ["unreadable", "badly_signed"] {
        refused += app.metric(&format!("tasdiq_callbacks_total{{gateway=\"atmos\",verdict=\"{verdict}\"}}")).await;
    }
    assert_eq!(refused, number, "each is counted");
    assert_eq!(app.deliver(right).await.callback_status(), 1);
}

async fn a_callback_is_read_whatever_it_calls_itself(kind: Kind) {
    let app = TestApp::start(kind).await;

    for content_type in ["application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded"] {
        let order = app.order_with_link().await;
        let body = app.sign(order.transaction_id, order.id, "50.00").await;

        let answer = app.post("/atmos/webhook/", content_type, body).await;

        assert_eq!(answer.callback_status(), 1, "{content_type}: {answer}");
    }
    assert_eq!(app.get("/atmos/webhook/").await.status, 405);
}

async fn a_payment_before_a_person_is_not_taken_once_more(kind: Kind) {
    let app = TestApp::start(kind).await;
    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "amount-differs" })).await;
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    app.wait_for(order.id, "review").await;

    let answer = app.deliver(app.sign(order.transaction_id, order.id, "50.00").await).await;

    assert_eq!(answer.callback_status(), 0, "{answer}");
    assert_eq!(app.status(order.id).await, "review");
    let verdicts = app.verdicts(order.id).await;
    assert!(verdicts.contains(&("not_payable".to_owned(), 1)), "{verdicts:?}");
}

/// A list of addresses may refuse the callback of a payment that the gateway debits all the same.
/// Shows: MONEY-17
async fn a_callback_from_elsewhere_is_refused_if_that_was_asked_for_and_its_money_is_found(kind: Kind) {
    // The sandbox calls from this machine, whose address counts as a proxy here and not as the gateway.
    let proxies = ("TASDIQ_TRUSTED_PROXIES", "127.0.0.0/8");
    let app = TestApp::start_with(kind, &[("ATMOS_CALLBACK_ADDRESS_CHECK", "refuse"), proxies]).await;
    let order = app.order_with_link().await;
    let forwarded = async |addresses: &str| {
        let body = app.sign(order.transaction_id, order.id, "50.00").await;
        let request = app.request(Method::POST, "/atmos/webhook/").header("X-Forwarded-For", addresses).body(body);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["status"].as_i64().unwrap()
    };

    assert_eq!(app.pay(order.transaction_id).await, "refused");
    assert_eq!(forwarded("92.63.207.14, 203.0.113.7").await, 0, "the nearest is the sender");
    assert_eq!(app.status(order.id).await, "pending");
    assert_eq!(app.metric(r#"tasdiq_callbacks_unlisted_total{gateway="atmos",outcome="refused"}"#).await, 2);
    assert_eq!(forwarded("203.0.113.7, 92.63.207.14").await, 1);
    assert_eq!(app.status(order.id).await, "confirming");
    assert_eq!(app.verdicts(order.id).await, [("other_address".to_owned(), 2), ("allowed".to_owned(), 1)]);

    let order = app.order_with_link().await;
    app.fault(json!({ "fault": "callback-never", "next": 1 })).await;
    assert_eq!(app.pay(order.transaction_id).await, "debited");
    let refused = app.deliver(app.sign(order.transaction_id, order.id, "50.00").await).await;
    assert_eq!(refused.callback_status(), 0, "{refused}");
    // Well before the first inquiry that comes without a hint.
    app.wait_for(order.id, "paid").await;
    app.audit(&[order.id]).await;
}

/// The same callback with every value as a string; the signature covers the digits, not the quotes.
fn as_strings(body: &str) -> String {
    respelled(body, |text| json!(text))
}

/// The same callback, with a number for every value that can be one.
fn as_numbers(body: &str) -> String {
    respelled(body, |text| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)))
}

fn respelled(body: &str, spell: impl Fn(&str) -> Value) -> String {
    let mut body: Value = serde_json::from_str(body).unwrap();
    for (name, value) in body.as_object_mut().unwrap() {
        if name != "sign" {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            *value = spell(&text);
        }
    }
    body.to_string()
}

fn ids(orders: &[Linked]) -> Vec<i64> {
    orders.iter().map(|order| order.id).collect()
}
