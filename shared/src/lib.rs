//! What an order is, and every door to the outside: database, queue, gateway. Knows no HTTP server.

pub mod audit;
pub mod body_coding;
pub mod clock;
pub mod config;
pub mod coordination;
pub mod failpoint;
pub mod gateway;
pub mod id;
pub mod job;
pub mod metrics;
pub mod money;
pub mod notice;
pub mod order;
pub mod presence;
pub mod pulse;
pub mod queue;
pub mod redis_server;
pub mod refund;
pub mod relay;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod weather;
pub mod web_address;
