//! Two shops in one installation, each with an account of its own at a sandbox of its own.

use std::path::PathBuf;

use reqwest::Method;
use sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::{Doors, tea};
use crate::support::ports::free_port;

use super::gateways::act;

on_both_kinds! {
    two_shops_with_the_same_reference_know_nothing_of_each_other
    two_shops_are_paid_through_two_cashboxes_and_two_services
    a_suspect_of_a_shop_of_the_file_runs_in_a_process_that_has_its_account
    after_a_restart_without_one_accounts_settings_its_orders_wait_and_are_settled_when_they_are_back
}

const TEA_KEY: &str = "tea-shop-key-1";
const RICE_KEY: &str = "rice-shop-key-2";
const CASHBOX_OF_RICE: &str = "64a1f0c2b7e8d9034f5a6b7d";

/// A running installation with the shops `tea` and `rice`.
struct TwoShops {
    app: TestApp,
    tea: Doors,
    rice: Doors,
    /// The file of the shops.
    file: PathBuf,
    /// The gateway of `rice`; that of `tea` is the program's own.
    _sandbox: Sandbox,
    _folder: TempDir,
}

impl TwoShops {
    async fn start(kind: Kind) -> Self {
        // The sandbox calls with a client, which needs it; an error means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let [listen, of_rice] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let webhook = format!("http://{listen}/atmos/webhook/").parse().unwrap();
        let mut config = SandboxConfig::new(of_rice.parse().unwrap(), folder.path().to_owned(), Some(webhook));
        config.store_id = "5678".to_owned();
        config.api_key = "callback-key-of-rice".to_owned();
        config.payme_webhook = Some(format!("http://{listen}/payme/webhook/").parse().unwrap());
        (config.payme_id, config.payme_key) = (CASHBOX_OF_RICE.to_owned(), "sandbox-payme-key-of-rice".to_owned());
        config.click_prepare = Some(format!("http://{listen}/click/webhook/").parse().unwrap());
        config.click_complete = config.click_prepare.clone();
        config.click_service_id = "55555".to_owned();
        let sandbox = Sandbox::start(config).await.unwrap();
        let file = folder.path().join("tasdiq.toml");
        std::fs::write(folder.path().join("rice.key"), "callback-key-of-rice\n").unwrap();
        let text = format!(
            r#"
            [shops.tea]
            api_keys = "tea:{TEA_KEY}"
            [shops.tea.atmos]
            atmos_consumer_key = "sandbox-key"
            atmos_consumer_secret = "sandbox-secret"
            atmos_store_id = 1234
            atmos_api_key = "sandbox-api-key"
            [shops.tea.payme]
            payme_id = "64a1f0c2b7e8d9034f5a6b7c"
            payme_key = "sandbox-payme-key"
            [shops.tea.click]
            click_service_id = 22222
            click_merchant_id = 11111
            click_merchant_user_id = 33333
            click_secret_key = "sandbox-click-secret"
            [shops.rice]
            api_keys = "rice:{RICE_KEY}"
            [shops.rice.atmos]
            atmos_consumer_key = "sandbox-key"
            atmos_consumer_secret = "sandbox-secret"
            atmos_store_id = 5678
            atmos_api_key = {{ file = "rice.key" }}
            atmos_base_url = "http://{of_rice}"
            [shops.rice.payme]
            payme_id = "{CASHBOX_OF_RICE}"
            payme_key = "sandbox-payme-key-of-rice"
            payme_checkout_url = "http://{of_rice}/payme"
            [shops.rice.click]
            click_service_id = 55555
            click_merchant_id = 11111
            click_merchant_user_id = 33333
            click_secret_key = "sandbox-click-secret"
            click_pay_url = "http://{of_rice}/click"
            click_api_url = "http://{of_rice}/click"
            "#
        );
        std::fs::write(&file, text).unwrap();
        let file_of_shops = file.clone();
        let variables = [("TASDIQ_CONFIG", file.to_str().unwrap()), ("TASDIQ_LISTEN", listen.as_str())];
        let app = TestApp::start_with(kind, &variables).await;
        let tea = app.with_key(TEA_KEY);
        let rice = Doors::new(format!("http://{listen}"), format!("http://{of_rice}")).with_key(RICE_KEY);
        TwoShops { app, tea, rice, file: file_of_shops, _sandbox: sandbox, _folder: folder }
    }

