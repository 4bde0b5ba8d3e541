//! The sandbox's ledger: every transaction it ever made, kept across restarts, for audits to compare with.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::RwLock;

use crate::atmos::transaction::{JournalLine, LedgerEntry, Transaction, TransactionChange};
use crate::clock::SandboxClock;
use crate::error::SandboxError;
use crate::journal::{Journal, JournalError};

/// The ledger's file inside the data directory.
pub(crate) const FILE_NAME: &str = "sandbox-ledger.jsonl";

/// Keeps the two sequences of ids apart, so that a mix-up is noticed.
const SUCCESS_ID_OFFSET: i64 = 2_000_000_000;

/// All transactions, in memory and in the file.
#[derive(Debug)]
pub(crate) struct TransactionLedger {
    /// Dates every line.
    clock: SandboxClock,
    book: RwLock<Book>,
    journal: Journal,
    next_id: AtomicI64,
    next_success_id: AtomicI64,
}

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<i64, Arc<LedgerEntry>>,
    /// From `success_trans_id` to transaction id.
    debits: HashMap<i64, i64>,
}

impl TransactionLedger {
    /// Opens the ledger in `data_dir` and replays it. The ids of a new ledger start from the current second, so that a
    /// wiped sandbox does not use its old ids again.
    pub(crate) fn open(data_dir: &Path, clock: SandboxClock) -> Result<Self, SandboxError> {
        let mut book = Book::default();
        let journal = Journal::open(&data_dir.join(FILE_NAME), |line| book.replay(line))?;

        let epoch_second = clock.now_ms() / 1000;
        let next_id = book.entries.keys().max().map_or(epoch_second, |last| last + 1);
        let next_success_id = book.debits.keys().max().map_or(epoch_second + SUCCESS_ID_OFFSET, |last| last + 1);
        Ok(TransactionLedger {
            clock,
            book: RwLock::new(book),
            journal,
            next_id: AtomicI64::new(next_id),
            next_success_id: AtomicI64::new(next_success_id),
        })
    }

    /// Makes a draft.
    pub(crate) async fn create(
        &self,
        account: &str,
        amount_tiyin: i64,
        details: Option<&str>,
        lang: Option<&str>,
    ) -> Result<Transaction, JournalError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let transaction = Transaction::draft(id, account.to_owned(), amount_tiyin, details.map(str::to_owned));
        let change = TransactionChange::Created {
            account: transaction.account.clone(),
            amount: amount_tiyin,
            details: transaction.details.clone(),
            lang: lang.map(str::to_owned),
        };
        let line = JournalLine { transaction_id: id, at_ms: self.clock.now_ms(), change };
        self.journal.append(&line).await?;
        let entry = Arc::new(LedgerEntry::new(transaction));
        let created = entry.make(&line.change, line.at_ms);
        self.book.write().entries.insert(id, entry);
        Ok(created)
    }

    /// Writes a change, then makes it: nothing is shown that a crash could undo. The caller holds the entry's lock.
    pub(crate) async fn record(
        &self,
        entry: &LedgerEntry,
        transaction: &Transaction,
        change: TransactionChange,
    ) -> Result<Transaction, JournalError> {
        let line = JournalLine { transaction_id: transaction.id, at_ms: self.clock.now_ms(), change };
        self.journal.append(&line).await?;
        if let TransactionChange::Debited { success_trans_id } = line.change {
            self.book.write().debits.insert(success_trans_id, transaction.id);
        }
        Ok(entry.make(&line.change, line.at_ms))
    }

    /// Closes the file. This takes as long as one write.
    pub(crate) fn close(&self) {
        self.journal.close();
    }

    /// The next id for a debit.
    pub(crate) fn next_success_id(&self) -> i64 {
        self.next_success_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The transaction of this id.
    pub(crate) fn find(&self, id: i64) -> Option<Arc<LedgerEntry>> {
        let book = self.book.read();
        book.entries.get(&id).cloned()
    }

    /// The transaction whose debit got this id.
    pub(crate) fn find_debit(&self, success_trans_id: i64) -> Option<Arc<LedgerEntry>> {
        let book = self.book.read();
        let id = book.debits.get(&success_trans_id)?;
        book.entries.get(id).cloned()
    }

    /// Every entry, in no order.
    pub(crate) fn entries(&self) -> Vec<Arc<LedgerEntry>> {
        self.book.read().entries.values().cloned().collect()
    }

    /// Everything, oldest first.
    pub(crate) fn transactions(&self) -> Vec<Transaction> {
        let mut transactions: Vec<_> = self.entries().iter().map(|entry| entry.snapshot()).collect();
        transactions.sort_unstable_by_key(|transaction| transaction.id);
        transactions
    }
}

