//! Payme's own book: every receipt it ever made, kept across restarts, for audits to compare with.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;

use super::link::CheckoutOrder;
use super::receipt::{Receipt, ReceiptChange, ReceiptEntry, ReceiptLine};
use crate::clock::SandboxClock;
use crate::error::SandboxError;
use crate::journal::{Journal, JournalError};

/// The ledger's file inside the data directory.
pub(crate) const FILE_NAME: &str = "sandbox-payme-ledger.jsonl";

/// All receipts, in memory and in the file.
#[derive(Debug)]
pub(crate) struct ReceiptLedger {
    /// Dates every line.
    clock: SandboxClock,
    receipts: RwLock<Receipts>,
    journal: Journal,
}

#[derive(Debug, Default)]
struct Receipts {
    by_id: HashMap<String, Arc<ReceiptEntry>>,
    /// Oldest first.
    in_order: Vec<Arc<ReceiptEntry>>,
}

impl Receipts {
    fn add(&mut self, receipt: Receipt) -> Arc<ReceiptEntry> {
        let id = receipt.id.clone();
        let entry = Arc::new(ReceiptEntry::new(receipt));
        self.by_id.insert(id, Arc::clone(&entry));
        self.in_order.push(Arc::clone(&entry));
        entry
    }

    fn replay(&mut self, line: &ReceiptLine) -> Result<(), String> {
        let id = &line.receipt_id;
        match (Receipt::made(line), self.by_id.get(id)) {
            (Some(_), Some(_)) => return Err(format!("receipt {id} is made twice")),
            (Some(receipt), None) => drop(self.add(receipt)),
            (None, Some(entry)) => drop(entry.make(&line.change)),
            (None, None) => return Err(format!("receipt {id} was never made")),
        }
        Ok(())
    }
}

impl ReceiptLedger {
    /// Opens the ledger in `data_dir` and replays it.
    pub(crate) fn open(data_dir: &Path, clock: SandboxClock) -> Result<Self, SandboxError> {
        let mut receipts = Receipts::default();
        let journal = Journal::open(&data_dir.join(FILE_NAME), |line: ReceiptLine| receipts.replay(&line))?;
        Ok(ReceiptLedger { clock, receipts: RwLock::new(receipts), journal })
    }

    /// Makes a receipt for what the payer's link says.
    pub(crate) async fn add(&self, order: &CheckoutOrder, card: &str) -> Result<Arc<ReceiptEntry>, JournalError> {
        let at_ms = self.clock.now_ms();
        let change = ReceiptChange::Made {
            cashbox: order.cashbox.clone(),
            account: order.account.clone(),
            amount: order.amount_tiyin,
            card: card.to_owned(),
        };
        let line = ReceiptLine { receipt_id: new_id(at_ms), at_ms, change };
        self.journal.append(&line).await?;
        // A line that makes a receipt makes one.
        let receipt = Receipt::made(&line).ok_or(JournalError::Closed)?;
        Ok(self.receipts.write().add(receipt))
    }

    /// Writes a change, then makes it: nothing is shown that a crash could undo. The caller holds the entry's lock.
    pub(crate) async fn record(&self, entry: &ReceiptEntry, change: ReceiptChange) -> Result<Receipt, JournalError> {
        let line = ReceiptLine { receipt_id: entry.snapshot().id, at_ms: self.clock.now_ms(), change };
        self.journal.append(&line).await?;
        Ok(entry.make(&line.change))
    }

    /// The receipt of this id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<ReceiptEntry>> {
        self.receipts.read().by_id.get(id).cloned()
    }

    /// Every receipt, oldest first.
    pub(crate) fn entries(&self) -> Vec<Arc<ReceiptEntry>> {
        self.receipts.read().in_order.clone()
    }

    /// Closes the file. This takes as long as one write.
    pub(crate) fn close(&self) {
        self.journal.close();
    }
}

/// A new id of Payme: 24 hex characters, of which the first eight are the second (as in Payme's examples).
pub(crate) fn new_id(at_ms: i64) -> String {
    format!("{:08x}{:016x}", (at_ms / 1000) & 0xffff_ffff, rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use super::super::receipt::{CreatedAtMerchant, ReceiptState};
    use super::*;

    fn order() -> CheckoutOrder {
        CheckoutOrder::read("bT01ODdmNzJjNzJjYWMwZDE2MmM3MjJhZTI7YWMub3JkZXJfaWQ9MTk3O2E9NTAw").expect("a link")
    }

    #[tokio::test]
    async fn a_restarted_ledger_knows_every_receipt() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || ReceiptLedger::open(directory.path(), SandboxClock::default()).expect("a ledger");
        let ledger = open();
        let first = ledger.add(&order(), "860006******6311").await.expect("a receipt");
        let second = ledger.add(&order(), "860006******6311").await.expect("a receipt");
        for change in [
            ReceiptChange::Moved { state: ReceiptState::Creating },
            ReceiptChange::Created(CreatedAtMerchant { transaction: "5".to_owned(), create_time: 7 }),
            ReceiptChange::Debited,
            ReceiptChange::Performed { perform_time: 8 },
        ] {
            ledger.record(&first, change).await.expect("recorded");
        }
        drop(ledger);

        let ledger = open();

        let (before, after) = (first.snapshot(), ledger.find(&first.snapshot().id).expect("the first").snapshot());
        assert_eq!((after.time_ms, after.debits, after.transaction_state()), (before.time_ms, 1, 2));
        assert_eq!((after.account, after.perform_time), (before.account, Some(8)));
        assert_eq!(ledger.entries().len(), 2);
        assert_eq!(ledger.entries()[1].snapshot().id, second.snapshot().id);
    }

    #[test]
    fn an_id_has_24_hex_characters() {
        let id = new_id(1_399_114_284_039);

        assert_eq!(id.len(), 24);
        assert!(id.starts_with("5364") && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
}
