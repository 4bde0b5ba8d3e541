//! An installation from outside: the requests of a shop, a paying customer, the gateway and an operator.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, ClientBuilder, Method, RequestBuilder};
use serde_json::{Value, json};

use super::wait::{PATIENCE, wait_until};

mod answers;

pub(crate) use answers::{HttpAnswer, LedgerTransaction, OrderHistory};

/// The addresses of an installation and its sandbox, and the requests to them.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    /// The base URL of the API, without a trailing slash.
    pub(crate) url: String,
    /// The base URL of the sandbox, without a trailing slash.
    pub(crate) sandbox_url: String,
    /// The API key for orders, if the installation needs one.
    api_key: Option<String>,
    pub(super) client: Client,
}

/// An order with a payment link.
#[derive(Clone, Debug)]
pub(crate) struct Linked {
    pub(crate) id: i64,
    pub(crate) token: String,
    pub(crate) transaction_id: i64,
    pub(crate) payment_url: String,
}

/// An order of 50 soʻm, like the one in docs/guides/first-order.md.
pub(crate) fn tea() -> Value {
    json!({ "product_name": "Tea", "amount": "50.00", "payment_type": "atmos" })
}

/// The amount of [`tea`] in tiyin, as the gateway counts.
pub(crate) const TEA_TIYIN: i64 = 5_000;

impl Doors {
    pub(crate) fn new(url: String, sandbox_url: String) -> Doors {
        // reqwest needs a provider before its first client, even for plain HTTP. An error means that there is one
        // already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Doors { url, sandbox_url, api_key: None, client: client_builder().build().unwrap() }
    }

    /// A client like the one that sends these requests.
    pub(crate) fn http(&self) -> Client {
        self.client.clone()
    }

    /// A client whose requests come from this address.
    pub(crate) fn http_of(&self, address: [u8; 4]) -> Client {
        client_builder().local_address(IpAddr::from(address)).build().unwrap()
    }

    /// The same addresses, used with this API key.
    pub(crate) fn with_key(&self, key: &str) -> Doors {
        Doors { api_key: Some(key.to_owned()), ..self.clone() }
    }

    // ---- the shop ----

    /// Makes an order.
    pub(crate) async fn create_order(&self, body: &Value) -> HttpAnswer {
        send(self.request(Method::POST, "/api/orders/create").json(body)).await
    }

    /// Makes an order under an idempotency key.
    pub(crate) async fn create_with_key(&self, key: &str, body: &Value) -> HttpAnswer {
        send(self.request(Method::POST, "/api/orders/create").header("Idempotency-Key", key).json(body)).await
    }

    /// Requests a refund of an order under an idempotency key.
    pub(crate) async fn refund(&self, id: i64, key: &str, body: &Value) -> HttpAnswer {
        let request = self.request(Method::POST, &format!("/api/orders/{id}/refund"));
        send(request.header("Idempotency-Key", key).json(body)).await
    }

    /// Cancels an order.
    pub(crate) async fn cancel(&self, id: i64) -> HttpAnswer {
        send(self.request(Method::POST, &format!("/api/orders/{id}/cancel"))).await
    }

    /// The order's refunds, oldest first.
    pub(crate) async fn refunds(&self, id: i64) -> Vec<Value> {
        let answer = self.get(&format!("/api/orders/{id}/refunds")).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()["refunds"].as_array().unwrap().clone()
    }

    /// Makes an order and pays it.
    pub(crate) async fn paid_order(&self) -> Linked {
        let order = self.order_with_link().await;
        assert_eq!(self.pay(order.transaction_id).await, "debited");
        self.wait_for(order.id, "paid").await;
        order
    }

    /// Makes an order and waits for its payment link.
    pub(crate) async fn order_with_link(&self) -> Linked {
        self.linked_order_of(&tea()).await
    }

    /// Makes this order and waits for its payment link.
    pub(crate) async fn linked_order_of(&self, body: &Value) -> Linked {
        let created = self.create_order(body).await;
        assert_eq!(created.status, 201, "{created}");
        self.wait_for_link(created.json()["order_id"].as_i64().unwrap()).await
    }

