//! Integer ids in blocks: one statement takes many. Gaps are fine, and no number is given out twice.
//!
//! This holds even after the database has lost commits: a backup was restored, or a standby took over that had not
//! received everything. The counters are then back at an earlier value, while customers hold later numbers. Three signs
//! show it: the server's history differs from the one the counters were last taken on; a counter is lower than this
//! process has seen it; or a person says so (`tasdiq restored`). Then all counters jump ahead, and every process drops
//! the ids that it holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::OnceCell;
use tracing::{error, warn};

use super::pool::OpenTransaction;
use super::{Database, Store, StoreError};

mod counters;

pub use counters::Numbers;
use counters::{CounterPosition, JumpCause, first_of, jumping, least_by_clock, present_history, read, taking};

/// How many ids one statement takes. It takes more when many are needed at once; otherwise every batch of rows would
/// wait for a commit that takes ids.
const BLOCK: i64 = 64;

/// How often a block is taken again, because numbers jumped or other callers were faster, before it is an error.
const MOST_TRIES: usize = 100;

/// The ids that this process has taken and not yet used, and the counters as it last saw them.
#[derive(Debug, Default)]
pub(super) struct IdBlocks {
    by_name: Mutex<HashMap<String, Known>>,
    /// Whether this server can tell its history. Some hosted servers do not let us ask.
    tells_history: OnceCell<bool>,
    /// How often this process made the counters jump, or found that another process had.
    jumps_made: AtomicU64,
    /// Whether an order's number is at least the seconds since 2026: [`Store::number_orders_by_the_clock`].
    orders_by_clock: AtomicBool,
    /// Held while a number that was given out twice makes the counters jump.
    behind: tokio::sync::Mutex<()>,
}

/// The jumps that this process knows of at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct JumpsKnown {
    made: u64,
    seen: Option<i64>,
}

#[derive(Debug, Default)]
struct Known {
    seen: Option<CounterPosition>,
    /// Ids below this one are from before a jump.
    floor: i64,
    /// Highest first, so that the lowest is taken from the end.
    left: Vec<i64>,
}

impl IdBlocks {
    /// Takes `count` new ids of this name, lowest first. It asks the database, in a separate transaction, only when
    /// none are left.
    pub(super) async fn take(&self, store: &Store, name: &'static str, count: usize) -> Result<Vec<i64>, StoreError> {
        for _ in 0..MOST_TRIES {
            let before = {
                let mut by_name = self.by_name();
                let known = by_name.entry(name.to_owned()).or_default();
                if known.left.len() >= count {
                    let mut taken = known.left.split_off(known.left.len() - count);
                    taken.reverse();
                    return Ok(taken);
                }
                known.seen
            };
            let block = BLOCK.max(i64::try_from(count).unwrap_or(BLOCK) * 8);
            let taking = taking(self.tells_history(store).await?, name, block, self.least(store, name));
            let rows = store.writer().acquire().await?.fetch_all(taking).await?;
            let taken = match first_of(&rows, block, before)? {
                Ok(taken) => taken,
                Err(cause) => {
                    self.jump(store, cause).await?;
                    continue;
                }
            };
            let mut by_name = self.by_name();
            let known = by_name.entry(name.to_owned()).or_default();
            // Another caller may have seen a jump meanwhile; this block is then from before it.
            if known.heed(CounterPosition { next: taken.next + block, ..taken }) {
                let mut block_ids: Vec<i64> = (taken.next..taken.next + block).rev().collect();
                block_ids.append(&mut known.left);
                known.left = block_ids;
            }
        }
        Err(sqlx::Error::RowNotFound.into())
    }

