//! The customer's pages: the shop's words, the language, the facts of a receipt.

use domain::order::{GatewayIdentity, Language, Order, PaymentType};
use domain::secret::Secret;
use domain::shop::ShopName;
use domain::shops::{Shop, ShopWords, Shops};
use domain::time::rfc3339;
use serde_json::json;
use store::settlement::Settlement;

use super::support::{TestApi, TestResponse, gateway_of, send};
use crate::ApiKey;

fn words() -> ShopWords {
    ShopWords {
        name_uz: Some("Choyxona <b>№1</b>".to_owned()),
        name_ru: Some("Чайхана".to_owned()),
        name_en: None,
        support: Some("+998 71 200-00-00".to_owned()),
        logo_url: Some("https://cdn.tea.uz/logo.png?a=1&b=2".parse().unwrap()),
    }
}

fn shop_of(name: &str, words: ShopWords) -> Shop {
    let accounts = [(PaymentType::Atmos, GatewayIdentity("sandbox:1234".to_owned()))].into();
    Shop { name: ShopName::parse(name).unwrap(), accounts, words, ..Shop::default() }
}

async fn with_words(words: ShopWords) -> TestApi {
    TestApi::with(|context| context.shops = Shops::from_iter([shop_of("default", words)])).await
}

fn pay(order: &Order) -> String {
    format!("/pay/{}", order.token.as_str())
}

fn back(order: &Order) -> String {
    format!("/pay/{}/return", order.token.as_str())
}

#[track_caller]
fn assert_has(page: &TestResponse, parts: &[&str]) {
    for part in parts {
        assert!(page.body.contains(part), "{part} is missing in {}", page.body);
    }
}

async fn read_with(api: &TestApi, path: &str, header: (&str, &str)) -> TestResponse {
    send(api.client.get(path).header(header.0, header.1)).await
}

#[tokio::test]
async fn a_page_shows_the_shop_of_its_order_and_loads_nothing_but_its_logo() {
    let api = with_words(words()).await;
    for (language, title) in [
        ("uz", "Toʻlov sahifasi tayyorlanmoqda · Choyxona &#60;b&#62;№1&#60;/b&#62; · №1"),
        ("ru", "Готовим страницу оплаты · Чайхана · №2"),
        ("en", "Preparing the payment page · Choyxona &#60;b&#62;№1&#60;/b&#62; · №3"),
    ] {
        let order = api.order_with(json!({ "language": language })).await;

        let page = api.get(&pay(&order)).await;

        assert_has(
            &page,
            &[
                &format!("<title>{title}</title>"),
                "src=\"https://cdn.tea.uz/logo.png?a=1&#38;b=2\" alt=\"\"",
                "referrerpolicy=\"no-referrer\"",
                "<a href=\"tel:+998712000000\" rel=\"noreferrer\">+998 71 200-00-00</a>",
            ],
        );
        assert!(!page.body.contains("<b>"), "{}", page.body);
        let policy = page.header("content-security-policy");
        assert!(policy.ends_with("; form-action 'none'; img-src https://cdn.tea.uz"), "{policy}");
    }
}

#[tokio::test]
async fn a_shop_without_words_has_a_page_without_them() {
    let api = TestApi::start().await;
    let order = api.order_with(json!({ "language": "en" })).await;

    let page = api.get(&pay(&order)).await;

    assert_has(&page, &["<title>Preparing the payment page · №1</title>"]);
    for part in ["<img", "<footer", "id=\"shop\"", "img-src"] {
        assert!(!page.body.contains(part) && !page.header("content-security-policy").contains(part), "{part}");
    }
}

#[tokio::test]
async fn each_order_has_the_words_of_its_own_shop() {
    let key = ApiKey {
        shop: ShopName::parse("rice").unwrap(),
        name: "rice".to_owned(),
        key: Secret::new("0123456789abcdef"),
    };
    let support = |text: &str| ShopWords { support: Some(text.to_owned()), ..ShopWords::default() };
    let api = TestApi::with(|context| {
        context.gateways = gateway_of("1234");
        context.settings.keys = vec![key];
        context.shops =
            Shops::from_iter([shop_of("default", support("help@tea.uz")), shop_of("rice", support("@rice <uz>"))]);
    })
    .await;
    let body = json!({ "product_name": "Palov", "amount": "50.00", "payment_type": "atmos" });

    let made = api.create_as(Some("0123456789abcdef"), None, &body).await.json();

    let page = api.get(&format!("/pay/{}", made["order_token"].as_str().unwrap())).await;
    assert_has(&page, &["<p id=\"support\">Doʻkon bilan aloqa: @rice &#60;uz&#62;</p>"]);
    assert!(!page.body.contains("tea.uz"), "{}", page.body);
}

