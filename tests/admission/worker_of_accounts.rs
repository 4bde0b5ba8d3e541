//! A worker with several gateway accounts, and stand-ins for their gateways.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::id::{OrderId, OrderToken};
use domain::order::{GatewayIdentity, NewOrder, Order, OrderAccount, OrderStatus};
use domain::secret::Secret;
use gateway::coordination::BreakerState;
use gateway::{AccountSettings, Gateways};
use poem::web::{Data, Json, Path};
use poem::{EndpointExt, Route};
use process::admission;
use process::relay::Relay;
use queue::{LocalQueue, Queue};
use sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};
use store::calls::{CalledAccount, ToldCall};
use store::orders::{self, LocalLink};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::{JobWorker, SuspectProgram, WorkerContext, WorkerOptions};

use crate::support::accounts::{atmos_account, click_account, gateway_of};
use crate::support::fixture::calling::asked;
use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_order};
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::wait::{PATIENCE, wait_until};

/// Jobs that the worker runs at once.
pub(super) const SLOTS: usize = 16;

/// The gateway of an account of these tests.
#[derive(Clone, Copy, Debug)]
pub(super) enum AccountSort {
    Atmos,
    Click,
}

/// A stand-in for a gateway, with one account of ours.
pub(super) struct GatewayOfTest {
    sort: AccountSort,
    config: SandboxConfig,
    account: AccountSettings,
    stand_in: Arc<StandIn>,
    running: Option<Running>,
    _folder: TempDir,
}

