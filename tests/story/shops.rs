//! Two shops in one installation, each with an account of its own at a sandbox of its own.

use reqwest::Method;
use sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::{Kind, TestApp, on_both_kinds};
use crate::support::doors::{Doors, tea};
use crate::support::ports::free_port;

on_both_kinds! {
    two_shops_with_the_same_reference_know_nothing_of_each_other
}

const TEA_KEY: &str = "tea-shop-key-1";
const RICE_KEY: &str = "rice-shop-key-2";

/// A running installation with the shops `tea` and `rice`.
struct TwoShops {
    app: TestApp,
    tea: Doors,
    rice: Doors,
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
            [shops.rice]
            api_keys = "rice:{RICE_KEY}"
            [shops.rice.atmos]
            atmos_consumer_key = "sandbox-key"
            atmos_consumer_secret = "sandbox-secret"
            atmos_store_id = 5678
            atmos_api_key = {{ file = "rice.key" }}
            atmos_base_url = "http://{of_rice}"
            "#
        );
        std::fs::write(&file, text).unwrap();
        let variables = [("TASDIQ_CONFIG", file.to_str().unwrap()), ("TASDIQ_LISTEN", listen.as_str())];
        let app = TestApp::start_with(kind, &variables).await;
        let tea = app.with_key(TEA_KEY);
        let rice = Doors::new(format!("http://{listen}"), format!("http://{of_rice}")).with_key(RICE_KEY);
        TwoShops { app, tea, rice, _sandbox: sandbox, _folder: folder }
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

    // Every operation that names an order is asked with the other shop's key.
    let mut asked = 0;
    for (method, path) in shops.operations().await {
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
            { "shop": "rice", "accounts": { "atmos": "sandbox:5678" }, "api_keys": 1, "open_orders": 0, "is_configured": true },
            { "shop": "tea", "accounts": { "atmos": "sandbox:1234" }, "api_keys": 1, "open_orders": 1, "is_configured": true },
        ])
    );
    let shown = shops.app.command(&["orders", "show", &of_rice.id.to_string()]).await;
    assert!(shown.contains("rice"), "{shown}");
}
