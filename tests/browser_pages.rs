//! The customer's pages in a real browser: the shop's words, the language, the way back, and small screens.

use std::path::Path;
use std::time::Duration;

use poem::listener::TcpAcceptor;
use poem::web::Html;
use poem::{Route, Server, handler};
use serde_json::{Value, json};

use crate::support::app::{Kind, TestApp};
use crate::support::browser::Browser;
use crate::support::wait::PATIENCE;

/// Words of a shop. Its logo does not load: the browser of the tests reaches no other machine.
const SHOP: [(&str, &str); 5] = [
    ("TASDIQ_SHOP_NAME_UZ", "Choyxona"),
    ("TASDIQ_SHOP_NAME_RU", "Чайхана на углу"),
    ("TASDIQ_SHOP_NAME_EN", "Tea house"),
    ("TASDIQ_SHOP_SUPPORT", "+998 71 200 00 00"),
    ("TASDIQ_SHOP_LOGO_URL", "https://cdn.tea.uz/logo.png"),
];

const PAID: &str = r#"main#status[data-status="paid"]"#;

async fn make_order(app: &TestApp, body: Value) -> Value {
    let mut order = json!({ "product_name": "Somsa, 2 dona", "amount": "1250000.00" });
    order.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    let answer = app.create_order(&order).await;
    assert_eq!(answer.status, 201, "{answer}");
    answer.json()
}

fn page_of(app: &TestApp, order: &Value) -> String {
    format!("{}/pay/{}", app.url, order["order_token"].as_str().unwrap())
}

async fn pay_at_atmos(browser: &Browser) {
    browser.fill("#card_number", "8600490744313347").await;
    browser.fill("#expiry", "07/28").await;
    browser.click("#continue").await;
    browser.fill("#otp", "111111").await;
    browser.click("#pay").await;
}

/// The gateway leads back to an address that names no language.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_reads_the_shop_s_words_in_a_language_that_lasts_until_the_receipt() {
    let app = TestApp::start_with(Kind::Embedded, &SHOP).await;
    for browser in [Browser::start().await, Browser::start_without_javascript().await] {
        let order = make_order(&app, json!({ "language": "uz" })).await;
        browser.goto(order["payment_url"].as_str().unwrap()).await;
        browser.wait_for_text("#headline", "Toʻlov usulini tanlang", PATIENCE).await;
        assert_eq!(browser.text("#shop strong").await, "Choyxona");
        // The letter that stands in the place of a logo that did not load.
        let letter = browser.place(".logo span").await;
        assert!(letter.width > 0.0 && browser.place(".logo").await.width == 40.0);

        browser.click("nav a[hreflang=ru]").await;
        browser.wait_for_text("#headline", "Выберите способ оплаты", PATIENCE).await;
        let title = format!("Выберите способ оплаты · Чайхана на углу · №{}", order["order_id"]);
        assert_eq!(browser.title().await, title);
        assert_eq!(browser.text("#support a[href=\"tel:+998712000000\"]").await, "+998 71 200 00 00");
        browser.click("button[value=atmos]").await;
        browser.wait_for_url("/invoice/get", PATIENCE).await;
        pay_at_atmos(&browser).await;

        let url = browser.wait_for_url("/return", PATIENCE).await;
        assert!(!url.contains("lang"), "{url}");
        browser.wait_for_text(PAID, "Оплата прошла", PATIENCE).await;
        assert_eq!(browser.text("#gateway").await, "Atmos");
        assert!(browser.text("#paid-at").await.contains("по Ташкенту"));
        let paid = app.wait_for(order["order_id"].as_i64().unwrap(), "paid").await;
        assert_eq!(browser.text("#transaction").await, paid["transaction_id"].to_string());
        assert_eq!(paid["language"], "uz", "the order keeps its own");
        browser.quit().await;
    }
}

/// The words change in place, so that a screen reader hears them and the keyboard's focus stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_page_counts_the_minutes_and_keeps_the_language_as_it_changes() {
    let app = TestApp::start_with(Kind::Embedded, &SHOP).await;
    let browser = Browser::start().await;
    let order = make_order(&app, json!({ "language": "uz", "payment_type": "atmos" })).await;
    browser.goto(&format!("{}/return", page_of(&app, &order))).await;
    browser.wait_for_text("#headline", "hali toʻlanmagan", PATIENCE).await;

    browser.click("nav a[hreflang=en]").await;
    browser.wait_for_text("#headline", "Not paid yet", PATIENCE).await;
    browser.wait_for_text("#left", "min left", PATIENCE).await;
    assert_eq!(app.pay(order["transaction_id"].as_i64().unwrap()).await, "debited");

    browser.wait_for_text(PAID, "Payment received", PATIENCE).await;
    assert_eq!(browser.title().await, format!("Payment received · Tea house · №{}", order["order_id"]));
    browser.quit().await;
}