/// The stand-in while it runs.
enum Running {
    Sandbox(#[expect(dead_code, reason = "it runs until it is dropped")] Sandbox),
    StandIn(#[expect(dead_code, reason = "it runs until it is dropped")] JoinSet<()>),
}

/// How the stand-ins answer that are no sandbox, and their calls.
#[derive(Debug, Default)]
struct StandIn {
    takes: Duration,
    /// Calls are answered when so many are there at once.
    together: Option<Barrier>,
    calls: Mutex<Vec<Call>>,
}

/// A call to a stand-in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

/// Click's Merchant API, at which every order is paid by the payment with its number.
#[poem::handler]
async fn every_order_is_paid(
    Path((_service, order, _day)): Path<(String, i64, String)>,
    Data(stand_in): Data<&Arc<StandIn>>,
) -> Json<Value> {
    stand_in.paid(order).await
}

#[poem::handler]
async fn every_payment_is_made(
    Path((_service, payment)): Path<(String, i64)>,
    Data(stand_in): Data<&Arc<StandIn>>,
) -> Json<Value> {
    stand_in.paid(payment).await
}

impl StandIn {
    async fn paid(&self, number: i64) -> Json<Value> {
        let began = Instant::now();
        tokio::time::sleep(self.takes).await;
        self.calls.lock().unwrap().push(Call { began, ended: Instant::now() });
        Json(json!({ "error_code": 0, "error_note": "", "payment_id": number, "payment_status": 2 }))
    }
}

/// Atmos's token.
#[poem::handler]
fn token() -> Json<Value> {
    Json(json!({ "access_token": "token", "token_type": "Bearer", "expires_in": 3_600 }))
}

/// Atmos's new drafts, which are answered together.
#[poem::handler]
async fn drafts_together(Data(stand_in): Data<&Arc<StandIn>>) -> Json<Value> {
    stand_in.together.as_ref().unwrap().wait().await;
    let number = {
        let mut calls = stand_in.calls.lock().unwrap();
        calls.push(Call { began: Instant::now(), ended: Instant::now() });
        calls.len()
    };
    Json(json!({ "result": { "code": "OK", "description": "" }, "transaction_id": 14_500_000 + number }))
}

impl GatewayOfTest {
    /// One that does not run yet.
    pub(super) fn new(sort: AccountSort, name: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (folder, address) = (tempfile::tempdir().unwrap(), format!("127.0.0.1:{}", free_port()));
        let mut config = SandboxConfig::new(address.parse().unwrap(), folder.path().to_owned(), None);
        let account = match sort {
            AccountSort::Atmos => atmos_account(name, &format!("http://{address}")),
            AccountSort::Click => click_account(name, &format!("http://{address}")),
        };
        config.store_id = name.to_owned();
        GatewayOfTest { sort, config, account, stand_in: Arc::default(), running: None, _folder: folder }
    }

    /// A Click at which each call takes so long.
    pub(super) fn slow_click(name: &str, takes: Duration) -> Self {
        let stand_in = Arc::new(StandIn { takes, ..StandIn::default() });
        GatewayOfTest { stand_in, ..GatewayOfTest::new(AccountSort::Click, name) }
    }

    /// An Atmos that answers no request for a draft until so many are there at once.
    pub(super) fn meeting_atmos(name: &str, together: usize) -> Self {
        let stand_in = Arc::new(StandIn { together: Some(Barrier::new(together)), ..StandIn::default() });
        GatewayOfTest { stand_in, ..GatewayOfTest::new(AccountSort::Atmos, name) }
    }

    pub(super) async fn start(&mut self) {
        let is_sandbox = matches!(self.sort, AccountSort::Atmos) && self.stand_in.together.is_none();
        self.running = Some(match is_sandbox {
            true => Running::Sandbox(Sandbox::start(self.config.clone()).await.unwrap()),
            false => {
                let routes = Route::new()
                    .at("/v2/merchant/payment/status_by_mti/:service/:order/:day", poem::get(every_order_is_paid))
                    .at("/v2/merchant/payment/status/:service/:payment", poem::get(every_payment_is_made))
                    .at("/token", poem::post(token))
                    .at("/merchant/pay/create", poem::post(drafts_together))
                    .data(Arc::clone(&self.stand_in));
                let listener = TcpListener::bind(self.config.listen).await.unwrap();
                let acceptor = poem::listener::TcpAcceptor::from_tokio(listener).unwrap();
                let mut running = JoinSet::new();
                running.spawn(async move { poem::Server::new_with_acceptor(acceptor).run(routes).await.unwrap() });
                Running::StandIn(running)
            }
        });
    }

    pub(super) fn stop(&mut self) {
        drop(self.running.take());
    }

    /// Takes connections from now on, and answers nothing.
    pub(super) async fn fall_silent(&mut self) -> Silence {
        self.stop();
        let free = async || TcpListener::bind(self.config.listen).await.ok();
        let listener = wait_until("the stand-in to leave its port", PATIENCE, free).await;
        let (calls, given_up) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, counted_given_up) = (Arc::clone(&calls), Arc::clone(&given_up));
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut taken = JoinSet::new();
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let (calls, given_up) = (Arc::clone(&counted), Arc::clone(&counted_given_up));
                taken.spawn(async move {
                    let mut part = [0; 1_024];
                    let mut bytes = 0;
                    while let Ok(read @ 1..) = connection.read(&mut part).await {
                        if bytes == 0 {
                            calls.fetch_add(1, Ordering::Relaxed);
                        }
                        bytes += read;
                    }
                    given_up.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Silence { calls, given_up, _listening: listening }
    }

    /// The calls that have ended.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.stand_in.calls.lock().unwrap().clone()
    }

    pub(super) fn identity(&self) -> GatewayIdentity {
        self.account.identity()
    }
}

/// A gateway that takes calls and answers none, until it is dropped.
pub(super) struct Silence {
    calls: Arc<AtomicUsize>,
    given_up: Arc<AtomicUsize>,
    _listening: JoinSet<()>,
}

impl Silence {
    /// How many calls have come.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many calls have ended, without an answer.
    pub(super) fn given_up(&self) -> usize {
        self.given_up.load(Ordering::Relaxed)
    }
}

/// A worker with several accounts, and its relay. They end when dropped.
pub(super) struct WorkerOfAccounts<'a> {
    f: &'a Fixture,
    pub(super) gateways: Gateways,
    stop: CancellationToken,
    _parts: JoinSet<()>,
}

impl Drop for WorkerOfAccounts<'_> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl<'a> WorkerOfAccounts<'a> {
    pub(super) fn start(f: &'a Fixture, accounts: &[&GatewayOfTest]) -> Self {
        WorkerOfAccounts::start_with(f, accounts, SLOTS)
    }

