//! The headings of the description.

use poem_openapi::Tags;

/// What an address is about.
#[derive(Tags)]
pub(crate) enum Subject {
    /// Make an order, look at it, follow it. Ship on `paid`, and on nothing else.
    Orders,
    /// Call an order off, or give its money back. Both need an API key.
    #[oai(rename = "Refund and cancel")]
    RefundAndCancel,
}
