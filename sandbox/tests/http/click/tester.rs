//! Click's tester: right merchants are green in each reading, and each mistake is found red.

use sandbox::{CheckReport, ClickTester};
use serde_json::{Value, json};

use super::shop::{ClickMerchant, KEY, Mistake, Reading};

async fn check(merchant: &ClickMerchant, accounts: &[&str]) -> CheckReport {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tester = ClickTester {
        prepare_url: merchant.url.clone(),
        complete_url: merchant.url.clone(),
        service_id: "22222".to_owned(),
        secret_key: KEY.to_owned(),
        accounts: accounts.iter().map(|account| (*account).to_owned()).collect(),
        amount_tiyin: 100_000,
    };
    tester.run().await.expect("a report")
}

fn red(report: &CheckReport) -> Vec<&str> {
    report.lines.iter().filter(|line| !line.is_green).map(|line| line.name.as_str()).collect()
}

#[tokio::test]
async fn a_right_merchant_is_green_in_both_readings() {
    for reading in [Reading::Calm, Reading::LikeTheSamples] {
        for accounts in [&["71"][..], &["71", "72"]] {
            let merchant = ClickMerchant::reading(reading).await;
            merchant.order("71", 100_000);
            merchant.order("72", 100_000);

            let report = check(&merchant, accounts).await;

            assert!(report.is_green(), "{reading:?}\n{report}");
            assert_eq!(report.lines.len(), 30, "{report}");
            assert!(merchant.is_paid("71") && !merchant.is_paid("72"));
            let repeated = report.lines.iter().find(|line| line.name == "a repeated Complete").expect("the line");
            let seen = if reading == Reading::Calm { "answered as the first one" } else { "answered that it is paid" };
            assert_eq!(repeated.note, seen);
        }
    }
}

#[tokio::test]
async fn each_mistake_is_found() {
    let mut checks = tokio::task::JoinSet::new();
    for (mistake, line) in [
        (Mistake::ChecksNoSignature, "Prepare with a wrong signature"),
        (Mistake::SignsParsedAmount, "the same Prepare twice at the same moment"),
        (Mistake::AnswersBadSignWith403, "Complete with a wrong signature"),
        (Mistake::ChecksNoFields, "Prepare without a field"),
        (Mistake::ChecksNoAction, "an unknown action"),
        (Mistake::ChecksNoService, "Prepare of another service"),
        (Mistake::TakesEveryOrder, "Prepare of an unknown order"),
        (Mistake::ChecksNoAmount, "Prepare over too much"),
        (Mistake::LetsUnderpaymentPass, "Prepare over too little"),
        (Mistake::GivesNewPrepareIds, "a repeated Prepare gets the same number"),
        (Mistake::TakesPrepareIdsFromTheClock, "Prepare"),
        (Mistake::PrepareIdAsText, "Prepare"),
        (Mistake::ErrorAsText, "Prepare"),
        (Mistake::NoErrorNote, "Prepare"),
        (Mistake::EchoesNothing, "Prepare"),
        (Mistake::WritesPaidInPrepare, "the same Prepare twice at the same moment"),
        (Mistake::ChecksNoPrepareId, "Complete with an unknown merchant_prepare_id"),
        (Mistake::ComparesNoAttempt, "Complete of another attempt"),
        (Mistake::ChecksNoAmountInComplete, "Complete over another amount"),
        (Mistake::LooksAtNoError, "Complete of a failed payment"),
        (Mistake::CancelsTheOrderForGood, "the same Prepare twice at the same moment"),
        (Mistake::RepeatedFailureIsAnError, "a repeated Complete of a failed payment"),
        (Mistake::PreparesCanceledAttempts, "Prepare of a canceled attempt"),
        (Mistake::RepeatedCompleteIsAnError, "a repeated Complete"),
        (Mistake::PaysInParallelWithoutALock, "the same Prepare twice at the same moment"),
        (Mistake::PreparesPaidAttempts, "Prepare of a paid attempt"),
        (Mistake::PreparesPaidOrders, "another attempt on a paid order"),
        (Mistake::FailsWhatIsPaid, "Complete of a failed payment, after it was paid"),
        (Mistake::AnswersText, "Prepare with a wrong signature"),
    ] {
        checks.spawn(async move {
            let merchant = ClickMerchant::with(mistake).await;
            merchant.order("71", 100_000);

            let report = check(&merchant, &["71"]).await;

            assert!(red(&report).contains(&line), "{mistake:?} is not seen in {line}:\n{report}");
        });
    }
    while let Some(checked) = checks.join_next().await {
        checked.expect("a mistake that is found");
    }
}

