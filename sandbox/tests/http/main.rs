//! The sandbox over real HTTP, as a merchant's server, a payer's browser and an operator see it.
#![allow(clippy::expect_used, clippy::panic)]

mod api;
mod connections;
mod page;
mod payment;
mod scenarios;
mod settings;
mod sim;
mod support;
