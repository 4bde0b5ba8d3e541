//! Faults on demand.

use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use serde_json::{Value, json};

use crate::support::{GOOD_CARD, Merchant, TestShop, code};

#[tokio::test]
async fn every_fault_is_listed_with_what_it_does_and_an_unknown_one_is_refused() {
    let shop = TestShop::configured(|_| ()).await;
    let listed: Value = shop.get("/_sim/faults").send().await.expect("an answer").json().await.expect("JSON");
    let known = listed["known"].as_array().expect("names");
    for shape in ["callback-invoice", "callback-both", "callback-numbers"] {
        assert!(known.iter().any(|fault| fault["fault"] == shape), "{shape}");
    }

    for fault in known {
        assert!(fault["description"].as_str().is_some_and(|text| !text.is_empty()));
        shop.add_fault(json!({"fault": fault["fault"], "share": 0.3, "next": null, "account": null})).await;
    }
    let unknown = shop.post("/_sim/faults").json(&json!({"fault": "gremlins"})).send().await.expect("an answer");
    assert_eq!(unknown.status(), 400);
    assert!(unknown.text().await.expect("text").contains("callback-never"));

    let sim = shop.sandbox.base_url() + "/_sim/faults";
    shop.client.delete(&sim).send().await.expect("an answer");
    let listed: Value = shop.get("/_sim/faults").send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(listed["active"], json!([]));
}

#[tokio::test]
async fn transport_faults_do_nothing_but_answer_badly() {
    let shop = TestShop::configured(|_| ()).await;
    let body = json!({"store_id": 1234, "account": "1", "amount": 100});

    for (fault, status) in
        [("unavailable", 503), ("server-error", 500), ("forbidden", 403), ("throttled", 429), ("token-rejected", 401)]
    {
        shop.add_fault(json!({"fault": fault, "next": 1, "path": "/merchant/pay/create"})).await;
        assert_eq!(code(&shop.inquire(7).await), "STPIMS-ERR-061", "another path is spared");
        let response = shop.prepare("create", &body).send().await.expect("an answer");
        assert_eq!(response.status(), status, "{fault}");
        assert_eq!(response.headers().contains_key("retry-after"), fault == "throttled");
    }

    shop.add_fault(json!({"fault": "token-unavailable"})).await;
    let response = shop.post("/token").send().await.expect("an answer");
    assert_eq!(response.status(), 500);
    let ledger: Value = shop.get("/_sim/ledger").send().await.expect("an answer").json().await.expect("JSON");
    assert_eq!(ledger["transactions"], json!([]));
}

#[tokio::test]
async fn a_latency_fault_makes_calls_slow() {
    let shop = TestShop::configured(|_| ()).await;
    shop.add_fault(json!({"fault": "latency", "milliseconds": 150})).await;
    let started = Instant::now();

    shop.inquire(7).await;

    assert!(started.elapsed() >= Duration::from_millis(150));
}

/// The work is done, but the caller does not learn it, so it must look the transaction up.
#[tokio::test]
async fn a_lost_answer_leaves_the_debit_standing() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;
    let body = |id: i64| json!({"store_id": 1234, "transaction_id": id, "otp": "111111"});

    for fault in ["answer-lost", "malformed", "unknown-code"] {
        let id = shop.create(fault, 100).await;
        shop.pre_apply(id, GOOD_CARD).await;
        shop.add_fault(json!({"fault": fault, "next": 1, "account": fault})).await;

        let response = shop.prepare("apply", &body(id)).send().await;

        match fault {
            "answer-lost" => assert!(response.is_err(), "{response:?}"),
            "malformed" => assert!(response.expect("an answer").json::<Value>().await.is_err()),
            _ => {
                let answer: Value = response.expect("an answer").json().await.expect("JSON");
                assert_eq!(code(&answer), "STPIMS-ERR-777");
                assert_eq!(answer.get("store_transaction"), None);
            }
        }
        assert_eq!(shop.book(id).await["state"], "debited", "{fault}");
    }
}

#[tokio::test]
async fn money_can_move_without_a_callback_or_before_it() {
    let merchant = Merchant::refusing().await;
    let shop = TestShop::with(&merchant).await;

    shop.add_fault(json!({"fault": "callback-never", "account": "1"})).await;
    let id = shop.create("1", 100).await;
    let outcome = shop.pay(id).await;
    assert_eq!((outcome["outcome"].as_str(), &outcome["callback"]), (Some("debited"), &Value::Null));
    assert!(merchant.callbacks().is_empty());

    shop.add_fault(json!({"fault": "callback-late", "account": "2", "milliseconds": 50})).await;
    let id = shop.create("2", 100).await;
    assert_eq!(shop.pay(id).await["outcome"], "debited");
    assert_eq!(merchant.first_callback().await["transaction_id"], id.to_string());
    assert_eq!(shop.book(id).await["state"], "debited");

    shop.add_fault(json!({"fault": "debit-although-refused", "account": "3"})).await;
    let id = shop.create("3", 100).await;
    let outcome = shop.pay(id).await;
    assert_eq!(outcome["outcome"], "debited");
    assert_eq!(outcome["callback"]["status"], 0);
}

