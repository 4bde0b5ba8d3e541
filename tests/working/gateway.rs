//! A gateway that answers when the test says so. It can let calls about an order wait.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use config::defaults;
use domain::order::PaymentType;
use gateway::Gateway;
use gateway::atmos::{AtmosGateway, AtmosSettings};
use gateway::coordination::{CoordinatedAccount, Coordination};
use poem::http::StatusCode;
use poem::listener::TcpAcceptor;
use poem::web::{Data, Json};
use poem::{EndpointExt, Route, Server, handler, post};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// The transactions of an order are numbered from its own number times this.
pub(super) const PER_ORDER: i64 = 1_000;

/// A gateway on a real socket. It ends when dropped.
pub(super) struct HeldGateway {
    url: String,
    parts: Arc<GatewayParts>,
    serving: AbortHandle,
}

struct GatewayParts {
    state: Mutex<GatewayState>,
    held: watch::Sender<HeldOrders>,
}

#[derive(Default)]
struct GatewayState {
    asked: BTreeMap<i64, usize>,
    waiting: BTreeMap<i64, usize>,
    drafts: BTreeMap<i64, i64>,
    debited: BTreeSet<i64>,
    reversed: BTreeSet<i64>,
    /// The results of the next reversals, in order. After them each reversal is made.
    reversals: VecDeque<Reversal>,
    reversals_asked: usize,
    refused: BTreeSet<i64>,
}

/// The result of a reversal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reversal {
    /// It is made, and the answer says so.
    Made,
    /// It is made, and its answer is lost.
    MadeUntold,
    /// It is not made, and its answer is lost.
    Lost,
    /// A final no.
    Refused,
    /// A proxy in front of the gateway refuses the call.
    Forbidden,
}

/// The orders about which calls wait.
enum HeldOrders {
    All,
    Only(Vec<i64>),
}

impl HeldGateway {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let parts =
            Arc::new(GatewayParts { state: Mutex::default(), held: watch::Sender::new(HeldOrders::Only(Vec::new())) });
        let routes = Route::new()
            .at("/token", post(token))
            .at("/merchant/pay/create", post(create))
            .at("/merchant/pay/get", post(inquire))
            .at("/merchant/pay/reverse", post(reverse))
            .data(Arc::clone(&parts));
        let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
        let serving = tokio::spawn(async move {
            Server::new_with_acceptor(acceptor).run(routes).await.unwrap();
        });
        HeldGateway { url, parts, serving: serving.abort_handle() }
    }

    /// Our client for this gateway. It waits for an answer for as long as a job may run.
    pub(super) fn client(&self) -> Gateway {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sandbox =
            AtmosSettings { base_url: self.url.parse().unwrap(), ..defaults().expect("the sandbox's credentials") };
        let call_timeout = std::time::Duration::from_secs(300);
        let account = CoordinatedAccount::new(PaymentType::Atmos, sandbox.identity());
        let coordination = Coordination::local(account, None);
        Gateway::Atmos(AtmosGateway::with_call_timeout(sandbox, call_timeout, coordination).unwrap())
    }

    /// Lets all calls wait from now on.
    pub(super) fn hold_all(&self) {
        self.parts.held.send_replace(HeldOrders::All);
    }

    /// Takes no connection any more.
    pub(super) fn go_away(&self) {
        self.serving.abort();
    }

    /// Lets calls about these orders wait from now on, and answers those about all others.
    pub(super) fn hold_only(&self, orders: &[i64]) {
        self.parts.held.send_replace(HeldOrders::Only(orders.to_vec()));
    }

    /// Answers everything.
    pub(super) fn release_all(&self) {
        self.hold_only(&[]);
    }

    /// From now on this transaction is paid.
    pub(super) fn debit(&self, transaction: i64) {
        self.state().debited.insert(transaction);
    }

    /// From now on this transaction's money has gone back.
    pub(super) fn reverse(&self, transaction: i64) {
        self.state().reversed.insert(transaction);
    }

    /// Sets the results of the next reversals.
    pub(super) fn answer_reversals(&self, reversals: &[Reversal]) {
        self.state().reversals.extend(reversals);
    }

    /// How many reversals were requested.
    pub(super) fn reversals_asked(&self) -> usize {
        self.state().reversals_asked
    }

    /// Answers every call about this order with a final no.
    pub(super) fn refuse(&self, order: i64) {
        self.state().refused.insert(order);
    }

    /// How many calls about this order have come.
    pub(super) fn asked(&self, order: i64) -> usize {
        self.state().asked.get(&order).copied().unwrap_or_default()
    }

    /// The orders about which a call waits at this moment.
    pub(super) fn waiting(&self) -> Vec<i64> {
        self.state().waiting.keys().copied().collect()
    }

    fn state(&self) -> MutexGuard<'_, GatewayState> {
        self.parts.state.lock().unwrap()
    }
}

