//! The parts of tests of clients.

pub(crate) mod server;
