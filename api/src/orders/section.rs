//! The headings of the description.

use poem_openapi::Tags;

/// The section of an operation.
#[derive(Tags)]
pub(crate) enum ApiSection {
    /// Make orders, read them, follow them. Ship on `paid`, and on nothing else.
    Orders,
    /// Cancel an order, or return its money. Both need an API key.
    #[oai(rename = "Refund and cancel")]
    RefundAndCancel,
}
