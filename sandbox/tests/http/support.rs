//! A sandbox, a merchant that answers its callbacks, and a client that calls it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::{Data, RemoteAddr};
use poem::{Body, EndpointExt, Response, Route, Server, handler, post};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

pub(crate) const GOOD_CARD: &str = "8600490744313347";
pub(crate) const POOR_CARD: &str = "8600312998546358";

/// The merchant's answer to the n-th callback, counted from 0.
type MerchantScript = Box<dyn Fn(usize) -> (StatusCode, &'static str, Duration) + Send + Sync>;

/// A merchant's server.
pub(crate) struct Merchant {
    pub(crate) url: Url,
    inside: Arc<MerchantState>,
}

struct MerchantState {
    script: MerchantScript,
    count: AtomicUsize,
    bodies: Mutex<Vec<Value>>,
    addresses: Mutex<Vec<String>>,
}

impl Merchant {
    pub(crate) async fn answering(status: StatusCode, body: &'static str) -> Self {
        Self::scripted(move |_| (status, body, Duration::ZERO)).await
    }

    pub(crate) async fn allowing() -> Self {
        Self::answering(StatusCode::OK, r#"{"status":1,"message":"Успешно"}"#).await
    }

    pub(crate) async fn refusing() -> Self {
        Self::answering(StatusCode::OK, r#"{"status":0,"message":"no such order"}"#).await
    }

    pub(crate) async fn scripted(
        script: impl Fn(usize) -> (StatusCode, &'static str, Duration) + Send + Sync + 'static,
    ) -> Self {
        let inside = Arc::new(MerchantState {
            script: Box::new(script),
            count: AtomicUsize::new(0),
            bodies: Mutex::default(),
            addresses: Mutex::default(),
        });
        let acceptor = TcpListener::bind("127.0.0.1:0").into_acceptor().await.expect("a port");
        let address = acceptor.local_addr().remove(0).0.to_string();
        let port = address.rsplit(':').next().expect("a port").to_owned();
        let routes = Route::new().at("/atmos/webhook/", post(post_webhook).data(inside.clone()));
        tokio::spawn(Server::new_with_acceptor(acceptor).run(routes));
        let url = Url::parse(&format!("http://127.0.0.1:{port}/atmos/webhook/")).expect("a URL");
        Self { url, inside }
    }

    /// The bodies of all callbacks that came.
    pub(crate) fn callbacks(&self) -> Vec<Value> {
        self.inside.bodies.lock().expect("the bodies").clone()
    }

    /// The source address of each callback.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.inside.addresses.lock().expect("the addresses").clone()
    }

    /// The body of the first callback, which may still be on its way.
    pub(crate) async fn first_callback(&self) -> Value {
        for _ in 0..500 {
            if let Some(first) = self.callbacks().into_iter().next() {
                return first;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no callback came");
    }
}

#[handler]
async fn post_webhook(Data(inside): Data<&Arc<MerchantState>>, from: &RemoteAddr, payload: Body) -> Response {
    let address = from.as_socket_addr().expect("an address").ip().to_string();
    inside.addresses.lock().expect("the addresses").push(address);
    let body = payload.into_json().await.expect("a JSON callback");
    inside.bodies.lock().expect("the bodies").push(body);
    let (status, answer, delay) = (inside.script)(inside.count.fetch_add(1, Ordering::SeqCst));
    tokio::time::sleep(delay).await;
    Response::builder().status(status).body(answer)
}

/// A sandbox with its ledger in a directory of its own.
pub(crate) struct TestShop {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
    pub(crate) directory: TempDir,
    token: String,
}

impl TestShop {
    pub(crate) async fn with(merchant: &Merchant) -> Self {
        let url = merchant.url.clone();
        Self::configured(|config| config.callback_url = Some(url)).await
    }

    pub(crate) async fn configured(configure: impl FnOnce(&mut SandboxConfig)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self::in_directory(directory, configure).await
    }

    pub(crate) async fn in_directory(directory: TempDir, configure: impl FnOnce(&mut SandboxConfig)) -> Self {
        // Another test may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = SandboxConfig::new(([127, 0, 0, 1], 0).into(), directory.path().to_owned(), None);
        configure(&mut config);
        let sandbox = Sandbox::start(config).await.expect("a sandbox");
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()
            .expect("a client");
        let mut shop = Self { sandbox, client, directory, token: String::new() };
        shop.token = shop.fetch_token().await["access_token"].as_str().expect("a token").to_owned();
        shop
    }

    pub(crate) async fn fetch_token(&self) -> Value {
        let response = self
            .post("/token")
            .basic_auth("sandbox-key", Some("sandbox-secret"))
            .form(&[("grant_type", "client_credentials")])
            .send()
            .await
            .expect("a token");
        assert_eq!(response.status(), 200);
        response.json().await.expect("JSON")
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.sandbox.base_url()))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.sandbox.base_url()))
    }

    /// A merchant call, not yet sent.
    pub(crate) fn prepare(&self, call: &str, body: &Value) -> RequestBuilder {
        self.post(&format!("/merchant/pay/{call}")).bearer_auth(&self.token).json(body)
    }

    /// A merchant call that is answered.
    pub(crate) async fn call(&self, call: &str, body: Value) -> Value {
        let response = self.prepare(call, &body).send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{call}");
        response.json().await.expect("JSON")
    }

    pub(crate) async fn create(&self, account: &str, amount: i64) -> i64 {
        let body = json!({"store_id": "1234", "account": account, "amount": amount});
        let answer = self.call("create", body).await;
        answer["transaction_id"].as_i64().expect("an id")
    }

    pub(crate) async fn pre_apply(&self, id: i64, card: &str) -> Value {
        let body = json!({"store_id": 1234, "transaction_id": id, "card_number": card, "expiry": "2410"});
        self.call("pre-apply", body).await
    }

    pub(crate) async fn apply(&self, id: i64, otp: &str) -> Value {
        self.call("apply", json!({"store_id": 1234, "transaction_id": id, "otp": otp})).await
    }

    /// `get` on a transaction.
    pub(crate) async fn inquire(&self, id: i64) -> Value {
        self.call("get", json!({"store_id": "1234", "transaction_id": id})).await
    }

    /// Pays like a customer.
    pub(crate) async fn pay(&self, id: i64) -> Value {
        let response = self.post(&format!("/_sim/pay/{id}")).send().await.expect("an outcome");
        response.json().await.expect("JSON")
    }

    pub(crate) async fn add_fault(&self, fault: Value) {
        let response = self.post("/_sim/faults").json(&fault).send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{fault}");
    }

    /// The transaction's row of the ledger.
    pub(crate) async fn book(&self, id: i64) -> Value {
        let response = self.get("/_sim/ledger").send().await.expect("the ledger");
        let ledger: Value = response.json().await.expect("JSON");
        let lines = ledger["transactions"].as_array().expect("transactions");
        lines.iter().find(|line| line["transaction_id"] == id).expect("the transaction").clone()
    }
}

/// The code of an answer.
pub(crate) fn code(answer: &Value) -> &str {
    answer["result"]["code"].as_str().expect("a code")
}
