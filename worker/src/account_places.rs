//! How many jobs of one gateway account run at once, where a worker has several accounts.
//!
//! A job waits for its gateway in a slot of the worker. Until its circuit breaker opens, a gateway that is silent keeps each
//! call for 15 s. The jobs of its account would take every slot, and the jobs of the other accounts would wait behind them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::job::QueueName;
use domain::order::{GatewayIdentity, Order};
use domain::time::millis;
use gateway::Gateways;
use parking_lot::Mutex;
use process::consumption_check::Slot;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::failure::Done;
use crate::place_turns::{LONGEST_WAIT, PlaceTurns, Room};

/// One account's jobs leave this part of the slots to the others.
const PART_FOR_OTHERS: usize = 4;

/// The places of the jobs of each account; an account that is not listed has as many as it asks for.
///
/// All places together are as many as the worker has slots; where there are very many accounts they are more. A job that waits
/// for its place has no slot: another account's job runs in it.
#[derive(Debug, Default)]
pub(crate) struct AccountPlaces {
    of_account: BTreeMap<GatewayIdentity, Arc<Places>>,
    runs_without_slot: usize,
}

#[derive(Debug)]
struct Places {
    /// The places that no other account may take, and those that every account may take.
    own: Arc<Semaphore>,
    common: Arc<Semaphore>,
    /// How many jobs may wait for a place, and how many more.
    may_wait: usize,
    waiting: Semaphore,
    started_at: Instant,
    turns: Mutex<PlaceTurns>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct AccountPlace {
    _permit: OwnedSemaphorePermit,
    began_at: Duration,
    places: Arc<Places>,
}

impl Drop for AccountPlace {
    fn drop(&mut self) {
        self.places.turns.lock().end(self.places.started_at.elapsed(), self.began_at);
    }
}

/// The slot of a run, until the run ends or has to wait for a place. A run outside the worker has none.
#[derive(Debug, Default)]
pub(crate) struct SlotOfRun(Mutex<Option<Slot>>);

impl SlotOfRun {
    pub(crate) fn new(slot: Slot) -> Self {
        SlotOfRun(Mutex::new(Some(slot)))
    }

    /// Another job may have the slot from now on.
    fn leave(&self) {
        drop(self.0.lock().take());
    }
}

impl AccountPlaces {
    /// The places in a worker with so many slots. Where it has one account, no other one waits.
    pub(crate) fn new(gateways: &Gateways, slots: usize) -> Self {
        let accounts = gateways.identities();
        if accounts.len() < 2 {
            return AccountPlaces::default();
        }
        let (own, common) = shares(slots, accounts.len());
        let may_wait = (slots / (accounts.len() - 1)).max(1);
        let runs_without_slot = (own + may_wait) * accounts.len() + common;
        let common = Arc::new(Semaphore::new(common));
        let places = || Places {
            own: Arc::new(Semaphore::new(own)),
            common: Arc::clone(&common),
            may_wait,
            waiting: Semaphore::new(may_wait),
            started_at: Instant::now(),
            turns: Mutex::default(),
        };
        let of_account = accounts.into_iter().map(|account| (account, Arc::new(places()))).collect();
        AccountPlaces { of_account, runs_without_slot }
    }

    /// The most runs that hold no slot: those that wait for a place, and those that have waited for theirs.
    pub(crate) fn runs_without_slot(&self) -> usize {
        self.runs_without_slot
    }

    /// Takes a place for a job of this order. If none is free the job waits a little, and leaves its slot to others.
    ///
    /// # Errors
    /// All places are taken: how the run ends then, with the job back on `queue`.
    pub(crate) async fn take(
        &self,
        order: &Order,
        slot: &SlotOfRun,
        queue: QueueName,
        now_ms: i64,
    ) -> Result<Option<AccountPlace>, Done> {
        let Some(places) = order.gateway().and_then(|account| self.of_account.get(account)) else { return Ok(None) };
        let (asked_at, is_late) = (Instant::now(), queue == QueueName::Background);
        let permit = match places.free() {
            Some(permit) => Some(permit),
            None => places.wait(slot, is_late).await,
        };
        match permit {
            Some(permit) => Ok(Some(Places::begin(places, permit))),
            None => {
                let until_ms = now_ms + millis(asked_at.elapsed() + places.time_to_turn(is_late));
                Err(Done::Snooze { until_ms, queue })
            }
        }
    }
}

impl Places {
    fn free(&self) -> Option<OwnedSemaphorePermit> {
        [&self.own, &self.common].into_iter().find_map(|free| Arc::clone(free).try_acquire_owned().ok())
    }

    fn begin(places: &Arc<Places>, permit: OwnedSemaphorePermit) -> AccountPlace {
        let began_at = places.started_at.elapsed();
        places.turns.lock().begin(began_at);
        AccountPlace { _permit: permit, began_at, places: Arc::clone(places) }
    }

    /// Leaves the slot to another job and waits for a place, unless many jobs wait already or none would become free.
    async fn wait(&self, slot: &SlotOfRun, is_late: bool) -> Option<OwnedSemaphorePermit> {
        let waiting = self.may_wait - self.waiting.available_permits();
        if waiting >= self.turns.lock().may_wait(self.started_at.elapsed(), self.room(is_late)) {
            return None;
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        slot.leave();
        let either = async {
            tokio::select! {
                permit = Arc::clone(&self.own).acquire_owned() => permit,
                permit = Arc::clone(&self.common).acquire_owned() => permit,
            }
        };
        timeout(LONGEST_WAIT, either).await.ok()?.ok()
    }

    /// How long a job without a place is put off.
    fn time_to_turn(&self, is_late: bool) -> Duration {
        let spread_permille = rand::random_range(0..1_000);
        self.turns.lock().give_out(self.started_at.elapsed(), self.room(is_late), spread_permille)
    }

    fn room(&self, is_late: bool) -> Room {
        Room::new(self.own.available_permits() + self.common.available_permits(), self.may_wait, is_late)
    }
}

/// The places that one account has for itself and those that all share, of so many slots. Pure.
///
/// An account whose gateway is silent takes its own and the common ones. The other accounts have theirs, however many
/// accounts are silent. Half of the slots can always be taken by one account: where there are so many accounts that this
/// leaves less than one place to each, a few silent ones harm no other, and very many do.
fn shares(slots: usize, accounts: usize) -> (usize, usize) {
    let own = (slots / PART_FOR_OTHERS / (accounts - 1)).max(1);
    let common = slots.saturating_sub(own * accounts).max((slots / 2).saturating_sub(own));
    (own, common)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Shows: ADMISSION-21
        #[test]
        fn one_account_may_take_half_of_the_slots_and_all_others_keep_theirs(
            slots in 1_usize..1_000,
            accounts in 2_usize..100,
        ) {
            let (own, common) = shares(slots, accounts);

            prop_assert!(own >= 1);
            prop_assert!(own + common >= slots / 2, "{own} and {common}");
            if accounts <= slots / 2 {
                prop_assert!(own * accounts + common == slots, "{own} and {common}");
            }
        }
    }

    #[test]
    fn a_few_accounts_may_take_three_quarters_of_the_slots_each() {
        assert_eq!(shares(64, 2), (16, 32));
        assert_eq!(shares(64, 3), (8, 40));
        assert_eq!(shares(64, 17), (1, 47));
        assert_eq!(shares(64, 100), (1, 31));
        assert_eq!(shares(4, 3), (1, 1));
        assert_eq!(shares(1, 2), (1, 0));
    }
}
