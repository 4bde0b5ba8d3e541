//! Trouble on demand.

use std::time::Duration;

use serde_json::{Value, json};

use super::shop::{PRICE, PaymeScene};

/// A call whose answer is lost is done, and repeated.
#[tokio::test]
async fn a_lost_answer_of_any_method_pays_once() {
    for method in ["CheckPerformTransaction", "CreateTransaction", "PerformTransaction"] {
        let scene = PaymeScene::start().await;
        scene.fault(json!({"fault": "answer-lost", "method": method, "next": 1})).await;

        let outcome = scene.pay("7").await;

        assert_eq!(outcome["outcome"], "paid", "{method}: {outcome}");
        assert_eq!(scene.shop.params(method).len(), 2, "{method}");
        assert_eq!(scene.shop.states("7"), [2], "{method}");
        assert_eq!(scene.receipt().await["debits"], 1, "{method}");
    }
}

#[tokio::test]
async fn a_lost_answer_to_cancel_refunds_once() {
    let scene = PaymeScene::start().await;
    let id = scene.pay("7").await["receipt"]["id"].as_str().expect("an id").to_owned();
    scene.fault(json!({"fault": "answer-lost", "method": "CancelTransaction", "next": 1})).await;

    let refunded = scene.sim(&format!("refund/{id}"), json!({})).await;

    assert_eq!(refunded["outcome"], "canceled");
    assert_eq!(scene.shop.params("CancelTransaction").len(), 2);
    assert_eq!(scene.receipt().await["returns"], 1);
}

#[tokio::test]
async fn copies_of_a_call_come_together_or_one_after_another() {
    for (fault, method) in
        [("doubled", "CreateTransaction"), ("doubled", "PerformTransaction"), ("repeated", "PerformTransaction")]
    {
        let scene = PaymeScene::start().await;
        scene.fault(json!({"fault": fault, "method": method, "times": 5})).await;

        let outcome = scene.pay("7").await;

        assert_eq!(outcome["outcome"], "paid", "{fault} {method}: {outcome}");
        assert_eq!(scene.shop.params(method).len(), 5, "{fault} {method}");
        assert_eq!(scene.shop.states("7"), [2]);
    }
}

#[tokio::test]
async fn a_rivals_create_gets_the_code_for_a_busy_order() {
    let scene = PaymeScene::start().await;
    scene.fault(json!({"fault": "rival", "next": 1})).await;

    let outcome = scene.pay("7").await;

    // Either may win.
    let answers = [&outcome["error"], &outcome["rival"]["answer"]];
    assert!(answers.iter().any(|answer| answer["code"] == -31_052), "{outcome}");
    assert_eq!(scene.shop.states("7").len(), 1);
}

#[tokio::test]
async fn the_expected_code_for_a_busy_order_can_be_switched() {
    let scene = PaymeScene::start().await;
    scene.fault(json!({"fault": "payer-leaves", "next": 1})).await;
    let left = scene.pay("7").await;
    let account = json!({"order_id": "7"});
    let create =
        json!({"id": "5305e3bab097f420a62ced0b", "time": left["receipt"]["time"], "amount": PRICE, "account": account});
    let by_hand = scene.sim("call", json!({"method": "CreateTransaction", "params": create})).await;
    assert_eq!(by_hand["answer"]["error"]["code"], -31_052);

    assert_eq!(scene.sim("busy-code", json!({"code": -31_008})).await["expected"], "-31008");
    assert_eq!(scene.sim("busy-code", json!({"code": null})).await["expected"], "-31099 to -31050");
}

#[tokio::test]
async fn perform_may_come_before_the_answer_to_create() {
    let scene = PaymeScene::start().await;
    scene.fault(json!({"fault": "perform-early"})).await;

    let outcome = scene.pay("7").await;

    assert!(!scene.shop.params("PerformTransaction").is_empty(), "{outcome}");
    assert_eq!(scene.shop.states("7"), [2], "{outcome}");
}

/// Perform says that the money was taken. If the sandbox dies now, its ledger must say the same.
#[tokio::test]
async fn a_debit_is_in_the_ledger_before_an_early_perform_goes_out() {
    let scene = PaymeScene::start().await;
    let held = scene.shop.hold("CreateTransaction");
    scene.fault(json!({"fault": "perform-early"})).await;
    let meanwhile = async {
        while scene.shop.params("PerformTransaction").is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let receipt = scene.receipt().await;
        held.add_permits(1_000);
        receipt
    };

    let (outcome, receipt) = tokio::join!(scene.pay("7"), meanwhile);

    assert_eq!((&receipt["debits"], &receipt["state"]), (&json!(1), &json!(0)), "{receipt}");
    assert_eq!(outcome["outcome"], "paid", "{outcome}");
    let receipt = scene.receipt().await;
    assert_eq!((&receipt["debits"], &receipt["returns"], &receipt["state"]), (&json!(1), &json!(0), &json!(2)));
}

