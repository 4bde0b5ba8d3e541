//! Metrics of connections.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec};
use telemetry::metrics::{counter_vec, gauge_vec};

static OPEN: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge_vec("tasdiq_connections", "Connections of callers, by listener.", &["listener"]));

static PLACES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    // The name has "places" from an older release; dashboards read it.
    gauge_vec("tasdiq_connection_places", "The most connections of callers, by listener.", &["listener"])
});

static CLOSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_connections_closed_total",
        "Connections that this process closed, by listener and reason (`why`).",
        &["listener", "why"],
    )
});

/// The reason why this process closed a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ConnectionCloseReason {
    /// All slots were in use, and a new connection came.
    Crowded,
    /// The address had as many connections as it may have, and one more came.
    Address,
    /// The address had as many connections as it may have, all of them in use; the new connection itself was closed.
    Refused,
    /// A part of a request took too long, or no request came.
    Late,
    /// Too many bytes waited to be sent, and this connection had been reading for the longest time.
    Unsent,
}

impl ConnectionCloseReason {
    const ALL: [ConnectionCloseReason; 5] = [
        ConnectionCloseReason::Crowded,
        ConnectionCloseReason::Address,
        ConnectionCloseReason::Refused,
        ConnectionCloseReason::Late,
        ConnectionCloseReason::Unsent,
    ];

    fn as_str(self) -> &'static str {
        match self {
            ConnectionCloseReason::Crowded => "crowded",
            ConnectionCloseReason::Address => "address",
            ConnectionCloseReason::Refused => "refused",
            ConnectionCloseReason::Late => "late",
            ConnectionCloseReason::Unsent => "unsent",
        }
    }
}

/// Creates the series of a listener, so that the first scrape shows them.
pub(crate) fn register(listener: &str, slots: usize) {
    open(listener, 0);
    PLACES.with_label_values(&[listener]).set(i64::try_from(slots).unwrap_or(i64::MAX));
    for why in ConnectionCloseReason::ALL {
        CLOSED.with_label_values(&[listener, why.as_str()]);
    }
}

/// Sets how many connections are open.
pub(crate) fn open(listener: &str, count: usize) {
    OPEN.with_label_values(&[listener]).set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Counts a connection that this process closed.
pub(crate) fn count_closed(listener: &str, why: ConnectionCloseReason) {
    CLOSED.with_label_values(&[listener, why.as_str()]).inc();
}
