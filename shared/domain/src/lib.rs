//! The domain: orders, money, jobs, refunds, findings and ids, in neutral words. It reads and writes nothing.

pub mod body_coding;
pub mod callback_verdict;
pub mod fiscal;
pub mod gateway_rate;
pub mod id;
pub mod job;
pub mod money;
pub mod named_values;
pub mod order;
pub mod refund;
pub mod review;
pub mod secret;
pub mod shop;
pub mod shops;
pub mod terms;
pub mod text;
pub mod time;
pub mod transaction;
pub mod web_address;
