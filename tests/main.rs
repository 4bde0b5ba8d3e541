//! Behaviour that a user of the whole program would notice. `tests/run` starts the servers that these tests need.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admission;
mod audit;
mod benchmark;
mod browser_choice;
mod browser_pages;
mod browser_story;
mod check_click;
mod check_payme;
mod commands;
mod configuration;
mod contracts;
#[cfg(feature = "failpoints")]
mod failpoints;
mod find_orders;
mod foreign;
mod jobs;
mod layers;
mod pages;

mod plans;
mod roles;
mod rules;
#[cfg(feature = "failpoints")]
mod storm;
mod story;
mod support;
mod working;