impl Book {
    fn replay(&mut self, line: JournalLine) -> Result<(), String> {
        let id = line.transaction_id;
        if let TransactionChange::Created { account, amount, details, .. } = &line.change {
            let transaction = Transaction::draft(id, account.clone(), *amount, details.clone());
            let entry = LedgerEntry::new(transaction);
            entry.make(&line.change, line.at_ms);
            return match self.entries.insert(id, Arc::new(entry)) {
                None => Ok(()),
                Some(_) => Err(format!("transaction {id} is created twice")),
            };
        }
        let entry = self.entries.get(&id).ok_or_else(|| format!("transaction {id} was never created"))?;
        entry.make(&line.change, line.at_ms);
        if let TransactionChange::Debited { success_trans_id } = line.change {
            self.debits.insert(success_trans_id, id);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;
    use crate::atmos::cards::PayingCard;
    use crate::atmos::transaction::{CloseReason, PaymentState};

    fn open(directory: &Path) -> Result<TransactionLedger, SandboxError> {
        TransactionLedger::open(directory, SandboxClock::default())
    }

    fn card() -> PayingCard {
        PayingCard::read("8600490744313347", "2410").expect("a test card")
    }

    async fn debit(ledger: &TransactionLedger, id: i64) -> Transaction {
        let entry = ledger.find(id).expect("the transaction");
        let _lock = entry.lock().await;
        let prepaid = ledger
            .record(&entry, &entry.snapshot(), TransactionChange::Prepaid { card: card() })
            .await
            .expect("prepaid");
        let success_trans_id = ledger.next_success_id();
        ledger.record(&entry, &prepaid, TransactionChange::Debited { success_trans_id }).await.expect("debited")
    }

    #[tokio::test]
    async fn a_restarted_ledger_knows_every_transaction_and_goes_on_counting() {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = open(directory.path()).expect("a fresh ledger");
        let first = ledger.create("order-1", 5_000_000, Some("shoes"), Some("uz")).await.expect("a draft");
        let second = ledger.create("order-2", 100, None, None).await.expect("a draft");
        let debited = debit(&ledger, first.id).await;
        drop(ledger);

        let ledger = open(directory.path()).expect("the same ledger");

        let found = ledger.find(first.id).expect("the first").snapshot();
        assert_eq!(found.state, PaymentState::Debited);
        assert_eq!(found.debits, 1);
        assert_eq!(found.account, "order-1");
        assert_eq!(found.details.as_deref(), Some("shoes"));
        assert_eq!(found.prepaid_at_ms, debited.prepaid_at_ms);
        assert_eq!(found.debited_at_ms, debited.debited_at_ms);
        let success_trans_id = found.success_trans_id.expect("a debit's id");
        assert!(ledger.find_debit(success_trans_id).is_some());
        assert!(ledger.next_success_id() > success_trans_id);
        let third = ledger.create("order-3", 100, None, None).await.expect("a draft");
        assert_eq!(third.id, second.id + 1);
        assert_eq!(ledger.transactions().len(), 3);
    }

    #[tokio::test]
    async fn a_line_torn_by_a_kill_is_cut_off_and_the_ledger_goes_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = open(directory.path()).expect("a fresh ledger");
        let draft = ledger.create("order-1", 500, None, None).await.expect("a draft");
        drop(ledger);
        let path = directory.path().join(FILE_NAME);
        let mut file = fs::OpenOptions::new().append(true).open(&path).expect("the file");
        write!(file, "{{\"transaction_id\":{},\"at_ms\":1,\"cha", draft.id).expect("half a line");

        let ledger = open(directory.path()).expect("a torn ledger");
        assert_eq!(ledger.transactions().len(), 1);
        let entry = ledger.find(draft.id).expect("the draft");
        let closed = TransactionChange::Closed { reason: CloseReason::Canceled };
        ledger.record(&entry, &draft, closed).await.expect("closed");
        drop(ledger);

        let ledger = open(directory.path()).expect("a mended ledger");
        assert_eq!(ledger.transactions()[0].state, PaymentState::Closed);
    }

    #[tokio::test]
    async fn an_unreadable_line_is_named_by_its_number() {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = open(directory.path()).expect("a fresh ledger");
        ledger.create("order-1", 500, None, None).await.expect("a draft");
        drop(ledger);
        let path = directory.path().join(FILE_NAME);
        let mut file = fs::OpenOptions::new().append(true).open(&path).expect("the file");
        writeln!(file, "not json").expect("a bad line");

        let error = open(directory.path()).expect_err("an unreadable ledger");

        assert!(error.to_string().contains("line 2"), "{error}");
    }

    /// The directory may have existed before, readable for all users.
    #[cfg(unix)]
    #[tokio::test]
    async fn other_users_cannot_read_the_ledger() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("an open directory");

        let _ledger = open(directory.path()).expect("a fresh ledger");

        let mode = fs::metadata(directory.path().join(FILE_NAME)).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn two_sandboxes_never_share_a_ledger() {
        let directory = tempfile::tempdir().expect("a directory");
        let _first = open(directory.path()).expect("a fresh ledger");

        let second = open(directory.path());

        assert!(matches!(second, Err(SandboxError::LedgerInUse { .. })));
    }

    #[tokio::test]
    async fn changes_made_at_the_same_time_are_all_in_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = Arc::new(open(directory.path()).expect("a fresh ledger"));
        let tasks: Vec<_> = (0..200)
            .map(|number| {
                let ledger = ledger.clone();
                tokio::spawn(async move { ledger.create(&format!("{number}"), 1, None, None).await })
            })
            .collect();
        for task in tasks {
            task.await.expect("a task").expect("a draft");
        }
        drop(ledger);

        let ledger = open(directory.path()).expect("the same ledger");

        assert_eq!(ledger.transactions().len(), 200);
    }
}
