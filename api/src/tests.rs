//! The HTTP side as its callers see it: a real SQLite database and the real routes, without a port, workers or gateway.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

mod auth;
mod choice;
mod cross_origin;
mod decisions;
mod description;
mod events;
mod front;
mod health;
mod idempotency;
mod lists;
mod mutated;
mod orders;
mod pages;
mod reference;
mod refunds;
mod shop_pages;
mod signing;
mod support;
mod waiting;
mod webhook;
