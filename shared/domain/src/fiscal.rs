//! Fiscal receipts: what the tax office's operator has recorded of a payment or of a refund.

use crate::id::TransactionId;
use crate::named_values::named_values;

named_values! {
    /// Which fiscal receipt of a transaction.
    FiscalKind {
        /// The one of the payment.
        Perform = "PERFORM",
        /// The one of the refund.
        Cancel = "CANCEL",
    }
}

/// A fiscal receipt as a gateway told us of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiscalReceipt {
    /// Its transaction.
    pub transaction_id: TransactionId,
    /// Whether it is of the payment or of the refund.
    pub kind: FiscalKind,
    /// The gateway's JSON as it came, with the operator's verdict, the receipt's number and the address of its QR code.
    pub data: String,
    /// When it last came, epoch milliseconds.
    pub received_at_ms: i64,
}
