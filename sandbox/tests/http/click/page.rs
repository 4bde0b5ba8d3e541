//! The payer's page of Click, as a browser without JavaScript sees it.

use reqwest::Response;
use serde_json::json;

use super::payment::{add_fault, ledger};
use super::shop::ClickMerchant;
use crate::support::TestShop;

const LINK: &str = "service_id=22222&merchant_id=11111&amount=1000.00&transaction_param=71";
const BACK: &str = "return_url=http%3A%2F%2Fshop.test%2Fback%3Fa%3D1";

async fn open(shop: &TestShop, query: &str) -> Response {
    shop.get(&format!("/click/services/pay?{query}")).send().await.expect("a page")
}

async fn send(shop: &TestShop, link: &str, typed: &[(&str, &str)]) -> Response {
    let mut form = url::form_urlencoded::Serializer::new(format!("{link}&"));
    form.extend_pairs(typed);
    let request = shop.post("/click/services/pay").header("content-type", "application/x-www-form-urlencoded");
    request.body(form.finish()).send().await.expect("a page")
}

async fn shop_with_order() -> (ClickMerchant, TestShop) {
    let merchant = ClickMerchant::right().await;
    merchant.order("71", 100_000);
    let shop = merchant.sandbox().await;
    (merchant, shop)
}

#[tokio::test]
async fn the_page_speaks_three_languages() {
    let (_merchant, shop) = shop_with_order().await;

    for (language, words) in [("uz", "Karta bilan"), ("ru", "Оплатить картой"), ("en", "Pay by card")] {
        let page = open(&shop, &format!("{LINK}&lang={language}")).await.text().await.expect("text");
        assert!(page.contains(words) && page.contains(&format!("<html lang=\"{language}\">")), "{page}");
        assert!(page.contains("1\u{a0}000.00") && page.contains("71"), "{page}");
        assert!(!page.contains("<script"), "{page}");
    }
    let asked = shop.get(&format!("/click/services/pay?{LINK}")).header("accept-language", "ru-RU,ru;q=0.9");
    assert!(asked.send().await.expect("a page").text().await.expect("text").contains("Оплатить картой"));
}

#[tokio::test]
async fn a_card_or_a_telephone_pays_and_leads_back_to_the_shop() {
    for typed in [&[("card_number", "8600 4907 4431 3347"), ("expiry", "07/28")][..], &[("phone", "+998 90 123 45 67")]]
    {
        let (merchant, shop) = shop_with_order().await;
        assert_eq!(open(&shop, &format!("{LINK}&{BACK}")).await.status(), 200);

        let answer = send(&shop, &format!("{LINK}&{BACK}"), typed).await;

        assert_eq!(answer.status(), 303);
        assert_eq!(answer.headers()["location"], "http://shop.test/back?a=1");
        assert!(merchant.is_paid("71"));
    }
}

#[tokio::test]
async fn without_an_address_to_return_to_the_page_says_how_it_ended() {
    let (_merchant, shop) = shop_with_order().await;
    let link = format!("{LINK}&lang=en");

    let declined = send(&shop, &link, &[("card_number", "8600312998546358"), ("expiry", "0728")]).await;
    assert_eq!(declined.status(), 422);
    assert!(declined.text().await.expect("text").contains("The bank declined"));
    let paid = send(&shop, &link, &[("phone", "901234567")]).await;
    assert_eq!(paid.status(), 200);
    assert!(paid.text().await.expect("text").contains("Paid. Thank you."));
    let twice = send(&shop, &link, &[("phone", "901234567")]).await;
    assert_eq!(twice.status(), 422);
    assert!(twice.text().await.expect("text").contains("The shop did not accept this payment"));
}

#[tokio::test]
async fn a_payer_who_leaves_goes_back_to_the_shop_unpaid() {
    let (merchant, shop) = shop_with_order().await;
    add_fault(&shop, json!({"fault": "payer-leaves"})).await;

    let answer = send(&shop, &format!("{LINK}&{BACK}"), &[("phone", "901234567")]).await;

    assert_eq!(answer.status(), 303);
    assert!(!merchant.is_paid("71"));
}

#[tokio::test]
async fn a_mistyped_card_or_telephone_makes_no_attempt() {
    let (merchant, shop) = shop_with_order().await;
    let link = format!("{LINK}&lang=en");

    for (typed, says) in [
        (&[("card_number", "8600490744313348"), ("expiry", "0728")][..], "card number is wrong"),
        (&[("card_number", "8600490744313347"), ("expiry", "1328")], "MM/YY"),
        (&[("phone", "12345")], "telephone number is wrong"),
        (&[], "MM/YY"),
    ] {
        let answer = send(&shop, &link, typed).await;
        assert_eq!(answer.status(), 422, "{typed:?}");
        assert!(answer.text().await.expect("text").contains(says), "{typed:?}");
    }
    assert!(ledger(&shop).await.is_empty() && merchant.calls().is_empty());
}

#[tokio::test]
async fn a_wrong_link_is_told_what_is_wrong_and_nothing_of_it_is_run() {
    let (_merchant, shop) = shop_with_order().await;

    let incomplete = open(&shop, "service_id=22222&merchant_id=11111&amount=1000.00").await;
    let script = open(&shop, &format!("{LINK}&return_url=javascript:alert(1)")).await;
    let markup = open(&shop, "service_id=22222&merchant_id=11111&amount=1&transaction_param=%3Cb%3E%22").await;

    assert_eq!((incomplete.status().as_u16(), script.status().as_u16(), markup.status().as_u16()), (400, 400, 200));
    assert!(incomplete.text().await.expect("text").contains("transaction_param is missing"));
    let page = markup.text().await.expect("text");
    assert!(!page.contains("<b>") && page.contains("&#60;b&#62;"), "{page}");
}
