//! What shops, customers and operators notice, told through the doors of the whole program.

mod bad_input;
mod callbacks;
mod faults;
mod idempotency;
mod killed;
mod late;
mod lost_callbacks;
mod paying;
mod postgres_away;
mod redis_away;
mod refunds;
mod repeated;
mod starting;