/// The words that change are one live region within the page's main part.
#[tokio::test]
async fn the_landmarks_of_a_page_say_what_they_hold() {
    let api = with_words(words()).await;
    let order = api.order().await;
    for page in [api.get(&pay(&order)).await, api.get("/pay/nonsense").await] {
        let place = |part: &str| page.body.find(part).unwrap_or_else(|| panic!("no {part}: {}", page.body));
        let parts =
            ["<header>", "<nav aria-label=\"Til\">", "</header>", "<main ", "<div id=\"said\" role=\"status\">"];
        let places = parts.map(place);

        assert!(places.is_sorted(), "{places:?}");
        assert!(place("<h1") > place("role=\"status\"") && place("<h1") < place("</main>"), "{}", page.body);
        assert_eq!((page.body.matches("role=").count(), page.body.matches("<h1").count()), (1, 1), "{}", page.body);
    }
}

#[tokio::test]
async fn the_customer_reads_the_page_in_another_language_and_the_order_keeps_its_own() {
    let api = with_words(words()).await;
    let order = api.order_with(json!({ "language": "uz" })).await;
    let order = api.link(&order, 700).await;
    api.get(&back(&order)).await;
    api.settle(&order, Settlement::Unpaid { page_is_closed: false }).await;

    let first = api.get(&back(&order)).await;
    let link = "<a href=\"?again=browser&#38;lang=ru\" lang=\"ru\" hreflang=\"ru\">Русский</a>";
    assert_has(&first, &[link, "lang=\"uz\" hreflang=\"uz\" aria-current=\"true\">Oʻzbekcha</a>"]);
    assert_eq!(first.header("set-cookie"), "");
    let russian = api.get(&format!("{}?again=browser&lang=ru", back(&order))).await;

    assert_has(
        &russian,
        &[
            "<html lang=\"ru\">",
            "Заказ ещё не оплачен · Чайхана · №1",
            "lang=\"ru\" hreflang=\"ru\" aria-current=\"true\"",
            "url=?again=browser&#38;lang=ru\"",
            "data-again=\"?again=script&#38;lang=ru\"",
            &format!("id=\"pay\" href=\"../{}?lang=ru\"", order.token.as_str()),
        ],
    );
    let cookie = russian.header("set-cookie");
    assert_eq!(cookie, format!("tasdiq_language=ru; Path={}; HttpOnly; SameSite=Lax", pay(&order)));
    assert_eq!(api.reread(order.id).await.language, Language::Uz);
    assert_eq!(api.get("/api/orders/1").await.json()["language"], "uz");
}

/// A gateway leads back to the address that it was given.
#[tokio::test]
async fn the_browser_brings_the_chosen_language_back_from_the_gateway() {
    let api = TestApi::start().await;
    let order = api.order_with(json!({ "language": "uz" })).await;
    let order = api.link(&order, 700).await;

    let page = read_with(&api, &back(&order), ("cookie", "a=b; tasdiq_language=en")).await;
    assert_has(&page, &["<html lang=\"en\">", "Checking your payment", "url=?again=browser\""]);
    for unknown in ["lang=de", "lang=", "lang=RU", "lang=ru-RU", "lang"] {
        let page = api.get(&format!("{}?again=script&{unknown}", back(&order))).await;
        assert_has(&page, &["<html lang=\"uz\">", "data-again=\"?again=script\""]);
        assert_eq!(page.header("set-cookie"), "", "{unknown}");
    }
    // Also where the address leads on at once.
    let forwarded = api.get(&format!("{}?lang=ru", pay(&order))).await;
    assert_eq!((forwarded.status, forwarded.header("location")), (303, "http://gateway.test/pay?transactionId=700"));
    assert!(forwarded.header("set-cookie").starts_with("tasdiq_language=ru;"), "{forwarded:?}");
}

#[tokio::test]
async fn behind_https_and_a_path_the_language_is_kept_for_the_order_s_pages_alone() {
    let api = TestApi::with(|context| context.public_url = "https://tea.uz/pays/".parse().unwrap()).await;
    let order = api.order().await;

    let page = api.get(&format!("{}?lang=en", pay(&order))).await;

    let path = format!("Path=/pays{};", pay(&order));
    assert!(page.header("set-cookie").contains(&path) && page.header("set-cookie").ends_with("; Secure"), "{page:?}");
}