    /// Takes `count` consecutive ids within this transaction, and returns the first.
    pub(super) async fn take_within(
        &self,
        store: &Store,
        transaction: &mut OpenTransaction,
        name: &'static str,
        count: i64,
    ) -> Result<i64, StoreError> {
        let before = self.by_name().get(name).and_then(|known| known.seen);
        let tells_history = self.tells_history(store).await?;
        let least = self.least(store, name);
        let rows = taking(tells_history, name, count, least).fetch_all(&mut *transaction).await?;
        // This transaction may be rolled back, so nothing that it read is remembered.
        let cause = match first_of(&rows, count, before)? {
            Ok(taken) => return Ok(taken.next),
            Err(cause) => cause,
        };
        jumping(tells_history, cause, name, before, least, store.now_ms()).execute(&mut *transaction).await?;
        tell(cause);
        let rows = taking(tells_history, name, count, least).fetch_all(&mut *transaction).await?;
        match first_of(&rows, count, None)? {
            Ok(taken) => Ok(taken.next),
            Err(_) => Err(sqlx::Error::RowNotFound.into()),
        }
    }

    /// Takes back ids that a transaction did not use.
    pub(super) fn give_back(&self, name: &'static str, ids: Vec<i64>) {
        let mut by_name = self.by_name();
        let known = by_name.entry(name.to_owned()).or_default();
        known.left.extend(ids.into_iter().rev().filter(|id| *id >= known.floor));
    }

    /// The jumps known now. Read it before taking numbers, for [`IdBlocks::is_behind`].
    pub(super) fn jumps_known(&self) -> JumpsKnown {
        let seen = self.by_name().get("orders").and_then(|known| known.seen).map(|seen| seen.jumps);
        JumpsKnown { made: self.jumps_made.load(Ordering::Relaxed), seen }
    }

    /// Handles a number that another row has already: the counters are too low, so they jump. They do not if they have
    /// jumped since `before`, which was read before the number was given out: many requests meet such numbers at the
    /// same moment, and one jump is enough.
    pub(super) async fn is_behind(&self, store: &Store, before: JumpsKnown) -> Result<(), StoreError> {
        let _one_at_a_time = self.behind.lock().await;
        let now = self.jumps_known();
        if now.made != before.made || before.seen.is_some_and(|seen| now.seen > Some(seen)) {
            return Ok(());
        }
        self.jump(store, JumpCause::SetBack).await.map(drop)
    }

    /// Reads all counters, and makes them jump if commits were lost.
    async fn watch(&self, store: &Store) -> Result<Vec<Numbers>, StoreError> {
        let before = self.seen();
        let counters = read(store, self.tells_history(store).await?).await?;
        let is_on_another = |counter: &Numbers| {
            !counter.present.is_empty() && !counter.history.is_empty() && counter.history != counter.present
        };
        if counters.iter().any(is_on_another) {
            return self.jump(store, JumpCause::AnotherHistory).await;
        }
        if counters.iter().any(|counter| before.get(&counter.name).is_some_and(|seen| counter.position() < *seen)) {
            return self.jump(store, JumpCause::SetBack).await;
        }
        if counters.iter().any(|counter| counter.history.is_empty() && !counter.present.is_empty()) {
            sqlx::query(concat!(
                "-- keep_history\nupdate id_blocks set history = present from ",
                present_history!(),
                " where history = '' and present <> ''"
            ))
            .execute(store.writer())
            .await?;
        }
        self.heed(&counters);
        Ok(counters)
    }

    /// Makes all counters jump, unless another process has done so for the same cause.
    async fn jump(&self, store: &Store, cause: JumpCause) -> Result<Vec<Numbers>, StoreError> {
        let (seen, tells_history) = (self.seen(), self.tells_history(store).await?);
        for counter in read(store, tells_history).await? {
            let before = match cause {
                JumpCause::AnotherHistory => seen.get(&counter.name).copied(),
                JumpCause::SetBack => Some(seen.get(&counter.name).copied().unwrap_or(counter.position())),
                JumpCause::Told => {
                    Some(seen.get(&counter.name).map_or(counter.position(), |seen| counter.position().max(*seen)))
                }
            };
            let least = self.least(store, &counter.name);
            jumping(tells_history, cause, &counter.name, before, least, store.now_ms()).execute(store.writer()).await?;
        }
        tell(cause);
        let counters = read(store, tells_history).await?;
        self.heed(&counters);
        self.jumps_made.fetch_add(1, Ordering::Relaxed);
        Ok(counters)
    }

