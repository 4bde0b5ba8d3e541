//! The customer chooses on our page how to pay.

use domain::id::OrderId;
use domain::job::QueueName;
use domain::order::{GatewayIdentity, Language, MAX_CHOICES, Order, OrderStatus, PaymentType};
use domain::shop::ShopName;
use domain::shops::{Shop, Shops};
use gateway::click::ClickSettings;
use gateway::coordination::{CallOutcome, OperatorSettings, Urgency};
use gateway::payme::PaymeSettings;
use gateway::{AccountSettings, Gateway, Gateways};
use serde_json::{Value, json};
use store::orders::{self, Transition};
use store::{jobs, kinds};

use super::support::{TestApi, TestResponse, gateway_of, send};

/// The gateways of the sandbox.
fn all_gateways() -> Gateways {
    // Made first: it installs what the clients of the others need.
    let atmos = gateway_of("1234");
    let payme = AccountSettings::Payme(config::defaults::<PaymeSettings>().unwrap());
    let click = AccountSettings::Click(config::defaults::<ClickSettings>().unwrap());
    let others = [payme, click].map(|account| account.gateway(account.coordination(None, false)).unwrap());
    Gateways::new(atmos.iter().cloned().chain(others))
}

async fn start() -> TestApi {
    TestApi::with(|context| context.gateways = all_gateways()).await
}

fn without_type(language: &str) -> Value {
    json!({ "product_name": "Somsa", "amount": "1250000.00", "language": language })
}

