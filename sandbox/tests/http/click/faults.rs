//! Trouble between Click and a merchant, on demand.

use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::payment::{add_fault, get, ledger, pay};
use super::shop::{ClickMerchant, KEY};
use crate::support::TestShop;

async fn paying_with(fault: Value) -> (ClickMerchant, TestShop, Value) {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;
    add_fault(&shop, fault).await;
    let outcome = pay(&shop, "71").await;
    (merchant, shop, outcome)
}

/// Waits until the merchant has got so many calls.
async fn calls_at_last(merchant: &ClickMerchant, count: usize) {
    for _ in 0..500 {
        if merchant.calls().len() >= count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} calls came", merchant.calls().len());
}

#[tokio::test]
async fn every_fault_is_listed_and_can_be_switched_on() {
    let shop = TestShop::configured(|_| ()).await;
    let listed = get(&shop, "/click/_sim/faults").await;
    let known = listed["known"].as_array().expect("names");

    for fault in known {
        assert!(fault["description"].as_str().is_some_and(|text| !text.is_empty()));
        add_fault(&shop, json!({"fault": fault["fault"], "share": 0.3, "account": "sim-*"})).await;
    }
    let active = get(&shop, "/click/_sim/faults").await["active"].as_array().expect("faults").len();
    shop.client.delete(shop.sandbox.base_url() + "/click/_sim/faults").send().await.expect("an answer");

    assert_eq!(active, known.len());
    assert_eq!(get(&shop, "/click/_sim/faults").await["active"], json!([]));
    let elsewhere = shop.post("/click/_sim/faults").json(&json!({"fault": "json", "path": "payment/nothing"})).send();
    assert_eq!(elsewhere.await.expect("an answer").status(), 400);
}

/// The page of the reference is written from what the sandbox tells.
#[tokio::test]
async fn the_reference_has_every_fault_of_click() {
    let shop = TestShop::configured(|_| ()).await;
    let listed = get(&shop, "/click/_sim/faults").await;
    let known = listed["known"].as_array().expect("names");
    let groups = [
        ("shop-api", "Of Prepare and Complete", "Also for one `path`: `prepare` or `complete`."),
        ("complete", "Of Complete alone", ""),
        ("outcome", "Of the money, and of what the Merchant API says of it", ""),
        ("api", "Of calls of the Merchant API", "Also for one `path`, such as `payment/reversal`."),
        ("mti", "Of `payment/status_by_mti`", ""),
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

    documents::part("docs/reference/sandbox-faults-click.md", "sandbox-faults-click", &tables.join("\n"));
}

#[tokio::test]
async fn calls_that_are_spoiled_are_refused_and_no_money_moves() {
    for (fault, error) in
        [("wrong-key", -1), ("unsigned", -8), ("wrong-amount", -2), ("wrong-service", -8), ("unknown-account", -5)]
    {
        let (merchant, shop, outcome) = paying_with(json!({"fault": fault, "path": "prepare"})).await;

        assert_eq!(
            (outcome["outcome"].as_str(), &outcome["prepare"]["error"]),
            (Some("refused"), &json!(error)),
            "{fault}"
        );
        assert!(ledger(&shop).await.iter().all(|row| row["debits"] == 0), "{fault}");
        assert!(!merchant.is_paid("71"));
        assert_eq!(get(&shop, "/click/_sim/calls").await["calls"][0]["fault"], fault);
    }
}

/// After the debit a refused Complete is repeated; a fault for the next one alone lets the repeat through.
#[tokio::test]
async fn a_spoiled_complete_is_repeated() {
    for (fault, error) in [("wrong-key", -1), ("wrong-amount", -2), ("unknown-prepare", -6), ("unknown-account", -5)] {
        let (merchant, shop, outcome) = paying_with(json!({"fault": fault, "path": "complete", "next": 1})).await;

        assert_eq!((outcome["outcome"].as_str(), outcome["completion"].as_str()), (Some("debited"), Some("answered")));
        let calls = get(&shop, "/click/_sim/calls").await;
        assert_eq!(calls["calls"][1]["answer"]["error"], error, "{fault}");
        assert!(merchant.is_paid("71"), "{fault}");
    }
}

#[tokio::test]
async fn slid_values_have_a_valid_signature_and_do_not_fit() {
    let (merchant, _shop, outcome) = paying_with(json!({"fault": "slid", "path": "prepare"})).await;
    assert_eq!(outcome["outcome"], "refused");
    let call = &merchant.calls()[0];
    assert_eq!((call["merchant_trans_id"].as_str(), call["amount"].as_str()), ("7", "11000.00"));
    let joined = [&call["click_trans_id"], "22222", KEY, "7", "11000.00", "0", &call["sign_time"]].concat();
    let digest: String = Md5::digest(joined).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(call["sign_string"], digest);

    let (merchant, ..) = paying_with(json!({"fault": "slid", "path": "complete", "next": 1})).await;
    let call = &merchant.calls()[1];
    assert_eq!((call["merchant_prepare_id"].as_str(), call["amount"].as_str()), ("11", "000.00"));
    assert!(merchant.is_paid("71"), "the repeat is honest");
}

#[tokio::test]
async fn a_call_can_come_often_or_again_later() {
    let (merchant, _shop, outcome) = paying_with(json!({"fault": "doubled"})).await;
    assert_eq!(outcome["outcome"], "debited");
    assert_eq!(merchant.came("action"), ["0", "0", "1", "1"]);

    let (merchant, _shop, outcome) = paying_with(json!({"fault": "repeated", "times": 3})).await;
    assert_eq!(outcome["outcome"], "debited");
    assert_eq!(merchant.came("action"), ["0", "0", "0", "1", "1", "1"]);

    let (merchant, _shop, _) = paying_with(json!({"fault": "replayed", "path": "complete", "milliseconds": 20})).await;
    calls_at_last(&merchant, 3).await;
    assert_eq!(merchant.calls()[2], merchant.calls()[1]);
}

#[tokio::test]
async fn complete_can_be_lost_or_late() {
    let (merchant, shop, outcome) = paying_with(json!({"fault": "complete-never"})).await;
    assert_eq!((outcome["outcome"].as_str(), outcome["completion"].as_str()), (Some("debited"), Some("open")));
    assert_eq!(merchant.came("action"), ["0"]);
    assert_eq!(ledger(&shop).await[0]["state"], "debited");

    let (merchant, _shop, outcome) = paying_with(json!({"fault": "complete-late", "milliseconds": 50})).await;
    assert_eq!((outcome["outcome"].as_str(), &outcome["complete"]), (Some("debited"), &Value::Null));
    calls_at_last(&merchant, 2).await;
}

#[tokio::test]
async fn a_captured_complete_can_be_altered_to_success() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;
    add_fault(&shop, json!({"fault": "debit-declined"})).await;
    add_fault(&shop, json!({"fault": "complete-altered"})).await;

    let outcome = pay(&shop, "71").await;

    assert_eq!(outcome["outcome"], "declined");
    assert_eq!(merchant.came("error"), ["0", "-5017", "0"]);
    assert_eq!(merchant.came("sign_string")[1], merchant.came("sign_string")[2]);
    assert!(!merchant.is_paid("71"));
    assert_eq!(ledger(&shop).await[0]["debits"], 0);
}

