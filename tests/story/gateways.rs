//! One installation with an account of each gateway: links, payments and refunds, each in the gateway's own way.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use failpoint::Point;
use serde_json::{Value, json};

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::tea;
use crate::support::role::client;

on_both_kinds! {
    each_gateway_takes_a_payment_and_gives_it_back
    a_process_that_dies_in_a_call_of_payme_gives_its_repeat_the_answer_that_stays
}

/// The sandbox's credentials at each gateway.
const ACCOUNTS: [(&str, &str); 10] = [
    ("ATMOS_CONSUMER_KEY", "sandbox-key"),
    ("ATMOS_CONSUMER_SECRET", "sandbox-secret"),
    ("ATMOS_STORE_ID", "1234"),
    ("ATMOS_API_KEY", "sandbox-api-key"),
    ("PAYME_ID", "64a1f0c2b7e8d9034f5a6b7c"),
    ("PAYME_KEY", "sandbox-payme-key"),
    ("CLICK_SERVICE_ID", "22222"),
    ("CLICK_MERCHANT_ID", "11111"),
    ("CLICK_MERCHANT_USER_ID", "33333"),
    ("CLICK_SECRET_KEY", "sandbox-click-secret"),
];

/// The order's number and its payment page, of an order that has both in the answer that makes it.
async fn order_of(app: &TestApp, payment_type: &str) -> (i64, String) {
    let mut body = tea();
    (body["amount"], body["payment_type"]) = (json!("50.00"), json!(payment_type));
    let order = app.create_order(&body).await.json();
    (order["order_id"].as_i64().unwrap(), order["payment_url"].as_str().unwrap().to_owned())
}

/// What the sandbox answers to an act of a customer or of the gateway's cabinet. The page is one of its own.
async fn act(page: &str, path: &str, body: &Value) -> Value {
    let mut address: url::Url = page.parse().unwrap();
    address.set_query(None);
    address.set_path(path);
    let answer = client().post(address).json(body).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

async fn each_gateway_takes_a_payment_and_gives_it_back(kind: Kind) {
    let app = TestApp::start_with(kind, &ACCOUNTS).await;
    let (of_payme, payme_page) = order_of(&app, "payme").await;
    let (of_click, click_page) = order_of(&app, "click").await;
    let of_atmos = app.linked_order_of(&tea()).await;

    let receipt = act(&payme_page, &format!("/payme/_sim/pay/{of_payme}"), &json!({ "amount": 5_000 })).await;
    let attempt = act(&click_page, &format!("/click/_sim/pay/{of_click}"), &json!({ "amount": "50.00" })).await;
    app.pay(of_atmos.transaction_id).await;

    assert_eq!((&receipt["outcome"], &attempt["outcome"]), (&json!("paid"), &json!("debited")));
    for id in [of_payme, of_click, of_atmos.id] {
        app.wait_for(id, "paid").await;
        let history = app.history(id).await;
        assert_eq!(history.times_entered("confirming"), 1, "{id}");
        assert_eq!(history.times_entered("paid"), 1, "{id}");
    }
    assert_eq!(app.run(&["audit"]).await.code, Some(0));

    // Payme gives money back in its cabinet alone, and says so by its call.
    let refused = app.refund(of_payme, "of-payme", &json!({ "reason": "the tea was cold" })).await;
    assert!(refused.json()["type"].as_str().unwrap().ends_with("refund-only-in-cabinet"), "{}", refused.json());
    let id = receipt["receipt"]["id"].as_str().unwrap();
    act(&payme_page, &format!("/payme/_sim/refund/{id}"), &json!({})).await;
    app.refund(of_click, "of-click", &json!({ "reason": "the tea was cold" })).await;
    for id in [of_payme, of_click] {
        app.wait_for(id, "refunded").await;
        assert_eq!(app.history(id).await.times_entered("refunded"), 1, "{id}");
    }
    assert_eq!(app.status(of_atmos.id).await, "paid");
    assert_eq!(app.run(&["audit"]).await.code, Some(0));
}

/// The end of a dead process's leases, and a slow machine.
const PAID_WITHIN: Duration = Duration::from_secs(60);

/// Payme, which calls as it documents, and repeats a call that got no answer.
struct Payme {
    app: TestApp,
    /// How many calls got no answer.
    unanswered: usize,
}

impl Payme {
    async fn send(&self, call: &Value) -> Option<String> {
        let credentials = BASE64_STANDARD.encode("Paycom:sandbox-payme-key");
        let request = self.app.request(reqwest::Method::POST, "/payme/webhook/");
        let request = request.header("Authorization", format!("Basic {credentials}")).json(call);
        let answer = request.send().await.ok()?;
        assert_eq!(answer.status(), 200);
        answer.text().await.ok()
    }

    /// The result of a call. Without an answer the process has died: it is begun again, and the call is repeated. One more
    /// repeat must have the same answer, byte for byte.
    async fn call(&mut self, method: &str, params: &Value) -> Value {
        let call = json!({ "method": method, "params": params, "id": 7 });
        let answer = match self.send(&call).await {
            Some(answer) => answer,
            None => {
                self.unanswered += 1;
                self.app.start_again_without("FAILPOINTS").await;
                self.send(&call).await.unwrap()
            }
        };
        assert_eq!(self.send(&call).await.as_ref(), Some(&answer), "{call}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["error"].is_null(), "{call}: {answer}");
        answer["result"].clone()
    }
}

async fn a_process_that_dies_in_a_call_of_payme_gives_its_repeat_the_answer_that_stays(kind: Kind) {
    for point in Point::ALL.iter().filter(|point| point.is_of_a_call()) {
        let death = format!("{point}=kill");
        let variables: Vec<(&str, &str)> = ACCOUNTS.into_iter().chain([("FAILPOINTS", death.as_str())]).collect();
        let app = TestApp::start_with(kind, &variables).await;
        let (id, _) = order_of(&app, "payme").await;
        let mut payme = Payme { app, unanswered: 0 };
        let now_ms = payme.app.order(id).await["created_at"].as_str().map(epoch_ms).unwrap();
        let create =
            |of: &str| json!({ "id": of, "time": now_ms, "amount": 5_000, "account": { "order_id": id.to_string() } });

        let first = "5305e3bab097f420a62ced0b";
        assert_eq!(payme.call("CreateTransaction", &create(first)).await["state"], 1, "{point}");
        assert_eq!(payme.call("CancelTransaction", &json!({ "id": first, "reason": 3 })).await["state"], -1, "{point}");
        let second = "5305e3bab097f420a62ced0c";
        assert_eq!(payme.call("CreateTransaction", &create(second)).await["state"], 1, "{point}");
        let performed = payme.call("PerformTransaction", &json!({ "id": second })).await;
        assert_eq!(performed["state"], 2, "{point}");
        payme.app.wait_for_within(id, "paid", PAID_WITHIN).await;
        let canceled = payme.call("CancelTransaction", &json!({ "id": second, "reason": 5 })).await;
        assert_eq!(canceled["state"], -2, "{point}");
        payme.app.wait_for_within(id, "refunded", PAID_WITHIN).await;

        assert_eq!(payme.unanswered, 1, "{point}");
        let shown = payme.call("CheckTransaction", &json!({ "id": second })).await;
        assert_eq!(shown["perform_time"], performed["perform_time"], "{point}");
        let history = payme.app.history(id).await;
        assert_eq!((history.times_entered("paid"), history.times_entered("refunded")), (1, 1), "{point}");
    }
}

fn epoch_ms(text: &str) -> i64 {
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap();
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap()
}
