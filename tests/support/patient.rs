//! A shop and its customers that retry when there is no answer, as real ones do.

use std::time::{Duration, Instant};

use domain::order::PaymentType;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

/// Longer than any wait of the program, so that a timeout is always the program's own.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

/// An act at the sandbox ends when its calls to us were repeated often enough.
const ACT_ENDS_WITHIN: Duration = Duration::from_secs(150);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// The addresses of an installation's order API and its gateway. No call fails because a process is down.
#[derive(Clone, Debug)]
pub(crate) struct Patient {
    pub(crate) api_url: String,
    pub(crate) sandbox_url: String,
    client: Client,
}

impl Patient {
    pub(crate) fn new(api_url: String, sandbox_url: String) -> Patient {
        // reqwest needs a provider before its first client, even for plain HTTP. An error means that there is one
        // already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Connections are not reused: a killed process must not fail the next request to its successor.
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .timeout(ANSWER_WITHIN)
            .build()
            .unwrap();
        Patient { api_url, sandbox_url, client }
    }

    /// Makes an order of 50 soʻm at Atmos, repeated under the same idempotency key until the answer is 201.
    pub(crate) async fn create(&self, key: &str, deadline: Instant) -> Option<i64> {
        self.create_at(PaymentType::Atmos, key, deadline).await
    }

    /// Like [`Patient::create`], at this gateway.
    pub(crate) async fn create_at(&self, payment_type: PaymentType, key: &str, deadline: Instant) -> Option<i64> {
        let body = json!({ "product_name": "Tea", "amount": "50.00", "payment_type": payment_type.as_str() });
        self.created(&body, key, deadline).await?["order_id"].as_i64()
    }

    /// Like [`Patient::create`], without a gateway; returns the order's token, too.
    pub(crate) async fn create_unchosen(&self, key: &str, deadline: Instant) -> Option<(i64, String)> {
        let order = self.created(&json!({ "product_name": "Tea", "amount": "50.00" }), key, deadline).await?;
        Some((order["order_id"].as_i64()?, order["order_token"].as_str()?.to_owned()))
    }

    async fn created(&self, body: &Value, key: &str, deadline: Instant) -> Option<Value> {
        let address = format!("{}/api/orders/create", self.api_url);
        let address = &address;
        until(deadline, || async move {
            let (status, order) = ask(self.client.post(address).header("Idempotency-Key", key).json(body)).await?;
            // A process that does not have the account, while others have it.
            let lacks_account = order["type"] == "urn:tasdiq:problem:payment-type-without-gateway";
            assert!(matches!(status, 201 | 409 | 503) || lacks_account, "HTTP {status}: {order}");
            (status == 201).then_some(order)
        })
        .await
    }

    /// Sends the form of our page on which the customer chooses how to pay; returns whether it was taken, or `None` without
    /// an answer.
    pub(crate) async fn choose(&self, token: &str, payment_type: PaymentType) -> Option<bool> {
        let form = format!("pay_with={}", payment_type.as_str());
        let request = self.client.post(format!("{}/pay/{token}", self.api_url));
        let answer =
            request.header("Content-Type", "application/x-www-form-urlencoded").body(form).send().await.ok()?;
        // A process without this account offers it on no page.
        assert!(matches!(answer.status().as_u16(), 303 | 422 | 503), "{answer:?}");
        let location = answer.headers().get("Location").and_then(|location| location.to_str().ok());
        Some(location.is_some_and(|location| location.ends_with("?chosen")))
    }

    /// Requests a refund of the whole order, repeated under the same key until it is answered; returns the refund's
    /// number, or `None` if it was refused.
    pub(crate) async fn refund(&self, id: i64, key: &str, deadline: Instant) -> Option<i64> {
        let address = format!("{}/api/orders/{id}/refund", self.api_url);
        let address = &address;
        let answer = until(deadline, || async move {
            let (status, answer) = ask(self.client.post(address).header("Idempotency-Key", key)).await?;
            assert!(matches!(status, 202 | 409 | 503), "HTTP {status}: {answer}");
            let in_flight = answer["type"] == "urn:tasdiq:problem:request-in-flight";
            (status != 503 && !in_flight).then_some(answer)
        })
        .await?;
        answer["refund_id"].as_i64().filter(|_| answer["state"].is_string())
    }

    /// Requests a refund that only the gateway's cabinet can make; returns whether it was refused for that reason.
    pub(crate) async fn is_refund_left_to_cabinet(&self, id: i64, key: &str, deadline: Instant) -> bool {
        let address = format!("{}/api/orders/{id}/refund", self.api_url);
        let address = &address;
        let answer = until(deadline, || async move {
            let (status, answer) = ask(self.client.post(address).header("Idempotency-Key", key)).await?;
            (status != 503).then_some(answer)
        });
        answer.await.is_some_and(|answer| answer["type"] == "urn:tasdiq:problem:refund-only-in-cabinet")
    }

