//! The admission of calls to the gateway, on the real program: an outage, and an operator's settings.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper that cannot do its work fails the test, there and then"
)]

mod accounts;
mod counted_way;
mod operator;
mod outage;
mod places;
mod worker_of_accounts;
