//! Stories of shops, customers and operators, told through the public interfaces of the whole program.

mod answers;
mod bad_input;
mod callbacks;
mod calls_away;
mod checked;
pub(crate) mod choice;
pub(crate) mod click;
mod fair;
mod faults;
mod flaky;
mod flooded;
pub(crate) mod gateways;
mod idempotency;
mod killed;
mod late;
mod lost_callbacks;
mod odd_ends;
mod paying;
mod postgres_away;
mod questions;
mod redis_away;
mod refunds;
mod repeated;
mod restored;
mod reviews;
mod shops;
mod starting;
