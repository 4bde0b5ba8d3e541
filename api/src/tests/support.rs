//! An installation without workers: the tests make links and payments themselves, through the store's own functions.

use domain::transaction::StoredState;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::defaults;
use domain::id::{OrderId, TransactionId};
use domain::job::{Job, Lease, QueueName};
use domain::order::{GatewayIdentity, Order, PaymentType};
use domain::secret::Secret;
use domain::shop::ShopName;
use domain::shops::{Shop, Shops};
use gateway::atmos::{AtmosGateway, AtmosSettings, SignAlgorithm};
use gateway::coordination::{CoordinatedAccount, Coordination};
use gateway::{Gateway, Gateways};
use poem::endpoint::BoxEndpoint;
use poem::http::HeaderMap;
use poem::http::uri::Scheme;
use poem::test::{TestClient, TestRequestBuilder};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Request, RequestParts, Response};
use process::notice::Notice;
use queue::{LocalQueue, Queue};
use serde_json::{Value, json};
use store::DatabaseUrl;
use store::jobs::Finish;
use store::orders::{NewLink, Transition};
use store::settlement::Settlement;
use store::transactions::SeenTransaction;
use store::{Store, jobs, orders, settlement};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{ApiContext, ApiKey, ApiSettings, CallbackAddresses};

/// A day: a run over a million mutants takes a quarter of an hour or more, and orders must not expire meanwhile.
const PAYMENT_TTL_MS: i64 = 24 * 3_600_000;

type SharedEndpoint = Arc<BoxEndpoint<'static, Response>>;

pub(crate) struct TestApi {
    pub(crate) client: TestClient<SharedEndpoint>,
    endpoint: SharedEndpoint,
    pub(crate) context: ApiContext,
    pub(crate) stopping: CancellationToken,
    ends: CancellationToken,
    _directory: TempDir,
}

/// A response with its body read.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl TestResponse {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Asserts that this is a complete problem document with this slug and status, and returns it.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, slug: &str) -> Value {
        let document = self.json();
        assert_eq!(document["type"], format!("urn:tasdiq:problem:{slug}"), "{self:?}");
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(document["status"], status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(document["request_id"], self.header("x-request-id"));
        assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()));
        assert!(document["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        document
    }
}

