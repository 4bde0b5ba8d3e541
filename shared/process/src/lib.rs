//! What every process runs: relay, heartbeat, notices, scrape, stop.

pub mod notice;
pub mod presence;
pub mod public_address;
pub mod pulse;
pub mod relay;
pub mod scrape;
pub mod shutdown;
pub mod weather;
