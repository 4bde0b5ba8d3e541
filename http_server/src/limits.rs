//! How much a listener takes on.

use crate::progress::Timings;

/// How many connections there may be, and what they may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections of this listener.
    pub places: usize,
    /// Connections of one address, and of one /64 network of IPv6.
    pub per_address: usize,
    /// Bytes of answers that are made and not yet sent, of all connections together.
    pub unsent_bytes: usize,
    /// How long each part of a request may take.
    pub timings: Timings,
}

impl Limits {
    /// So many connections, a quarter of them for one address: four callers or more have to conspire to fill all.
    pub fn of(places: usize) -> Self {
        Limits { places, per_address: (places / 4).max(1), unsent_bytes: 32 * 1024 * 1024, timings: Timings::default() }
    }
}
