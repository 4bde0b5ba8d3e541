//! Random orders.

use std::time::{SystemTime, UNIX_EPOCH};

use domain::id::OrderId;
use domain::money::Tiyin;
use domain::order::Language;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

/// What an address may hold and a link must not mistake for its own: the reserved characters and the percent sign, then
/// characters that an address should not hold.
const AWKWARD: &str = ":/?#[]@!$&'()*+,;=%-._~ \"<>\\^`{|}ʻя€";

/// An order, and the account that it is paid to.
#[derive(Debug)]
pub(super) struct RandomOrder {
    pub(super) id: OrderId,
    pub(super) amount: Tiyin,
    pub(super) language: Language,
    pub(super) return_url: String,
    /// Payme's cashbox, and the field of its accounts that holds the order's number.
    pub(super) cashbox: String,
    pub(super) account_field: String,
    /// Click's service and merchant; the store of Atmos is a number, too.
    pub(super) service: i64,
    pub(super) merchant: i64,
}

impl RandomOrder {
    /// This many; the first have the smallest and the largest values.
    pub(super) fn some(random: &mut StdRng, count: usize) -> Vec<RandomOrder> {
        let edges = [(1, 1), (i64::MAX, Tiyin::MAX.get()), (1, Tiyin::MAX.get()), (i64::MAX, 1)];
        let mut orders: Vec<RandomOrder> = (0..count).map(|_| RandomOrder::draw(random)).collect();
        for (order, (id, tiyin)) in orders.iter_mut().zip(edges) {
            (order.id, order.amount) = (OrderId(id), Tiyin::new(tiyin).unwrap());
        }
        orders
    }

    fn draw(random: &mut StdRng) -> RandomOrder {
        let some = |random: &mut StdRng, from: &str, count: usize| -> String {
            let signs: Vec<char> = from.chars().collect();
            (0..count).map(|_| *signs.choose(random).unwrap()).collect()
        };
        let field_length = random.random_range(1..=64);
        RandomOrder {
            id: OrderId(number(random, i64::MAX)),
            amount: Tiyin::new(number(random, Tiyin::MAX.get())).unwrap(),
            language: *Language::ALL.choose(random).unwrap(),
            return_url: address(random),
            cashbox: some(random, "0123456789abcdef", 24),
            account_field: some(random, "abcXYZ019_-", field_length),
            service: number(random, 999_999_999_999_999_999),
            merchant: number(random, 999_999_999_999_999_999),
        }
    }
}

/// From 1 to `largest`, with each number of digits about as often as another.
pub(super) fn number(random: &mut StdRng, largest: i64) -> i64 {
    let digits = random.random_range(0..=largest.ilog10());
    let least = 10_i64.pow(digits);
    random.random_range(least..=largest.min(least.saturating_mul(10).saturating_sub(1)))
}

/// A return address that holds every awkward character, in a random order.
fn address(random: &mut StdRng) -> String {
    let mut awkward: Vec<char> = AWKWARD.chars().collect();
    awkward.shuffle(random);
    let awkward: String = awkward.into_iter().collect();
    format!("https://shop{}.uz/{awkward}", random.random_range(0..1_000))
}

/// The seed of a run, which is printed, and its source of randomness.
pub(super) fn seeded(what: &str) -> (u64, StdRng) {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed = std::env::var("TASDIQ_TEST_FOREIGN_SEED").map_or_else(|_| clock(), |seed| seed.parse().unwrap());
    println!("{what}: TASDIQ_TEST_FOREIGN_SEED={seed}");
    (seed, StdRng::seed_from_u64(seed))
}
