//! What we count about ourselves, all of it in prometheus' default registry, under names that begin `tasdiq_`.

use std::sync::LazyLock;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

/// From a gateway in the next room to one that answers only just before the call times out.
const CALL_BUCKETS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0];

static GATEWAY_CALLS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "tasdiq_gateway_calls_total",
        "Requests to the gateway, by operation and by what came back.",
        &["operation", "outcome"],
    )
});

static GATEWAY_CALL_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram_vec(
        "tasdiq_gateway_call_seconds",
        "How long requests to the gateway took, by operation and by what came back.",
        &["operation", "outcome"],
        CALL_BUCKETS,
    )
});

/// Requests to the gateway. Labels: `operation` (`token`, `create`, `look`) and `outcome` (`ok`, `unreachable`,
/// `unknown`, `throttled`, `not_admitted`, `refused`).
pub fn gateway_calls() -> &'static IntCounterVec {
    &GATEWAY_CALLS
}

/// How long those requests took, with the same labels.
pub fn gateway_call_seconds() -> &'static HistogramVec {
    &GATEWAY_CALL_SECONDS
}

/// A family of counters, registered. One that cannot be registered (its name is taken) still counts, unseen: no
/// payment fails because of a metric.
///
/// # Panics
/// If `name` or a label is no prometheus name: keep them constants, and build each metric once in a test.
#[expect(clippy::panic, reason = "a misspelt constant, found by the first test that builds the metric")]
pub fn counter_vec(name: &'static str, help: &'static str, labels: &[&str]) -> IntCounterVec {
    match IntCounterVec::new(Opts::new(name, help), labels) {
        Ok(metric) => registered(name, metric),
        Err(error) => panic!("{name} is no metric: {error}"),
    }
}

/// A family of histograms over the upper bounds `buckets`, registered like [`counter_vec`].
///
/// # Panics
/// If `name` or a label is no prometheus name, or the bounds do not grow.
#[expect(clippy::panic, reason = "a misspelt constant, found by the first test that builds the metric")]
pub fn histogram_vec(name: &'static str, help: &'static str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    match HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels) {
        Ok(metric) => registered(name, metric),
        Err(error) => panic!("{name} is no metric: {error}"),
    }
}

fn registered<M: prometheus::core::Collector + Clone + 'static>(name: &str, metric: M) -> M {
    if let Err(error) = prometheus::register(Box::new(metric.clone())) {
        tracing::warn!(metric = name, error = %error, "metric {name} counts unseen: it could not be registered");
    }
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_call_is_seen_by_whoever_reads_the_registry() {
        gateway_calls().with_label_values(&["look", "ok"]).inc();
        gateway_call_seconds().with_label_values(&["look", "ok"]).observe(0.2);

        let names: Vec<String> = prometheus::gather().iter().map(|family| family.name().to_owned()).collect();
        assert!(names.contains(&"tasdiq_gateway_calls_total".to_owned()), "{names:?}");
        assert!(names.contains(&"tasdiq_gateway_call_seconds".to_owned()), "{names:?}");
    }

    #[test]
    fn a_metric_whose_name_is_taken_still_counts() {
        let first = counter_vec("tasdiq_twice_total", "A name used twice.", &["kind"]);
        let second = counter_vec("tasdiq_twice_total", "A name used twice.", &["kind"]);

        first.with_label_values(&["a"]).inc();
        second.with_label_values(&["a"]).inc();

        assert_eq!(second.with_label_values(&["a"]).get(), 1);
    }
}