#[tokio::test]
async fn a_call_can_have_another_form() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;
    for fault in ["json", "short-amount", "uppercase-sign", "more-fields"] {
        add_fault(&shop, json!({"fault": fault})).await;
    }

    let outcome = pay(&shop, "71").await;

    assert_eq!(outcome["outcome"], "debited");
    assert_eq!(merchant.came("amount"), ["1000", "1000"]);
    assert_eq!(merchant.content_types(), ["application/json"; 2]);
    assert_eq!(merchant.came("click_extra"), ["new", "new"]);
    assert!(merchant.came("sign_string").iter().all(|sign| sign.to_uppercase() == *sign));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_call_can_come_from_another_address() {
    let (merchant, _shop, outcome) = paying_with(json!({"fault": "other-address", "path": "complete"})).await;

    assert_eq!(outcome["outcome"], "debited");
    assert_eq!(merchant.addresses(), ["127.0.0.1", "127.0.0.2"]);
}

#[tokio::test]
async fn money_can_move_without_a_question_and_go_back_without_a_request() {
    let (merchant, shop, outcome) = paying_with(json!({"fault": "prepare-never"})).await;
    assert_eq!((outcome["outcome"].as_str(), merchant.calls().len()), (Some("debited"), 0));
    assert_eq!(ledger(&shop).await[0]["debits"], 1);

    let (_merchant, shop, outcome) = paying_with(json!({"fault": "reversed-later", "milliseconds": 20})).await;
    assert_eq!(outcome["outcome"], "debited");
    for _ in 0..500 {
        if ledger(&shop).await[0]["state"] == "reversed" {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the money was not returned");
}

#[tokio::test]
async fn a_payer_can_leave_in_the_middle() {
    let (merchant, _shop, outcome) = paying_with(json!({"fault": "payer-leaves"})).await;

    assert_eq!(outcome["outcome"], "left");
    assert_eq!(merchant.came("action"), ["0"]);
}