/// What is wrong in one place makes no other line red, so that a person finds the place.
#[tokio::test]
async fn a_mistake_is_red_where_it_is_and_nowhere_else() {
    for (mistake, lines) in [
        (Mistake::LetsUnderpaymentPass, vec!["Prepare over too little"]),
        (Mistake::PreparesCanceledAttempts, vec!["Prepare of a canceled attempt"]),
        (Mistake::PreparesPaidAttempts, vec!["Prepare of a paid attempt"]),
        (Mistake::PreparesPaidOrders, vec!["another attempt on a paid order"]),
        (Mistake::RepeatedFailureIsAnError, vec!["a repeated Complete of a failed payment"]),
    ] {
        let merchant = ClickMerchant::with(mistake).await;
        merchant.order("71", 100_000);
        merchant.order("72", 100_000);

        let report = check(&merchant, &["71", "72"]).await;

        assert_eq!(red(&report), lines, "{mistake:?}\n{report}");
    }
}

#[tokio::test]
async fn a_line_says_what_was_sent_expected_and_answered_and_no_key() {
    let merchant = ClickMerchant::with(Mistake::ChecksNoAmount).await;
    merchant.order("71", 100_000);

    let report = check(&merchant, &["71"]).await;

    let line = report.lines.iter().find(|line| line.name == "Prepare over too much").expect("the line");
    assert!(line.sent.starts_with("Prepare click_trans_id=") && line.sent.contains("amount=1001.00"), "{line:?}");
    assert_eq!((line.expected.as_str(), line.note.as_str()), ("error -2", "`error` is 0"));
    assert!(line.answered.starts_with("HTTP 200 {"), "{line:?}");
    assert!(!report.to_string().contains(KEY));
    assert!(!serde_json::to_string(&report).expect("JSON").contains(KEY));
    assert!(report.to_string().ends_with(" red"), "{report}");
}

/// A merchant that is not there is red in every line, and ends the list all the same.
#[tokio::test]
async fn a_merchant_that_is_away_is_red_in_every_line() {
    let mut merchant = ClickMerchant::right().await;
    merchant.url = "http://127.0.0.1:1/click".parse().expect("a URL");

    let report = check(&merchant, &["71"]).await;

    assert_eq!(report.red(), report.lines.len());
    assert!(report.to_string().contains("not played"), "{report}");
}

#[tokio::test]
async fn the_button_of_the_page_and_the_control_api_play_it_against_the_registered_merchant() {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    merchant.order("81", 5_000);
    let shop = merchant.sandbox().await;

    let page = shop.get("/click/").send().await.expect("a page").text().await.expect("text");
    let form = [("account", "71"), ("failing_account", ""), ("amount", "1000")];
    let played = shop.post("/click/check").form(&form).send().await.expect("a page");
    let (status, played) = (played.status(), played.text().await.expect("text"));
    let told = shop.post("/click/_sim/check").json(&json!({"account": "81", "amount": "50.00"})).send().await;
    let told: Value = told.expect("an answer").json().await.expect("JSON");

    assert!(page.contains("Run the tester") && page.contains(merchant.url.as_str()), "{page}");
    assert_eq!(status, 200);
    assert!(played.contains("30 green, 0 red"), "{played}");
    let lines = told["lines"].as_array().expect("lines");
    assert!(lines.len() == 30 && lines.iter().all(|line| line["is_green"] == true), "{told}");
    let elsewhere = shop.post("/click/check").form(&form).header("origin", "https://evil.example").send().await;
    assert_eq!(elsewhere.expect("an answer").status(), 403);
}

#[tokio::test]
async fn the_button_says_what_is_missing() {
    let merchant = ClickMerchant::right().await;
    let on = merchant.sandbox().await;
    let off = crate::support::TestShop::configured(|_| ()).await;

    for (shop, account, amount, says) in [
        (&on, "71", "-1", "amount is in so"),
        (&on, "", "1000", "order&#39;s number"),
        (&off, "71", "1000", "--click-prepare"),
    ] {
        let form = [("account", account), ("amount", amount)];
        let page = shop.post("/click/check").form(&form).send().await.expect("a page");

        assert_eq!(page.status(), 422);
        let text = page.text().await.expect("text");
        assert!(text.contains(says), "{says}: {text}");
    }
}
