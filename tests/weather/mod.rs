//! The weather at the gateway, on the real program: an outage that is waited out, and an operator's word.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper that cannot do its work fails the test, there and then"
)]

mod counted_way;
mod operator;
mod outage;