#[tokio::test]
async fn money_of_an_early_perform_is_performed_or_goes_back() {
    let scene = PaymeScene::start().await;
    scene.fault(json!({"fault": "perform-early"})).await;
    scene.shop.be_silent("CreateTransaction", 100);
    let outcome = scene.pay("7").await;
    assert_eq!(outcome["outcome"], "paid", "{outcome}");
    let receipt = scene.receipt().await;
    assert_eq!((&receipt["debits"], &receipt["returns"], &receipt["state"]), (&json!(1), &json!(0), &json!(2)));
    assert_eq!(scene.shop.states("7"), [2]);

    let scene = PaymeScene::start().await;
    for fault in ["perform-early", "check-skipped", "amount-altered"] {
        scene.fault(json!({"fault": fault})).await;
    }
    let outcome = scene.pay("7").await;
    assert_eq!(outcome["outcome"], "returned", "{outcome}");
    let receipt = scene.receipt().await;
    assert_eq!((&receipt["debits"], &receipt["returns"]), (&json!(1), &json!(1)));
    assert!(scene.shop.states("7").is_empty());
}

#[tokio::test]
async fn a_wrong_key_and_none_are_refused() {
    for fault in ["wrong-key", "no-key"] {
        let scene = PaymeScene::start().await;
        scene.fault(json!({"fault": fault})).await;

        let outcome = scene.pay("7").await;

        assert_eq!((&outcome["outcome"], &outcome["error"]["code"]), (&json!("refused"), &json!(-32_504)), "{fault}");
    }
}

#[tokio::test]
async fn a_payer_may_change_what_the_link_says() {
    for (fault, code) in [("amount-altered", -31_001), ("account-altered", -31_050), ("account-missing", -31_050)] {
        let scene = PaymeScene::start().await;
        scene.fault(json!({"fault": fault})).await;

        let outcome = scene.pay("7").await;

        assert_eq!((&outcome["outcome"], &outcome["error"]["code"]), (&json!("refused"), &json!(code)), "{fault}");
    }
}

#[tokio::test]
async fn create_may_come_without_a_check() {
    let scene = PaymeScene::start().await;
    scene.fault(json!({"fault": "check-skipped"})).await;

    assert_eq!(scene.pay("7").await["outcome"], "paid");

    assert!(scene.shop.params("CheckPerformTransaction").is_empty());
}

#[tokio::test]
async fn a_slow_call_is_answered_and_a_broken_one_is_repeated() {
    let scene = PaymeScene::start().await;
    scene.fault(json!({"fault": "slow", "method": "CreateTransaction", "milliseconds": 50, "next": 1})).await;
    scene.fault(json!({"fault": "broken", "method": "PerformTransaction", "next": 1})).await;

    let outcome = scene.pay("7").await;

    assert_eq!(outcome["outcome"], "paid", "{outcome}");
    assert_eq!(scene.shop.params("CreateTransaction").len(), 1);
    let sent: Value =
        scene.sandbox.get("/payme/_sim/calls").send().await.expect("an answer").json().await.expect("JSON");
    let calls = sent["calls"].as_array().expect("calls");
    let faults: Vec<_> = calls.iter().filter_map(|call| call["fault"].as_str()).collect();
    assert_eq!(faults, ["slow", "broken"]);
    assert!(calls[1]["milliseconds"].as_u64().expect("a time") >= 50, "{}", calls[1]);
    assert!(!sent.to_string().contains("sandbox-payme-key"));
}

#[tokio::test]
async fn calls_come_in_the_other_forms_that_are_seen() {
    let scene = PaymeScene::start().await;
    scene.fault(json!({"fault": "json-rpc", "method": "CheckPerformTransaction"})).await;
    scene.fault(json!({"fault": "account-numbers", "method": "CreateTransaction"})).await;
    scene.fault(json!({"fault": "other-address", "method": "PerformTransaction"})).await;

    assert_eq!(scene.pay("7").await["outcome"], "paid");

    let came = scene.shop.came();
    assert_eq!((came[0].content_type.as_str(), &came[0].body["jsonrpc"]), ("application/json", &json!("2.0")));
    assert_eq!(came[1].body["params"]["account"], json!({"order_id": 7}));
}

#[tokio::test]
async fn perform_may_come_late_and_money_may_go_back_later() {
    let scene = PaymeScene::start().await;
    scene.fault(json!({"fault": "perform-late", "milliseconds": 20})).await;
    assert_eq!(scene.pay("7").await["outcome"], "closing");
    scene.wait_for(2).await;

    let scene = PaymeScene::start().await;
    scene.fault(json!({"fault": "refunded-later", "milliseconds": 20})).await;
    assert_eq!(scene.pay("7").await["outcome"], "paid");
    // The shop hears of it before the money moves.
    assert_eq!(scene.wait_until("returns", 1).await["state"], -2);
}

#[tokio::test]
async fn after_12_hours_a_receipt_may_end_untold() {
    let scene = PaymeScene::start().await;
    for fault in ["payer-leaves", "timeout-untold"] {
        scene.fault(json!({"fault": fault})).await;
    }
    scene.pay("7").await;

    scene.sim("clock", json!({"advance_seconds": 43_201})).await;

    assert_eq!(scene.receipt().await["state"], -1);
    assert_eq!(scene.shop.states("7"), [1]);
}

#[tokio::test]
async fn the_reference_has_every_fault_as_the_sandbox_tells_it() {
    let scene = PaymeScene::start().await;

    let listed: Value =
        scene.sandbox.get("/payme/_sim/faults").send().await.expect("an answer").json().await.expect("JSON");

    let known = listed["known"].as_array().expect("names");
    let groups = [
        ("call", "Of calls to the merchant", "Also for one `method`, such as `PerformTransaction`."),
        ("payer", "Of what the payer does", ""),
        ("money", "Of the money", ""),
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
    documents::part("docs/reference/sandbox-faults-payme.md", "sandbox-faults-payme", &tables.join("\n"));
}
