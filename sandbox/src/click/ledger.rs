//! Click's ledger: every attempt it ever made, kept across restarts, for audits to compare with.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::attempt::{AttemptChange, ClickAttempt, NewAttempt};
use super::clock::ClickClock;
use super::payer::PayMeans;
use crate::error::SandboxError;
use crate::journal::{Journal, JournalError};

/// The ledger's file inside the data directory.
const FILE_NAME: &str = "sandbox-click-ledger.jsonl";

/// Keep the three sequences of numbers apart, so that a mix-up is noticed.
const PAYDOC_OFFSET: i64 = 1_000_000_000;
const PAYMENT_OFFSET: i64 = 3_000_000_000;

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct AttemptLine {
    click_trans_id: i64,
    at_ms: i64,
    #[serde(flatten)]
    change: AttemptChange,
}

/// An attempt in the ledger: readable at any time, changed by one at a time.
#[derive(Debug)]
pub(crate) struct AttemptEntry {
    attempt: RwLock<ClickAttempt>,
    /// Held while a change is written, so that two changes never start from the same state.
    changing: Mutex<()>,
}

impl AttemptEntry {
    fn new(attempt: ClickAttempt) -> Self {
        AttemptEntry { attempt: RwLock::new(attempt), changing: Mutex::default() }
    }

    /// The attempt as it is now.
    pub(crate) fn snapshot(&self) -> ClickAttempt {
        self.attempt.read().clone()
    }

    /// Counts a reversal requested by the merchant, whatever its result.
    pub(crate) fn count_reversal(&self) {
        let mut attempt = self.attempt.write();
        attempt.reversals_asked = attempt.reversals_asked.saturating_add(1);
    }
}

/// All attempts, in memory and in the file.
#[derive(Debug)]
pub(crate) struct ClickLedger {
    book: RwLock<AttemptBook>,
    journal: Journal,
    next_id: AtomicI64,
}

#[derive(Debug, Default)]
struct AttemptBook {
    entries: HashMap<i64, Arc<AttemptEntry>>,
    /// From `payment_id` to `click_trans_id`.
    payments: HashMap<i64, i64>,
    /// The attempts of each order, oldest first.
    accounts: HashMap<String, Vec<i64>>,
}

impl ClickLedger {
    /// Opens the ledger in `data_dir` and replays it. The numbers of a new ledger start from the current second, so that
    /// a wiped sandbox does not use its old numbers again.
    pub(crate) fn open(data_dir: &Path, now_ms: i64) -> Result<Self, SandboxError> {
        let mut book = AttemptBook::default();
        let journal = Journal::open(&data_dir.join(FILE_NAME), |line| book.replay(line))?;
        let next_id = book.entries.keys().max().map_or(now_ms / 1000, |last| last + 1);
        Ok(ClickLedger { book: RwLock::new(book), journal, next_id: AtomicI64::new(next_id) })
    }

    /// Makes an attempt.
    pub(crate) async fn create(
        &self,
        clock: &ClickClock,
        account: &str,
        amount_tiyin: i64,
        means: PayMeans,
    ) -> Result<Arc<AttemptEntry>, JournalError> {
        let click_trans_id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let new = NewAttempt {
            click_paydoc_id: click_trans_id + PAYDOC_OFFSET,
            payment_id: click_trans_id + PAYMENT_OFFSET,
            account: account.to_owned(),
            amount: amount_tiyin,
            means,
        };
        let at_ms = clock.now_ms();
        let change = AttemptChange::Created(new.clone());
        self.journal.append(&AttemptLine { click_trans_id, at_ms, change }).await?;
        Ok(self.book.write().add(ClickAttempt::new(click_trans_id, new, at_ms)))
    }

    /// Writes the change that `decide` makes of the attempt, then makes it: nothing is shown that a crash could undo.
    /// Returns the attempt afterwards, and whether it changed.
    pub(crate) async fn change(
        &self,
        clock: &ClickClock,
        entry: &AttemptEntry,
        decide: impl FnOnce(&ClickAttempt) -> Option<AttemptChange> + Send,
    ) -> Result<(ClickAttempt, bool), JournalError> {
        let _changing = entry.changing.lock().await;
        let attempt = entry.snapshot();
        let Some(change) = decide(&attempt) else {
            return Ok((attempt, false));
        };
        let line = AttemptLine { click_trans_id: attempt.click_trans_id, at_ms: clock.now_ms(), change };
        self.journal.append(&line).await?;
        let mut attempt = entry.attempt.write();
        attempt.make(&line.change, line.at_ms);
        Ok((attempt.clone(), true))
    }

