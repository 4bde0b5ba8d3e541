//! Several gateway accounts in one process: what befalls the calls of one is not felt by another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::gateway_rate::GatewayRate;
use domain::id::{OrderId, OrderToken};
use domain::order::{GatewayIdentity, NewOrder, Order, OrderAccount, OrderStatus};
use domain::secret::Secret;
use gateway::coordination::BreakerState;
use gateway::{AccountSettings, Gateways};
use poem::Route;
use poem::web::{Json, Path};
use process::relay::Relay;
use process::{admission, admission::settings_rows};
use queue::{LocalQueue, Queue};
use sandbox::{Sandbox, SandboxConfig};
use serde_json::{Value, json};
use store::calls::{CalledAccount, ToldCall};
use store::orders::{self, LocalLink};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::{JobWorker, SuspectProgram, WorkerContext, WorkerOptions};

use crate::support::accounts::{atmos_account, click_account, gateway_of};
use crate::support::fixture::calling::asked;
use crate::support::fixture::{Fixture, PAYMENT_TTL_MS, new_order, on_every_database};
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    an_account_whose_gateway_is_away_delays_no_link_of_another
    clicks_outage_delays_no_link_of_atmos
    an_outage_of_atmos_delays_no_payment_of_click
    an_account_whose_gateway_is_silent_leaves_slots_to_another
    an_operators_pause_and_rate_limit_of_one_account_leave_another_alone
    orders_of_an_account_that_is_not_configured_wait_and_the_others_go_on
}

/// Jobs that the worker runs at once.
const SLOTS: usize = 16;

/// The gateway of an account of these tests.
#[derive(Clone, Copy, Debug)]
enum AccountSort {
    Atmos,
    Click,
}

/// A stand-in for a gateway, with one account of ours.
struct GatewayOfTest {
    sort: AccountSort,
    config: SandboxConfig,
    account: AccountSettings,
    running: Option<Running>,
    _folder: TempDir,
}

