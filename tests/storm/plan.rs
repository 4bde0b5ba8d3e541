//! The plan of a storm: its calamities and their times, drawn from a seed.

use std::time::Duration;

use domain::order::PaymentType;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How many processes there are.
pub(crate) const APIS: usize = 2;
pub(crate) const WORKERS: usize = 4;

/// A calamity. If its victim is down already, it waits until the victim is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calamity {
    KillWorker(usize),
    KillApi(usize),
    /// A worker is stopped longer than its leases, and then goes on.
    StopWorker(usize, Duration),
    /// Redis is killed, and comes back empty.
    KillRedis(Duration),
    WipeRedis,
    /// PostgreSQL is killed, as by a power cut.
    KillPostgres(Duration),
    /// These processes begin again without their account at this gateway, and later with it.
    TakeAccount(Whose, PaymentType, Duration),
    /// No call of ours reaches this gateway.
    GatewayAway(PaymentType, Duration),
}

/// Whose account is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Worker(usize),
    EveryWorker,
    Api(usize),
}

/// The least counts that a storm must reach to prove something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) orders: usize,
    pub(crate) jobs: i64,
    pub(crate) worker_kills: usize,
    pub(crate) api_kills: usize,
    pub(crate) redis_kills: usize,
    pub(crate) redis_wipes: usize,
    pub(crate) postgres_kills: usize,
    pub(crate) zombies: usize,
    /// Jobs that other workers took from a zombie while it slept.
    pub(crate) taken_from_zombies: usize,
    /// Jobs whose restart after a kill was timed, with a server away and without.
    pub(crate) restarts: usize,
    /// Refunds that were made by us, and in Payme's cabinet.
    pub(crate) refunds: usize,
    pub(crate) cabinet_refunds: usize,
    /// Orders whose customers chose on our page.
    pub(crate) choosers: usize,
    /// Orders that were canceled.
    pub(crate) canceled: usize,
    /// Orders of each gateway that were paid.
    pub(crate) paid: usize,
    /// Attempts that were declined at Click, and told as paid afterwards.
    pub(crate) declined: usize,
    /// Processes that died in a call of Payme or Click.
    pub(crate) deaths_in_calls: usize,
    /// Orders that waited for an account that no worker had.
    pub(crate) waited_for_account: usize,
    /// Outages of one gateway.
    pub(crate) gateway_outages: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct StormPlan {
    pub(crate) name: &'static str,
    pub(crate) seed: u64,
    pub(crate) orders: usize,
    /// The time from one order to the next.
    pub(crate) order_every: Duration,
    pub(crate) calamities: Vec<(Duration, Calamity)>,
    /// How many customers of a hundred never pay.
    pub(crate) never_pay_percent: u32,
    pub(crate) payment_ttl_minutes: &'static str,
    /// Whether jobs that crash go on crashing until they are dead letters.
    pub(crate) defects_last: bool,
    /// How long all orders and jobs may take to end after the trouble.
    pub(crate) settle_within: Duration,
    /// How long a job may wait for its restart after a kill: for half of the jobs, and for 99 of a hundred. A short
    /// storm has few restarts.
    pub(crate) restart_ms: (i64, i64),
    pub(crate) at_least: Counts,
}

impl StormPlan {
    /// About three minutes. Every order is paid, and no defect lasts: what is unpaid or defective takes longer to end.
    pub(crate) fn short(seed: u64) -> StormPlan {
        let at_least = Counts {
            orders: 450,
            jobs: 1_200,
            worker_kills: 10,
            api_kills: 3,
            redis_kills: 1,
            redis_wipes: 1,
            postgres_kills: 1,
            zombies: 1,
            taken_from_zombies: 0,
            restarts: 15,
            refunds: 30,
            cabinet_refunds: 10,
            choosers: 60,
            canceled: 10,
            paid: 90,
            declined: 8,
            deaths_in_calls: 4,
            waited_for_account: 1,
            gateway_outages: 2,
        };
        let planned = Counts { worker_kills: 14, api_kills: 4, zombies: 3, ..at_least };
        StormPlan {
            name: "short",
            seed,
            orders: 480,
            order_every: Duration::from_millis(130),
            calamities: draw(seed, Duration::from_secs(62), planned),
            never_pay_percent: 0,
            payment_ttl_minutes: "30",
            defects_last: false,
            settle_within: Duration::from_secs(210),
            restart_ms: (9_000, 20_000),
            at_least,
        }
    }