    /// Each operation of the description, for orders: method and path.
    async fn operations(&self) -> Vec<(Method, String)> {
        let description = self.tea.get("/openapi.json").await.json();
        let paths = description["paths"].as_object().unwrap();
        let of_path = |(path, methods): (&String, &Value)| {
            let methods = methods.as_object().unwrap().keys();
            let method = |method: &String| Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            methods.map(|name| (method(name), path.clone())).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of_path).collect()
    }
}

async fn two_shops_with_the_same_reference_know_nothing_of_each_other(kind: Kind) {
    let shops = TwoShops::start(kind).await;
    let mut body = tea();
    body["reference"] = json!("A-1");

    let of_tea = shops.tea.linked_order_of(&body).await;
    let of_rice = shops.rice.linked_order_of(&body).await;

    // By their reference, and in lists by each filter, each finds its own.
    for (shop, order) in [(&shops.tea, &of_tea), (&shops.rice, &of_rice)] {
        assert_eq!(shop.get("/api/orders/by-reference/A-1").await.json()["order_id"], order.id);
        for filter in ["", "reference=A-1", "status=pending", "payment_type=atmos", "since=2026-01-01", "text=A-1"] {
            let listed = shop.get(&format!("/api/orders?{filter}")).await.json();
            let ids: Vec<&Value> =
                listed["orders"].as_array().unwrap().iter().map(|listed| &listed["order_id"]).collect();
            assert_eq!(ids, [&json!(order.id)], "{filter}");
        }
    }
    // Every operation that names an order by its number is asked with the other shop's key.
    let mut asked = 0;
    for (method, path) in shops.operations().await {
        if path.ends_with("/by-reference/{reference}") {
            continue;
        }
        let Some(path) = path.contains('{').then(|| path.replace("{order_id}", &of_rice.id.to_string())) else {
            continue;
        };
        assert!(!path.contains('{'), "an operation that this test cannot ask: {method} {path}");
        let path = if path.starts_with("/api") { path } else { format!("/api{path}") };
        let request = shops.tea.request(method.clone(), &path).header("Idempotency-Key", "of-tea");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 404, "{method} {path}");
        asked += 1;
    }
    assert!(asked >= 6, "{asked}");
    // The same reference again is refused with the number of the shop's own order.
    for (shop, order) in [(&shops.tea, &of_tea), (&shops.rice, &of_rice)] {
        assert_eq!(shop.create_order(&body).await.json()["order_id"], order.id);
    }

    let gateways: Vec<Value> = serde_json::from_str(&shops.app.command(&["gateways", "list", "--json"]).await).unwrap();
    let open = |name: &str| {
        let account = gateways.iter().find(|account| account.to_string().contains(name));
        account.unwrap_or_else(|| panic!("{name}: {gateways:?}"))["open_orders"].clone()
    };
    assert_eq!((open("sandbox:1234"), open("sandbox:5678")), (json!(1), json!(1)));
    // Each payment finds its account's order: the two gateways ask at the same address.
    assert_eq!(shops.rice.ledger().await.len(), 1);
    shops.rice.pay(of_rice.transaction_id).await;
    shops.rice.wait_for(of_rice.id, "paid").await;
    assert_eq!(shops.tea.status(of_tea.id).await, "pending");
    let listed: Value = serde_json::from_str(&shops.app.command(&["shops", "list", "--json"]).await).unwrap();
    assert_eq!(
        listed,
        json!([
            {
                "shop": "rice",
                "accounts": {
                    "atmos": "sandbox:5678",
                    "click": "sandbox-click:55555",
                    "payme": format!("sandbox-payme:{CASHBOX_OF_RICE}"),
                },
                "api_keys": 1, "open_orders": 0, "is_configured": true,
            },
            {
                "shop": "tea",
                "accounts": {
                    "atmos": "sandbox:1234",
                    "click": "sandbox-click:22222",
                    "payme": "sandbox-payme:64a1f0c2b7e8d9034f5a6b7c",
                },
                "api_keys": 1, "open_orders": 1, "is_configured": true,
            },
        ])
    );
    let shown = shops.app.command(&["orders", "show", &of_rice.id.to_string()]).await;
    assert!(shown.contains("rice"), "{shown}");
}

