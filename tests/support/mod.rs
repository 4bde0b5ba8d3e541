//! The tools of the tests: private servers, the real program, a real browser. Each ends with its owner.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper that cannot do its work fails the test, there and then"
)]
#![allow(
    dead_code,
    unused_macros,
    reason = "this is the one toolbox of all tests, and not every tool is in use at every time"
)]

pub(crate) mod accounts;
pub(crate) mod app;
pub(crate) mod browser;
pub(crate) mod click_call;
pub(crate) mod command;
pub(crate) mod doors;
pub(crate) mod filling;
pub(crate) mod fixture;
pub(crate) mod forwarder;
pub(crate) mod front;
pub(crate) mod gateway_calls;
pub(crate) mod installation;
pub(crate) mod job_log;
pub(crate) mod listening;
pub(crate) mod mutations;
pub(crate) mod patient;
pub(crate) mod plain_json;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod role;
pub(crate) mod sandbox;
pub(crate) mod servers;
pub(crate) mod supervised;
pub(crate) mod up;
pub(crate) mod wait;
pub(crate) mod walked_calls;
