//! What is counted of connections.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec};
use telemetry::metrics::{counter_vec, gauge_vec};

static OPEN: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge_vec("tasdiq_connections", "Connections of callers, by listener.", &["listener"]));

static PLACES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec("tasdiq_connection_places", "How many connections of callers there may be, by listener.", &["listener"])
});

static CLOSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_connections_closed_total",
        "Connections that we have closed, by listener and by why.",
        &["listener", "why"],
    )
});

/// Why a connection was closed by us.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    /// All places were taken, and a new connection came.
    Crowded,
    /// Its address had as many as it may have, and one more came.
    Address,
    /// It was the one too many of its address, whose others were all in use.
    Refused,
    /// A part of its request took too long, or there was none.
    Late,
    /// Too many bytes waited to be sent, and it had been reading the longest.
    Unsent,
}

impl Why {
    const ALL: [Why; 5] = [Why::Crowded, Why::Address, Why::Refused, Why::Late, Why::Unsent];

    fn as_str(self) -> &'static str {
        match self {
            Why::Crowded => "crowded",
            Why::Address => "address",
            Why::Refused => "refused",
            Why::Late => "late",
            Why::Unsent => "unsent",
        }
    }
}

/// Makes a listener's series known, so that the first scrape shows them.
pub(crate) fn register(listener: &str, places: usize) {
    open(listener, 0);
    PLACES.with_label_values(&[listener]).set(i64::try_from(places).unwrap_or(i64::MAX));
    for why in Why::ALL {
        CLOSED.with_label_values(&[listener, why.as_str()]);
    }
}

/// Tells how many are open.
pub(crate) fn open(listener: &str, count: usize) {
    OPEN.with_label_values(&[listener]).set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Counts a connection that we have closed.
pub(crate) fn count_closed(listener: &str, why: Why) {
    CLOSED.with_label_values(&[listener, why.as_str()]).inc();
}
