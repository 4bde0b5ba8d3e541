//! The handlers of jobs: one file for each kind, under its name, with `run` in it.

pub(crate) mod create_payment_link;
pub(crate) mod process_callback;
pub(crate) mod refund_order;
pub(crate) mod settle_order;
pub(crate) mod sweep;
