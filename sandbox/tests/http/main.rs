//! The sandbox over real HTTP, as a merchant's server, a payer's browser and an operator use it.
#![allow(clippy::expect_used, clippy::panic)]

mod api;
mod click;
mod connections;
mod page;
mod payme;
mod payment;
mod scenarios;
mod settings;
mod sim;
mod support;
