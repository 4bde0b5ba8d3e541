//! Several gateway accounts in one process: what befalls the calls of one is not felt by another.

use std::fmt;
use std::time::{Duration, Instant};

use domain::gateway_rate::GatewayRate;
use gateway::coordination::BreakerState;
use process::admission::settings_rows;
use store::orders;

use super::worker_of_accounts::{AccountSort, GatewayOfTest, SLOTS, WorkerOfAccounts, has_link, median, order};
use crate::support::fixture::{Fixture, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    an_account_whose_gateway_is_away_delays_no_link_of_another
    clicks_outage_delays_no_link_of_atmos
    an_outage_of_atmos_delays_no_payment_of_click
    an_account_whose_gateway_is_silent_leaves_slots_to_another
    an_operators_pause_and_rate_limit_of_one_account_leave_another_alone
    orders_of_an_account_that_is_not_configured_wait_and_the_others_go_on
}

/// How often a hundred orders are made in an outage.
const ROUNDS: usize = 5;

/// The waits of orders beside the outage, and at the same time of those at the installation that knows no outage; sorted.
struct Round {
    felt: Vec<Duration>,
    usual: Vec<Duration>,
}

impl fmt::Debug for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |waits| [50, 90, 99, 100].map(|percent| percentile(waits, percent).as_millis());
        write!(f, "{:?} ms beside {:?} ms", told(&self.felt), told(&self.usual))
    }
}

/// The wait that so many of 100 do not exceed; `waits` are sorted.
fn percentile(waits: &[Duration], percent: usize) -> Duration {
    waits[(waits.len() * percent).div_ceil(100) - 1]
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
        Round { felt, usual }
    };
    let _warm = round(10).await;
    let before = round(100).await;

    away.stop();
    let mut held_back = Vec::new();
    for _ in 0..SLOTS * 4 {
        held_back.push(worker.order(&away).await);
    }
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(round(100).await);
        assert_ne!(worker.breaker(&away), BreakerState::Closed);
        assert_eq!(worker.breaker(&well), BreakerState::Closed);
    }

    eprintln!("{} beside {}: {before:?} before, in its outage {rounds:?}", well.identity(), away.identity());
    let told = format!("{before:?} before, and in the outage {rounds:?}");
    for round in &rounds {
        let usual = percentile(&round.usual, 90).max(percentile(&before.usual, 90));
        assert!(percentile(&round.felt, 90) <= usual * 2 + Duration::from_millis(150), "{told}");
    }
    // The longest waits of one round may be those of a machine that does other things just then.
    let longest = |waits: fn(&Round) -> &Vec<Duration>| {
        median(&rounds.iter().map(|round| percentile(waits(round), 99)).collect::<Vec<_>>())
    };
    let (felt, usual) = (longest(|round| &round.felt), longest(|round| &round.usual));
    assert!(felt <= (usual * 2).max(usual + Duration::from_millis(200)), "99 of 100: {told}");
    let all = |waits: fn(&Round) -> &Vec<Duration>| {
        let mut all: Vec<Duration> = rounds.iter().flat_map(waits).copied().collect();
        all.sort();
        all
    };
    let (felt, usual) = (all(|round| &round.felt), all(|round| &round.usual));
    for (percent, more_ms) in [(50, 10), (90, 25)] {
        let bound = percentile(&usual, percent) * 3 / 2 + Duration::from_millis(more_ms);
        assert!(percentile(&felt, percent) <= bound, "{percent} of 100: {told}");
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
    assert!(percentile(&waits, 99) < Duration::from_secs(5), "{waits:?}");
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
