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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::failure::Done;

/// One account's jobs leave this part of the slots to the others.
const PART_FOR_OTHERS: usize = 4;

/// A place becomes free soon while jobs of the account begin and end. After this time without one its gateway is silent, and a
/// job that waits would only hold its slot.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// The longest wait for a place. The slot is another account's meanwhile.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// A job without a place runs again after this time and up to as much more, so that such jobs do not come back together.
const WITHOUT_PLACE_MS: i64 = 2_000;

/// The places of the jobs of each account; an account that is not listed has as many as it asks for.
#[derive(Debug, Default)]
pub(crate) struct AccountPlaces(BTreeMap<GatewayIdentity, Arc<Places>>);

#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
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

impl AccountPlaces {
    /// The places in a worker with so many slots. Where it has one account, no other one waits.
    pub(crate) fn new(gateways: &Gateways, slots: usize) -> Self {
        if gateways.iter().len() < 2 {
            return AccountPlaces::default();
        }
        let places = (slots - slots / PART_FOR_OTHERS).max(1);
        let of_account = || Places { free: Arc::new(Semaphore::new(places)), moved_at: Mutex::new(Instant::now()) };
        AccountPlaces(gateways.identities().into_iter().map(|account| (account, Arc::new(of_account()))).collect())
    }

    /// Takes a place for a job of this order.
    ///
    /// # Errors
    /// All places are taken: how the run ends then, with the job back on `queue`.
    pub(crate) async fn take(
        &self,
        order: &Order,
        queue: QueueName,
        now_ms: i64,
    ) -> Result<Option<AccountPlace>, Done> {
        let Some(places) = self.0.get(&order.gateway) else { return Ok(None) };
        let silent_for = || places.moved_at.lock().elapsed();
        let permit = match Arc::clone(&places.free).try_acquire_owned() {
            Ok(permit) => Some(permit),
            Err(_) if silent_for() >= SILENT_AFTER => None,
            Err(_) => timeout(LONGEST_WAIT, Arc::clone(&places.free).acquire_owned()).await.ok().and_then(Result::ok),
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