#[tokio::test]
async fn a_doubled_callback_comes_twice_and_debits_once() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;
    shop.add_fault(json!({"fault": "callback-doubled"})).await;
    let id = shop.create("1", 100).await;

    assert_eq!(shop.pay(id).await["outcome"], "debited");

    let callbacks = merchant.callbacks();
    assert_eq!(callbacks.len(), 2);
    assert_eq!(callbacks[0]["sign"], callbacks[1]["sign"]);
    assert_eq!(shop.book(id).await["debits"], 1);
}

/// Atmos' documentation, examples and real callbacks differ; a merchant must accept all forms.
#[tokio::test]
async fn a_callback_can_have_every_known_form_with_a_valid_signature() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;
    let shapes: [(&[&str], &[&str], bool); 6] = [
        (&[], &["account"], false),
        (&["callback-invoice"], &["invoice"], false),
        (&["callback-both"], &["account", "invoice"], false),
        (&["callback-numbers"], &["account"], true),
        (&["callback-invoice", "callback-numbers"], &["invoice"], true),
        (&["callback-doubled", "callback-invoice"], &["invoice"], false),
    ];

    for (index, (faults, keys, has_numbers)) in shapes.into_iter().enumerate() {
        let account = (index + 1).to_string();
        for fault in faults {
            shop.add_fault(json!({"fault": fault, "next": 1})).await;
        }
        let id = shop.create(&account, 5_000_000).await;
        assert_eq!(shop.pay(id).await["outcome"], "debited");

        for body in merchant.callbacks().into_iter().filter(|body| text(&body["transaction_id"]) == id.to_string()) {
            for key in ["account", "invoice"] {
                assert_eq!(body.get(key).map(text), keys.contains(&key).then(|| account.clone()), "{body}");
            }
            let values = body.as_object().expect("an object").iter().filter(|(key, _)| *key != "sign");
            assert!(values.clone().all(|(_, value)| value.is_number() == has_numbers), "{body}");
            assert_eq!(body["sign"], signature(&["1234", &id.to_string(), &account, "5000000"]), "{body}");
        }
    }
    assert_eq!(merchant.callbacks().len(), shapes.len() + 1, "one of them was doubled");
}

/// A callback after the debit can have any form too.
#[tokio::test]
async fn a_late_callback_can_have_another_shape_too() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;
    shop.add_fault(json!({"fault": "callback-late", "milliseconds": 1})).await;
    shop.add_fault(json!({"fault": "callback-invoice"})).await;
    let id = shop.create("7", 100).await;

    shop.pay(id).await;

    let callback = merchant.first_callback().await;
    assert_eq!((callback["invoice"].as_str(), callback.get("account")), (Some("7"), None));
}

/// A value of the body without quotes.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Computed independently, over the values that the merchant reads.
fn signature(values: &[&str]) -> String {
    let digest = Md5::digest(values.concat() + "sandbox-api-key");
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn an_allowed_payment_can_still_come_to_nothing() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;

    shop.add_fault(json!({"fault": "debit-declined", "account": "1"})).await;
    let declined = shop.create("1", 100).await;
    let outcome = shop.pay(declined).await;
    assert_eq!((outcome["outcome"].as_str(), code(&outcome)), (Some("declined"), "STPIMS-ERR-112"));
    assert_eq!(shop.book(declined).await["state"], "prepaid");

    shop.add_fault(json!({"fault": "lapsed", "account": "2"})).await;
    let lapsed = shop.create("2", 100).await;
    let outcome = shop.pay(lapsed).await;
    assert_eq!((outcome["outcome"].as_str(), code(&outcome)), (Some("closed"), "STPIMS-ERR-092"));
    assert_eq!(outcome["callback"]["status"], 1);
    assert_eq!(shop.inquire(lapsed).await["store_transaction"]["confirmed"], false);
    assert_eq!(merchant.callbacks().len(), 2);
}

#[tokio::test]
async fn get_can_show_another_amount_or_call_a_paid_transaction_closed() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("1", 1000).await;
    shop.pay(id).await;

    shop.add_fault(json!({"fault": "amount-differs", "next": 1})).await;
    assert_eq!(shop.inquire(id).await["store_transaction"]["amount"], 1100);
    shop.add_fault(json!({"fault": "paid-as-closed", "next": 1})).await;
    let closed = shop.inquire(id).await;

    assert_eq!(code(&closed), "STPIMS-ERR-092");
    assert_eq!(closed["store_transaction"]["confirmed"], true);
    assert_eq!(closed["store_transaction"]["amount"], 1000);
}

