//! The limits of one listener.

use crate::progress::Timings;

/// How many connections there may be, and how much they may use.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// All connections of this listener together.
    pub slots: usize,
    /// Connections of one IPv4 address or one IPv6 /64 network.
    pub per_address: usize,
    /// Bytes of responses that are made but not yet sent, of all connections together.
    pub unsent_bytes: usize,
    /// How long each part of a request may take.
    pub timings: Timings,
}

impl ListenerLimits {
    /// The limits for `slots` connections, a quarter of them for one address: a single caller cannot take all slots,
    /// only four or more together can.
    pub fn of(slots: usize) -> Self {
        ListenerLimits {
            slots,
            per_address: (slots / 4).max(1),
            unsent_bytes: 32 * 1024 * 1024,
            timings: Timings::default(),
        }
    }
}
