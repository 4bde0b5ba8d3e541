//! A running program from outside: its health, its metrics, and the order API as a shop uses it.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use super::program::Program;
use super::wait::{PATIENCE, wait_until};

/// A running program that answers over HTTP.
pub(crate) struct RunningRole {
    pub(crate) program: Program,
    pub(crate) url: String,
    client: Client,
}

impl RunningRole {
    /// The program, which will listen on this address and port.
    pub(crate) fn new(program: Program, address: &str) -> Self {
        RunningRole { program, url: format!("http://{address}"), client: client() }
    }

    /// Waits until `/readyz` is green.
    pub(crate) async fn ready(&mut self) {
        // Longer than the 30 s for which the program itself waits for its database.
        wait_until("the program to be ready", PATIENCE + PATIENCE, async || {
            let ended = self.program.exit_status();
            assert!(ended.is_none(), "the program ended at its start: {ended:?}\n{}", self.program.output());
            let answer = self.client.get(format!("{}/readyz", self.url)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// The answer to a GET of this path.
    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// The redirection of a path, if any.
    pub(crate) async fn redirection(&self, path: &str) -> Option<String> {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        Some(answer.headers().get("location")?.to_str().unwrap().to_owned())
    }

    /// The sum of a metric's values over its lines that contain `part`.
    pub(crate) async fn metric(&self, name: &str, part: &str) -> u64 {
        let (_, text) = self.get("/metrics").await;
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(part));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

/// A running order API, as a shop uses it.
pub(crate) struct RunningApi {
    pub(crate) role: RunningRole,
}

impl RunningApi {
    /// The order API of this program.
    pub(crate) fn new(role: RunningRole) -> Self {
        RunningApi { role }
    }

    /// Makes an order over 50 soʻm and returns the answer.
    pub(crate) async fn create_order(&self) -> Value {
        let request = json!({ "product_name": "Green tea", "amount": "50.00", "payment_type": "atmos" });
        let address = format!("{}/api/orders/create", self.role.url);
        let answer = self.role.client.post(address).json(&request).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::CREATED, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Makes this many orders, sixteen at a time.
    pub(crate) async fn create_orders(&self, count: usize) -> Vec<Value> {
        let mut orders = Vec::new();
        while orders.len() < count {
            let some = (count - orders.len()).min(16);
            orders.extend(futures_util::future::join_all((0..some).map(|_| self.create_order())).await);
        }
        orders
    }

    /// The current order.
    pub(crate) async fn order(&self, order_id: i64) -> Value {
        let (status, text) = self.role.get(&format!("/api/orders/{order_id}")).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until the order has this status.
    pub(crate) async fn wait_for(&self, order_id: i64, status: &str) -> Value {
        let what = format!("order {order_id} to be {status}");
        wait_until(&what, PATIENCE, async || {
            let order = self.order(order_id).await;
            (order["status"] == status).then_some(order)
        })
        .await
    }

    /// Waits until the order has its payment link, and returns the gateway's transaction number.
    pub(crate) async fn wait_for_link(&self, order_id: i64) -> i64 {
        self.wait_for_link_within(order_id, PATIENCE).await
    }

    /// Like [`RunningApi::wait_for_link`], with another deadline.
    pub(crate) async fn wait_for_link_within(&self, order_id: i64, deadline: Duration) -> i64 {
        let what = format!("order {order_id} to have a payment link");
        wait_until(&what, deadline, async || self.order(order_id).await["transaction_id"].as_i64()).await
    }

    /// Follows the order's server-sent events.
    pub(crate) async fn follow(&self, order_id: i64) -> Events {
        let address = format!("{}/api/orders/{order_id}/events", self.role.url);
        let answer = self.role.client.get(address).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        Events { answer, unread: String::new() }
    }
}

/// The server-sent events of one order.
pub(crate) struct Events {
    answer: reqwest::Response,
    unread: String,
}

impl Events {
    /// The order of the next event, or `None` after the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            while let Some((event, rest)) = self.unread.split_once("\n\n") {
                let order = order_of(event);
                self.unread = rest.to_owned();
                if order.is_some() {
                    return order;
                }
            }
            let bytes = self.answer.chunk().await.unwrap()?;
            self.unread.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    /// The order once it has this status.
    pub(crate) async fn wait_for(&mut self, status: &str) -> Value {
        loop {
            let order = self.next().await.unwrap_or_else(|| panic!("the stream ended before the order was {status}"));
            if order["status"] == status {
                return order;
            }
        }
    }
}

/// The order of an event; other events mark the end or keep the stream alive.
pub(crate) fn order_of(event: &str) -> Option<Value> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    (field("event") == Some("order")).then(|| serde_json::from_str(field("data").unwrap_or_default()).unwrap())
}

/// The order's number from an answer.
pub(crate) fn id(order: &Value) -> i64 {
    order["order_id"].as_i64().unwrap()
}

/// A client that uses no proxy and follows no redirect.
pub(crate) fn client() -> Client {
    // reqwest needs a provider before its first client, even for plain HTTP. An error means that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build().unwrap()
}
