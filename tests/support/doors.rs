//! An installation from outside: what a shop, a paying customer, the gateway and an operator ask of it.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use super::wait::{PATIENCE, wait_until};

mod seen;

pub(crate) use seen::{Answer, BookLine, History};

/// The addresses of an installation and of its sandbox, and what may be asked there.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    /// Where the API listens, without a last slash.
    pub(crate) url: String,
    /// Where the sandbox listens, without a last slash.
    pub(crate) sandbox_url: String,
    /// What orders are made and read with, if the installation asks for a key.
    api_key: Option<String>,
    pub(super) client: Client,
}

/// An order that can be paid.
#[derive(Clone, Debug)]
pub(crate) struct Linked {
    pub(crate) id: i64,
    pub(crate) token: String,
    pub(crate) transaction_id: i64,
    pub(crate) payment_url: String,
}

/// An order of 50 soʻm, as docs/guides/first-order.md makes one.
pub(crate) fn tea() -> Value {
    json!({ "product_name": "Tea", "amount": "50.00", "payment_type": "atmos" })
}

/// [`tea`] in tiyin, as the gateway counts.
pub(crate) const TEA_TIYIN: i64 = 5_000;

impl Doors {
    pub(crate) fn new(url: String, sandbox_url: String) -> Doors {
        // reqwest wants one before its first client, even for plain HTTP. An error means that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let no_redirects = reqwest::redirect::Policy::none();
        let client = Client::builder().no_proxy().redirect(no_redirects).timeout(PATIENCE).build().unwrap();
        Doors { url, sandbox_url, api_key: None, client }
    }

    /// The same doors for a shop with this key.
    pub(crate) fn with_key(&self, key: &str) -> Doors {
        Doors { api_key: Some(key.to_owned()), ..self.clone() }
    }

    // ---- the shop ----

    /// Asks for an order.
    pub(crate) async fn create_order(&self, body: &Value) -> Answer {
        send(self.request(Method::POST, "/api/orders/create").json(body)).await
    }

