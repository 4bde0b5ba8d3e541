//! Notes and budget inside one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Claim, Note, OverBudget};
use crate::config::GatewayRate;
use crate::secret::Secret;

/// Notes in memory. There are as many as names are used, which is two.
#[derive(Clone, Default, Debug)]
pub(super) struct Notes(Arc<Mutex<HashMap<String, (Secret, Instant)>>>);

impl Notes {
    pub(super) fn read(&self, name: &str) -> Option<Note> {
        let now = Instant::now();
        let notes = lock(&self.0);
        let (text, until) = notes.get(name)?;
        let good_for = until.checked_duration_since(now).filter(|left| !left.is_zero())?;
        Some(Note { text: text.clone(), good_for })
    }

    pub(super) fn write(&self, name: &str, note: &Note) {
        lock(&self.0).insert(name.to_owned(), (note.text.clone(), Instant::now() + note.good_for));
    }

    pub(super) fn remove(&self, name: &str, text: &Secret) {
        let mut notes = lock(&self.0);
        if notes.get(name).is_some_and(|(present, _)| present == text) {
            notes.remove(name);
        }
    }

    pub(super) fn claim(&self, name: &str, who: &Secret, lifetime: Duration) -> Claim {
        let now = Instant::now();
        let mut notes = lock(&self.0);
        if notes.get(name).is_some_and(|(_, until)| *until > now) {
            return Claim::Taken;
        }
        notes.insert(name.to_owned(), (who.clone(), now + lifetime));
        Claim::Yours
    }
}

/// A budget that hands out turns in the order they are asked for: `burst` at once, then one every
/// `1 / per_second`.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    between_turns: Duration,
    burst: u32,
    /// When the bucket will be full again.
    full_at: Arc<Mutex<Instant>>,
}

impl Bucket {
    /// A rate or burst of zero counts as one: a budget that admits nobody would be a silent end of all payments.
    pub(super) fn new(rate: GatewayRate) -> Self {
        Bucket {
            between_turns: Duration::from_secs(1) / rate.per_second.max(1),
            burst: rate.burst.max(1),
            full_at: Arc::new(Mutex::new(Instant::now())),
        }
    }

    pub(super) async fn admit(&self, longest: Duration) -> Result<(), OverBudget> {
        let now = Instant::now();
        let wait = self.take_turn(now, longest)?;
        if !wait.is_zero() {
            sleep_until(now + wait).await;
        }
        Ok(())
    }

    /// Takes the next turn and says how far from `now` it is, unless that is more than `longest`.
    pub(super) fn take_turn(&self, now: Instant, longest: Duration) -> Result<Duration, OverBudget> {
        let mut full_at = lock(&self.full_at);
        let full_after = full_at.saturating_duration_since(now);
        let wait = full_after.saturating_sub(self.between_turns * (self.burst - 1));
        if wait > longest {
            return Err(OverBudget { retry_after: wait });
        }
        *full_at = now + full_after + self.between_turns;
        Ok(wait)
    }
}

/// The lock, also after a panic elsewhere: what it guards is whole after every statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
