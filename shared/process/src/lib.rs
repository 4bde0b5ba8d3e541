//! The parts that every process runs: relay, heartbeat, notices, scrape, stop.

pub mod admission;
pub mod consumption_check;
pub mod heartbeat;
pub mod notice;
pub mod payment_time;
pub mod public_address;
pub mod relay;
pub mod scrape;
pub mod shutdown;