#[tokio::test]
async fn an_unknown_page_speaks_the_language_that_is_asked_for() {
    let api = TestApi::start().await;

    let page = read_with(&api, "/pay/nonsense?lang=ru", ("accept-language", "en")).await;

    assert_eq!(page.status, 404);
    assert_has(&page, &["Страница не найдена", "<a href=\"?lang=en\" lang=\"en\" hreflang=\"en\">English</a>"]);
}

#[tokio::test]
async fn a_paid_page_is_a_receipt_and_so_is_one_of_a_refund() {
    let api = with_words(words()).await;
    let order = api.order_with(json!({ "language": "en", "amount": "1250000.00" })).await;
    let order = api.link(&order, 700).await;
    assert!(!api.get(&back(&order)).await.body.contains("id=\"transaction\""), "not paid yet");
    let paid = api.pay(&order).await;
    let facts = [
        "<dd>№ 1</dd>",
        "<dd id=\"amount\">1,250,000.00 soʻm</dd>",
        "<dd id=\"gateway\">Atmos</dd>",
        "<dd id=\"transaction\">700</dd>",
        "(Tashkent time)</dd>",
    ];

    let page = api.get(&pay(&order)).await;
    assert_has(&page, &facts);
    let paid_at = domain::time::TashkentTime::of(paid.final_at_ms.unwrap()).unwrap();
    assert_has(&page, &[&format!("{}, {:02}:{:02} (Tashkent time)", paid_at.year, paid_at.hour, paid_at.minute)]);
    assert!(!page.body.contains("id=\"until\""), "{}", page.body);

    store::jobs::stage_now(api.store(), domain::job::Job::SettleOrder { order_id: order.id }).await.unwrap();
    let transaction_id = paid.transaction_id.unwrap();
    api.settle(&paid, Settlement::Refunded { transaction_id }).await;
    let page = api.get(&pay(&order)).await;
    assert_has(&page, &facts);
    assert_has(&page, &["The money was returned", "class=\"done\""]);
}

#[tokio::test]
async fn the_time_left_is_shown_as_long_as_the_customer_can_pay() {
    let api = TestApi::start().await;
    let order = api.order_with(json!({ "language": "en" })).await;
    let made = api.get(&pay(&order)).await;
    assert!(!made.body.contains("id=\"until\""), "there is nothing to pay with yet: {}", made.body);
    let order = api.link_for(&order, 700, 20 * 60_000).await;

    let page = api.get(&back(&order)).await;

    let until = format!("<time id=\"until\" datetime=\"{}\">", rfc3339(order.expires_at_ms.unwrap()));
    assert_has(&page, &["<dt>Pay until</dt>", &until, "data-words=\"({} min left)\"", "data-now=\""]);
    let order = api.pay(&order).await;
    assert!(!api.get(&pay(&order)).await.body.contains("id=\"until\""));
}

fn returning_after(seconds: u64) -> Shop {
    Shop {
        return_after_paid: Some(std::time::Duration::from_secs(seconds)),
        ..shop_of("default", ShopWords::default())
    }
}

const DONE: &str = "https://shop.test/done?a=1&b=2";

#[tokio::test]
async fn a_customer_who_has_just_paid_goes_back_to_a_shop_that_wants_it_once() {
    let api = TestApi::with(|context| context.shops = Shops::from_iter([returning_after(7)])).await;
    let order = api.order_with(json!({ "language": "en", "return_url": DONE })).await;
    let order = api.link(&order, 700).await;
    assert!(!api.get(&back(&order)).await.body.contains("shop.test/done?a=1&#38;b=2\">\n<style"), "not paid");
    api.pay(&order).await;
    let meta = "<meta http-equiv=\"refresh\" content=\"7;url=https://shop.test/done?a=1&#38;b=2\">";

    for path in [back(&order), format!("{}?again=browser", pay(&order)), format!("{}?again=script", back(&order))] {
        let page = api.get(&path).await;
        assert_has(
            &page,
            &[
                meta,
                "data-leave=\"https://shop.test/done?a=1&#38;b=2\" data-leave-after=\"7\"",
                "<p id=\"leaving\">You go back to the shop in 7 s.</p>",
                "id=\"back\" href=\"https://shop.test/done?a=1&#38;b=2\"",
                "<a id=\"stay\" href=\"?stay\">Stay on this page</a>",
            ],
        );
        let cookie = format!("tasdiq_returned=1; Path={}; HttpOnly; SameSite=Lax", pay(&order));
        assert_eq!(page.header("set-cookie"), cookie, "{path}");
    }
    let stayed = api.get(&format!("{}?stay", back(&order))).await;
    let came_again = read_with(&api, &back(&order), ("cookie", "tasdiq_returned=1")).await;
    // Who opens the page of the order reads its receipt.
    for page in [stayed, came_again, api.get(&pay(&order)).await] {
        assert_has(&page, &["Payment received", "id=\"back\""]);
        assert!(!page.body.contains("http-equiv=\"refresh\"") && !page.body.contains("data-leave"), "{}", page.body);
        assert_eq!(page.header("set-cookie"), "");
    }
}