    /// Cancels the order, repeated until it is answered; returns whether it is canceled.
    pub(crate) async fn cancel(&self, id: i64, deadline: Instant) -> Option<bool> {
        let address = format!("{}/api/orders/{id}/cancel", self.api_url);
        let address = &address;
        until(deadline, || async move {
            let (status, answer) = ask(self.client.post(address)).await?;
            assert!(matches!(status, 200 | 409 | 503), "HTTP {status}: {answer}");
            (status != 503).then_some(status == 200)
        })
        .await
    }

    /// The current order, if there is an answer.
    pub(crate) async fn order(&self, id: i64) -> Option<Value> {
        let (status, order) = ask(self.client.get(format!("{}/api/orders/{id}", self.api_url))).await?;
        assert!(matches!(status, 200 | 503), "HTTP {status}: {order}");
        (status == 200).then_some(order)
    }

    /// The order, as soon as there is an answer.
    pub(crate) async fn order_at_last(&self, id: i64, deadline: Instant) -> Option<Value> {
        until(deadline, || self.order(id)).await
    }

    /// Waits until the order has a payment link, and returns the gateway's transaction number; `None` if the order
    /// ended.
    pub(crate) async fn link(&self, id: i64, deadline: Instant) -> Option<i64> {
        until(deadline, || async move {
            let order = self.order(id).await?;
            let is_open = matches!(order["status"].as_str(), Some("pending" | "confirming"));
            if is_open { order["transaction_id"].as_i64().map(Some) } else { Some(None) }
        })
        .await
        .flatten()
    }

    /// Waits until the order has this status.
    pub(crate) async fn reaches(&self, id: i64, status: &str, deadline: Instant) -> bool {
        let reached =
            until(deadline, || async move { (self.order(id).await?["status"] == status).then_some(()) }).await;
        reached.is_some()
    }

    /// Pays, and returns the result: `debited`, `refused`, `declined`, `closed`; `None` if the gateway is down.
    pub(crate) async fn pay(&self, transaction_id: i64) -> Option<String> {
        let address = format!("{}/_sim/pay/{transaction_id}", self.sandbox_url);
        let (_, outcome) = ask(self.client.post(address)).await?;
        outcome["outcome"].as_str().map(str::to_owned)
    }

    /// Pays every link of the order until money has moved, and returns the transaction; `None` if the order ended
    /// otherwise or the time is over.
    pub(crate) async fn pay_until_debited(&self, id: i64, deadline: Instant) -> Option<i64> {
        while let Some(transaction_id) = self.link(id, deadline).await {
            match self.pay(transaction_id).await.as_deref() {
                Some("debited") => return Some(transaction_id),
                // Perhaps by a payment whose answer was lost.
                Some("closed") if self.debits(id).await > 0 => return Some(transaction_id),
                _ => (),
            }
            tokio::time::sleep(PAUSE).await;
        }
        // The answer was lost, and the order was paid before the next request.
        let order = self.order_at_last(id, deadline).await?;
        let transaction_id = order["transaction_id"].as_i64().filter(|_| order["status"] == "paid")?;
        until(deadline, || async move { (self.debits(id).await > 0).then_some(transaction_id) }).await
    }

    /// An act of a payer, or of a person at the gateway; `None` without an answer.
    pub(crate) async fn at_sandbox(&self, path: &str, body: &Value) -> Option<Value> {
        let act = self.client.post(format!("{}{path}", self.sandbox_url)).json(body);
        let (status, answer) = ask(act.timeout(ACT_ENDS_WITHIN)).await?;
        assert_eq!(status, 200, "{path} {body}: {answer}");
        Some(answer)
    }

    /// The lines of a gateway's own book at this path, if it answers.
    pub(crate) async fn book(&self, path: &str, lines: &str) -> Option<Vec<Value>> {
        let (_, book) = ask(self.client.get(format!("{}{path}", self.sandbox_url))).await?;
        book[lines].as_array().cloned()
    }

    /// The transactions of other payers that Payme began beside a payer's own.
    pub(crate) async fn rivals(&self) -> Vec<String> {
        let rivals = self.book("/payme/_sim/ledger", "rivals").await.expect("a book");
        rivals.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The customer comes back from the gateway's page.
    pub(crate) async fn open_return_page(&self, token: &str) {
        let _ = self.client.get(format!("{}/pay/{token}/return", self.api_url)).send().await;
    }

    /// The gateway's ledger, if it answers.
    pub(crate) async fn ledger(&self) -> Option<Vec<Value>> {
        self.book("/_sim/ledger", "transactions").await
    }

    /// How often money was taken for an order; 0 while the gateway is down.
    pub(crate) async fn debits(&self, id: i64) -> i64 {
        let account = id.to_string();
        let book = self.ledger().await.unwrap_or_default();
        book.iter().filter(|line| line["account"] == account).filter_map(|line| line["debits"].as_i64()).sum()
    }
}

/// The status and the JSON of an answer; `None` without a complete one, because a dying process may send half of it.
async fn ask(request: RequestBuilder) -> Option<(u16, Value)> {
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.json().await.ok()?))
}

/// Repeats a request until there is an answer or the time is over.
async fn until<T, F: Future<Output = Option<T>>>(deadline: Instant, mut ask: impl FnMut() -> F) -> Option<T> {
    loop {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        if Instant::now() > deadline {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
