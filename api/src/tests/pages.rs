//! What the customer sees.

use serde_json::json;
use shared::id::{OrderId, TransactionId};
use shared::job::Job;
use shared::order::{Order, OrderStatus};
use shared::store::reviewing::{self, Decision};
use shared::store::settlement::Settlement;
use shared::store::{jobs, orders};

use super::support::{Answer, TestApi, send};

fn pay(order: &Order) -> String {
    format!("/pay/{}", order.token.as_str())
}

fn back(order: &Order) -> String {
    format!("/pay/{}/return", order.token.as_str())
}

#[track_caller]
fn assert_page(answer: &Answer, status: &str, headline: &str) {
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
    assert!(waiting.body.contains("<noscript><meta http-equiv=\"refresh\" content=\"2\"></noscript>"));

    api.link(&order, 700).await;
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
    assert!(page.body.contains("<noscript><meta http-equiv=\"refresh\" content=\"3\"></noscript>"));
    assert!(hinted.is_some());
    assert_eq!(api.reread(order.id).await.last_hint_at_ms, hinted, "at most one hint in 10 s");
}

#[tokio::test]
async fn the_script_follows_the_order_through_its_token() {
    let api = TestApi::start().await;
    let order = api.order().await;
    let order = api.link(&order, 700).await;

    let page = api.get(&back(&order)).await;

    let events = format!("data-events=\"../../api/orders/1/events?token={}\"", order.token.as_str());
    assert!(page.body.contains(&events), "{}", page.body);
    assert!(page.body.contains("data-payment-url=\"http://gateway.test/pay?transactionId=700\""), "{}", page.body);
    assert!(page.body.contains("new EventSource"));
}

#[tokio::test]
async fn a_paid_order_is_shown_paid_in_its_language_and_asks_no_more() {
    for (language, headline, shop) in [
        ("uz", "Toʻlov qabul qilindi", "Doʻkonga qaytish"),
        ("ru", "Оплата прошла", "Вернуться в магазин"),
        ("en", "Payment received", "Back to the shop"),
    ] {
        let api = TestApi::start().await;
        let order =
            api.order_with(json!({ "language": language, "return_url": "https://shop.test/done?a=1&b=2" })).await;
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
            assert!(page.body.contains("50.00 "), "{}", page.body);
            assert!(!page.body.contains("http-equiv=\"refresh\"") && !page.body.contains("<script"), "{}", page.body);
        }
    }
}

#[tokio::test]
async fn every_status_has_its_page_and_none_but_paid_looks_paid() {
    let api = TestApi::start().await;
    for (settlement, status) in [
        (
            Settlement::Review { reason: "odd".to_owned(), act: shared::order::SuggestedAct::AskGateway },
            OrderStatus::Review,
        ),
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
    assert!(page.body.contains("<meta http-equiv=\"refresh\" content=\"5\">"), "{}", page.body);
}

#[tokio::test]
async fn the_pay_page_of_an_order_stays_its_own_until_there_is_a_link() {
    let api = TestApi::start().await;
    let order = api.order().await;

    let page = api.get(&pay(&order)).await;

    // What the script compares with is what the order's events say, or it would load the page for ever.
    let seen = api.get("/api/orders/1").await.json();
    let address = seen["payment_url"].as_str().unwrap();
    assert!(page.body.contains(&format!("data-payment-url=\"{address}\"")), "{}", page.body);
    assert!(orders::find(api.store(), order.id).await.unwrap().unwrap().payment_url.is_none());
}

/// Whoever kept the gateway's address of such an order could still pay there; we never give it out again.
#[tokio::test]
async fn an_order_that_cannot_be_paid_any_more_never_shows_its_link_again() {
    let api = TestApi::start().await;
    let mut ended = Vec::new();
    let review = || Settlement::Review { reason: "odd".to_owned(), act: shared::order::SuggestedAct::AskGateway };
    for (number, ttl_ms, settlements) in [
        (0, -1, vec![]), // its time is over, and no look has said so yet
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
    let decision =
        Decision { status: OrderStatus::Canceled, by: "Olim".into(), reason: "no money".into(), transaction_id: None };
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