    /// The lowest number that this counter may give out now.
    fn least(&self, store: &Store, name: &str) -> i64 {
        match name == "orders" && self.orders_by_clock.load(Ordering::Relaxed) {
            true => least_by_clock(store.now_ms()),
            false => 0,
        }
    }

    fn heed(&self, counters: &[Numbers]) {
        let mut by_name = self.by_name();
        for counter in counters {
            by_name.entry(counter.name.clone()).or_default().heed(counter.position());
        }
    }

    fn seen(&self) -> HashMap<String, CounterPosition> {
        self.by_name().iter().filter_map(|(name, known)| Some((name.clone(), known.seen?))).collect()
    }

    async fn tells_history(&self, store: &Store) -> Result<bool, StoreError> {
        if store.database() == Database::Sqlite {
            return Ok(false);
        }
        let ask = async || {
            let asking = concat!("-- present_history\nselect present from ", present_history!());
            match sqlx::query(asking).fetch_one(store.writer()).await.map_err(StoreError::from) {
                Ok(_) => Ok(true),
                Err(StoreError::Statement(why)) => {
                    warn!(error = %why, "this PostgreSQL does not tell its history, so after a failover or a restore an operator must run `tasdiq restored`");
                    Ok(false)
                }
                Err(trouble) => Err(trouble),
            }
        };
        self.tells_history.get_or_try_init(ask).await.copied()
    }

    fn by_name(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.by_name.lock()
    }
}

impl Known {
    /// Remembers the counter's present position, and drops ids from before a jump. Returns whether the position is not
    /// older than the last known jump.
    fn heed(&mut self, now: CounterPosition) -> bool {
        let is_late = self.seen.is_some_and(|seen| now.jumps < seen.jumps);
        if !is_late {
            if self.seen.is_some_and(|seen| now.jumps > seen.jumps) {
                self.left.clear();
                self.floor = now.next;
            }
            self.seen = self.seen.max(Some(now));
        }
        !is_late
    }
}

impl Store {
    /// From now on, an order's number taken by this process is at least the number of seconds since 2026-01-01T00:00:00Z,
    /// by the database's clock.
    ///
    /// Say it at the start where a gateway is asked about an order by its number alone: a payment of an earlier
    /// installation at the same account would otherwise be taken for one of this order's. An installation that makes
    /// fewer than one order per second on average has then used no number that a later one gives out. It is no jump.
    pub fn number_orders_by_the_clock(&self) {
        self.0.ids.orders_by_clock.store(true, Ordering::Relaxed);
    }

    /// Checks whether the database has lost commits, and makes the numbers jump if so. Call it every few seconds.
    ///
    /// # Errors
    /// [`StoreError`] when the database did not answer.
    pub async fn watch_numbers(&self) -> Result<Vec<Numbers>, StoreError> {
        self.0.ids.watch(self).await
    }

    /// Makes all numbers jump, because a person says that commits were lost. Running processes follow with their next
    /// heartbeat.
    ///
    /// # Errors
    /// [`StoreError`] when the database did not do it.
    pub async fn jump_numbers(&self) -> Result<Vec<Numbers>, StoreError> {
        self.0.ids.jump(self, JumpCause::Told).await
    }

    /// The present positions of the counters.
    ///
    /// # Errors
    /// [`StoreError`] when the database did not answer.
    pub async fn numbers(&self) -> Result<Vec<Numbers>, StoreError> {
        read(self, false).await
    }
}

/// Logged as an error, because a person must compare the remaining data with the gateway.
fn tell(cause: JumpCause) {
    match cause {
        JumpCause::AnotherHistory => error!(
            "the database is on another history than before (a failover, a restore, or a move): the numbers of orders, jobs \
             and refunds jump, so that none is given out twice; run `tasdiq audit`, for commits may be lost"
        ),
        JumpCause::SetBack => error!(
            "the database has lost commits, for its counters went back: the numbers of orders, jobs and refunds jump, so that \
             none is given out twice; run `tasdiq audit`"
        ),
        JumpCause::Told => (),
    }
}
