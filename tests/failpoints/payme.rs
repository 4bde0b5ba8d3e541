//! The process dies in a call of Payme; the repeat of the call has the answer that stays.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use failpoint::Point;
use serde_json::{Value, json};

use crate::story::gateways::{ACCOUNTS, order_of};
use crate::support::app::{Kind, TestApp, on_both_kinds};

on_both_kinds! {
    a_process_that_dies_in_a_call_of_payme_gives_its_repeat_the_answer_that_stays
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
