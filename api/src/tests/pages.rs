//! The customer's pages.

use domain::id::{OrderId, TransactionId};
use domain::job::Job;
use domain::order::{Order, OrderStatus};
use domain::review::{FindingKind, NewFinding};
use futures_util::StreamExt;
use poem::web::sse::Event;
use serde_json::json;
use store::reviewing::{self, Decision};
use store::settlement::Settlement;
use store::{jobs, orders};

use super::support::{TestApi, TestResponse, send};
use crate::pay_page::words::Situation;

fn pay(order: &Order) -> String {
    format!("/pay/{}", order.token.as_str())
}

fn back(order: &Order) -> String {
    format!("/pay/{}/return", order.token.as_str())
}

#[track_caller]
fn assert_page(answer: &TestResponse, status: &str, headline: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("<main id=\"status\" class=\""), "{}", answer.body);
    assert!(answer.body.contains(&format!("data-status=\"{status}\"")), "{}", answer.body);
    assert!(answer.body.contains(&format!("<h1 id=\"headline\">{headline}</h1>")), "{}", answer.body);
}

#[tokio::test]
async fn the_pay_page_waits_for_the_link_and_then_forwards() {
    let api = TestApi::start().await;
    let order = api.order().await;

    let waiting = api.get(&pay(&order)).await;
    assert_page(&waiting, "pending", "Toʻlov sahifasi tayyorlanmoqda");
    assert!(
        waiting.body.contains("<noscript><meta http-equiv=\"refresh\" content=\"2;url=?again=browser\"></noscript>")
    );

    api.link(&order, 700).await;
    // A script cannot follow a redirection to the gateway's host.
    let told = api.get(&format!("{}?again=script", pay(&order))).await;
    assert_page(&told, "pending", "Toʻlovingiz tekshirilmoqda");
    assert!(told.body.contains("data-forward=\"http://gateway.test/pay?transactionId=700\""), "{}", told.body);
    assert_eq!(api.get(&format!("{}?again=browser", pay(&order))).await.status, 303);
    let forwarded = api.get(&pay(&order)).await;
    assert_eq!(forwarded.status, 303);
    assert_eq!(forwarded.header("location"), "http://gateway.test/pay?transactionId=700");
    assert_eq!(forwarded.header("cache-control"), "no-store");
    assert_eq!(forwarded.header("referrer-policy"), "no-referrer");
}

#[tokio::test]
async fn an_order_past_its_time_is_not_forwarded_to_be_paid() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link_for(&order, 700, -1).await;

    for address in [pay(&order), back(&order)] {
        let page = api.get(&address).await;
        assert_page(&page, "pending", "Toʻlov vaqti tugadi");
        assert!(!page.body.contains("id=\"pay\""), "nothing to pay with any more");
    }
}

#[tokio::test]
async fn the_return_page_hints_once_and_offers_the_way_to_pay() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    assert_eq!(order.last_hint_at_ms, None);

    let page = api.get(&back(&order)).await;
    let hinted = api.reread(order.id).await.last_hint_at_ms;
    api.get(&back(&order)).await;

    assert_page(&page, "pending", "Toʻlovingiz tekshirilmoqda");
    assert!(page.body.contains(&format!("id=\"pay\" href=\"../{}\"", order.token.as_str())), "{}", page.body);
    assert!(page.body.contains("<noscript><meta http-equiv=\"refresh\" content=\"3;url=?again=browser\"></noscript>"));
    assert!(page.body.contains("data-again=\"?again=script\""), "{}", page.body);
    assert!(hinted.is_some());
    assert_eq!(api.reread(order.id).await.last_hint_at_ms, hinted, "at most one hint in 10 s");
}

#[tokio::test]
async fn the_script_follows_the_order_through_its_token() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;

    let page = api.get(&back(&order)).await;
    let seen = format!("/api/orders/1/events?token={}", order.token.as_str());
    let mut stream = api.client.get(&seen).send().await.sse_stream();
    let Some(Event::Message { id, .. }) = stream.next().await else { panic!("no event") };

    let events = format!("data-events=\"../../api/orders/1/events?token={}\"", order.token.as_str());
    assert!(page.body.contains(&events), "{}", page.body);
    // Otherwise the script would load the page again and again.
    assert!(page.body.contains(&format!("data-event-id=\"{id}\"")), "{id}: {}", page.body);
    assert!(page.body.contains("new EventSource"));
}