    /// The attempt of this `click_trans_id`.
    pub(crate) fn find(&self, click_trans_id: i64) -> Option<Arc<AttemptEntry>> {
        self.book.read().entries.get(&click_trans_id).cloned()
    }

    /// The attempt of this `payment_id`.
    pub(crate) fn find_payment(&self, payment_id: i64) -> Option<Arc<AttemptEntry>> {
        let book = self.book.read();
        let id = book.payments.get(&payment_id)?;
        book.entries.get(id).cloned()
    }

    /// The attempts of an order, oldest first.
    pub(crate) fn attempts_of(&self, account: &str) -> Vec<ClickAttempt> {
        let book = self.book.read();
        let ids = book.accounts.get(account).into_iter().flatten();
        ids.filter_map(|id| book.entries.get(id)).map(|entry| entry.snapshot()).collect()
    }

    /// Everything, oldest first.
    pub(crate) fn attempts(&self) -> Vec<ClickAttempt> {
        let entries: Vec<_> = self.book.read().entries.values().cloned().collect();
        let mut attempts: Vec<_> = entries.iter().map(|entry| entry.snapshot()).collect();
        attempts.sort_unstable_by_key(|attempt| attempt.click_trans_id);
        attempts
    }

    /// Closes the file. This takes as long as one write.
    pub(crate) fn close(&self) {
        self.journal.close();
    }
}

impl AttemptBook {
    fn add(&mut self, attempt: ClickAttempt) -> Arc<AttemptEntry> {
        let id = attempt.click_trans_id;
        self.payments.insert(attempt.payment_id, id);
        self.accounts.entry(attempt.account.clone()).or_default().push(id);
        let entry = Arc::new(AttemptEntry::new(attempt));
        self.entries.insert(id, Arc::clone(&entry));
        entry
    }

    fn replay(&mut self, line: AttemptLine) -> Result<(), String> {
        let id = line.click_trans_id;
        match (line.change, self.entries.get(&id)) {
            (AttemptChange::Created(_), Some(_)) => return Err(format!("attempt {id} is created twice")),
            (AttemptChange::Created(new), None) => {
                self.add(ClickAttempt::new(id, new, line.at_ms));
            }
            (change, Some(entry)) => entry.attempt.write().make(&change, line.at_ms),
            (_, None) => return Err(format!("attempt {id} was never created")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::click::attempt::AttemptState;
    use crate::click::payer::GOOD_CARD;
    use crate::clock::SandboxClock;

    fn clock() -> ClickClock {
        ClickClock::new(SandboxClock::default())
    }

    async fn attempt(ledger: &ClickLedger, account: &str) -> Arc<AttemptEntry> {
        let means = PayMeans::card(GOOD_CARD).expect("a card");
        ledger.create(&clock(), account, 100_000, means).await.expect("an attempt")
    }

    #[tokio::test]
    async fn a_restart_finds_every_attempt_and_gives_no_number_twice() {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = ClickLedger::open(directory.path(), 1_000_000).expect("a fresh ledger");
        let entry = attempt(&ledger, "71").await;
        let before = entry.snapshot();
        ledger.change(&clock(), &entry, |_| Some(AttemptChange::Debited)).await.expect("debited");
        drop(ledger);

        let ledger = ClickLedger::open(directory.path(), 1_000_000).expect("the same ledger");
        let next = attempt(&ledger, "71").await.snapshot();

        let after = ledger.find_payment(before.payment_id).expect("the attempt").snapshot();
        assert_eq!((after.click_trans_id, after.state), (before.click_trans_id, AttemptState::Debited));
        assert_eq!((after.amount_tiyin, after.means, after.debits), (100_000, before.means, 1));
        assert_eq!(next.click_trans_id, before.click_trans_id + 1);
        assert_eq!(ledger.attempts_of("71").len(), 2);
        let ids = [next.click_trans_id, next.click_paydoc_id, next.payment_id];
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    }

    #[tokio::test]
    async fn of_two_changes_at_once_the_second_sees_the_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = ClickLedger::open(directory.path(), 1_000_000).expect("a fresh ledger");
        let entry = attempt(&ledger, "71").await;
        let debit = |attempt: &ClickAttempt| (attempt.debits == 0).then_some(AttemptChange::Debited);

        let clock = clock();
        let (first, second) = tokio::join!(ledger.change(&clock, &entry, debit), ledger.change(&clock, &entry, debit));

        let changed = [first.expect("written").1, second.expect("written").1];
        assert_eq!(changed.iter().filter(|changed| **changed).count(), 1);
        assert_eq!(entry.snapshot().debits, 1);
    }
}
