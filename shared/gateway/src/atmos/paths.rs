//! The paths of the calls.

use crate::http::request::Operation;

/// The path of an operation (Atmos API; the ledger is the sandbox's).
pub(super) fn path(operation: Operation) -> &'static str {
    match operation {
        Operation::Token => "/token",
        Operation::Create => "/merchant/pay/create",
        Operation::Inquiry => "/merchant/pay/get",
        Operation::Reverse => "/merchant/pay/reverse",
        Operation::Ledger => "/_sim/ledger",
    }
}