#[tokio::test]
async fn callbacks_are_listed_with_their_answers() {
    let merchant = Merchant::refusing().await;
    let shop = TestShop::with(&merchant).await;
    let id = shop.create("1", 100).await;
    shop.add_fault(json!({"fault": "callback-badly-signed", "next": 1})).await;
    shop.pay(id).await;

    let listed: Value = shop.get("/_sim/callbacks").send().await.expect("an answer").json().await.expect("JSON");

    let callback = &listed["callbacks"][0];
    assert_eq!(callback["transaction_id"], id);
    assert_eq!(callback["fault"], "callback-badly-signed");
    assert_eq!(callback["body"], merchant.callbacks()[0]);
    assert_eq!((&callback["http_status"], &callback["status"]), (&json!(200), &json!(0)));
}

#[tokio::test]
async fn an_operator_can_let_a_draft_lapse_and_a_payment_be_reversed() {
    let shop = TestShop::configured(|_| ()).await;
    let lapsed = shop.create("1", 100).await;
    let paid = shop.create("2", 100).await;
    shop.pay(paid).await;

    shop.post(&format!("/_sim/close/{lapsed}")).send().await.expect("an answer");
    shop.post(&format!("/_sim/reverse/{paid}")).send().await.expect("an answer");

    assert_eq!(shop.book(lapsed).await["state"], "closed");
    assert_eq!(shop.inquire(paid).await["store_transaction"]["status_code"], "-20");
}

#[tokio::test]
async fn paying_what_does_not_exist_is_an_unknown_outcome() {
    let shop = TestShop::configured(|_| ()).await;

    let outcome = shop.pay(7).await;

    assert_eq!((outcome["outcome"].as_str(), code(&outcome)), (Some("unknown"), "STPIMS-ERR-061"));
}

#[tokio::test]
async fn the_reference_has_every_fault_as_the_sandbox_tells_it() {
    let shop = TestShop::configured(|_| ()).await;

    let listed: Value = shop.get("/_sim/faults").send().await.expect("an answer").json().await.expect("JSON");

    let known = listed["known"].as_array().expect("names");
    let groups = [
        ("token", "Of `/token`", "Not for one `account`."),
        ("call", "Of calls of `/merchant/pay/*`", "Also for one `path`."),
        ("shape", "Of answers of `/merchant/pay/*`, when the work is done", "Also for one `path`."),
        ("callback", "Of callbacks", "They strike at the moment of paying."),
        ("outcome", "Of the money, and of what `get` says of it", ""),
    ];
    let text = |fault: &Value, key: &str| fault[key].as_str().expect("a text").to_owned();
    let is_listed = |fault: &Value| groups.iter().any(|(group, ..)| fault["group"] == *group);
    assert!(known.iter().all(is_listed), "each stands under a heading: {known:?}");
    let tables = groups.map(|(group, heading, note)| {
        let rows = known.iter().filter(|fault| fault["group"] == group);
        let rows = rows.map(|fault| [documents::code(text(fault, "fault")), text(fault, "description")]);
        format!("## {heading}\n\n{note}\n\n{}", documents::table(["fault", "what happens"], rows))
            .replace("\n\n\n\n", "\n\n")
    });
    documents::part("docs/reference/sandbox-faults.md", "sandbox-faults", &tables.join("\n"));
}

/// A page of another site in a developer's browser must not change the sandbox.
#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let shop = TestShop::configured(|_| ()).await;
    let base = shop.sandbox.base_url();
    let fault = r#"{"fault":"callback-never"}"#;
    let status = async |headers: &[(&str, &str)]| {
        let mut request = shop.post("/_sim/faults").body(fault);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer").status().as_u16()
    };

    for (header, expected) in [
        // curl, with and without a content type; a program; a page of the sandbox's own.
        (("content-type", "application/x-www-form-urlencoded"), 200),
        (("accept", "*/*"), 200),
        (("content-type", "application/json; charset=utf-8"), 200),
        (("origin", base.as_str()), 200),
        (("sec-fetch-site", "same-origin"), 200),
        (("sec-fetch-site", "none"), 200),
        (("origin", "https://evil.example"), 403),
        (("origin", "null"), 403),
        (("sec-fetch-site", "cross-site"), 403),
        (("sec-fetch-site", "same-site"), 403),
        (("content-type", "text/plain"), 415),
        (("content-type", "multipart/form-data; boundary=x"), 415),
    ] {
        assert_eq!(status(&[header]).await, expected, "{header:?}");
    }
    let from_elsewhere = shop.post("/_sim/pay/1").header("origin", "https://evil.example").send().await;
    assert_eq!(from_elsewhere.expect("an answer").status(), 403);
    let read = shop.get("/_sim/faults").header("sec-fetch-site", "cross-site").send().await.expect("an answer");
    assert_eq!(read.status(), 200, "a link to it is harmless, and no page of another site can read the answer");
}