    /// Some twenty minutes, of which the last wait for orders to expire and for defective jobs to become dead letters.
    pub(crate) fn long(seed: u64) -> StormPlan {
        let at_least = Counts {
            orders: 5_000,
            jobs: 20_000,
            worker_kills: 100,
            api_kills: 20,
            redis_kills: 5,
            redis_wipes: 2,
            postgres_kills: 2,
            zombies: 10,
            taken_from_zombies: 10,
            restarts: 300,
            refunds: 400,
            cabinet_refunds: 150,
            choosers: 1_000,
            canceled: 200,
            paid: 1_200,
            declined: 100,
            deaths_in_calls: 6,
            waited_for_account: 4,
            gateway_outages: 8,
        };
        // Some have no effect: a defect may have ended the worker at that moment.
        let planned = Counts {
            worker_kills: 125,
            api_kills: 24,
            redis_kills: 6,
            redis_wipes: 3,
            postgres_kills: 3,
            zombies: 14,
            ..at_least
        };
        StormPlan {
            name: "long",
            seed,
            orders: 7_500,
            order_every: Duration::from_millis(105),
            calamities: draw(seed, Duration::from_secs(780), planned),
            never_pay_percent: 8,
            payment_ttl_minutes: "5",
            defects_last: true,
            settle_within: Duration::from_secs(2_400),
            restart_ms: (8_000, 15_000),
            at_least,
        }
    }
}

/// Draws this many of each, spread evenly over the time and shifted a little.
fn draw(seed: u64, time: Duration, counts: Counts) -> Vec<(Duration, Calamity)> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut calamities = Vec::new();
    let mut spread = |count: usize, mut calamity: Box<dyn FnMut(&mut StdRng) -> Calamity>| {
        for number in 0..count {
            let (part, parts) = (u32::try_from(number).unwrap(), u32::try_from(count).unwrap());
            let shift = random.random_range(0..1_000);
            calamities.push((time * (part * 1_000 + shift) / (parts * 1_000), calamity(&mut random)));
        }
    };
    let away = |random: &mut StdRng, longest_ms| Duration::from_millis(random.random_range(500..longest_ms));
    spread(counts.worker_kills, Box::new(|random| Calamity::KillWorker(random.random_range(0..WORKERS))));
    spread(counts.api_kills, Box::new(|random| Calamity::KillApi(random.random_range(0..APIS))));
    spread(counts.redis_kills, Box::new(move |random| Calamity::KillRedis(away(random, 6_000))));
    spread(counts.redis_wipes, Box::new(|_| Calamity::WipeRedis));
    spread(counts.postgres_kills, Box::new(move |random| Calamity::KillPostgres(away(random, 4_000))));
    spread(
        counts.zombies,
        Box::new(|random| {
            let asleep = Duration::from_millis(random.random_range(10_000..18_000));
            Calamity::StopWorker(random.random_range(0..WORKERS), asleep)
        }),
    );
    for round in 0..(counts.gateway_outages / 2).max(1) {
        let (round, rounds) =
            (u32::try_from(round).unwrap(), u32::try_from((counts.gateway_outages / 2).max(1)).unwrap());
        let at = |permille: u32| time * (round * 1_000 + permille) / (rounds * 1_000);
        let (click, payme) = (PaymentType::Click, PaymentType::Payme);
        let seconds = |random: &mut StdRng, longest| Duration::from_millis(random.random_range(3_000..longest));
        let (worker, api) = (random.random_range(0..WORKERS), random.random_range(0..APIS));
        calamities.extend([
            (at(80), Calamity::TakeAccount(Whose::Worker(worker), payme, seconds(&mut random, 6_000))),
            (at(220), Calamity::TakeAccount(Whose::EveryWorker, click, seconds(&mut random, 5_000))),
            (at(400), Calamity::GatewayAway(click, seconds(&mut random, 9_000))),
            (at(600), Calamity::TakeAccount(Whose::Api(api), click, seconds(&mut random, 4_000))),
            (at(750), Calamity::GatewayAway(PaymentType::Atmos, seconds(&mut random, 7_000))),
        ]);
    }
    calamities.sort_by_key(|(at, _)| *at);
    calamities
}