/// The stand-in while it runs.
enum Running {
    Atmos(#[expect(dead_code, reason = "it runs until it is dropped")] Sandbox),
    Click(#[expect(dead_code, reason = "it runs until it is dropped")] JoinSet<()>),
}

/// Click's Merchant API, at which every order is paid.
#[poem::handler]
fn every_order_is_paid(Path((_service, order, _day)): Path<(String, i64, String)>) -> Json<Value> {
    Json(json!({ "error_code": 0, "error_note": "", "payment_id": order, "payment_status": 2 }))
}

impl GatewayOfTest {
    /// One that does not run yet.
    fn new(sort: AccountSort, name: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (folder, address) = (tempfile::tempdir().unwrap(), format!("127.0.0.1:{}", free_port()));
        let mut config = SandboxConfig::new(address.parse().unwrap(), folder.path().to_owned(), None);
        let account = match sort {
            AccountSort::Atmos => atmos_account(name, &format!("http://{address}")),
            AccountSort::Click => click_account(name, &format!("http://{address}")),
        };
        config.store_id = name.to_owned();
        GatewayOfTest { sort, config, account, running: None, _folder: folder }
    }

    async fn start(&mut self) {
        self.running = Some(match self.sort {
            AccountSort::Atmos => Running::Atmos(Sandbox::start(self.config.clone()).await.unwrap()),
            AccountSort::Click => {
                let route = "/v2/merchant/payment/status_by_mti/:service/:order/:day";
                let routes = Route::new().at(route, poem::get(every_order_is_paid));
                let listener = TcpListener::bind(self.config.listen).await.unwrap();
                let acceptor = poem::listener::TcpAcceptor::from_tokio(listener).unwrap();
                let mut running = JoinSet::new();
                running.spawn(async move { poem::Server::new_with_acceptor(acceptor).run(routes).await.unwrap() });
                Running::Click(running)
            }
        });
    }

    /// Takes connections from now on, and answers nothing.
    async fn fall_silent(&mut self) -> JoinSet<()> {
        drop(self.running.take());
        let listener = TcpListener::bind(self.config.listen).await.unwrap();
        let mut silence = JoinSet::new();
        silence.spawn(async move {
            let mut taken = Vec::new();
            loop {
                taken.push(listener.accept().await.unwrap());
            }
        });
        silence
    }

    fn identity(&self) -> GatewayIdentity {
        self.account.identity()
    }
}

/// A worker with several accounts, and its relay. They end when dropped.
struct WorkerOfAccounts<'a> {
    f: &'a Fixture,
    gateways: Gateways,
    stop: CancellationToken,
    _parts: JoinSet<()>,
}

impl Drop for WorkerOfAccounts<'_> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl<'a> WorkerOfAccounts<'a> {
    fn start(f: &'a Fixture, accounts: &[&GatewayOfTest]) -> Self {
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
        let options = WorkerOptions { slots: SLOTS, queues, stop_grace: Duration::from_secs(1) };
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

    async fn order(&self, of: &GatewayOfTest) -> Order {
        order(self.f, of).await
    }

    /// How long each of so many orders, begun one after the other, waits for what its gateway's account has to do: a link at
    /// Atmos, *paid* at Click.
    async fn waits(&self, of: &GatewayOfTest, count: usize) -> Vec<Duration> {
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

    async fn wait_until_served(&self, of: &GatewayOfTest, orders: &[Order]) {
        for order in orders {
            let what = format!("order {} to be served", order.id);
            wait_until(&what, PATIENCE, async || is_served(&self.f.store, of.sort, order.id).await.then_some(())).await;
        }
    }

    async fn wait_for_links(&self, orders: &[Order]) {
        for order in orders {
            let what = format!("a link of order {}", order.id);
            wait_until(&what, PATIENCE, async || has_link(&self.f.store, order.id).await.then_some(())).await;
        }
    }

    fn breaker(&self, of: &GatewayOfTest) -> BreakerState {
        self.gateways.get(&of.identity()).unwrap().coordination().view().breaker.state
    }
}

/// An order of this account: at Atmos a new one, at Click one that its customer has paid and that Click has told us about.
async fn order(f: &Fixture, of: &GatewayOfTest) -> Order {
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

async fn is_served(store: &store::Store, sort: AccountSort, id: OrderId) -> bool {
    match sort {
        AccountSort::Atmos => has_link(store, id).await,
        AccountSort::Click => orders::find(store, id).await.unwrap().unwrap().status == OrderStatus::Paid,
    }
}

async fn has_link(store: &store::Store, id: OrderId) -> bool {
    orders::find(store, id).await.unwrap().unwrap().payment_url.is_some()
}

/// The wait that 99 of 100 do not exceed; `waits` are sorted.
fn p99(waits: &[Duration]) -> Duration {
    waits[waits.len() * 99 / 100]
}

/// Both in one run: the account that is well with the other one well, and from the moment at which the other one is away.
/// Shows: ADMISSION-19
async fn an_account_whose_gateway_is_away_delays_no_link_of_another(f: Fixture) {
    is_not_felt(&f, AccountSort::Atmos, AccountSort::Atmos).await;
}

/// Shows: ADMISSION-19
async fn clicks_outage_delays_no_link_of_atmos(f: Fixture) {
    is_not_felt(&f, AccountSort::Click, AccountSort::Atmos).await;
}

/// Shows: ADMISSION-19
async fn an_outage_of_atmos_delays_no_payment_of_click(f: Fixture) {
    is_not_felt(&f, AccountSort::Atmos, AccountSort::Click).await;
}

/// A second installation of the same kind, which has the account that is well alone, shows in each round what the machine can
/// do just then.
async fn is_not_felt(f: &Fixture, away: AccountSort, well: AccountSort) {
    let (mut away, mut alone) = (GatewayOfTest::new(away, "1"), GatewayOfTest::new(well, "3"));
    let mut well = GatewayOfTest::new(well, "2");
    for gateway in [&mut away, &mut alone, &mut well] {
        gateway.start().await;
    }
    let other = f.of_the_same_kind().await;
    let worker = WorkerOfAccounts::start(f, &[&away, &well]);
    let control = WorkerOfAccounts::start(&other, &[&alone]);
    let round = async |count| {
        let (felt, usual) = tokio::join!(worker.waits(&well, count), control.waits(&alone, count));
        (p99(&felt), p99(&usual))
    };
    let _warm = round(10).await;
    let (before, _) = round(100).await;

    drop(away.running.take());
    let mut held_back = Vec::new();
    for _ in 0..SLOTS * 4 {
        held_back.push(worker.order(&away).await);
    }
    let mut rounds = Vec::new();
    for _ in 0..3 {
        rounds.push(round(100).await);
        assert_ne!(worker.breaker(&away), BreakerState::Closed);
        assert_eq!(worker.breaker(&well), BreakerState::Closed);
    }

    eprintln!("{} beside {}: p99 {before:?} before, in its outage {rounds:?}", well.identity(), away.identity());
    for (felt, usual) in &rounds {
        let usual = before.max(*usual);
        let bound = (usual * 2).max(usual + Duration::from_millis(200));
        assert!(*felt <= bound, "p99 {before:?} before, and in the outage, each with what is usual then, {rounds:?}");
    }

    away.start().await;
    worker.wait_until_served(&away, &held_back).await;
}

/// A call to a gateway that is silent takes 15 s, and only after five of them the circuit breaker opens.
/// Shows: ADMISSION-21
async fn an_account_whose_gateway_is_silent_leaves_slots_to_another(f: Fixture) {
    let (mut silent, mut well) =
        (GatewayOfTest::new(AccountSort::Atmos, "1"), GatewayOfTest::new(AccountSort::Atmos, "2"));
    let _silence = silent.fall_silent().await;
    well.start().await;
    let worker = WorkerOfAccounts::start(&f, &[&silent, &well]);
    for _ in 0..SLOTS * 8 {
        worker.order(&silent).await;
    }

    let waits = worker.waits(&well, 50).await;

    assert_eq!(worker.breaker(&silent), BreakerState::Closed, "the calls are still under way");
    assert!(p99(&waits) < Duration::from_secs(5), "{waits:?}");
}

/// Shows: ADMISSION-19
async fn an_operators_pause_and_rate_limit_of_one_account_leave_another_alone(f: Fixture) {
    let (mut first, mut second) =
        (GatewayOfTest::new(AccountSort::Atmos, "1"), GatewayOfTest::new(AccountSort::Atmos, "2"));
    first.start().await;
    second.start().await;
    let worker = WorkerOfAccounts::start(&f, &[&first, &second]);
    let coordination = worker.gateways.get(&first.identity()).unwrap().coordination();
    let rows = settings_rows(coordination.account());

    store::admission::pause(&f.store, &rows).await.unwrap();
    wait_until("the pause", PATIENCE, async || coordination.view().is_paused.then_some(())).await;
    let paused = worker.order(&first).await;
    let leaving = worker.order(&second).await;
    worker.wait_for_links(&[leaving]).await;
    assert!(!has_link(&f.store, paused.id).await, "its calls are paused");
    store::admission::resume(&f.store, &rows, false).await.unwrap();
    worker.wait_for_links(&[paused]).await;

    let rate = GatewayRate { per_second: 1, burst: 1 };
    store::admission::set_rate(&f.store, &rows, Some(rate)).await.unwrap();
    wait_until("the rate limit", PATIENCE, async || (coordination.view().rate == Some(rate)).then_some(())).await;
    let (mut slow, mut quick, began) = (Vec::new(), Vec::new(), Instant::now());
    for _ in 0..4 {
        slow.push(worker.order(&first).await);
        quick.push(worker.order(&second).await);
    }
    worker.wait_for_links(&quick).await;
    let quick_after = began.elapsed();
    worker.wait_for_links(&slow).await;
    assert!(began.elapsed() >= Duration::from_secs(3), "four calls at one a second");
    assert!(quick_after < Duration::from_secs(2), "the other account has no rate limit: {quick_after:?}");
}

/// A restart without the settings of one account, and another with them.
/// Shows: ADMISSION-19
async fn orders_of_an_account_that_is_not_configured_wait_and_the_others_go_on(f: Fixture) {
    let (mut gone, mut stays) =
        (GatewayOfTest::new(AccountSort::Atmos, "1"), GatewayOfTest::new(AccountSort::Atmos, "2"));
    gone.start().await;
    stays.start().await;
    let waiting = order(&f, &gone).await;

    let worker = WorkerOfAccounts::start(&f, &[&stays]);
    let listed = orders::open_elsewhere(&f.store, &worker.gateways.identities()).await.unwrap();
    assert_eq!(listed, [(waiting.id, gone.identity())]);
    let others = [worker.order(&stays).await, worker.order(&stays).await];
    worker.wait_for_links(&others).await;
    assert!(!has_link(&f.store, waiting.id).await);
    drop(worker);

    let both = WorkerOfAccounts::start(&f, &[&gone, &stays]);
    assert_eq!(orders::open_elsewhere(&f.store, &both.gateways.identities()).await.unwrap(), []);
    both.wait_for_links(&[waiting]).await;
}
