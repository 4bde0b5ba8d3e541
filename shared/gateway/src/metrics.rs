//! Metrics of calls to the gateway.

use std::sync::LazyLock;

use prometheus::{HistogramVec, IntCounterVec};
use telemetry::metrics::{counter_vec, histogram_vec};

/// From a gateway in the same network to one that answers just before the call times out.
const CALL_BUCKETS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

static GATEWAY_CALLS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_gateway_calls_total",
        "Requests to a gateway, by operation and by what came back.",
        &["gateway", "operation", "outcome"],
    )
});

static GATEWAY_CALL_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram_vec(
        "tasdiq_gateway_call_seconds",
        "How long requests to a gateway took, by operation and by what came back.",
        &["gateway", "operation", "outcome"],
        CALL_BUCKETS,
    )
});

/// Requests to a gateway. Labels: `gateway` (`atmos`, `click`), `operation` (`token`, `create`, `inquiry`, `reverse`, `ledger`) and `outcome` (`ok`, `unreachable`,
/// `unknown`, `throttled`, `not_admitted`, `refused`). Calls that we held back are counted in
/// `tasdiq_gateway_calls_held_back_total`.
pub(crate) fn gateway_calls() -> &'static IntCounterVec {
    &GATEWAY_CALLS
}

/// How long those requests took, with the same labels.
pub(crate) fn gateway_call_seconds() -> &'static HistogramVec {
    &GATEWAY_CALL_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_call_is_seen_in_the_registry() {
        gateway_calls().with_label_values(&["atmos", "inquiry", "ok"]).inc();
        gateway_call_seconds().with_label_values(&["atmos", "inquiry", "ok"]).observe(0.2);

        let names: Vec<String> = prometheus::gather().iter().map(|family| family.name().to_owned()).collect();
        assert!(names.contains(&"tasdiq_gateway_calls_total".to_owned()), "{names:?}");
        assert!(names.contains(&"tasdiq_gateway_call_seconds".to_owned()), "{names:?}");
    }
}
