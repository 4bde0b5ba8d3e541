//! How far a payer is with the page, and why a browser gets none.

/// What the page asks of the payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Card,
    Otp,
    /// Nothing more; the message says how it ended.
    Done,
}

/// Why a browser gets no invoice.
#[derive(Clone, Copy, Debug)]
pub(super) enum PageProblem {
    /// The link lacks the store or the transaction.
    Incomplete,
    /// The link back does not lead to a web page.
    NoWebPage,
    /// There is no such transaction in this store.
    NoInvoice,
    /// The form is too large, or broke off.
    Unreadable,
    /// The sandbox failed, and logged why.
    Broken,
}
