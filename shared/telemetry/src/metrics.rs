//! Makes metrics in the default registry of prometheus, with names that begin with `tasdiq_`. Each component makes its own.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

/// A family of counters, registered. One that cannot be registered (its name is taken) still counts, but is not
/// shown: no payment fails because of a metric.
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

/// A family of gauges, registered like [`counter_vec`].
///
/// # Panics
/// If `name` or a label is no prometheus name.
#[expect(clippy::panic, reason = "a misspelt constant, found by the first test that builds the metric")]
pub fn gauge_vec(name: &'static str, help: &'static str, labels: &[&str]) -> IntGaugeVec {
    match IntGaugeVec::new(Opts::new(name, help), labels) {
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
    fn a_metric_whose_name_is_taken_still_counts() {
        let first = counter_vec("tasdiq_twice_total", "A name used twice.", &["kind"]);
        let second = counter_vec("tasdiq_twice_total", "A name used twice.", &["kind"]);

        first.with_label_values(&["a"]).inc();
        second.with_label_values(&["a"]).inc();

        assert_eq!(second.with_label_values(&["a"]).get(), 1);
    }
}
