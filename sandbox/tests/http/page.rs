//! The page, used through the forms that a browser would send.

use reqwest::Response;
use serde_json::json;

use crate::support::{GOOD_CARD, Merchant, POOR_CARD, TestShop, code};

const BACK: &str = "https://shop.test/back?order=7&x=%20y";

/// The fields of every form of the page.
fn form(id: i64, fields: &[(&str, &str)]) -> Vec<(String, String)> {
    [("storeId", "1234"), ("transactionId", &id.to_string())]
        .iter()
        .chain(fields)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

async fn send(shop: &TestShop, target: &str, fields: &[(String, String)]) -> Response {
    shop.post(&format!("/invoice/{target}")).form(fields).send().await.expect("a page")
}

fn location(response: &Response) -> &str {
    response.headers()["location"].to_str().expect("a location")
}

#[tokio::test]
async fn a_payer_pays_and_is_sent_back_to_the_shop() {
    let merchant = Merchant::allowing().await;
    let shop = TestShop::with(&merchant).await;
    let id = shop.create("order-7", 5_000_000).await;

    let page = shop
        .get("/invoice/get")
        .query(&[("storeId", "1234"), ("transactionId", &id.to_string()), ("redirectLink", BACK)])
        .send()
        .await
        .expect("the page");
    assert_eq!(page.status(), 200);
    let text = page.text().await.expect("HTML");
    for expected in [
        "order-7",
        "50,000.00",
        r#"id="card_number""#,
        r#"id="expiry""#,
        r#"id="continue""#,
        r#"id="cancel""#,
        "https://shop.test/back?order=7&#38;x=%20y",
    ] {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }

    let card = form(id, &[("redirectLink", BACK), ("card_number", "8600 4907 4431 3347"), ("expiry", "10 / 24")]);
    let entered = send(&shop, "card", &card).await;
    assert_eq!(entered.status(), 303);
    assert!(location(&entered).starts_with("get?storeId=1234&"), "{entered:?}");
    let next = format!("/invoice/{}", location(&entered));
    let text = shop.get(&next).send().await.expect("the page").text().await.expect("HTML");
    for expected in [r#"id="otp""#, r#"id="pay""#, r#"id="cancel""#, "860049******3347"] {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }
    assert!(!text.contains(r#"id="message""#), "{text}");

    let otp = form(id, &[("redirectLink", BACK), ("otp", "111111")]);
    let paid = send(&shop, "pay", &otp).await;
    assert_eq!(paid.status(), 303);
    assert_eq!(location(&paid), BACK);
    assert_eq!(shop.book(id).await["state"], "debited");

    // A double click, and a reload of the old link.
    let again = send(&shop, "pay", &otp).await;
    assert_eq!((again.status().as_u16(), location(&again)), (303, BACK));
    assert_eq!(shop.book(id).await["debits"], 1);
    assert_eq!(merchant.callbacks().len(), 1);
    let text = shop.get(&next).send().await.expect("the page").text().await.expect("HTML");
    assert!(text.contains("Paid. Thank you."), "{text}");
}

#[tokio::test]
async fn a_double_click_while_the_merchant_thinks_pays_once() {
    let merchant =
        Merchant::scripted(|_| (poem::http::StatusCode::OK, r#"{"status":1}"#, std::time::Duration::from_millis(100)))
            .await;
    let shop = TestShop::with(&merchant).await;
    let id = shop.create("1", 100).await;
    shop.pre_apply(id, GOOD_CARD).await;
    let otp = form(id, &[("redirectLink", BACK), ("otp", "111111")]);

    let (first, second) = tokio::join!(send(&shop, "pay", &otp), send(&shop, "pay", &otp));

    assert_eq!((location(&first), location(&second)), (BACK, BACK));
    assert_eq!(shop.book(id).await["debits"], 1);
    assert_eq!(merchant.callbacks().len(), 1);
}

#[tokio::test]
async fn without_a_link_back_the_page_says_how_it_ended() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("1", 100).await;
    shop.pre_apply(id, GOOD_CARD).await;

    let paid = send(&shop, "pay", &form(id, &[("otp", "111111")])).await;

    assert_eq!(paid.status(), 200);
    let text = paid.text().await.expect("HTML");
    assert!(text.contains(r#"id="message""#) && text.contains("Paid. Thank you."), "{text}");
}

#[tokio::test]
async fn a_canceled_payment_is_closed_for_good() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("1", 100).await;

    let canceled = send(&shop, "cancel", &form(id, &[("redirectLink", BACK)])).await;

    assert_eq!((canceled.status().as_u16(), location(&canceled)), (303, BACK));
    let inquiry = shop.inquire(id).await;
    assert_eq!(code(&inquiry), "STPIMS-ERR-092");
    assert_eq!(inquiry["store_transaction"]["confirmed"], false);
    assert_eq!(inquiry["store_transaction"]["trans_id"], id);
    assert_eq!(shop.pay(id).await["outcome"], "closed");
}

#[tokio::test]
async fn canceling_after_the_debit_changes_nothing() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("1", 100).await;
    shop.pay(id).await;

    let text = send(&shop, "cancel", &form(id, &[])).await.text().await.expect("HTML");

    assert!(text.contains("Paid. Thank you."), "{text}");
    assert_eq!(shop.book(id).await["state"], "debited");
}

#[tokio::test]
async fn a_payer_is_told_what_is_wrong() {
    let merchant = Merchant::refusing().await;
    let shop = TestShop::with(&merchant).await;
    let id = shop.create("1", 100).await;

    for (card, expiry, expected) in [
        ("", "10/24", "16 digits"),
        ("8600490744313340", "10/24", "Check its digits"),
        (GOOD_CARD, "1024x", "MM/YY"),
        (GOOD_CARD, "13/24", "16 digits"),
        ("8600492986215602", "10/24", "expired"),
        ("8600493214116133", "10/24", "SMS"),
    ] {
        let fields = form(id, &[("card_number", card), ("expiry", expiry)]);
        let response = send(&shop, "card", &fields).await;
        assert_eq!(response.status(), 422);
        let text = response.text().await.expect("HTML");
        assert!(text.contains(r#"id="message""#) && text.contains(expected), "{card}: {text}");
        assert!(text.contains(r#"id="card_number""#), "the form is still there");
    }

    shop.pre_apply(id, GOOD_CARD).await;
    for (otp, expected) in [("000000", "code is wrong"), ("111111", "shop did not accept")] {
        let text = send(&shop, "pay", &form(id, &[("otp", otp)])).await.text().await.expect("HTML");
        assert!(text.contains(expected) && text.contains(r#"id="otp""#), "{otp}: {text}");
    }

    let merchant = Merchant::allowing().await;
    shop.sandbox.set_callback_url(merchant.url.clone());
    shop.pre_apply(id, POOR_CARD).await;
    let text = send(&shop, "pay", &form(id, &[("otp", "111111")])).await.text().await.expect("HTML");
    assert!(text.contains("not enough money") && text.contains(r#"id="card_number""#), "{text}");
}

#[tokio::test]
async fn a_bad_link_gets_a_page_and_no_redirect() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("1", 100).await;

    for (query, expected) in [
        (String::new(), 400),
        (format!("storeId=1234&transactionId={id}&redirectLink=javascript:alert(1)"), 400),
        (format!("storeId=1&transactionId={id}"), 404),
        ("storeId=1234&transactionId=7".to_owned(), 404),
        ("storeId=1234&transactionId=x".to_owned(), 404),
    ] {
        let response = shop.get(&format!("/invoice/get?{query}")).send().await.expect("a page");
        assert_eq!(response.status(), expected, "{query}");
        assert!(response.text().await.expect("HTML").contains(r#"id="message""#));
    }
    let evil = form(id, &[("redirectLink", "javascript:alert(1)")]);
    assert_eq!(send(&shop, "cancel", &evil).await.status(), 400);
    assert_eq!(shop.book(id).await["state"], "draft");
}

#[tokio::test]
async fn texts_of_a_merchant_cannot_become_markup() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("<script>alert(1)</script>", 100).await;
    let query = format!("storeId=1234&transactionId={id}&redirectLink=https://x.test/\"><b>");

    let text = shop.get(&format!("/invoice/get?{query}")).send().await.expect("the page").text().await.expect("HTML");

    assert!(!text.contains("<script>") && !text.contains("\"><b>"), "{text}");
}

#[tokio::test]
async fn a_card_number_is_nowhere_on_disk() {
    let shop = TestShop::configured(|_| ()).await;
    let id = shop.create("1", 100).await;
    let fields = form(id, &[("card_number", GOOD_CARD), ("expiry", "10/24")]);
    send(&shop, "card", &fields).await;
    send(&shop, "pay", &form(id, &[("otp", "111111")])).await;

    let ledger = std::fs::read_to_string(shop.directory.path().join("sandbox-ledger.jsonl")).expect("the ledger");

    assert!(ledger.contains("860049******3347") && ledger.contains("debited"), "{ledger}");
    assert!(!ledger.contains(GOOD_CARD));
}

/// The merchant names the language of a draft, and the payer may change it on the page.
#[tokio::test]
async fn the_page_speaks_the_language_of_the_draft_or_of_its_address() {
    let shop = TestShop::configured(|_| ()).await;
    let get = async |address: &str| shop.get(address).send().await.expect("a page").text().await.expect("HTML");
    for (lang, card_number, amount) in [
        ("uz", "Karta raqami", "1\u{a0}250\u{a0}000.00 soʻm"),
        ("ru", "Номер карты", "1\u{a0}250\u{a0}000.00 сум"),
        ("en", "Card number", "1,250,000.00 soʻm"),
    ] {
        let draft = json!({"store_id": "1234", "account": "7", "amount": 125_000_000, "lang": lang});
        let id = shop.call("create", draft).await["transaction_id"].as_i64().expect("an id");
        let page = get(&format!("/invoice/get?storeId=1234&transactionId={id}")).await;
        for expected in [&format!("<html lang=\"{lang}\">"), card_number, amount, " aria-current=\"true\">"] {
            assert!(page.contains(expected), "{expected} is missing in {page}");
        }

        let russian = get(&format!("/invoice/get?storeId=1234&transactionId={id}&lang=ru")).await;
        assert!(russian.contains("<html lang=\"ru\">"), "{russian}");
        assert!(russian.contains(r#"<input type="hidden" name="lang" value="ru">"#), "{russian}");
        let card = form(id, &[("lang", "ru"), ("card_number", POOR_CARD), ("expiry", "10/24")]);
        let entered = send(&shop, "card", &card).await;
        assert!(location(&entered).ends_with("&step=otp&lang=ru"), "{entered:?}");
    }
    let id = shop.create("7", 100).await;
    for address in ["", "&lang=de"] {
        let page = get(&format!("/invoice/get?storeId=1234&transactionId={id}{address}")).await;
        assert!(page.contains("<html lang=\"en\">") && page.contains("Card number"), "{page}");
    }
}
