//! The places of a gateway account's jobs in a worker with several accounts: none stands empty while jobs wait for it, and
//! no other account feels that they are taken.

use std::time::{Duration, Instant};

use domain::order::Order;
use futures_util::future::join_all;

use super::worker_of_accounts::{AccountSort, Call, GatewayOfTest, SLOTS, WorkerOfAccounts, median, order};
use crate::support::fixture::{Fixture, on_every_database};
use crate::support::wait::{PATIENCE, wait_until};

on_every_database! {
    an_account_with_a_slow_gateway_has_its_places_in_use
    a_silence_of_click_is_not_felt_by_atmos
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
struct Extent {
    /// Jobs that the worker runs at once.
    slots: usize,
    /// The places that one of three accounts can have of them.
    places: usize,
    /// How long a call to its gateway takes.
    call: Duration,
    orders: usize,
}

impl Extent {
    const USUAL: Extent = Extent { slots: 16, places: 12, call: Duration::from_millis(300), orders: 250 };

    /// As in production; a machine that is busy otherwise has no processor for it.
    const LARGE: Extent = Extent { slots: 64, places: 48, call: Duration::from_millis(500), orders: 400 };

    /// `TASDIQ_TEST_PLACES=64` asks for the large one.
    fn asked_for() -> Extent {
        match std::env::var("TASDIQ_TEST_PLACES").as_deref() {
            Ok("64") => Extent::LARGE,
            _ => Extent::USUAL,
        }
    }
}

/// A backlog of an account with a slow gateway, and now and then an order of another account. A second installation has
/// the slow account alone, and as many slots as the first one has places for it.
/// Shows: ADMISSION-22
async fn an_account_with_a_slow_gateway_has_its_places_in_use(f: Fixture) {
    let extent = Extent::asked_for();
    let (mut slow, mut slow_alone) =
        (GatewayOfTest::slow_click("1", extent.call), GatewayOfTest::slow_click("1", extent.call));
    let (mut well, mut third) =
        (GatewayOfTest::new(AccountSort::Click, "2"), GatewayOfTest::new(AccountSort::Click, "3"));
    for gateway in [&mut slow, &mut slow_alone, &mut well, &mut third] {
        gateway.start().await;
    }
    let other = f.of_the_same_kind().await;
    let (orders, alone) = (backlog(&f, &slow, extent.orders).await, backlog(&other, &slow_alone, extent.orders).await);

    let worker = WorkerOfAccounts::start_with(&f, &[&slow, &well, &third], extent.slots);
    let control = WorkerOfAccounts::start_with(&other, &[&slow_alone], extent.places);
    let (waits, ..) = tokio::join!(
        waits_until(&worker, &well, || slow.calls().len() >= extent.orders),
        worker.wait_until_served(&slow, &orders),
        control.wait_until_served(&slow_alone, &alone),
    );

    let (used, usual) = (Used::of(&slow.calls(), extent), Used::of(&slow_alone.calls(), extent));
    for (used, whose) in [(&used, "beside others"), (&usual, "alone")] {
        println!("{extent:?}, {whose}: {} permille, {} calls a second", used.permille, used.calls_a_second);
    }
    println!("{} orders of another account waited {:?}, at most {:?}", waits.len(), median(&waits), waits.iter().max());
    assert_eq!(used.most_at_once, extent.places, "the others have the rest");
    assert!(used.permille * 100 >= usual.permille * 85, "{used:?} of its places are in use, and alone {usual:?}");
}

/// The places that one of two accounts has for itself.
const OWN: usize = SLOTS / 4;

/// The rounds of orders beside a silent gateway, and how many of them must end while its first calls are under way: a call
/// that has no answer ends after 15 s.
const ROUNDS: usize = 15;
const FEWEST_ROUNDS: usize = 5;

/// Atmos answers when as many calls are there as it has places of its own. A second installation has the same Atmos alone.
/// Shows: ADMISSION-19, ADMISSION-21
async fn a_silence_of_click_is_not_felt_by_atmos(f: Fixture) {
    let mut click = GatewayOfTest::new(AccountSort::Click, "1");
    let (mut atmos, mut alone) = (GatewayOfTest::meeting_atmos("2", OWN), GatewayOfTest::meeting_atmos("3", OWN));
    let silence = click.fall_silent().await;
    atmos.start().await;
    alone.start().await;
    let other = f.of_the_same_kind().await;
    backlog(&f, &click, SLOTS * 8).await;

    let worker = WorkerOfAccounts::start(&f, &[&click, &atmos]);
    let control = WorkerOfAccounts::start(&other, &[&alone]);
    wait_until("Click's calls in all places that it may take", PATIENCE, async || {
        (silence.calls() >= SLOTS - OWN).then_some(())
    })
    .await;
    let (mut felt, mut usual) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (beside, alone) = tokio::join!(links_together(&worker, &atmos), links_together(&control, &alone));
        if silence.given_up() > 0 {
            break;
        }
        felt.push(beside);
        usual.push(alone);
    }

    println!("{felt:?} beside {} silent calls, {usual:?} where Atmos is alone", silence.calls());
    assert!(felt.len() >= FEWEST_ROUNDS, "{} rounds were over when the first silent call ended", felt.len());
    let (felt, usual) = (median(&felt), median(&usual));
    assert!(felt <= usual * 3 + Duration::from_millis(20), "a round took {felt:?}, and {usual:?} where Atmos is alone");
}

/// How long as many orders as the account has places for itself wait for their links.
async fn links_together(worker: &WorkerOfAccounts<'_>, of: &GatewayOfTest) -> Duration {
    let began = Instant::now();
    let orders = join_all((0..OWN).map(|_| worker.order(of))).await;
    worker.wait_for_links(&orders).await;
    began.elapsed()
}

/// Orders that their customers have paid, and about which the worker is to ask at once.
async fn backlog(f: &Fixture, of: &GatewayOfTest, count: usize) -> Vec<Order> {
    let mut orders = Vec::new();
    for _ in 0..count {
        orders.push(order(f, of).await);
    }
    orders
}

async fn waits_until(worker: &WorkerOfAccounts<'_>, of: &GatewayOfTest, is_over: impl Fn() -> bool) -> Vec<Duration> {
    let mut waits = Vec::new();
    while !is_over() {
        waits.extend(worker.waits(of, 1).await);
    }
    waits
}

/// How an account's places were used while it had many more orders than places.
#[derive(Debug)]
struct Used {
    /// The part of the places' time in which there were calls.
    permille: u128,
    calls_a_second: u128,
    most_at_once: usize,
}

impl Used {
    fn of(calls: &[Call], extent: Extent) -> Used {
        let from = calls.iter().map(|call| call.began).min().unwrap();
        let mut ends: Vec<Instant> = calls.iter().map(|call| call.ended).collect();
        ends.sort();
        let counted = extent.orders - 2 * extent.places;
        let until = ends[counted - 1];
        let took = until - from;
        let used: Duration = calls.iter().map(|call| call.ended.min(until).saturating_duration_since(call.began)).sum();
        let at_once = |then: Instant| calls.iter().filter(|call| call.began <= then && then < call.ended).count();
        Used {
            permille: used.as_nanos() * 1_000 / (took.as_nanos() * extent.places as u128),
            calls_a_second: counted as u128 * 1_000 / took.as_millis(),
            most_at_once: calls.iter().map(|call| at_once(call.began)).max().unwrap_or(0),
        }
    }
}