/// A page that reloads itself is no news from the customer.
#[tokio::test]
async fn a_page_that_loads_itself_again_is_no_hint() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;

    for again in ["script", "browser"] {
        api.get(&format!("{}?again={again}", back(&order))).await;
        assert_eq!(api.reread(order.id).await.last_hint_at_ms, None, "{again}");
    }
    api.get(&format!("{}?transactionId=700&status=x&again", back(&order))).await;
    assert!(api.reread(order.id).await.last_hint_at_ms.is_some(), "whatever a gateway appends");
}

#[tokio::test]
async fn a_customer_who_came_back_unpaid_is_told_once_an_inquiry_has_shown_it() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    api.get(&back(&order)).await;

    api.settle(&order, Settlement::Unpaid { page_is_closed: false }).await;

    let page = api.get(&format!("{}?again=script", back(&order))).await;
    assert_page(&page, "pending", "Buyurtma hali toʻlanmagan");
    assert!(page.body.contains(&format!("class=\"button\" id=\"pay\" href=\"../{}\"", order.token.as_str())));
    assert_eq!(api.get(&pay(&order)).await.status, 303, "it can be paid");
}

/// Shows: PERSON-21
#[tokio::test]
async fn after_a_declined_card_both_pages_lead_back_until_the_next_sign_of_a_payment() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    api.callback(700, "1", 5_000).await;
    for address in [pay(&order), back(&order)] {
        let page = api.get(&address).await;
        assert_page(&page, "confirming", "Toʻlov tasdiqlanmoqda");
        assert!(!page.body.contains("id=\"pay\""), "a debit may be under way: {}", page.body);
    }

    api.settle(&order, Settlement::Unpaid { page_is_closed: false }).await;

    for address in [pay(&order), format!("{}?again=script", back(&order))] {
        let page = api.get(&address).await;
        assert_page(&page, "confirming", "Toʻlov hozircha oʻtmadi");
        assert!(page.body.contains("id=\"pay\" href=\"http://gateway.test/pay?transactionId=700\""), "{}", page.body);
    }
    assert!(api.get("/api/orders/1").await.json()["seen_unpaid_at"].is_string());
    api.callback(700, "1", 5_000).await;
    assert_page(&api.get(&pay(&order)).await, "confirming", "Toʻlov tasdiqlanmoqda");
    assert!(api.get("/api/orders/1").await.json()["seen_unpaid_at"].is_null());
}

/// The customer canceled after a declined card, or the order had all the links it may have.
/// Shows: PERSON-22
#[tokio::test]
async fn a_page_that_the_gateway_has_closed_is_led_to_no_more() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;
    api.callback(700, "1", 5_000).await;

    let order = api.settle(&order, Settlement::Unpaid { page_is_closed: true }).await;

    assert!(order.shows_page_closed());
    for address in [pay(&order), format!("{}?again=script", back(&order))] {
        let page = api.get(&address).await;
        assert_page(&page, "confirming", "Toʻlov amalga oshmadi");
        assert!(page.body.contains("uch daqiqa") && !page.body.contains("gateway.test"), "{}", page.body);
    }
    let seen = api.get("/api/orders/1").await.json();
    assert_eq!(seen["payment_url"], format!("http://shop.test{}", pay(&order)));
}