    /// Asks for an order under an idempotency key.
    pub(crate) async fn create_with_key(&self, key: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, "/api/orders/create").header("Idempotency-Key", key).json(body)).await
    }

    /// Asks for a refund of an order under an idempotency key.
    pub(crate) async fn refund(&self, id: i64, key: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, &format!("/api/orders/{id}/refund"));
        send(request.header("Idempotency-Key", key).json(body)).await
    }

    /// Calls an order off.
    pub(crate) async fn cancel(&self, id: i64) -> Answer {
        send(self.request(Method::POST, &format!("/api/orders/{id}/cancel"))).await
    }

    /// The order's refunds, oldest first.
    pub(crate) async fn refunds(&self, id: i64) -> Vec<Value> {
        let answer = self.get(&format!("/api/orders/{id}/refunds")).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()["refunds"].as_array().unwrap().clone()
    }

    /// An order that is paid.
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

    /// The order as it is now.
    pub(crate) async fn order(&self, id: i64) -> Value {
        let answer = self.get(&format!("/api/orders/{id}")).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    /// The order's status as it is now.
    pub(crate) async fn status(&self, id: i64) -> String {
        self.order(id).await["status"].as_str().unwrap().to_owned()
    }

    /// What has become of the order, step by step.
    pub(crate) async fn history(&self, id: i64) -> History {
        let answer = self.get(&format!("/api/orders/{id}/history")).await;
        assert_eq!(answer.status, 200, "{answer}");
        History::read(&answer.json()["history"])
    }

    /// Waits until the order has this status, and gives it.
    pub(crate) async fn wait_for(&self, id: i64, status: &str) -> Value {
        self.wait_for_within(id, status, PATIENCE).await
    }

    /// As [`Doors::wait_for`], for those who must be quicker or may be slower.
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

    /// GETs an address of the API.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// POSTs bytes to an address of the API.
    pub(crate) async fn post(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
        send(self.request(Method::POST, path).header(CONTENT_TYPE, content_type).body(body)).await
    }

    /// A request to the API with the key in it; a path or a whole URL.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with('/') { format!("{}{path}", self.url) } else { path.to_owned() };
        let request = self.client.request(method, url);
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    // ---- the customer ----

    /// GETs a page as a browser would: a whole URL, without any key.
    pub(crate) async fn open(&self, url: &str) -> Answer {
        send(self.client.get(url)).await
    }

    /// The customer comes back from the gateway's page.
    pub(crate) async fn open_return_page(&self, order: &Linked) -> Answer {
        let answer = self.open(&format!("{}/pay/{}/return", self.url, order.token)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer
    }

    /// The customer pays with a card that works. Gives how that ended: `debited`, `refused`, `declined`, `closed`.
    pub(crate) async fn pay(&self, transaction_id: i64) -> String {
        let url = format!("{}/_sim/pay/{transaction_id}", self.sandbox_url);
        let answer = send(self.client.post(url)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()["outcome"].as_str().unwrap().to_owned()
    }

    // ---- the gateway ----

    /// Sends a callback's body to the webhook, as the gateway would.
    pub(crate) async fn deliver(&self, body: impl Into<reqwest::Body>) -> Answer {
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

    /// The gateway does something else to a transaction: `close`, `reverse`.
    pub(crate) async fn sim(&self, act: &str, transaction_id: i64) -> Value {
        let answer = send(self.client.post(format!("{}/_sim/{act}/{transaction_id}", self.sandbox_url))).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    /// The gateway's own book: every transaction it has made.
    pub(crate) async fn ledger(&self) -> Vec<BookLine> {
        let answer = self.open(&format!("{}/_sim/ledger", self.sandbox_url)).await;
        assert_eq!(answer.status, 200, "{answer}");
        let book = answer.json();
        book["transactions"].as_array().unwrap().iter().map(BookLine::read).collect()
    }

    /// The lines of the gateway's book about one order.
    pub(crate) async fn ledger_of(&self, id: i64) -> Vec<BookLine> {
        self.ledger().await.into_iter().filter(|line| line.account == id.to_string()).collect()
    }

    /// The callbacks that the sandbox has sent for a transaction, with our answers.
    pub(crate) async fn sent_callbacks(&self, transaction_id: i64) -> Vec<Value> {
        let answer = self.open(&format!("{}/_sim/callbacks", self.sandbox_url)).await;
        let sent = answer.json()["callbacks"].as_array().unwrap().clone();
        sent.into_iter().filter(|callback| callback["transaction_id"] == transaction_id).collect()
    }

    /// Compares the gateway's book with these orders: wherever money moved, the order is paid by that transaction, once,
    /// or before a person; and none is paid without.
    pub(crate) async fn audit(&self, ids: &[i64]) {
        let mut debits: BTreeMap<i64, Vec<BookLine>> = BTreeMap::new();
        for line in self.ledger().await {
            assert!(line.debits <= 1, "transaction {} was debited {} times", line.transaction_id, line.debits);
            if line.state == "debited" {
                let id = line.account.parse().unwrap();
                assert!(ids.contains(&id), "money moved for order {id}, which the audit was not told of");
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
                assert!(moved.len() == 1 || with_a_person, "order {id} was paid twice and nobody was told: {moved:?}");
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

    /// Everything the process counts, in Prometheus' text format.
    pub(crate) async fn metrics(&self) -> String {
        let answer = self.open(&format!("{}/metrics", self.url)).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.text
    }

    /// One series of the metrics by its name with labels, as it stands in the text; 0 where there is none.
    pub(crate) async fn metric(&self, series: &str) -> i64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<i64>().ok());
        value.unwrap_or_default()
    }
}

async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"));
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let text = response.text().await.unwrap_or_else(|error| panic!("half an answer: {error:?}"));
    Answer { status, headers, text }
}
