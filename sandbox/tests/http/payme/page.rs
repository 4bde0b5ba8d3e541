//! The payer's page and the cabinet, as a browser without JavaScript uses them.

use reqwest::header::LOCATION;
use serde_json::json;

use super::shop::PaymeScene;

/// `m=64a1f0c2b7e8d9034f5a6b7c;ac.order_id=7;a=5000000;l=en;c=http://shop.test/back?t=:transaction;ct=2000`
const LINK: &str = "/payme/bT02NGExZjBjMmI3ZThkOTAzNGY1YTZiN2M7YWMub3JkZXJfaWQ9NzthPTUwMDAwMDA7bD1lbjtjPWh0dHA6Ly9zaG9wLnRlc3QvYmFjaz90PTp0cmFuc2FjdGlvbjtjdD0yMDAw";
/// The same of order 100, which does not exist, in Uzbek.
const UNKNOWN: &str = "/payme/bT02NGExZjBjMmI3ZThkOTAzNGY1YTZiN2M7YWMub3JkZXJfaWQ9MTAwO2E9NTAwMDAwMDtsPXV6";
/// Of another cashbox.
const ELSEWHERE: &str = "/payme/bT01ODdmNzJjNzJjYWMwZDE2MmM3MjJhZTI7YWMub3JkZXJfaWQ9MTk3O2E9NTAw";

const CARD: [(&str, &str); 2] = [("card_number", "8600 0691 9540 6311"), ("expiry", "03/99")];

async fn text(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a page"))
}

#[tokio::test]
async fn a_payer_pays_on_the_page_and_returns_to_the_shop() {
    let scene = PaymeScene::start().await;

    let (status, card) = text(scene.sandbox.get(LINK)).await;
    assert_eq!(status, 200);
    assert!(card.contains("50\u{a0}000.00 soʻm") && card.contains("lang=\"en\""), "{card}");
    assert!(card.contains("8600069195406311") && card.contains("8600495473316478"), "{card}");
    let (status, code) = text(scene.sandbox.post(LINK).form(&CARD)).await;
    assert_eq!(status, 200);
    assert!(code.contains("name=\"code\"") && scene.shop.came().is_empty(), "{code}");
    let (_, wrong) = text(scene.sandbox.post(LINK).form(&[CARD[0], CARD[1], ("code", "111111")])).await;
    assert!(wrong.contains("This code is wrong") && scene.shop.came().is_empty(), "{wrong}");
    let (status, paid) = text(scene.sandbox.post(LINK).form(&[CARD[0], CARD[1], ("code", "666666")])).await;

    assert_eq!(status, 200);
    let id = scene.receipt().await["id"].as_str().expect("an id").to_owned();
    let back = format!("http://shop.test/back?t={id}");
    assert!(paid.contains("Paid. Thank you."), "{paid}");
    assert!(
        paid.contains(&format!("content=\"2;url={back}\"")) && paid.contains(&format!("href=\"{back}\"")),
        "{paid}"
    );
    assert_eq!(scene.receipt().await["state"], 2);
}

#[tokio::test]
async fn the_merchants_refusal_is_told_in_the_payers_language() {
    let scene = PaymeScene::start().await;

    let (_, page) = text(scene.sandbox.post(UNKNOWN).form(&[CARD[0], CARD[1], ("code", "666666")])).await;

    assert!(page.contains("Doʻkon toʻlovni qabul qilmadi") && page.contains("no such order (-31050)"), "{page}");
}

#[tokio::test]
async fn a_link_that_leads_nowhere_is_told_to_its_payer() {
    let scene = PaymeScene::start().await;

    for (path, status, message) in
        [(ELSEWHERE, 404, "-31601"), ("/payme/nonsense!", 400, "not base64"), ("/payme/bT0x", 400, "no account field")]
    {
        let (seen, page) = text(scene.sandbox.get(path)).await;

        assert_eq!(seen, status, "{path}");
        assert!(page.contains(message), "{path}: {page}");
    }
    let (status, page) = text(scene.sandbox.post(LINK).form(&[("card_number", "86"), ("expiry", "03/99")])).await;
    assert_eq!(status, 422);
    assert!(page.contains("Check the card number"), "{page}");
}

#[tokio::test]
async fn the_cabinet_lists_receipts_and_refunds_them() {
    let scene = PaymeScene::start().await;
    let id = scene.pay("7").await["receipt"]["id"].as_str().expect("an id").to_owned();
    let (_, cabinet) = text(scene.sandbox.get("/payme/")).await;
    assert!(cabinet.contains(&id) && cabinet.contains("action=\"refund\""), "{cabinet}");

    let answer = scene.sandbox.post("/payme/refund").form(&[("receipt", &id)]).send().await.expect("an answer");

    assert_eq!(answer.status(), 303);
    assert_eq!(answer.headers()[LOCATION], "./");
    assert_eq!(scene.receipt().await["state"], -2);
    let (_, cabinet) = text(scene.sandbox.get("/payme/")).await;
    assert!(!cabinet.contains("action=\"refund\""), "{cabinet}");
}

#[tokio::test]
async fn the_button_runs_both_scenarios() {
    let scene = PaymeScene::start().await;

    let form = [("account", "1"), ("second_account", "2"), ("amount", "50000.00")];
    let (status, page) = text(scene.sandbox.post("/payme/check").form(&form)).await;
    assert_eq!(status, 200);
    assert!(page.contains("0 red") && page.contains("2: it is performed"), "{page}");

    let (status, page) = text(scene.sandbox.post("/payme/check").form(&[("account", "1"), ("amount", "x")])).await;
    assert_eq!(status, 422);
    assert!(page.contains("the amount is in soʻm"), "{page}");
    let report = scene.sim("check", json!({"accounts": ["3", "4"], "amount": 5_000_000})).await;
    assert!(report["lines"].as_array().expect("lines").iter().all(|line| line["is_green"] == true), "{report}");
}