#[tokio::test]
async fn a_paid_order_is_shown_paid_in_its_language_and_asks_no_more() {
    for (language, headline, shop) in [
        ("uz", "Toʻlov qabul qilindi", "Doʻkonga qaytish"),
        ("ru", "Оплата прошла", "Вернуться в магазин"),
        ("en", "Payment received", "Back to the shop"),
    ] {
        let api = TestApi::start().await;
        let order = api
            .order_with(
                json!({ "language": language, "amount": "1250000.00", "return_url": "https://shop.test/done?a=1&b=2" }),
            )
            .await;
        let order = api.link(&order, 700).await;
        api.pay(&order).await;

        for address in [pay(&order), back(&order)] {
            let page = api.get(&address).await;
            assert_page(&page, "paid", headline);
            assert!(page.body.contains(&format!("<html lang=\"{language}\">")));
            assert!(
                page.body.contains(shop) && page.body.contains("href=\"https://shop.test/done?a=1&#38;b=2\""),
                "{}",
                page.body
            );
            let amount = if language == "en" { "1,250,000.00 " } else { "1\u{a0}250\u{a0}000,00 " };
            assert!(page.body.contains(amount), "{}", page.body);
            assert!(!page.body.contains("http-equiv=\"refresh\"") && !page.body.contains("<script"), "{}", page.body);
        }
    }
}

#[tokio::test]
async fn every_status_has_its_page_and_none_but_paid_looks_paid() {
    let api = TestApi::start().await;
    for (settlement, status) in [
        (Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, "odd")), OrderStatus::Review),
        (Settlement::Unchanged, OrderStatus::Pending),
    ] {
        let order = api.order().await;
        let order = api.link(&order, 700 + order.id.0).await;
        let order = api.settle(&order, settlement).await;
        assert_eq!(order.status, status);
        let page = api.get(&back(&order)).await;
        assert!(page.body.contains(&format!("data-status=\"{status}\"")));
        assert!(!page.body.contains("qabul qilindi"));
    }
    let order = api.order().await;
    let order = api.link(&order, 800).await;
    api.callback(800, &order.id.to_string(), 5_000).await;
    assert_page(&api.get(&pay(&order)).await, "confirming", "Toʻlov tasdiqlanmoqda");
}

#[tokio::test]
async fn what_the_shop_wrote_stays_text() {
    let api = TestApi::start().await;
    let order = api.order_with(json!({ "product_name": "<script>alert('x')</script>\"&" })).await;

    let page = api.get(&pay(&order)).await;

    assert!(!page.body.contains("<script>alert"), "{}", page.body);
    assert!(page.body.contains("&#60;script&#62;alert"), "{}", page.body);
}