    /// One that runs so many jobs at once.
    pub(super) fn start_with(f: &'a Fixture, accounts: &[&GatewayOfTest], slots: usize) -> Self {
        let gateways = Gateways::new(accounts.iter().map(|one| gateway_of(&one.account)));
        let context = WorkerContext {
            store: f.store.clone(),
            gateways: gateways.clone(),
            public_url: "http://127.0.0.1/".parse().unwrap(),
            payment_ttl: Duration::from_secs(1_800),
            link_ttl: Duration::from_secs(86_400),
            settings: config::defaults().unwrap(),
        };
        let (queue, stop) = (Queue::Local(LocalQueue::default()), CancellationToken::new());
        let queues = WorkerOptions::ALL_QUEUES.to_vec();
        let options = WorkerOptions { slots, queues, stop_grace: Duration::from_secs(1) };
        let suspects =
            SuspectProgram { file: Program::FILE.into(), arguments: Vec::new(), settings: Secret::new("{}") };
        let working = JobWorker::new(context, queue.clone(), options, suspects).run(stop.clone());
        let mut parts = JoinSet::new();
        parts.spawn(async move {
            working.await;
        });
        parts.spawn(Relay::new(f.store.clone(), queue, true).run(stop.clone()));
        parts.spawn(admission::follow(f.store.clone(), gateways.clone(), stop.clone()));
        WorkerOfAccounts { f, gateways, stop, _parts: parts }
    }

    pub(super) async fn order(&self, of: &GatewayOfTest) -> Order {
        order(self.f, of).await
    }

    /// How long each of so many orders, begun one after the other, waits for what its gateway's account has to do: a link at
    /// Atmos, *paid* at Click.
    pub(super) async fn waits(&self, of: &GatewayOfTest, count: usize) -> Vec<Duration> {
        let mut waiting = JoinSet::new();
        for _ in 0..count {
            let (order, began) = (self.order(of).await, Instant::now());
            let (store, sort) = (self.f.store.clone(), of.sort);
            waiting.spawn(async move {
                while !is_served(&store, sort, order.id).await {
                    assert!(began.elapsed() < PATIENCE, "order {} was not served", order.id);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                began.elapsed()
            });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut waits = waiting.join_all().await;
        waits.sort();
        waits
    }

    pub(super) async fn wait_until_served(&self, of: &GatewayOfTest, orders: &[Order]) {
        for order in orders {
            let what = format!("order {} to be served", order.id);
            wait_until(&what, PATIENCE, async || is_served(&self.f.store, of.sort, order.id).await.then_some(())).await;
        }
    }

    pub(super) async fn wait_for_links(&self, orders: &[Order]) {
        for order in orders {
            let what = format!("a link of order {}", order.id);
            wait_until(&what, PATIENCE, async || has_link(&self.f.store, order.id).await.then_some(())).await;
        }
    }

    pub(super) fn breaker(&self, of: &GatewayOfTest) -> BreakerState {
        self.gateways.get(&of.identity()).unwrap().coordination().view().breaker.state
    }
}

/// An order of this account: at Atmos a new one, at Click one that its customer has paid and that Click has told us about.
pub(super) async fn order(f: &Fixture, of: &GatewayOfTest) -> Order {
    let account = OrderAccount { payment_type: of.account.payment_type(), gateway: of.identity() };
    let new = NewOrder { account: Some(account), ..new_order() };
    let created = match of.sort {
        AccountSort::Atmos => orders::create(&f.store, &new, None).await.unwrap(),
        AccountSort::Click => {
            let write = |id: OrderId, _: &OrderToken| format!("https://my.click.example/{id}");
            let link = LocalLink { write: Arc::new(write), payment_ttl_ms: PAYMENT_TTL_MS };
            orders::create_linked(&f.store, &new, None, &link).await.unwrap()
        }
    };
    let orders::Created::New(order) = created else { panic!("{created:?}") };
    if matches!(of.sort, AccountSort::Click) {
        let account = CalledAccount { gateway: of.identity(), ..asked() };
        let begun = f.begin_on(&account, &order, &order.id.to_string()).await;
        let claims = Some(f.claims(&order, &begun));
        f.debited(&account, &ToldCall { external_id: order.id.to_string(), claims }).await;
    }
    order
}

pub(super) async fn is_served(store: &store::Store, sort: AccountSort, id: OrderId) -> bool {
    match sort {
        AccountSort::Atmos => has_link(store, id).await,
        AccountSort::Click => orders::find(store, id).await.unwrap().unwrap().status == OrderStatus::Paid,
    }
}

pub(super) async fn has_link(store: &store::Store, id: OrderId) -> bool {
    orders::find(store, id).await.unwrap().unwrap().payment_url.is_some()
}

pub(super) fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}
