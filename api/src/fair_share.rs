//! Fair shares of the gateway's rate limit: each API key has a share, and its links above that share wait behind the
//! links of the other keys.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use domain::gateway_rate::GatewayRate;
use domain::job::QueueName;
use parking_lot::Mutex;
use store::{Store, processes};

use crate::ApiKey;

/// The share of one key is the rate limit divided by this number.
const PART: u32 = 2;

/// How often the order API processes are counted: they share what a key may have.
const COUNTED_EVERY: Duration = Duration::from_secs(10);

/// The number of callers. A name with two keys, while its key is being changed, counts once.
pub(crate) fn names(keys: &[ApiKey]) -> usize {
    keys.iter().map(|key| key.name.as_str()).collect::<HashSet<_>>().len()
}

/// The shares of all keys in this process.
#[derive(Debug)]
pub(crate) struct FairShares {
    /// For each API key: when its share will be unused again.
    whole_at: Mutex<HashMap<String, Instant>>,
    /// The number of running order API processes.
    apis: AtomicU32,
    counted_at: Mutex<Option<Instant>>,
}

impl FairShares {
    /// Shares that are not used yet.
    pub(crate) fn new() -> Self {
        FairShares { whole_at: Mutex::default(), apis: AtomicU32::new(1), counted_at: Mutex::default() }
    }

    /// The queue for the next link of this key. With a single key, or without a rate limit, there is nothing to share.
    pub(crate) fn queue(&self, key: &str, keys: usize, rate: Option<GatewayRate>) -> QueueName {
        match rate {
            Some(rate) if keys > 1 => self.queue_at(key, rate, Instant::now()),
            Some(_) | None => QueueName::Links,
        }
    }

    /// Gives back what [`FairShares::queue`] took for this queue, because no order was made.
    pub(crate) fn give_back(&self, key: &str, keys: usize, rate: Option<GatewayRate>, queue: QueueName) {
        let Some(rate) = rate.filter(|_| keys > 1 && queue == QueueName::Links) else { return };
        let between = self.between(rate);
        let mut whole_at = self.whole_at.lock();
        if let Some(at) = whole_at.get_mut(key) {
            *at = at.checked_sub(between).unwrap_or(*at);
        }
    }

    /// The divisor of the rate limit for one key in this process.
    fn share(&self) -> u32 {
        PART * self.apis.load(Ordering::Relaxed).max(1)
    }

    /// The time between two links of one key.
    fn between(&self, rate: GatewayRate) -> Duration {
        Duration::from_secs(1) * self.share() / rate.per_second.max(1)
    }

    fn queue_at(&self, key: &str, rate: GatewayRate, now: Instant) -> QueueName {
        let between = self.between(rate);
        let burst = (rate.burst / self.share()).max(1);
        let mut whole_at = self.whole_at.lock();
        let used = whole_at.get(key).map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if used > between * (burst - 1) {
            return QueueName::Background;
        }
        whole_at.insert(key.to_owned(), now + used + between);
        QueueName::Links
    }

    /// Counts the order API processes from time to time. If the database does not answer, the old count stays.
    pub(crate) async fn count_apis(&self, store: &Store) {
        {
            let mut counted_at = self.counted_at.lock();
            if counted_at.is_some_and(|at| at.elapsed() < COUNTED_EVERY) {
                return;
            }
            *counted_at = Some(Instant::now());
        }
        if let Ok(alive) = processes::alive(store).await {
            let apis = alive.iter().filter(|process| process.slots == 0 || process.role == "up").count();
            self.apis.store(u32::try_from(apis).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: GatewayRate = GatewayRate { per_second: 20, burst: 40 };

    #[test]
    fn links_above_a_keys_share_wait_behind_those_of_other_keys() {
        let (shares, now) = (FairShares::new(), Instant::now());
        let first = |key: &str, at| (0..2_000).filter(|_| shares.queue_at(key, RATE, at) == QueueName::Links).count();

        assert_eq!(first("many", now), 20, "half of what may leave at once");
        assert_eq!(first("many", now + Duration::from_secs(1)), 10, "half of a second's");
        assert_eq!(shares.queue_at("few", RATE, now + Duration::from_secs(1)), QueueName::Links);
        shares.apis.store(5, Ordering::Relaxed);
        assert_eq!(first("third", now), 4, "the share of one API of five");
    }

    #[test]
    fn a_request_without_an_order_uses_no_share() {
        let shares = FairShares::new();
        let queue = || shares.queue("key", 2, Some(GatewayRate { per_second: 1, burst: 4 }));

        for _ in 0..100 {
            assert_eq!(queue(), QueueName::Links);
            shares.give_back("key", 2, Some(GatewayRate { per_second: 1, burst: 4 }), QueueName::Links);
        }
        assert_eq!([queue(), queue(), queue()], [QueueName::Links, QueueName::Links, QueueName::Background]);
        shares.give_back("key", 2, Some(GatewayRate { per_second: 1, burst: 4 }), QueueName::Background);
        assert_eq!(queue(), QueueName::Background, "nothing was taken for that one");
    }

    #[test]
    fn a_single_shop_and_a_gateway_without_a_rate_limit_need_no_shares() {
        let shares = FairShares::new();

        for (keys, rate) in [(0, Some(RATE)), (1, Some(RATE)), (3, None)] {
            assert!((0..1_000).all(|_| shares.queue("key", keys, rate) == QueueName::Links), "{keys} keys, {rate:?}");
        }
    }
}