    /// Waits until the order has a payment link at the gateway.
    pub(crate) async fn wait_for_link(&self, id: i64) -> Linked {
        let what = format!("a payment link for order {id}");
        wait_until(&what, PATIENCE, async || {
            let order = self.order(id).await;
            Some(Linked {
                id,
                token: order["order_token"].as_str()?.to_owned(),
                transaction_id: order["transaction_id"].as_i64()?,
                payment_url: order["payment_url"].as_str()?.to_owned(),
            })
        })
        .await
    }

    /// The current order.
    pub(crate) async fn order(&self, id: i64) -> Value {
        let answer = self.get(&format!("/api/orders/{id}")).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    /// The current status of the order.
    pub(crate) async fn status(&self, id: i64) -> String {
        self.order(id).await["status"].as_str().unwrap().to_owned()
    }

    /// The order's history.
    pub(crate) async fn history(&self, id: i64) -> OrderHistory {
        let answer = self.get(&format!("/api/orders/{id}/history")).await;
        assert_eq!(answer.status, 200, "{answer}");
        OrderHistory::read(&answer.json()["history"])
    }

    /// Waits until the order has this status, and returns it.
    pub(crate) async fn wait_for(&self, id: i64, status: &str) -> Value {
        self.wait_for_within(id, status, PATIENCE).await
    }

    /// Like [`Doors::wait_for`], with another deadline.
    pub(crate) async fn wait_for_within(&self, id: i64, status: &str, deadline: Duration) -> Value {
        let mut last = String::new();
        let mut order = Value::Null;
        let begun = std::time::Instant::now();
        while begun.elapsed() < deadline {
            order = self.order(id).await;
            order["status"].as_str().unwrap().clone_into(&mut last);
            if last == status {
                return order;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("order {id} is still {last} and not {status} after {deadline:?}: {order}");
    }

    /// Sends GET to a path of the API.
    pub(crate) async fn get(&self, path: &str) -> HttpAnswer {
        send(self.request(Method::GET, path)).await
    }

    /// Posts bytes to a path of the API.
    pub(crate) async fn post(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> HttpAnswer {
        send(self.request(Method::POST, path).header(CONTENT_TYPE, content_type).body(body)).await
    }

    /// A request to the API with the key; takes a path or a whole URL.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with('/') { format!("{}{path}", self.url) } else { path.to_owned() };
        let request = self.client.request(method, url);
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    // ---- the customer ----

    /// Loads a page like a browser: a whole URL, without a key.
    pub(crate) async fn open(&self, url: &str) -> HttpAnswer {
        send(self.client.get(url)).await
    }

    /// The customer comes back from the gateway's page.
    pub(crate) async fn open_return_page(&self, order: &Linked) -> HttpAnswer {
        let answer = self.open(&format!("{}/pay/{}/return", self.url, order.token)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer
    }

    /// The customer pays with a good card. Returns the result: `debited`, `refused`, `declined`, `closed`.
    pub(crate) async fn pay(&self, transaction_id: i64) -> String {
        let url = format!("{}/_sim/pay/{transaction_id}", self.sandbox_url);
        let answer = send(self.client.post(url)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()["outcome"].as_str().unwrap().to_owned()
    }

    // ---- the gateway ----

    /// Sends a callback's body to the webhook, like the gateway.
    pub(crate) async fn deliver(&self, body: impl Into<reqwest::Body>) -> HttpAnswer {
        let url = format!("{}/atmos/webhook/", self.url);
        send(self.client.post(url).header(CONTENT_TYPE, "application/json").body(body)).await
    }

    /// Switches a fault on: `{"fault": "callback-never", "next": 1}`.
    pub(crate) async fn fault(&self, wish: Value) {
        let answer = send(self.client.post(format!("{}/_sim/faults", self.sandbox_url)).json(&wish)).await;
        assert_eq!(answer.status, 200, "{answer}");
    }

    /// Switches every fault off.
    pub(crate) async fn clear_faults(&self) {
        let answer = send(self.client.delete(format!("{}/_sim/faults", self.sandbox_url))).await;
        assert_eq!(answer.status, 200, "{answer}");
    }

    /// Another act of the gateway on a transaction: `close`, `reverse`.
    pub(crate) async fn sim(&self, act: &str, transaction_id: i64) -> Value {
        let answer = send(self.client.post(format!("{}/_sim/{act}/{transaction_id}", self.sandbox_url))).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    /// The gateway's ledger: every transaction it has made.
    pub(crate) async fn ledger(&self) -> Vec<LedgerTransaction> {
        let answer = self.open(&format!("{}/_sim/ledger", self.sandbox_url)).await;
        assert_eq!(answer.status, 200, "{answer}");
        let book = answer.json();
        book["transactions"].as_array().unwrap().iter().map(LedgerTransaction::read).collect()
    }

    /// The gateway's ledger rows of one order.
    pub(crate) async fn ledger_of(&self, id: i64) -> Vec<LedgerTransaction> {
        self.ledger().await.into_iter().filter(|line| line.account == id.to_string()).collect()
    }

    /// The callbacks that the sandbox has sent for a transaction, with our answers.
    pub(crate) async fn sent_callbacks(&self, transaction_id: i64) -> Vec<Value> {
        let answer = self.open(&format!("{}/_sim/callbacks", self.sandbox_url)).await;
        let sent = answer.json()["callbacks"].as_array().unwrap().clone();
        sent.into_iter().filter(|callback| callback["transaction_id"] == transaction_id).collect()
    }

    /// Compares the gateway's ledger with these orders. If money moved, the order must be paid by that transaction
    /// exactly once, or must wait for a person; no order may be paid without money.
    pub(crate) async fn audit(&self, ids: &[i64]) {
        let mut debits: BTreeMap<i64, Vec<LedgerTransaction>> = BTreeMap::new();
        for line in self.ledger().await {
            assert!(line.debits <= 1, "transaction {} was debited {} times", line.transaction_id, line.debits);
            if line.state == "debited" {
                let id = line.account.parse().unwrap();
                assert!(ids.contains(&id), "money moved for order {id}, which is not among the audited orders");
                debits.entry(id).or_default().push(line);
            }
        }
        for id in ids {
            let order = self.order(*id).await;
            let history = self.history(*id).await;
            let moved = debits.remove(id).unwrap_or_default();
            let with_a_person = order["status"] == "review" || order["needs_review"] == true;
            assert!(history.times_entered("paid") <= 1, "order {id} was paid more than once: {history}");
            if order["status"] == "paid" {
                let payer = moved.iter().find(|line| order["transaction_id"] == line.transaction_id);
                assert!(payer.is_some(), "order {id} is paid, and its transaction was not debited: {order}, {moved:?}");
                assert_eq!(history.times_entered("paid"), 1, "{history}");
                assert!(
                    moved.len() == 1 || with_a_person,
                    "order {id} was paid twice and no person was told: {moved:?}"
                );
            } else if !moved.is_empty() {
                assert!(with_a_person, "money moved for order {id}, and it is {order}");
            }
            if with_a_person {
                assert!(
                    order["reason"].is_string(),
                    "a person is to look at order {id} without being told why: {order}"
                );
            }
        }
    }

    // ---- the operator ----

    /// The process's metrics in Prometheus' text format.
    pub(crate) async fn metrics(&self) -> String {
        let answer = self.open(&format!("{}/metrics", self.url)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.text
    }

    /// The value of one series of the metrics, given by its name with labels; 0 if it does not exist.
    pub(crate) async fn metric(&self, series: &str) -> i64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<i64>().ok());
        value.unwrap_or_default()
    }
}

fn client_builder() -> ClientBuilder {
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE)
}

async fn send(request: RequestBuilder) -> HttpAnswer {
    let response = request.send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let text = response.text().await.unwrap_or_else(|error| panic!("half an answer: {error:?}"));
    HttpAnswer { status, headers, text }
}