impl TestApi {
    async fn unchosen(&self, language: &str) -> Order {
        let answer = self.create(&without_type(language)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.reread(OrderId(answer.json()["order_id"].as_i64().unwrap())).await
    }

    async fn choose(&self, order: &Order, form: &str) -> TestResponse {
        let request = self.client.post(page(order)).content_type("application/x-www-form-urlencoded");
        send(request.body(form.to_owned())).await
    }

    fn gateway(&self, payment_type: PaymentType) -> &Gateway {
        self.context.gateways.of_type(payment_type).next().unwrap()
    }
}

fn page(order: &Order) -> String {
    format!("/pay/{}", order.token.as_str())
}

fn choice(order: &Order) -> String {
    format!("{}?choose", page(order))
}

fn has_button(page: &TestResponse, value: &str) -> bool {
    let is_it = |part: &&str| part.contains(&format!("value=\"{value}\""));
    let Some(button) = page.body.split("<button").find(is_it) else { panic!("no {value}: {}", page.body) };
    !button.split('>').next().unwrap().contains("disabled")
}

#[track_caller]
fn assert_leads(answer: &TestResponse, to: &str) {
    assert_eq!((answer.status, answer.header("location")), (303, to), "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn an_order_without_a_payment_type_is_answered_at_once_with_our_page() {
    let api = TestApi::with(|context| {
        context.gateways = all_gateways();
        context.settings.link_wait = std::time::Duration::from_secs(20);
    })
    .await;
    let began = std::time::Instant::now();

    let made = api.create(&without_type("uz")).await;

    assert!(began.elapsed().as_secs() < 10, "it waited for a link");
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert_eq!((&made["payment_type"], &made["transaction_id"]), (&Value::Null, &Value::Null));
    assert!(made["expires_at"].is_string(), "{made}");
    let ours = format!("http://shop.test/pay/{}", made["order_token"].as_str().unwrap());
    assert_eq!(made["payment_url"], ours);
    let read = api.get("/api/orders/1").await.json();
    assert_eq!((&read["payment_type"], &read["payment_url"]), (&Value::Null, &json!(ours)));
    assert_eq!(api.get("/api/orders/1/history").await.json()["history"].as_array().unwrap().len(), 1);
    // The same request again is the same order; with a payment type it is another one.
    let first = api.create_as(None, Some("key"), &without_type("uz")).await.json();
    assert_eq!(api.create_as(None, Some("key"), &without_type("uz")).await.json(), first);
    let mut named = without_type("uz");
    named["payment_type"] = json!("payme");
    api.create_as(None, Some("key"), &named).await.problem(422, "idempotency-key-reused");
}

#[tokio::test]
async fn the_page_offers_each_account_of_the_shop_in_three_languages() {
    for (language, headline, note, amount) in [
        ("uz", "Toʻlov usulini tanlang", "Click ilovasi yoki karta bilan", "1\u{a0}250\u{a0}000,00 soʻm"),
        ("ru", "Выберите способ оплаты", "В приложении Click или картой", "1\u{a0}250\u{a0}000,00 сум"),
        ("en", "Choose how to pay", "In the Click app or with a card", "1,250,000.00 soʻm"),
    ] {
        let api = start().await;
        let order = api.unchosen(language).await;
        assert_leads(&api.get(&page(&order)).await, &format!("{}?choose", order.token.as_str()));

        let shown = api.get(&choice(&order)).await;

        assert_eq!(shown.status, 200, "{shown:?}");
        for text in [headline, note, amount, "Somsa", "Atmos", "Payme", "Click"] {
            assert!(shown.body.contains(text), "{text}: {}", shown.body);
        }
        assert!(["atmos", "payme", "click"].iter().all(|value| has_button(&shown, value)));
        let form = format!("<form id=\"choice\" method=\"post\" action=\"{}\">", order.token.as_str());
        assert!(shown.body.contains(&form), "{}", shown.body);
        assert!(shown.header("content-security-policy").contains("form-action 'self';"), "{shown:?}");
        assert!(shown.body.contains("content=\"15;url=?choose&#38;again=browser\""), "{}", shown.body);
    }
}

#[tokio::test]
async fn a_chosen_local_link_is_there_at_once_and_the_page_leads_on_without_javascript() {
    for (payment_type, host) in [("payme", "/payme/"), ("click", "/click/")] {
        let api = start().await;
        let order = api.unchosen("en").await;

        assert_leads(
            &api.choose(&order, &format!("pay_with={payment_type}")).await,
            &format!("{}?chosen", order.token.as_str()),
        );

        let chosen = api.reread(order.id).await;
        assert_eq!(chosen.payment_type().map(PaymentType::as_str), Some(payment_type));
        let url = chosen.payment_url.clone().unwrap();
        assert!(url.contains(host), "{url}");
        let shown = api.get(&format!("{}?chosen", page(&order))).await;
        let escaped = url.replace('&', "&#38;");
        assert!(
            shown.body.contains(&format!("<meta http-equiv=\"refresh\" content=\"0;url={escaped}\">")),
            "{}",
            shown.body
        );
        assert!(shown.body.contains("href=\"?choose\">Pay in another way</a>"), "{}", shown.body);
        assert!(shown.header("content-security-policy").contains("form-action 'none';"));
        // From now on the shop's address of the page leads there, too.
        assert_leads(&api.get(&page(&order)).await, &url);
        assert_eq!(api.get("/api/orders/1").await.json()["payment_url"], url);
        // The same choice again: the same link.
        assert_eq!(api.choose(&order, &format!("pay_with={payment_type}")).await.status, 303);
        assert_eq!(api.reread(order.id).await.payment_url, Some(url));
    }
}

#[tokio::test]
async fn a_chosen_draft_is_waited_for_and_then_forwarded_to() {
    let api = start().await;
    let order = api.unchosen("en").await;

    api.choose(&order, "pay_with=atmos").await;

    let waiting = api.get(&format!("{}?chosen", page(&order))).await;
    assert!(waiting.body.contains("Preparing the payment page"), "{}", waiting.body);
    assert!(waiting.body.contains("href=\"?choose\""), "another way, while it is not there: {}", waiting.body);
    let chosen = api.reread(order.id).await;
    api.link(&chosen, 700).await;
    assert_leads(
        &api.get(&format!("{}?again=browser", page(&order))).await,
        "http://gateway.test/pay?transactionId=700",
    );
}

#[tokio::test]
async fn the_choice_can_be_changed_from_both_pages_until_a_payment_begins() {
    let api = start().await;
    let order = api.unchosen("en").await;
    api.choose(&order, "pay_with=payme").await;
    let back = api.get(&format!("{}/return", page(&order))).await;
    let address = format!("href=\"../{}?choose\"", order.token.as_str());
    assert!(back.body.contains(&address), "{}", back.body);
    let again = api.get(&choice(&order)).await;
    assert!(again.body.contains("Chosen now"), "{}", again.body);

    api.choose(&order, "pay_with=atmos").await;

    let changed = api.reread(order.id).await;
    assert_eq!((changed.payment_type(), changed.choices), (Some(PaymentType::Atmos), Some(2)));
    api.link(&changed, 700).await;
    api.callback(700, "1", 125_000_000).await;
    assert_eq!(api.reread(order.id).await.status, OrderStatus::Confirming);
    let shown = api.get(&choice(&order)).await;
    assert!(shown.body.contains("Your payment is being confirmed"), "{}", shown.body);
    assert!(!shown.body.contains("?choose\">"), "{}", shown.body);
    assert_leads(&api.choose(&order, "pay_with=click").await, &format!("{}?refused", order.token.as_str()));
    assert_eq!(api.reread(order.id).await.payment_type(), Some(PaymentType::Atmos));
    let events: Vec<String> =
        orders::history(api.store(), order.id).await.unwrap().into_iter().map(|line| line.cause).collect();
    assert!(events.contains(&"the customer chose to pay with atmos, choice 2".to_owned()), "{events:?}");
}

#[tokio::test]
async fn a_choice_that_is_not_possible_any_more_says_so_in_the_customer_s_language() {
    for (language, why) in [
        ("uz", "Toʻlov usulini hozir oʻzgartirib boʻlmaydi"),
        ("ru", "Сейчас способ оплаты изменить нельзя"),
        ("en", "The way to pay cannot be changed now"),
    ] {
        let api = start().await;
        let order = api.unchosen(language).await;
        for choice in 0..MAX_CHOICES {
            api.choose(&order, if choice % 2 == 0 { "pay_with=click" } else { "pay_with=payme" }).await;
        }

        let refused = api.choose(&order, "pay_with=click").await;

        assert_leads(&refused, &format!("{}?refused", order.token.as_str()));
        for query in ["?refused", "?choose"] {
            let shown = api.get(&format!("{}{query}", page(&order))).await;
            assert!(shown.body.contains(why), "{}", shown.body);
            assert!(shown.body.contains("id=\"pay\""), "the chosen way is open: {}", shown.body);
        }
    }
}

#[tokio::test]
async fn a_gateway_that_is_paused_or_whose_breaker_is_open_is_shown_and_cannot_be_chosen() {
    let api = start().await;
    let paused = OperatorSettings { is_paused: true, ..OperatorSettings::default() };
    api.gateway(PaymentType::Payme).coordination().apply(paused, true).await;
    let click = api.gateway(PaymentType::Click).coordination().clone();
    for _ in 0..20 {
        if let Ok(permit) = click.admit(Urgency::Now).await {
            click.settle(permit, CallOutcome::Failed("no answer")).await;
        }
    }
    let order = api.unchosen("ru").await;

    let shown = api.get(&choice(&order)).await;

    assert_eq!(["atmos", "payme", "click"].map(|value| has_button(&shown, value)), [true, false, false]);
    assert_eq!(shown.body.matches("Сейчас недоступно").count(), 2, "{}", shown.body);
    for value in ["payme", "click"] {
        let refused = api.choose(&order, &format!("pay_with={value}")).await;
        assert_leads(&refused, &format!("{}?choose", order.token.as_str()));
    }
    assert_eq!(api.reread(order.id).await.account, None);

    // All of them: the page says so, and looks again.
    let api = start().await;
    for gateway in api.context.gateways.iter() {
        gateway.coordination().apply(paused, true).await;
    }
    let order = api.unchosen("ru").await;
    let shown = api.get(&choice(&order)).await;
    assert!(shown.body.contains("Сейчас оплатить не получится"), "{}", shown.body);
    assert!(shown.body.contains("again=browser") && shown.body.contains("again=script"), "{}", shown.body);
}

/// Its draft was finally refused.
#[tokio::test]
async fn a_way_that_refused_the_order_is_not_available_for_it_and_the_others_are() {
    let api = start().await;
    let (order, other) = (api.unchosen("en").await, api.unchosen("en").await);
    api.choose(&order, "pay_with=atmos").await;
    let store = &api.context.store;
    let jobs = kinds::jobs_of_order(store, order.id).await.unwrap();
    let link = jobs.iter().find(|job| job.kind == "create_payment_link").unwrap();
    jobs::enqueue(store, QueueName::Links, 100).await.unwrap();
    let lease = jobs::claim(store, &[link.id]).await.unwrap().remove(0).lease;

    let chosen = api.reread(order.id).await;
    let outcome = orders::take_choice_back(store, &lease, &chosen, "code 9", 60_000).await.unwrap();

    assert_eq!(outcome, Transition::Made);
    let choose = format!("{}?choose", order.token.as_str());
    assert_leads(&api.get(&page(&order)).await, &choose);
    let shown = api.get(&choice(&order)).await;
    assert!(!has_button(&shown, "atmos") && has_button(&shown, "payme") && has_button(&shown, "click"));
    assert!(has_button(&api.get(&choice(&other)).await, "atmos"), "it refused one order");
    assert_leads(&api.choose(&order, "pay_with=atmos").await, &choose);
    assert_eq!(api.reread(order.id).await.account, None);
    assert_eq!(api.choose(&order, "pay_with=payme").await.status, 303);
    assert_eq!(api.reread(order.id).await.payment_type(), Some(PaymentType::Payme));
}

#[tokio::test]
async fn a_form_that_names_no_way_of_the_shop_gets_the_choice_again() {
    let payme = AccountSettings::Payme(config::defaults::<PaymeSettings>().unwrap());
    let of_other = Shop {
        name: ShopName::parse("rice").unwrap(),
        accounts: [(PaymentType::Payme, payme.identity())].into(),
        ..Shop::default()
    };
    let own: Vec<(PaymentType, GatewayIdentity)> = all_gateways()
        .iter()
        .map(|gateway| (gateway.payment_type(), gateway.identity().clone()))
        .filter(|(payment_type, _)| *payment_type != PaymentType::Payme)
        .collect();
    let shop = Shop { accounts: own.into_iter().collect(), ..Shop::default() };
    let api = TestApi::with(|context| {
        context.gateways = all_gateways();
        context.shops = Shops::from_iter([shop, of_other]);
    })
    .await;
    let order = api.unchosen("en").await;
    let shown = api.get(&choice(&order)).await;
    assert!(!shown.body.contains("value=\"payme\""), "another shop's: {}", shown.body);

    let long = format!("pay_with={}", "a".repeat(2_000));
    for form in ["", "pay_with=", "pay_with=cash", "pay_with=payme", "pay=atmos", "\u{0}%ff&&=", long.as_str()] {
        let answer = api.choose(&order, form).await;

        assert_eq!(answer.status, 422, "{form:?}: {answer:?}");
        assert!(answer.body.contains("This way to pay is not offered here."), "{}", answer.body);
        assert!(has_button(&answer, "atmos") && has_button(&answer, "click"));
    }
    assert_eq!(api.reread(order.id).await.account, None);
}

#[tokio::test]
async fn a_wrong_token_and_an_order_that_has_ended_take_no_choice() {
    let api = start().await;
    let order = api.unchosen("en").await;
    for token in ["0".repeat(32), "half".to_owned()] {
        let answer = send(api.client.post(format!("/pay/{token}")).body("pay_with=payme")).await;
        assert_eq!(answer.status, 404, "{answer:?}");
        assert!(answer.body.contains("<main id=\"status\""), "{}", answer.body);
    }

    api.cancel(&order, "").await;

    assert_leads(&api.choose(&order, "pay_with=payme").await, &format!("{}?refused", order.token.as_str()));
    for query in ["", "?choose", "?refused", "?chosen"] {
        let shown = api.get(&format!("{}{query}", page(&order))).await;
        assert_eq!(shown.status, 200);
        assert!(shown.body.contains("The order was canceled"), "{}", shown.body);
        assert!(!shown.body.contains("<form") && !shown.body.contains("id=\"choose\""), "{}", shown.body);
    }
    assert_eq!(api.reread(order.id).await.account, None);
    // Where the shop named the account there is no choice.
    let named = api.order_with(json!({ "payment_type": "payme", "language": Language::En })).await;
    assert_leads(&api.choose(&named, "pay_with=click").await, &format!("{}?refused", named.token.as_str()));
    assert_eq!(api.reread(named.id).await.payment_type(), Some(PaymentType::Payme));
    let back = api.get(&format!("{}/return", page(&named))).await;
    assert!(!back.body.contains("?choose"), "{}", back.body);
}
