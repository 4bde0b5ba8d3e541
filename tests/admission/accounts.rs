//! Several gateway accounts in one process: what befalls the calls of one is not felt by another.

use std::time::{Duration, Instant};

use domain::gateway_rate::GatewayRate;
use domain::id::OrderId;
use domain::order::{GatewayIdentity, NewOrder, Order};
use domain::secret::Secret;
use gateway::coordination::BreakerState;
use gateway::{AccountSettings, Gateways};
use process::relay::Relay;
use process::{admission, admission::settings_rows};
use queue::{LocalQueue, Queue};
use sandbox::{Sandbox, SandboxConfig};
use store::orders;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::{JobWorker, SuspectProgram, WorkerContext, WorkerOptions};

use crate::support::accounts::{atmos_account, gateway_of};
use crate::support::fixture::{Fixture, new_order, on_every_database};
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    an_account_whose_gateway_is_away_delays_no_link_of_another
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
}

/// A stand-in for a gateway, with one account of ours.
struct GatewayOfTest {
    config: SandboxConfig,
    account: AccountSettings,
    running: Option<Sandbox>,
    _folder: TempDir,
}

impl GatewayOfTest {
    /// One that does not run yet.
    fn new(sort: AccountSort, name: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (folder, address) = (tempfile::tempdir().unwrap(), format!("127.0.0.1:{}", free_port()));
        let mut config = SandboxConfig::new(address.parse().unwrap(), folder.path().to_owned(), None);
        let account = match sort {
            AccountSort::Atmos => atmos_account(name, &format!("http://{address}")),
        };
        config.store_id = name.to_owned();
        GatewayOfTest { config, account, running: None, _folder: folder }
    }

    async fn start(&mut self) {
        self.running = Some(Sandbox::start(self.config.clone()).await.unwrap());
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

    /// How long each of so many orders, made one after the other, waits for its link.
    async fn waits_for_links(&self, of: &GatewayOfTest, count: usize) -> Vec<Duration> {
        let mut waiting = JoinSet::new();
        for _ in 0..count {
            let (order, began) = (self.order(of).await, Instant::now());
            let store = self.f.store.clone();
            waiting.spawn(async move {
                while !has_link(&store, order.id).await {
                    assert!(began.elapsed() < PATIENCE, "order {} has no link", order.id);
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

async fn order(f: &Fixture, of: &GatewayOfTest) -> Order {
    let new = NewOrder { gateway: of.identity(), payment_type: of.account.payment_type(), ..new_order() };
    match orders::create(&f.store, &new, None).await.unwrap() {
        orders::Created::New(order) => order,
        other => panic!("{other:?}"),
    }
}

async fn has_link(store: &store::Store, id: OrderId) -> bool {
    orders::find(store, id).await.unwrap().unwrap().payment_url.is_some()
}

/// The wait that 99 of 100 do not exceed; `waits` are sorted.
fn p99(waits: &[Duration]) -> Duration {
    waits[waits.len() * 99 / 100]
}

/// Both in one run: the account that is well with the other one well, and with its circuit breaker open.
/// Shows: ADMISSION-19
async fn an_account_whose_gateway_is_away_delays_no_link_of_another(f: Fixture) {
    for (away, well) in [(AccountSort::Atmos, AccountSort::Atmos)] {
        let (mut away, mut well) = (GatewayOfTest::new(away, "1"), GatewayOfTest::new(well, "2"));
        away.start().await;
        well.start().await;
        let worker = WorkerOfAccounts::start(&f, &[&away, &well]);
        let _warm = worker.waits_for_links(&well, 10).await;
        let before = worker.waits_for_links(&well, 100).await;

        drop(away.running.take());
        let mut held_back = Vec::new();
        for _ in 0..SLOTS * 4 {
            held_back.push(worker.order(&away).await);
        }
        wait_until("the circuit breaker of the one to open", PATIENCE, async || {
            (worker.breaker(&away) != BreakerState::Closed).then_some(())
        })
        .await;
        let before = p99(&before);
        let bound = (before * 2).max(before + Duration::from_millis(200));
        let mut rounds = Vec::new();
        // A busy machine may spoil a round; an account that holds up another would spoil each.
        while rounds.len() < 3 && rounds.iter().all(|meanwhile| *meanwhile > bound) {
            rounds.push(p99(&worker.waits_for_links(&well, 100).await));
            assert_ne!(worker.breaker(&away), BreakerState::Closed);
            assert_eq!(worker.breaker(&well), BreakerState::Closed);
        }

        let is_as_before = rounds.iter().any(|meanwhile| *meanwhile <= bound);
        assert!(is_as_before, "99 of 100 had their link after {before:?}, and beside the outage after {rounds:?}");
        eprintln!("links of {}: p99 {before:?} before, {rounds:?} beside an open breaker", well.identity());

        away.start().await;
        worker.wait_for_links(&held_back).await;
    }
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

    let waits = worker.waits_for_links(&well, 50).await;

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
