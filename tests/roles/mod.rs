//! The real program as an operator runs it: all in one, or several APIs and workers on one Redis and one PostgreSQL.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper that cannot do its work fails the test, there and then"
)]
#![allow(dead_code, reason = "the benchmark uses the helpers too, and not all of them")]

pub(crate) mod front;
pub(crate) mod installation;
pub(crate) mod role;
pub(crate) mod sandbox;
pub(crate) mod up;

mod accounts;
mod clock;
mod crowded;
mod following;
mod job_log;
mod logging;
mod losses;
mod paying;
mod postgres_trouble;
mod private_files;
mod redis_trouble;
mod scaling;
mod silence;
mod starting;
mod stopping;
mod surroundings;
mod suspects;
mod tokens;
mod workers;
