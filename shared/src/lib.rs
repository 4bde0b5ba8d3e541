//! What an order is, and every door to the outside: database, queue, gateway. Knows no HTTP server.

pub mod config;
pub mod coordination;
pub mod gateway;
pub mod id;
pub mod job;
pub mod metrics;
pub mod money;
pub mod order;
pub mod redis_server;
pub mod secret;