impl TestApi {
    /// Without API keys, and without waiting for links.
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ApiContext)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&DatabaseUrl::Sqlite(directory.path().join("tasdiq.db"))).await.unwrap();
        store.migrate().await.unwrap();
        let ends = CancellationToken::new();
        let mut context = ApiContext {
            notice: Notice::start(&store, None, &ends),
            store,
            shops: Shops::from_iter([]),
            gateways: gateway(),
            queue: Queue::Local(LocalQueue::default()),
            consumption_check: None,
            settings: ApiSettings { link_wait: Duration::ZERO, ..defaults().unwrap() },
            callback_addresses: CallbackAddresses::default(),
            public_url: "http://shop.test/".parse().unwrap(),
            payment_ttl: Duration::from_secs(1_800),
            link_ttl: Duration::from_secs(86_400),
            role: "up",
        };
        change(&mut context);
        if context.shops.iter().next().is_none() {
            let account = |gateway: &Gateway| (gateway.payment_type(), gateway.identity().clone());
            let accounts: BTreeMap<PaymentType, GatewayIdentity> = context.gateways.iter().map(account).collect();
            let named = context.settings.keys.iter().map(|key| key.shop.clone()).chain([ShopName::default()]);
            context.shops = named.map(|name| Shop { name, accounts: accounts.clone(), ..Shop::default() }).collect();
        }
        let stopping = CancellationToken::new();
        let endpoint: SharedEndpoint = Arc::new(crate::endpoint(context.clone(), stopping.clone()));
        let client = TestClient::new(Arc::clone(&endpoint));
        TestApi { client, endpoint, context, stopping, ends, _directory: directory }
    }

    /// The body of a callback that the one account has signed.
    pub(crate) fn signed(&self, transaction_id: TransactionId, account: &str, amount: i64) -> String {
        let gateway = self.context.gateways.iter().find_map(Gateway::as_atmos).unwrap();
        gateway.sign_callback(transaction_id, account, amount)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.context.store
    }

    pub(crate) async fn get(&self, path: &str) -> TestResponse {
        send(self.client.get(path)).await
    }

    /// Makes an order without an API key.
    pub(crate) async fn create(&self, body: &Value) -> TestResponse {
        self.create_as(None, None, body).await
    }

    pub(crate) async fn create_as(&self, key: Option<&str>, idempotency: Option<&str>, body: &Value) -> TestResponse {
        let mut request = self.client.post("/api/orders/create").content_type("application/json");
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(idempotency) = idempotency {
            request = request.header("idempotency-key", idempotency);
        }
        send(request.body(body.to_string())).await
    }

    /// Posts to an order with this API key, or without one.
    pub(crate) async fn post_as(
        &self,
        key: Option<&str>,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> TestResponse {
        let mut request = self.client.post(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.content_type("application/json");
        }
        send(request.body(body.to_owned())).await
    }

    /// Requests a refund of the order without an API key.
    pub(crate) async fn refund(&self, order: &Order, key: &str, body: &str) -> TestResponse {
        self.post_as(None, &format!("/api/orders/{}/refund", order.id), &[("idempotency-key", key)], body).await
    }

    /// Cancels the order without an API key.
    pub(crate) async fn cancel(&self, order: &Order, body: &str) -> TestResponse {
        self.post_as(None, &format!("/api/orders/{}/cancel", order.id), &[], body).await
    }

    pub(crate) async fn create_raw(&self, content_type: &str, body: impl Into<poem::Body>) -> TestResponse {
        let mut request = self.client.post("/api/orders/create");
        if !content_type.is_empty() {
            request = request.content_type(content_type);
        }
        send(request.body(body.into())).await
    }

    /// An order over 50.00 soʻm.
    pub(crate) async fn order(&self) -> Order {
        self.order_with(json!({})).await
    }

    /// The same, with some fields changed or added.
    pub(crate) async fn order_with(&self, fields: Value) -> Order {
        let mut body = json!({ "product_name": "Somsa", "amount": "50.00", "payment_type": "atmos" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = self.create(&body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.reread(OrderId(answer.json()["order_id"].as_i64().unwrap())).await
    }

    pub(crate) async fn reread(&self, id: OrderId) -> Order {
        orders::find(self.store(), id).await.unwrap().unwrap()
    }

    /// Does the worker's part after the gateway has made a draft.
    pub(crate) async fn link(&self, order: &Order, transaction_id: i64) -> Order {
        self.link_for(order, transaction_id, PAYMENT_TTL_MS).await
    }

    /// The same, with another time to pay.
    pub(crate) async fn link_for(&self, order: &Order, transaction_id: i64, ttl_ms: i64) -> Order {
        let lease = self.claim(QueueName::Links, Job::CreatePaymentLink { order_id: order.id }).await;
        let link = NewLink {
            transaction_id: TransactionId(transaction_id),
            payment_url: format!("http://gateway.test/pay?transactionId={transaction_id}"),
        };
        let first_inquiry_ms = self.store().now_ms();
        let made = orders::store_link(self.store(), &lease, order, &link, ttl_ms, first_inquiry_ms).await.unwrap();
        assert_eq!(made, Transition::Made);
        self.reread(order.id).await
    }

    /// Does the worker's part after the gateway has confirmed the debit, or after another result of an inquiry.
    pub(crate) async fn settle(&self, order: &Order, how: Settlement) -> Order {
        let lease = self.claim(QueueName::Settle, Job::SettleOrder { order_id: order.id }).await;
        let now_ms = self.store().now_ms();
        let seen = match &how {
            Settlement::Paid { transaction_id } => vec![SeenTransaction {
                transaction_id: *transaction_id,
                state: StoredState::Debited,
                success_transaction_id: Some(TransactionId(transaction_id.0 + 1_000)),
                amount: None,
            }],
            _ => Vec::new(),
        };
        let made =
            settlement::settle(self.store(), &lease, order, now_ms, &seen, &how, &Finish::Complete).await.unwrap();
        assert_eq!(made, Transition::Made);
        self.reread(order.id).await
    }

    pub(crate) async fn pay(&self, order: &Order) -> Order {
        self.settle(order, Settlement::Paid { transaction_id: order.transaction_id.unwrap() }).await
    }

    /// Claims a job as a worker does; the other jobs of the queue are released.
    pub(crate) async fn claim(&self, queue: QueueName, wanted: Job) -> Lease {
        let ids = jobs::enqueue(self.store(), queue, 1_000).await.unwrap();
        let mut lease = None;
        for claimed in jobs::claim(self.store(), &ids).await.unwrap() {
            if claimed.job.as_ref().is_ok_and(|job| *job == wanted) {
                lease = Some(claimed.lease);
            } else {
                let not_before_ms = self.store().now_ms();
                jobs::finish_alone(self.store(), &claimed.lease, &Finish::Release { not_before_ms, reason: None })
                    .await
                    .unwrap();
            }
        }
        lease.unwrap_or_else(|| panic!("{wanted:?} is not due"))
    }

    /// Sends a callback with a valid signature, as the gateway does.
    pub(crate) async fn callback(&self, transaction_id: i64, account: &str, amount: i64) -> TestResponse {
        self.webhook(self.signed(TransactionId(transaction_id), account, amount)).await
    }

    /// Sends a request to the webhook from this address, with these headers.
    pub(crate) async fn webhook_from(&self, peer: &str, headers: &[(&str, &str)], body: Vec<u8>) -> TestResponse {
        let request = poem::http::Request::post("/atmos/webhook/");
        answer(self.respond_from(peer, request, headers, body).await).await
    }

    /// The response to `GET` of this path from this address, its body not yet read.
    pub(crate) async fn get_from(&self, peer: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        self.respond_from(peer, poem::http::Request::get(path), headers, Vec::new()).await
    }

    /// The response to a request from this address.
    pub(crate) async fn respond_from(
        &self,
        peer: &str,
        mut request: poem::http::request::Builder,
        headers: &[(&str, &str)],
        body: impl Into<poem::Body>,
    ) -> Response {
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let peer = RemoteAddr(Addr::SocketAddr(SocketAddr::new(peer.parse().unwrap(), 40_000)));
        let parts = RequestParts::from((parts, LocalAddr::default(), peer, Scheme::HTTP));
        self.endpoint.call(Request::from_parts(parts, body.into())).await.unwrap()
    }

    pub(crate) async fn webhook(&self, body: impl Into<poem::Body>) -> TestResponse {
        send(self.client.post("/atmos/webhook/").body(body.into())).await
    }
}

impl Drop for TestApi {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.ends.cancel();
    }
}

pub(crate) async fn send<E: poem::Endpoint>(request: TestRequestBuilder<'_, E>) -> TestResponse {
    answer(request.send().await.0).await
}

pub(crate) async fn answer(response: Response) -> TestResponse {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.into_body().into_string().await.unwrap();
    TestResponse { status, headers, body }
}

/// `bytes` compressed with gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// The key `key-of-NAME` for each name, all of the default shop.
pub(crate) fn keys(names: &[&str]) -> Vec<ApiKey> {
    names.iter().map(|name| key_of(ShopName::default(), name)).collect()
}

/// The same, each of a shop of its own, with its name.
pub(crate) fn keys_of_shops(names: &[&str]) -> Vec<ApiKey> {
    names.iter().map(|name| key_of(ShopName::parse(name).unwrap(), name)).collect()
}

fn key_of(shop: ShopName, name: &str) -> ApiKey {
    ApiKey { shop, name: name.to_owned(), key: Secret::new(format!("key-of-{name}")) }
}

/// Waits for a condition, at most 5 s.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(5), "not within 5 s: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The key that signs this gateway's callbacks.
pub(crate) const API_KEY: &str = "sandbox-api-key";

fn gateway() -> Gateways {
    gateway_with("1234", SignAlgorithm::Md5, &[API_KEY])
}

/// The gateway account of that store.
pub(crate) fn gateway_of(store_id: &str) -> Gateways {
    gateway_with(store_id, SignAlgorithm::Md5, &[API_KEY])
}

pub(crate) fn gateway_with(store_id: &str, sign_algorithm: SignAlgorithm, api_keys: &[&str]) -> Gateways {
    // Another test of this process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = AtmosSettings {
        consumer_key: "sandbox-key".to_owned(),
        consumer_secret: Secret::new("sandbox-secret"),
        store_id: store_id.to_owned(),
        terminal_id: None,
        api_keys: api_keys.iter().copied().map(Secret::new).collect(),
        sign_algorithm,
        base_url: "http://127.0.0.1:9".parse().unwrap(),
        checkout_url: "http://127.0.0.1:9".parse().unwrap(),
        ..defaults().unwrap()
    };
    let call_timeout = Duration::from_secs(1);
    let account = CoordinatedAccount::new(PaymentType::Atmos, settings.identity());
    let coordination = Coordination::local(account, None);
    Gateway::Atmos(AtmosGateway::with_call_timeout(settings, call_timeout, coordination).unwrap()).into()
}
