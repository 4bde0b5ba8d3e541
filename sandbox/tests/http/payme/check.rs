//! Payme's two scenarios against a merchant that makes mistakes.

use std::time::Duration;

use sandbox::{BusyCode, CheckReport, PaymeScenarios, RefundPolicy};

use super::shop::{Mistake, PRICE, PaymeShop};

fn scenarios(shop: &PaymeShop) -> PaymeScenarios {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    PaymeScenarios {
        pause: Duration::from_millis(5),
        ..PaymeScenarios::new(shop.url.clone(), vec!["1".to_owned(), "2".to_owned()], PRICE)
    }
}

async fn report(mistake: Option<Mistake>) -> CheckReport {
    scenarios(&PaymeShop::with(mistake).await).run().await.expect("a client")
}

fn red(report: &CheckReport) -> Vec<String> {
    let red = report.lines.iter().filter(|line| !line.is_green);
    red.map(|line| format!("{}: {}", line.name, line.note)).collect()
}

#[tokio::test]
async fn a_right_merchant_is_green_in_both_scenarios() {
    let report = report(None).await;

    assert_eq!(red(&report), [""; 0], "{report}");
    assert!(report.is_green() && report.lines.len() > 25, "{}", report.lines.len());
    for scenario in ["1: ", "2: "] {
        assert!(report.lines.iter().any(|line| line.name.starts_with(scenario)), "{scenario}");
    }
}

#[tokio::test]
async fn the_report_says_what_was_sent_expected_and_answered_and_no_key() {
    let report = report(Some(Mistake::TakesEveryAmount)).await;

    let text = report.to_string();
    assert!(text.contains("RED") && text.contains("\"method\":\"CheckPerformTransaction\""), "{text}");
    assert!(text.contains("error -31001") && text.contains("HTTP 200 {"), "{text}");
    assert!(!text.contains("sandbox-payme-key") && !text.contains("Basic"), "{text}");
}

/// Each mistake with a part of a line that must be red for it.
#[tokio::test]
async fn each_known_mistake_is_red() {
    let known = [
        (Mistake::CreateTimeNowOnRepeat, "1: created again (CreateTransaction): `create_time` was"),
        (Mistake::PerformTimeNowOnRepeat, "2: performed again (PerformTransaction): `perform_time` was"),
        (Mistake::CancelTimeNowOnRepeat, "1: it is cancelled again (CancelTransaction): `cancel_time` was"),
        (Mistake::BadKeyAs401, "1: a wrong key (GetStatement): HTTP 401"),
        (Mistake::ErrorsAs400, "1: a wrong amount (CreateTransaction): HTTP 400"),
        (Mistake::TakesEveryKey, "1: a wrong key (CheckPerformTransaction): it is a result"),
        (
            Mistake::MessageAsText,
            "1: an account that does not exist (CreateTransaction): the message has no text in \"ru\"",
        ),
        (Mistake::MessageWithoutUzbek, "(CheckPerformTransaction): the message has no text in \"uz\""),
        (Mistake::NoData, "1: an account that does not exist (CheckPerformTransaction): `data` does not name"),
        (Mistake::ForgetsCallId, "the `id` of the call is not given back"),
        (Mistake::TakesEveryAmount, "1: a wrong amount (CheckPerformTransaction): it is a result"),
        (Mistake::AmountFromFloats, "1: it may be paid (CheckPerformTransaction): it is the error -31001"),
        (Mistake::TakesEveryAccount, "1: an account that does not exist (CreateTransaction): it is a result"),
        (
            Mistake::NotFoundForUnknownAccount,
            "1: an account that does not exist (CheckPerformTransaction): the code is -31003",
        ),
        (Mistake::NeverBusy, "1: another transaction for the same order (CreateTransaction): it is a result"),
        (Mistake::BusyBySameTransaction, "1: created again (CreateTransaction): it is the error -31052"),
        (Mistake::SecondsInsteadOfMilliseconds, "`create_time` is no number of 13 digits"),
        (Mistake::TransactionAsNumber, "`transaction` is no text"),
        (Mistake::PerformStaysCreated, "2: it is performed (PerformTransaction): the state is 1 instead of 2"),
        (Mistake::NeverRefunds, "2: it is refunded (CancelTransaction): it is the error -31007"),
        (Mistake::RefundIsMinusOne, "2: it is refunded (CancelTransaction): the state is -1 instead of -2"),
        (Mistake::ForgetsReason, "1: it shows as cancelled (CheckTransaction): `reason` is null instead of 3"),
        (Mistake::PerformTimeOfUnperformed, "1: it shows as cancelled (CheckTransaction): `perform_time` is"),
        (Mistake::CheckNeedsTransaction, "1: it shows as created (CheckTransaction): it is the error -31001"),
        (Mistake::AnswersHtml, "the body is no JSON object"),
    ];
    for (mistake, line) in known {
        let report = report(Some(mistake)).await;

        let red = red(&report);
        assert!(red.iter().any(|told| told.contains(line)), "{mistake:?}: {red:#?}");
    }
}

#[tokio::test]
async fn the_code_for_a_busy_order_can_be_chosen() {
    let shop = PaymeShop::start().await;
    shop.set_busy_code(-31_008);

    let by_default = scenarios(&shop).run().await.expect("a client");
    let exact = PaymeScenarios {
        busy_code: BusyCode::Exactly(-31_008),
        accounts: vec!["3".to_owned(), "4".to_owned()],
        ..scenarios(&shop)
    };
    let exact = exact.run().await.expect("a client");

    let line =
        "1: another transaction for the same order (CreateTransaction): the code is -31008 instead of -31099 to -31050";
    assert_eq!(red(&by_default), [line]);
    assert_eq!(red(&exact), [""; 0]);
}

#[tokio::test]
async fn a_merchant_may_refuse_refunds_where_that_is_its_policy() {
    let shop = PaymeShop::with(Some(Mistake::NeverRefunds)).await;

    let refusing = PaymeScenarios { refund: RefundPolicy::Refuse, ..scenarios(&shop) };

    assert_eq!(red(&refusing.run().await.expect("a client")), [""; 0]);
}

#[tokio::test]
async fn one_order_serves_both_scenarios_where_a_cancelled_payment_frees_it() {
    let shop = PaymeShop::start().await;

    let one = PaymeScenarios { accounts: vec!["1".to_owned()], ..scenarios(&shop) };

    assert_eq!(red(&one.run().await.expect("a client")), [""; 0]);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_red_in_every_line() {
    let shop = PaymeShop::start().await;
    let url = "http://127.0.0.1:9/payme".parse().expect("a URL");

    let report = PaymeScenarios { url, ..scenarios(&shop) }.run().await.expect("a client");

    assert!(report.lines.iter().all(|line| !line.is_green && line.note.starts_with("no answer")), "{report}");
}