#[tokio::test]
async fn no_other_page_leads_back_to_the_shop_by_itself() {
    let to_shop = json!({ "language": "en", "return_url": DONE });
    let api = TestApi::with(|context| context.shops = Shops::from_iter([returning_after(1)])).await;
    let old = api.order_with(to_shop.clone()).await;
    let old = api.link(&old, 700).await;
    let paid = api.pay(&old).await;
    let at = |ms: i64| Order { final_at_ms: paid.final_at_ms.map(|at| at - ms), ..paid.clone() };
    let leads = |order: &Order, now_ms: i64| crate::pay_page::way_back(order, now_ms).is_some();
    let now_ms = paid.final_at_ms.unwrap();
    assert!(leads(&at(300_000), now_ms) && !leads(&at(300_001), now_ms), "a receipt is read later");
    assert!(!leads(&Order { return_url: None, ..paid.clone() }, now_ms), "there is nowhere to go");

    store::jobs::stage_now(api.store(), domain::job::Job::SettleOrder { order_id: old.id }).await.unwrap();
    let refunded = api.settle(&paid, Settlement::Refunded { transaction_id: paid.transaction_id.unwrap() }).await;
    assert!(!api.get(&back(&refunded)).await.body.contains("data-leave"));
    let without = with_words(ShopWords::default()).await;
    let order = without.order_with(to_shop).await;
    let order = without.link(&order, 700).await;
    without.pay(&order).await;
    assert!(!without.get(&back(&order)).await.body.contains("http-equiv"), "the shop does not want it");
}

/// The link to the shop, if there is one: its address and its words.
fn link_to_shop(page: &TestResponse) -> Option<(&str, &str)> {
    let (_, link) = page.body.split_once("id=\"back\" href=\"")?;
    let (address, rest) = link.split_once('"')?;
    let (_, words) = rest.split_once('>')?;
    Some((address, words.split('<').next()?))
}

#[tokio::test]
async fn a_customer_who_does_not_pay_goes_back_to_another_address() {
    const BASKET: &str = "https://shop.test/basket";
    const HOME: &str = "https://shop.test/done";
    let without_paying = "Back to the shop without paying";
    let back_to_shop = "Back to the shop";
    let both = json!({ "language": "en", "return_url": HOME, "cancel_url": BASKET });
    let api = TestApi::start().await;
    let order = api.order_with(both.clone()).await;
    assert_eq!(link_to_shop(&api.get(&pay(&order)).await), Some((BASKET, without_paying)));
    let order = api.link(&order, 700).await;
    let checked = api.get(&back(&order)).await;
    assert_eq!(link_to_shop(&checked), Some((HOME, back_to_shop)), "a payment may be under way");
    let order = api.settle(&order, Settlement::Unpaid { page_is_closed: false }).await;
    let again = format!("{}?again=script", back(&order));
    assert_eq!(link_to_shop(&api.get(&again).await), Some((BASKET, without_paying)));
    store::jobs::stage_now(api.store(), domain::job::Job::SettleOrder { order_id: order.id }).await.unwrap();
    let order = api.pay(&order).await;
    assert_eq!(link_to_shop(&api.get(&back(&order)).await), Some((HOME, back_to_shop)));

    let canceled = api.order_with(both).await;
    assert_eq!(api.cancel(&canceled, "").await.status, 200);
    assert_eq!(link_to_shop(&api.get(&pay(&canceled)).await), Some((BASKET, back_to_shop)));

    let one = api.order_with(json!({ "language": "en", "return_url": HOME })).await;
    assert_eq!(link_to_shop(&api.get(&pay(&one)).await), Some((HOME, back_to_shop)));
    let other = api.order_with(json!({ "language": "en", "cancel_url": BASKET })).await;
    let other = api.link(&other, 701).await;
    api.pay(&other).await;
    assert_eq!(link_to_shop(&api.get(&back(&other)).await), None);
}