/// The shop's own page: the browser of the tests reaches no other machine.
fn shop_page() -> String {
    #[handler]
    fn thanks() -> Html<&'static str> {
        Html("<title>Shop</title><h1>Thanks</h1>")
    }

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let acceptor = TcpAcceptor::from_std(listener).unwrap();
    tokio::spawn(Server::new_with_acceptor(acceptor).run(Route::new().at("/done", thanks).at("/basket", thanks)));
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_who_has_paid_goes_back_to_the_shop_once_and_may_read_the_receipt_later() {
    let app = TestApp::start_with(Kind::Embedded, &[("TASDIQ_RETURN_AFTER_PAID_S", "2")]).await;
    let shop = shop_page();
    let done = format!("{shop}/done");
    for (browser, opens_before) in [
        (Browser::start().await, false),
        (Browser::start().await, true),
        (Browser::start_without_javascript().await, false),
    ] {
        let order = make_order(&app, json!({ "language": "en", "payment_type": "atmos", "return_url": done })).await;
        let page = format!("{}/return", page_of(&app, &order));
        if opens_before {
            browser.goto(&page).await;
            browser.wait_for_text("#headline", "Not paid yet", PATIENCE).await;
            assert_eq!(app.pay(order["transaction_id"].as_i64().unwrap()).await, "debited");
        } else {
            browser.goto(order["payment_url"].as_str().unwrap()).await;
            pay_at_atmos(&browser).await;
        }

        browser.wait_for_text("#leaving", "back to the shop in 2 s", PATIENCE).await;
        assert_eq!(browser.wait_for_url("/done", PATIENCE).await, done);
        browser.goto(&page).await;
        browser.wait_for_text(PAID, "Payment received", PATIENCE).await;
        tokio::time::sleep(Duration::from_secs(3)).await; // a second longer than the page would have stayed
        assert_eq!(browser.url().await, page, "a receipt is read in peace");
        browser.quit().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_leaves_without_paying_for_the_basket_and_after_paying_for_the_end() {
    let app = TestApp::start(Kind::Embedded).await;
    let browser = Browser::start().await;
    let shop = shop_page();
    let (done, basket) = (format!("{shop}/done"), format!("{shop}/basket"));
    let order = make_order(&app, json!({ "language": "en", "return_url": done, "cancel_url": basket })).await;
    browser.goto(order["payment_url"].as_str().unwrap()).await;
    assert_eq!(browser.text("#back").await, "Back to the shop without paying");
    browser.click("#back").await;
    assert_eq!(browser.wait_for_url("/basket", PATIENCE).await, basket);

    browser.goto(order["payment_url"].as_str().unwrap()).await;
    browser.click("button[value=atmos]").await;
    browser.wait_for_url("/invoice/get", PATIENCE).await;
    pay_at_atmos(&browser).await;
    browser.wait_for_text(PAID, "Payment received", PATIENCE).await;
    browser.click("#back").await;
    assert_eq!(browser.wait_for_url("/done", PATIENCE).await, done);
    browser.quit().await;
}

/// Names without a place for a line break, and the largest amount.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_page_fits_the_narrowest_screen_light_and_dark() {
    let long = "Q".repeat(100);
    let shop = [
        ("TASDIQ_SHOP_NAME_UZ", long.as_str()),
        ("TASDIQ_SHOP_SUPPORT", "https://tea.uz/bizga-murojaat-qiling/yordam-markazi"),
    ];
    let app = TestApp::start_with(Kind::Embedded, &[&shop[..], &SHOP[1..3]].concat()).await;
    let browser = Browser::start().await;
    for language in ["uz", "ru", "en"] {
        let of = async |payment_type: Option<&str>| {
            let mut body = json!({ "product_name": "W".repeat(200), "amount": "10000000000.00", "language": language,
                "return_url": "https://shop.test/" });
            body["payment_type"] = payment_type.map_or(Value::Null, Value::from);
            if payment_type.is_none() {
                body.as_object_mut().unwrap().remove("payment_type");
            }
            make_order(&app, body).await
        };
        let (unchosen, unpaid, paid) = (of(None).await, of(Some("atmos")).await, of(Some("atmos")).await);
        assert_eq!(app.pay(paid["transaction_id"].as_i64().unwrap()).await, "debited");
        app.wait_for(paid["order_id"].as_i64().unwrap(), "paid").await;
        let pages = [
            ("choice", format!("{}?choose", page_of(&app, &unchosen)), "#choice"),
            ("return", format!("{}/return", page_of(&app, &unpaid)), "#pay"),
            ("paid", page_of(&app, &paid), "#transaction"),
            ("unknown", format!("{}/pay/nothing?lang={language}", app.url), "#headline"),
            ("root", format!("{}/?lang={language}", app.url), "#docs"),
            ("gateway", unpaid["payment_url"].as_str().unwrap().to_owned(), "#card_number"),
        ];
        for (name, address, element) in pages {
            browser.goto(&address).await;
            browser.text(element).await;
            for (width, height) in [(1280, 900), (390, 844), (320, 640)] {
                browser.resize(width, height).await;
                for is_dark in [false, true] {
                    browser.prefer_dark(is_dark).await;
                    assert_eq!(browser.overflow().await, 0, "{name} in {language} at {width}");
                    let tone = if is_dark { "dark" } else { "light" };
                    let picture = format!("page-{name}-{language}-{width}-{tone}.png");
                    browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(picture)).await;
                }
            }
        }
    }
    browser.quit().await;
}
