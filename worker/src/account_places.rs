//! How many jobs of one gateway account run at once, where a worker has several accounts.
//!
//! A job waits for its gateway in a slot of the worker. Until its circuit breaker opens, a gateway that is silent keeps each
//! call for 15 s. The jobs of its account would take every slot, and the jobs of the other accounts would wait behind them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::job::QueueName;
use domain::order::{GatewayIdentity, Order};
use gateway::Gateways;
use parking_lot::Mutex;
use process::consumption_check::Slot;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::failure::Done;

/// One account's jobs leave this part of the slots to the others.
const PART_FOR_OTHERS: usize = 4;

/// A place becomes free soon while jobs of the account begin and end. After this time without one its gateway is silent, and
/// a wait for a place is of no use.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// The longest wait for a place. The job keeps its lease meanwhile, and no slot.
const LONGEST_WAIT: Duration = SILENT_AFTER;

/// A job without a place runs again after this time and up to as much more, so that such jobs do not come back together.
const WITHOUT_PLACE_MS: i64 = 2_000;

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
    /// How many more jobs may wait for a place.
    waiting: Semaphore,
    /// When a job of the account last began or ended.
    moved_at: Mutex<Instant>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct AccountPlace {
    _permit: OwnedSemaphorePermit,
    places: Arc<Places>,
}

impl Drop for AccountPlace {
    fn drop(&mut self) {
        *self.places.moved_at.lock() = Instant::now();
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
            waiting: Semaphore::new(may_wait),
            moved_at: Mutex::new(Instant::now()),
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
        let permit = match places.free() {
            Some(permit) => Some(permit),
            None => places.wait(slot).await,
        };
        match permit {
            Some(permit) => {
                *places.moved_at.lock() = Instant::now();
                Ok(Some(AccountPlace { _permit: permit, places: Arc::clone(places) }))
            }
            None => {
                let until_ms = now_ms + WITHOUT_PLACE_MS + rand::random_range(0..WITHOUT_PLACE_MS);
                Err(Done::Snooze { until_ms, queue })
            }
        }
    }
}

impl Places {
    fn free(&self) -> Option<OwnedSemaphorePermit> {
        [&self.own, &self.common].into_iter().find_map(|free| Arc::clone(free).try_acquire_owned().ok())
    }

    /// Leaves the slot to another job and waits for a place, unless many jobs wait already or none would become free.
    async fn wait(&self, slot: &SlotOfRun) -> Option<OwnedSemaphorePermit> {
        if self.moved_at.lock().elapsed() >= SILENT_AFTER {
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