#[tokio::test]
async fn the_pages_allow_their_own_style_and_script_and_nothing_else() {
    use base64::Engine;
    use sha2::Digest;

    let api = TestApi::start().await;
    let order = api.order().await;

    let page = api.get(&pay(&order)).await;

    let policy = page.header("content-security-policy");
    for directive in ["default-src 'none'", "connect-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (tag, directive) in [("style", "style-src"), ("script", "script-src")] {
        let text = page.body.split(&format!("<{tag}>")).nth(1).unwrap().split(&format!("</{tag}>")).next().unwrap();
        let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text));
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}'")), "{tag}: {policy}");
    }
    for (name, value) in [
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
        ("content-type", "text/html; charset=utf-8"),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn an_unknown_page_is_told_in_the_visitor_s_language() {
    let api = TestApi::start().await;

    for (accepted, headline) in [
        ("", "Sahifa topilmadi"),
        ("de", "Sahifa topilmadi"),
        ("ru-RU,ru;q=0.9,en;q=0.8", "Страница не найдена"),
        ("de, en;q=0.5", "Page not found"),
    ] {
        for path in [
            "/pay/0123456789abcdef0123456789abcdef",
            "/pay/nonsense/return",
            "/pay/a/b/c",
            "/pay/%FF",
            "/pay/%FF/return",
        ] {
            let request = api.client.get(path).header("accept-language", accepted);
            let page = send(request).await;
            assert_eq!(page.status, 404, "{path}");
            assert!(page.body.contains(headline), "{}", page.body);
            assert!(!page.body.contains("http-equiv=\"refresh\""), "asking again mends nothing: {}", page.body);
            assert!(page.header("content-security-policy").contains("default-src 'none'"));
        }
    }
}

#[tokio::test]
async fn with_the_database_away_the_page_says_so_and_asks_again() {
    let api = TestApi::start().await;
    let order = api.order().await;
    api.store().close().await;

    let page = api.get(&pay(&order)).await;

    assert_eq!(page.status, 503);
    assert!(page.body.contains("Buyurtmangiz saqlangan"), "{}", page.body);
    assert!(
        page.body.contains("<noscript><meta http-equiv=\"refresh\" content=\"5;url=?\"></noscript>"),
        "{}",
        page.body
    );
    assert!(page.body.contains("data-again=\"?\"") && page.body.contains("<script>"), "{}", page.body);
}

#[tokio::test]
async fn the_pay_page_of_an_order_stays_its_own_until_there_is_a_link() {
    let api = TestApi::start().await;
    let order = api.order().await;

    let page = api.get(&pay(&order)).await;

    assert_page(&page, "pending", "Toʻlov sahifasi tayyorlanmoqda");
    let seen = api.get("/api/orders/1").await.json();
    assert_eq!(seen["payment_url"], format!("http://shop.test{}", pay(&order)));
    assert!(orders::find(api.store(), order.id).await.unwrap().unwrap().payment_url.is_none());
}

#[tokio::test]
async fn a_page_that_waits_for_long_says_what_it_waits_for() {
    let api = TestApi::start().await;
    let order = api.order().await;

    let after = |seconds: i64| Situation::of(&order, order.pending_since_ms + seconds * 1_000);

    assert_eq!((after(29), after(30)), (Situation::MakingLink, Situation::LinkDelayed));
    assert!(Situation::LinkDelayed.words(order.language).headline.contains("javob bermayapti"));
}

/// A customer who kept the gateway's address of such an order could still pay there; we must never show it again.
/// Shows: PERSON-26
#[tokio::test]
async fn an_order_that_cannot_be_paid_any_more_never_shows_its_link_again() {
    let api = TestApi::start().await;
    let mut ended = Vec::new();
    let review = || Settlement::Review(NewFinding::new(FindingKind::UnclearAnswer, "odd"));
    for (number, ttl_ms, settlements) in [
        (0, -1, vec![]), // its time is over, and no inquiry has said so yet
        (1, -1, vec![Settlement::Expired]),
        (2, 900_000, vec![review()]),
        (3, 900_000, vec![Settlement::Paid { transaction_id: TransactionId(703) }]),
        (
            4,
            900_000,
            vec![
                Settlement::Paid { transaction_id: TransactionId(704) },
                Settlement::Refunded { transaction_id: TransactionId(704) },
            ],
        ),
    ] {
        let key = format!("key-{number}");
        let body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
        let created = api.create_as(None, Some(&key), &body).await.json();
        let order = api.reread(OrderId(created["order_id"].as_i64().unwrap())).await;
        let mut order = api.link_for(&order, 700 + number, ttl_ms).await;
        for settlement in settlements {
            jobs::stage_now(api.store(), Job::SettleOrder { order_id: order.id }).await.unwrap();
            order = api.settle(&order, settlement).await;
        }
        ended.push((order, key, body));
    }
    let canceled = api.order().await;
    let canceled = api.link(&canceled, 705).await;
    api.settle(&canceled, review()).await;
    let decision = Decision {
        status: OrderStatus::Canceled,
        by: "Olim".into(),
        reason: "no money".into(),
        transaction_id: None,
        findings: None,
    };
    reviewing::resolve(api.store(), canceled.id, &decision).await.unwrap();

    let orders: Vec<Order> = ended.iter().map(|(order, ..)| order.clone()).chain([canceled]).collect();
    for order in &orders {
        let order = api.reread(order.id).await;
        assert!(order.payment_url.is_some(), "or nothing is shown");
        let ours = format!("http://shop.test{}", pay(&order));
        let seen = api.get(&format!("/api/orders/{}", order.id)).await;
        assert_eq!(seen.json()["payment_url"], ours, "{}", order.status);
        for address in [pay(&order), back(&order)] {
            let page = api.get(&address).await;
            assert_eq!(page.status, 200, "{}: {page:?}", order.status);
            assert!(!page.body.contains("gateway.test") && !page.body.contains("id=\"pay\""), "{}", page.body);
        }
    }
    for (order, key, body) in ended {
        let again = api.create_as(None, Some(&key), &body).await.json();
        assert_eq!(again["payment_url"], format!("http://shop.test{}", pay(&order)), "{}", order.status);
    }
}