/// An order of a shop that has its payment page at once.
async fn order_of(shop: &Doors, payment_type: &str) -> (i64, String) {
    let mut body = tea();
    (body["amount"], body["payment_type"], body["reference"]) =
        (json!("50.00"), json!(payment_type), json!(payment_type));
    let order = shop.create_order(&body).await.json();
    (order["order_id"].as_i64().unwrap(), order["payment_url"].as_str().unwrap().to_owned())
}

/// The two sandboxes call the same webhooks. Payme's calls name their cashbox by the key alone, Click's by the service.
async fn two_shops_are_paid_through_two_cashboxes_and_two_services(kind: Kind) {
    let shops = TwoShops::start(kind).await;
    let mut orders = Vec::new();
    for shop in [&shops.tea, &shops.rice] {
        for payment_type in ["payme", "click"] {
            orders.push((shop, payment_type, order_of(shop, payment_type).await));
        }
    }

    for (shop, payment_type, (id, page)) in &orders {
        let amount = if *payment_type == "payme" { json!({ "amount": 5_000 }) } else { json!({ "amount": "50.00" }) };
        // A number of an order alone is not enough: the order is another shop's.
        let other = if std::ptr::eq(*shop, &shops.tea) { &shops.rice } else { &shops.tea };
        let (_, _, (_, page_of_other)) =
            orders.iter().find(|(shop, of, _)| std::ptr::eq(*shop, other) && of == payment_type).unwrap();
        let path = format!("/{payment_type}/_sim/pay/{id}");
        let refused = act(page_of_other, &path, &amount).await;
        assert!(!matches!(refused["outcome"].as_str(), Some("paid" | "debited")), "{payment_type}: {refused}");
        assert_eq!(shop.status(*id).await, "pending");

        let paid = act(page, &path, &amount).await;
        assert!(matches!(paid["outcome"].as_str(), Some("paid" | "debited")), "{payment_type}: {paid}");
        shop.wait_for(*id, "paid").await;
        assert_eq!(other.request(Method::GET, &format!("/api/orders/{id}")).send().await.unwrap().status(), 404);
        let shown = shops.app.command(&["orders", "show", &id.to_string()]).await;
        assert!(shown.contains(if std::ptr::eq(other, &shops.rice) { "tea" } else { "rice" }), "{shown}");
    }

    let listed: Vec<Value> = serde_json::from_str(&shops.app.command(&["gateways", "list", "--json"]).await).unwrap();
    let shops_of: Vec<(&Value, &Value)> =
        listed.iter().map(|account| (&account["account"], &account["shop"])).collect();
    for (account, shop) in [
        ("sandbox:1234", "tea"),
        ("sandbox:5678", "rice"),
        ("sandbox-click:22222", "tea"),
        ("sandbox-click:55555", "rice"),
        ("sandbox-payme:64a1f0c2b7e8d9034f5a6b7c", "tea"),
        ("sandbox-payme:64a1f0c2b7e8d9034f5a6b7d", "rice"),
    ] {
        assert!(shops_of.contains(&(&json!(account), &json!(shop))), "{account}: {shops_of:?}");
    }
    let metrics = shops.app.metrics().await;
    for (gateway, account) in [
        ("atmos", "sandbox:1234"),
        ("atmos", "sandbox:5678"),
        ("click", "sandbox-click:22222"),
        ("click", "sandbox-click:55555"),
    ] {
        let series = format!(r#"{{account="{account}",gateway="{gateway}""#);
        assert!(metrics.contains(&series), "{series} in {metrics}");
    }
    assert_eq!(shops.app.run(&["audit"]).await.code, Some(0));
}

/// Shows: ADMISSION-19
async fn after_a_restart_without_one_accounts_settings_its_orders_wait_and_are_settled_when_they_are_back(kind: Kind) {
    let mut shops = TwoShops::start(kind).await;
    let of_rice = shops.rice.linked_order_of(&tea()).await;
    // The money is taken, and no inquiry is answered before the restart.
    shops.rice.fault(json!({ "fault": "unavailable", "path": "/merchant/pay/get" })).await;
    shops.rice.pay(of_rice.transaction_id).await;
    shops.rice.wait_for(of_rice.id, "confirming").await;
    let text = std::fs::read_to_string(&shops.file).unwrap();
    let (without, _) = text.split_once("[shops.rice.atmos]").unwrap();

    shops.app.stop().await;
    std::fs::write(&shops.file, without).unwrap();
    shops.app.start_again().await;
    shops.rice.clear_faults().await;

    assert!(shops.app.output().contains(&format!("{} of sandbox:5678", of_rice.id)), "{}", shops.app.output());
    let gateways: Vec<Value> = serde_json::from_str(&shops.app.command(&["gateways", "list", "--json"]).await).unwrap();
    let waits = gateways.iter().find(|account| account["account"] == "sandbox:5678").unwrap();
    assert_eq!(
        (&waits["open_orders"], &waits["held_back_by"], &waits["shop"]),
        (&json!(1), &json!("no_process"), &Value::Null)
    );
    let doctor = shops.app.run(&["doctor"]).await;
    assert!(doctor.said.contains("sandbox:5678"), "{}", doctor.said);
    let of_tea = shops.tea.linked_order_of(&tea()).await;
    shops.tea.pay(of_tea.transaction_id).await;
    shops.tea.wait_for(of_tea.id, "paid").await;
    assert_eq!(shops.rice.status(of_rice.id).await, "confirming");
    assert_eq!(shops.rice.create_order(&tea()).await.status, 422, "a new order of this shop has no account");

    shops.app.stop().await;
    std::fs::write(&shops.file, text).unwrap();
    shops.app.start_again().await;

    shops.rice.wait_for(of_rice.id, "paid").await;
    let history = shops.rice.history(of_rice.id).await;
    assert_eq!((history.times_entered("confirming"), history.times_entered("paid")), (1, 1));
    assert_eq!(shops.app.run(&["audit"]).await.code, Some(0));
}

/// Such a process gets the worker's variables; the file that they name it reads itself.
async fn a_suspect_of_a_shop_of_the_file_runs_in_a_process_that_has_its_account(kind: Kind) {
    let mut shops = TwoShops::start(kind).await;
    shops.rice.fault(json!({ "fault": "unavailable", "path": "/merchant/pay/create" })).await;
    let id = shops.rice.create_order(&tea()).await.json()["order_id"].as_i64().unwrap();

    shops.app.stop().await;
    let crashed = format!(
        "update jobs set crashes = 2, queue = 'suspect', state = 'available', due_at_ms = 0
            where subject_id = {id} and kind = 'create_payment_link'"
    );
    shops.app.execute(&crashed).await;
    shops.rice.clear_faults().await;
    shops.app.start_again().await;

    let linked = shops.rice.wait_for_link(id).await;
    assert!(shops.app.output().contains("run in a process of their own"), "{}", shops.app.output());
    shops.rice.pay(linked.transaction_id).await;
    shops.rice.wait_for(id, "paid").await;
}