impl Drop for HeldGateway {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A call that waits until it is answered or its caller has gone.
struct WaitingCall<'a>(&'a GatewayParts, i64);

impl GatewayParts {
    /// Waits for as long as calls about the order are held.
    async fn wait_while_held(&self, order: i64) {
        let _waiting = WaitingCall::begin(self, order);
        let mut held = self.held.subscribe();
        let is_free = |held: &HeldOrders| match held {
            HeldOrders::All => false,
            HeldOrders::Only(orders) => !orders.contains(&order),
        };
        held.wait_for(is_free).await.unwrap();
    }

    fn refuses(&self, order: i64) -> bool {
        self.state.lock().unwrap().refused.contains(&order)
    }
}

impl<'a> WaitingCall<'a> {
    fn begin(parts: &'a GatewayParts, order: i64) -> Self {
        let mut state = parts.state.lock().unwrap();
        *state.asked.entry(order).or_default() += 1;
        *state.waiting.entry(order).or_default() += 1;
        WaitingCall(parts, order)
    }
}

impl Drop for WaitingCall<'_> {
    fn drop(&mut self) {
        let waiting = &mut self.0.state.lock().unwrap().waiting;
        if waiting.get(&self.1) == Some(&1) {
            waiting.remove(&self.1);
        } else if let Some(calls) = waiting.get_mut(&self.1) {
            *calls -= 1;
        }
    }
}

#[handler]
fn token() -> Json<Value> {
    Json(json!({ "access_token": "token", "token_type": "Bearer", "expires_in": 3600 }))
}

#[handler]
async fn create(Json(request): Json<Value>, parts: Data<&Arc<GatewayParts>>) -> Json<Value> {
    let order: i64 = request["account"].as_str().unwrap().parse().unwrap();
    parts.wait_while_held(order).await;
    if parts.refuses(order) {
        return refusal();
    }
    let mut state = parts.state.lock().unwrap();
    let drafts = state.drafts.entry(order).or_default();
    *drafts += 1;
    let transaction = order * PER_ORDER + *drafts;
    Json(json!({ "result": { "code": "OK" }, "transaction_id": transaction }))
}

#[handler]
async fn inquire(Json(request): Json<Value>, parts: Data<&Arc<GatewayParts>>) -> Json<Value> {
    let transaction = &request["transaction_id"];
    let transaction = transaction.as_i64().or_else(|| transaction.as_str()?.parse().ok()).unwrap();
    let order = transaction / PER_ORDER;
    parts.wait_while_held(order).await;
    if parts.refuses(order) {
        return refusal();
    }
    let (is_debited, is_reversed) = {
        let state = parts.state.lock().unwrap();
        (state.debited.contains(&transaction), state.reversed.contains(&transaction))
    };
    let code = if is_reversed { "-20" } else { "0" };
    Json(json!({ "result": { "code": "OK" }, "store_transaction": {
        "trans_id": transaction, "account": order.to_string(), "amount": 5_000, "store": { "id": 1234 },
        "confirmed": is_debited, "success_trans_id": is_debited.then_some(transaction + 500),
        "status_code": is_debited.then_some(code), "status_message": null } }))
}

#[handler]
async fn reverse(Json(request): Json<Value>, parts: Data<&Arc<GatewayParts>>) -> (StatusCode, Json<Value>) {
    let transaction = request["transaction_id"].as_i64().unwrap() - 500;
    parts.wait_while_held(transaction / PER_ORDER).await;
    let mut state = parts.state.lock().unwrap();
    state.reversals_asked += 1;
    let made = Json(json!({ "result": { "code": "OK" }, "transaction_id": request["transaction_id"] }));
    let nothing = || Json(Value::Null);
    match state.reversals.pop_front().unwrap_or(Reversal::Made) {
        Reversal::Refused => (StatusCode::OK, refusal()),
        Reversal::Forbidden => (StatusCode::FORBIDDEN, nothing()),
        Reversal::Lost => (StatusCode::BAD_GATEWAY, nothing()),
        Reversal::Made => {
            state.reversed.insert(transaction);
            (StatusCode::OK, made)
        }
        Reversal::MadeUntold => {
            state.reversed.insert(transaction);
            (StatusCode::BAD_GATEWAY, nothing())
        }
    }
}

fn refusal() -> Json<Value> {
    Json(json!({ "result": { "code": "STPIMS-ERR-009", "description": "no" } }))
}
