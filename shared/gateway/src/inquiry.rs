//! What an inquiry is made with.

use domain::transaction::StoredTransaction;

/// What an inquiry needs to know beside the transaction's row.
#[derive(Clone, Copy, Debug)]
pub struct InquiryFacts<'a> {
    /// The order's other transactions at the account, for a gateway whose answer names the order alone.
    pub others: &'a [&'a StoredTransaction],
    /// Until when its debit may come, as it was allowed last, epoch milliseconds; `None` where it is not the order's allowed one.
    pub allowed_until_ms: Option<i64>,
    /// When the inquiry begins, epoch milliseconds of the database's clock: that of this machine may be wrong.
    pub asked_at_ms: i64,
}
