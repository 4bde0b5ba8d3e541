//! The steps of the page, and the reasons why a browser gets no invoice.

/// The step of the payer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageStep {
    Card,
    Otp,
    /// The end; the message says how it ended.
    Done,
}

/// Why a browser gets no invoice.
#[derive(Clone, Copy, Debug)]
pub(super) enum PageProblem {
    /// The link lacks the store or the transaction.
    Incomplete,
    /// The link back is not the address of a web page.
    NoWebPage,
    /// There is no such transaction in this store.
    NoInvoice,
    /// The form is too large or incomplete.
    Unreadable,
    /// The sandbox failed; the reason is in its log.
    Broken,
}
