//! The verdict on a call of a gateway: a question before a debit, or the news of one.

use crate::named_values::named_values;

named_values! {
    /// The verdict on a callback.
    CallbackVerdict {
        /// The debit may happen; answered with a yes.
        Allowed = "allowed",
        /// This very transaction has already paid the order; answered with a yes.
        AlreadyPaid = "already_paid",
        /// It cannot be read as a callback.
        Unreadable = "unreadable",
        /// No key of ours signed it.
        BadlySigned = "badly_signed",
        /// Correctly signed, but sent from an address that is not in the gateway's list.
        OtherAddress = "other_address",
        /// It is for another store.
        OtherStore = "other_store",
        /// No transaction of ours has this number.
        UnknownTransaction = "unknown_transaction",
        /// The transaction belongs to another order than the callback says.
        OtherAccount = "other_account",
        /// The amount is not the order's.
        WrongAmount = "wrong_amount",
        /// Another transaction of the order has been allowed already.
        SecondTransaction = "second_transaction",
        /// The order's time to pay is over.
        Late = "late",
        /// The order is canceled, refunded, failed or in review.
        NotPayable = "not_payable",
        /// No order of this gateway account has the number that the call names.
        UnknownOrder = "unknown_order",
        /// The transaction was begun before with another amount, account or number of ours.
        Conflicting = "conflicting",
        /// The transaction was begun so long ago that it counts as canceled.
        TimedOut = "timed_out",
        /// The transaction is closed, or its money went back; it takes no money any more.
        TransactionClosed = "transaction_closed",
        /// The gateway says that it has taken the money. It counts once an inquiry shows it.
        DebitTold = "debit_told",
        /// The gateway says that the payment failed or was canceled, and no money is taken.
        FailureTold = "failure_told",
        /// The gateway says that the money goes back to the customer.
        ReversalTold = "reversal_told",
        /// The gateway wants to give money back, which the account's settings refuse.
        ReversalRefused = "reversal_refused",
    }
}

impl CallbackVerdict {
    /// Whether the answer lets the gateway debit.
    pub fn allows(self) -> bool {
        matches!(self, CallbackVerdict::Allowed | CallbackVerdict::AlreadyPaid)
    }
}
